//! Owns the connection that sends files by sendfile(2) under hyper.
//!
//! hyper moves bytes, not files. So the body of a file response is made of slices of one buffer of zeros that
//! nobody ever reads (its pages never exist), and each slice has a `Job` in the connection's queue. When hyper
//! hands such a slice down to be written, it is known by its address, and the job's part of the file goes out
//! instead, if it is large by the threads of `bulk`. A slice without its job, or a job that hyper skipped, ends the
//! connection: better none than wrong bytes. This costs a third of the processor time of reading into memory.

use super::bulk::{Moving, Road, SMALL};
use super::tally::Fetch;
use bytes::Bytes;
use hyper::rt::{Read, ReadBufCursor, Write};
use hyper_util::rt::TokioIo;
use std::collections::VecDeque;
use std::fs::File;
use std::io::{self, IoSlice};
use std::pin::Pin;
use std::sync::{Arc, Mutex, OnceLock};
use std::task::{Context, Poll, ready};
use tokio::io::Interest;
use tokio::net::TcpStream;
use tokio::runtime::Handle;

/// The longest part of a file that is handed to hyper at once, in bytes.
pub const PART: usize = 32 << 20;

/// Address space without memory: `calloc` of this size maps pages that come to life only when touched.
fn zeros() -> &'static [u8] {
    static ZEROS: OnceLock<Box<[u8]>> = OnceLock::new();
    ZEROS.get_or_init(|| vec![0u8; PART].into_boxed_slice())
}

/// A stand-in of `len` bytes (at most `PART`).
fn stand_in(len: usize) -> Bytes {
    Bytes::from_static(&zeros()[..len])
}

fn is_stand_in(slice: &[u8]) -> bool {
    let (all, at) = (zeros().as_ptr_range(), slice.as_ptr());
    !slice.is_empty() && all.contains(&at)
}

/// A part of a file that is to go out where its stand-in is.
pub struct Job {
    file: Arc<File>,
    offset: u64,
    left: usize,
    fetch: Option<Arc<Fetch>>,
}

impl Job {
    pub fn left(&self) -> usize {
        self.left
    }

    /// Sends what the socket takes now; how much that was. Not for nothing: an empty job is no job.
    pub fn send(&mut self, stream: &TcpStream) -> io::Result<usize> {
        let sent = stream.try_io(Interest::WRITABLE, || {
            let mut at = i64::try_from(self.offset).map_err(io::Error::other)?;
            Ok(nix::sys::sendfile::sendfile64(stream, &*self.file, Some(&mut at), self.left)?)
        })?;
        if sent == 0 {
            return Err(io::Error::other("the file became shorter while it was sent"));
        }
        self.offset += sent as u64;
        self.left -= sent;
        if let Some(fetch) = &self.fetch {
            fetch.sent(sent as u64);
        }
        Ok(sent)
    }
}

/// The parts of files that one connection is about to send, in order.
#[derive(Clone, Default)]
pub struct Jobs(Arc<Mutex<VecDeque<Job>>>);

impl Jobs {
    /// Queues a part and returns its stand-in for the body.
    pub fn queue(&self, file: Arc<File>, offset: u64, len: usize, fetch: Option<Arc<Fetch>>) -> Bytes {
        let len = len.min(PART);
        self.lock().push_back(Job { file, offset, left: len, fetch });
        stand_in(len)
    }
    fn lock(&self) -> std::sync::MutexGuard<'_, VecDeque<Job>> {
        self.0.lock().unwrap_or_else(|e| e.into_inner())
    }
}

/// A TCP connection whose writes may be parts of files.
pub struct Pipe {
    io: TokioIo<TcpStream>,
    jobs: Jobs,
    road: Road,
    /// The large part that is on its way.
    moving: Option<Moving>,
}

impl Pipe {
    /// `bulk`: the threads that send what is large.
    pub fn new(stream: TcpStream, jobs: Jobs, bulk: Handle) -> Pipe {
        Pipe { io: TokioIo::new(stream), jobs, road: Road::new(bulk), moving: None }
    }

    /// Sends of the next job, whose stand-in has `len` bytes left: a large one whole, a small one as far as the socket
    /// takes it.
    fn poll_file(&mut self, cx: &mut Context<'_>, len: usize) -> Poll<io::Result<usize>> {
        if self.moving.is_none() {
            let mut jobs = self.jobs.lock();
            let Some(job) = jobs.front_mut().filter(|job| job.left == len) else {
                return Poll::Ready(Err(io::Error::other("a file's stand-in came without its part")));
            };
            if len <= SMALL {
                let sent = ready!(poll_small(self.io.inner(), job, cx))?;
                if job.left == 0 {
                    jobs.pop_front();
                }
                return Poll::Ready(Ok(sent));
            }
            if let Some(job) = jobs.pop_front() {
                self.moving = Some(self.road.send(self.io.inner(), job)?);
            }
        }
        if let Some(moving) = &mut self.moving {
            let ended = ready!(moving.poll(cx));
            self.moving = None;
            ended?;
        }
        Poll::Ready(Ok(len))
    }
}

fn poll_small(stream: &TcpStream, job: &mut Job, cx: &mut Context<'_>) -> Poll<io::Result<usize>> {
    poll_send(stream, cx, || job.send(stream))
}

/// Sends what stands before a part of a file, which follows at once: the head and a small file leave as one packet and
/// wake the client once, as nginx does with `tcp_nopush` (MSG_MORE, send(2)).
fn poll_before_file(
    stream: &TcpStream,
    bufs: &[IoSlice<'_>],
    cx: &mut Context<'_>,
) -> Poll<io::Result<usize>> {
    let more = || socket2::SockRef::from(stream).send_vectored_with_flags(bufs, libc::MSG_MORE);
    poll_send(stream, cx, || stream.try_io(Interest::WRITABLE, more))
}

/// Sends once as soon as the socket takes something.
fn poll_send(
    stream: &TcpStream,
    cx: &mut Context<'_>,
    mut send: impl FnMut() -> io::Result<usize>,
) -> Poll<io::Result<usize>> {
    loop {
        ready!(stream.poll_write_ready(cx))?;
        match send() {
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            other => return Poll::Ready(other),
        }
    }
}

impl Read for Pipe {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_read(cx, buf)
    }
}

impl Write for Pipe {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        if is_stand_in(buf) {
            return self.poll_file(cx, buf.len());
        }
        Pin::new(&mut self.io).poll_write(cx, buf)
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.io).poll_shutdown(cx)
    }
    // hyper copies small writes together unless this is true; a stand-in must come down as it is.
    fn is_write_vectored(&self) -> bool {
        true
    }
    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let first = bufs.iter().position(|b| !b.is_empty()).unwrap_or(0);
        let bufs = &bufs[first..];
        let plain = bufs.iter().position(|b| is_stand_in(b)).unwrap_or(bufs.len());
        match bufs.first() {
            Some(b) if plain == 0 => self.poll_file(cx, b.len()),
            Some(_) if plain < bufs.len() => poll_before_file(self.io.inner(), &bufs[..plain], cx),
            _ => Pin::new(&mut self.io).poll_write_vectored(cx, bufs),
        }
    }
}
