//! Owns TFTP: files from memory through async-tftp, the only user of that crate.
//!
//! `TftpEngine` is the seam: tests/tftp_conformance.rs says what any engine must do, and which of it async-tftp
//! cannot do by configuration.

use super::names;
use super::odd::Side;
use super::shared::Shared;
use crate::base::time::{size, span};
use crate::base::{Mac, Timestamp};
use crate::boot::script;
use crate::lifecycle::{Event, What, Wire};
use async_tftp::packet::Error as TftpError;
use async_tftp::server::{Handler, TftpServerBuilder};
use futures_lite::AsyncRead;
use std::collections::HashMap;
use std::io;
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};
use tokio::sync::watch;

/// Where a TFTP server finds files, and whom it tells how a transfer ended.
pub trait Files: Send + Sync {
    /// The file that `client` means by `name` (bytes as sent); at once, from memory.
    fn open(&self, client: SocketAddr, name: &[u8]) -> Option<Opened>;
    fn ended(&self, transfer: Ended);
}

/// A file to send.
#[derive(Debug, Clone)]
pub struct Opened {
    pub name: String,
    pub bytes: Arc<[u8]>,
}

/// How a transfer ended.
#[derive(Debug, Clone)]
pub struct Ended {
    pub client: SocketAddr,
    pub name: String,
    pub size: u64,
    /// Bytes handed out; equal to `size` for a whole transfer.
    pub sent: u64,
    pub took: Duration,
}

/// What limits a transfer.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// The largest block size (RFC 2348) that is agreed to.
    pub block: u16,
    /// The largest window (RFC 7440), in blocks.
    pub window: u16,
    /// How long an answer may take before a packet is sent again.
    pub resend_after: Duration,
    pub resends: u32,
}

impl Limits {
    /// For an interface of this MTU: IP, UDP and TFTP headers are 32 bytes (field-pain #37). Never above 1468: on
    /// the way to the client there may be less than here.
    ///
    /// async-tftp does not see that a client went away (it ignores ERROR, and its sockets are not connected), so a
    /// transfer lives until its resends are used up, and as long the same port is not served again: 8 × 0.5 s.
    pub fn for_mtu(mtu: u32) -> Limits {
        let block = mtu.saturating_sub(32).clamp(512, 1468) as u16;
        Limits { block, window: 16, resend_after: Duration::from_millis(500), resends: 7 }
    }
}

/// A TFTP server's machinery.
pub trait TftpEngine: Send + Sync {
    /// Serves on `socket` until `stop` says so or the socket fails. Blocks.
    fn serve(
        &self,
        socket: UdpSocket,
        limits: Limits,
        files: Arc<dyn Files>,
        stop: watch::Receiver<bool>,
    ) -> io::Result<()>;
}

/// async-tftp with settings that guard against what it does not do.
pub struct AsyncTftp;

impl TftpEngine for AsyncTftp {
    fn serve(
        &self,
        socket: UdpSocket,
        limits: Limits,
        files: Arc<dyn Files>,
        mut stop: watch::Receiver<bool>,
    ) -> io::Result<()> {
        // By the reactor that async-tftp's sockets are registered with: this thread waits for packets itself. With an
        // executor that does not know it, another thread would wait, and wake this one for every acknowledgement.
        async_io::block_on(async {
            let server = TftpServerBuilder::with_handler(Reads(files))
                .std_socket(socket)
                .map_err(io::Error::other)?
                .timeout(limits.resend_after)
                .max_send_retries(limits.resends)
                .ignore_client_timeout()
                .block_size_limit(limits.block)
                .window_size_limit(limits.window)
                .build()
                .await
                .map_err(io::Error::other)?;
            let stopped = async {
                let _ = stop.wait_for(|s| *s).await;
                Ok(())
            };
            futures_lite::future::or(stopped, server.serve()).await.map_err(io::Error::other)
        })
    }
}

struct Reads(Arc<dyn Files>);

impl Handler for Reads {
    type Reader = Reading;
    type Writer = futures_lite::io::Sink;

    async fn read_req_open(
        &mut self,
        client: &SocketAddr,
        path: &Path,
    ) -> Result<(Reading, Option<u64>), TftpError> {
        use std::os::unix::ffi::OsStrExt as _;
        let opened = self.0.open(*client, path.as_os_str().as_bytes()).ok_or(TftpError::FileNotFound)?;
        let len = opened.bytes.len() as u64;
        let reading =
            Reading { files: self.0.clone(), opened, client: *client, at: 0, began: Instant::now() };
        Ok((reading, Some(len)))
    }

    async fn write_req_open(
        &mut self,
        _client: &SocketAddr,
        _path: &Path,
        _size: Option<u64>,
    ) -> Result<Self::Writer, TftpError> {
        Err(TftpError::IllegalOperation)
    }
}

/// A cursor over a file in memory; tells how the transfer ended when it is dropped.
struct Reading {
    files: Arc<dyn Files>,
    opened: Opened,
    client: SocketAddr,
    at: usize,
    began: Instant,
}

impl AsyncRead for Reading {
    fn poll_read(mut self: Pin<&mut Self>, _: &mut Context<'_>, buf: &mut [u8]) -> Poll<io::Result<usize>> {
        let rest = &self.opened.bytes[self.at..];
        let n = rest.len().min(buf.len());
        buf[..n].copy_from_slice(&rest[..n]);
        self.at += n;
        Poll::Ready(Ok(n))
    }
}

impl Drop for Reading {
    fn drop(&mut self) {
        self.files.ended(Ended {
            client: self.client,
            name: std::mem::take(&mut self.opened.name),
            size: self.opened.bytes.len() as u64,
            sent: self.at as u64,
            took: self.began.elapsed(),
        });
    }
}

/// Files of the running server: loaders from the shelf, and the script that finds a machine's own script.
pub struct Lookup {
    shared: Arc<Shared>,
    side: Side,
    /// What was told about whom, so that size probes and repeats do not fill the timeline.
    told: Mutex<HashMap<(Mac, String), Timestamp>>,
    /// When the last transfer of a client began that brought it a whole file.
    whole: Mutex<HashMap<std::net::IpAddr, Instant>>,
}

/// How long the same transfer to the same machine is not told again, in milliseconds.
const QUIET: u64 = 20_000;

impl Lookup {
    pub fn new(shared: Arc<Shared>, side: Side) -> Lookup {
        Lookup { shared, side, told: Mutex::default(), whole: Mutex::default() }
    }

    fn tell(&self, client: SocketAddr, asked: String, answered: String) {
        let client = self.side.real(client);
        let Some(mac) = self.shared.who(client.ip()) else {
            tracing::info!(%client, "{asked} → {answered}");
            return;
        };
        let now = self.shared.clock.now();
        let mut told = self.told.lock().unwrap_or_else(|e| e.into_inner());
        told.retain(|_, at| now.since(*at) < QUIET);
        if told.insert((mac, asked.clone()), now).is_none() {
            let what = What::Asked { wire: Wire::Tftp, boot: true, asked, answered };
            self.shared.to.note(Event::new(now, mac, what));
        }
    }
}

impl Lookup {
    /// Whether a transfer that ended looks like one whose data packets got lost although the small packets before them
    /// did not: the first window was sent, again and again, and nothing came back (field-pain #37). A machine that was
    /// switched off just then looks the same, and loses nothing by it.
    fn smaller(&self, t: &Ended) -> Option<u16> {
        const WINDOW: u64 = 16 * 1468;
        // UEFI aborts a transfer after it asked for the size, and gets the file by the next one: the engine, which does
        // not read a client's ERROR, goes on with the first for seconds (seen with OVMF).
        let whole = self.whole.lock().unwrap_or_else(|e| e.into_inner());
        if whole.get(&self.side.real(t.client).ip()).is_some_and(|began| began.elapsed() < t.took) {
            return None;
        }
        drop(whole);
        let std::net::IpAddr::V4(client) = self.side.real(t.client).ip() else { return None };
        let still = t.sent > 0 && t.sent <= WINDOW && t.took >= Duration::from_secs(3);
        if still { self.side.doubt(client) } else { None }
    }
}

impl Files for Lookup {
    fn open(&self, client: SocketAddr, name: &[u8]) -> Option<Opened> {
        let base = names::base(name)?;
        if base == "autoexec.ipxe" {
            let text = script::autoexec(&self.shared.hub.world().site.url());
            return Some(Opened { name: base, bytes: text.into_bytes().into() });
        }
        let Some(bytes) = self.shared.supply().loaders.get(&base).cloned() else {
            // shim and GRUB ask for files that nobody has; a missing loader stops the machine.
            let loader = [".efi", ".kpxe", ".kkpxe", ".pxe", ".0"].iter().any(|end| base.ends_with(end));
            if loader && !base.starts_with("revocations") {
                self.tell(client, format!("TFTP: {base}"), "not here; `bootstead image list`".to_string());
            }
            tracing::debug!(%client, "TFTP: {base} is not here");
            return None;
        };
        Some(Opened { name: base, bytes })
    }

    fn ended(&self, t: Ended) {
        self.shared.health.tftp_transfers.fetch_add(1, Ordering::Relaxed);
        self.shared.health.bytes_sent.fetch_add(t.sent, Ordering::Relaxed);
        let took = span((t.took.as_millis() as u64).max(1));
        if t.sent == t.size {
            if let Some(began) = Instant::now().checked_sub(t.took) {
                let mut whole = self.whole.lock().unwrap_or_else(|e| e.into_inner());
                whole.retain(|_, began| began.elapsed() < Duration::from_secs(120));
                whole.insert(self.side.real(t.client).ip(), began);
            }
            self.tell(t.client, format!("TFTP: {}", t.name), format!("{} in {took}", size(t.size)));
        } else if let Some(block) = self.smaller(&t) {
            let answered = format!(
                "stood still after {}: large packets may not reach it (MTU); the next try gets blocks of {block}",
                size(t.sent)
            );
            // A text of its own: the next doubt is told although the first one was just now.
            self.tell(t.client, format!("TFTP: {} in blocks over {block}", t.name), answered);
        } else if t.sent <= 1468 {
            // UEFI asks for the size, aborts on purpose and asks again (field-pain #35): no failure.
            tracing::debug!(client = %t.client, "TFTP: {} was asked for its size only", t.name);
        } else {
            let answered = format!("stopped after {} of {} in {took}", size(t.sent), size(t.size));
            self.tell(t.client, format!("TFTP: {}", t.name), answered);
        }
    }
}
