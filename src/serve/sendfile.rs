//! Owns the connection that sends files by sendfile(2) under hyper.
//!
//! hyper moves bytes, not files. So the body of a file response is made of slices of one buffer of zeros that
//! nobody ever reads (its pages never exist), and each slice has a `Job` in the connection's queue. When hyper
//! hands such a slice down to be written, it is known by its address, and the job's part of the file goes out
//! instead. A slice without its job, or a job that hyper skipped, ends the connection: better none than wrong
//! bytes. This costs a third of the processor time of reading into memory (docs: bench/http.sh).

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

/// The longest part of a file that is handed to hyper at once, in bytes.
pub const PART: usize = 8 << 20;

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
}

impl Pipe {
    pub fn new(stream: TcpStream, jobs: Jobs) -> Pipe {
        Pipe { io: TokioIo::new(stream), jobs }
    }

    /// Sends what the socket takes of the next job, whose stand-in has `len` bytes left.
    fn poll_file(&mut self, cx: &mut Context<'_>, len: usize) -> Poll<io::Result<usize>> {
        let stream = self.io.inner();
        let mut jobs = self.jobs.lock();
        let Some(job) = jobs.front_mut().filter(|job| job.left == len) else {
            return Poll::Ready(Err(io::Error::other("a file's stand-in came without its part")));
        };
        let mut sent = 0;
        while job.left > 0 {
            match stream.poll_write_ready(cx) {
                Poll::Pending if sent > 0 => break,
                other => ready!(other)?,
            }
            let tried = stream.try_io(Interest::WRITABLE, || {
                let mut at = i64::try_from(job.offset).map_err(io::Error::other)?;
                Ok(nix::sys::sendfile::sendfile64(stream, &*job.file, Some(&mut at), job.left)?)
            });
            match tried {
                Ok(0) => {
                    return Poll::Ready(Err(io::Error::other("the file became shorter while it was sent")));
                }
                Ok(n) => {
                    job.offset += n as u64;
                    job.left -= n;
                    sent += n;
                    if let Some(fetch) = &job.fetch {
                        fetch.sent(n as u64);
                    }
                }
                Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
                Err(e) => return Poll::Ready(Err(e)),
            }
        }
        if job.left == 0 {
            jobs.pop_front();
        }
        Poll::Ready(Ok(sent))
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
            _ => Pin::new(&mut self.io).poll_write_vectored(cx, &bufs[..plain]),
        }
    }
}
