//! Owns the threads that move bulk: parts of files by sendfile(2), for connections whose tasks live elsewhere.
//!
//! A runtime's tasks take turns. Were hundreds of downloads moved by the tasks of their connections, each of their turns
//! would stand in front of the next boot script's, which needs three or four turns itself: seconds, on a busy machine. So
//! a connection hands over what is large and sleeps until it has left; requests, scripts and answers have the other
//! threads to themselves, and the kernel shares the processors fairly among the two kinds.

use super::sendfile::Job;
use std::io;
use std::os::fd::AsFd as _;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tokio::net::TcpStream;
use tokio::runtime::{Builder, Handle, Runtime};
use tokio::task::JoinHandle;

/// What is at most this long is sent by the connection's own task: it fits a socket's buffer.
pub const SMALL: usize = 256 * 1024;

/// Starts the threads.
pub fn start() -> io::Result<Runtime> {
    Builder::new_multi_thread()
        .worker_threads(std::thread::available_parallelism().map_or(1, |n| n.get().clamp(1, 4)))
        .max_blocking_threads(1)
        .thread_name("bulk")
        .thread_stack_size(256 * 1024)
        .enable_io()
        .build()
}

/// A connection's way to these threads.
pub struct Road {
    threads: Handle,
    /// The same socket, known to the other threads' poller; made when it is needed first.
    socket: Option<Arc<TcpStream>>,
}

impl Road {
    pub fn new(threads: Handle) -> Road {
        Road { threads, socket: None }
    }

    /// Begins to send `job` on `stream`. Nothing else may be written to it until that has ended.
    pub fn send(&mut self, stream: &TcpStream, job: Job) -> io::Result<Moving> {
        let socket = match &self.socket {
            Some(socket) => socket.clone(),
            None => {
                let same = std::net::TcpStream::from(stream.as_fd().try_clone_to_owned()?);
                let _inside = self.threads.enter();
                self.socket.insert(Arc::new(TcpStream::from_std(same)?)).clone()
            }
        };
        Ok(Moving(self.threads.spawn(whole(socket, job))))
    }
}

async fn whole(socket: Arc<TcpStream>, mut job: Job) -> io::Result<()> {
    while job.left() > 0 {
        socket.writable().await?;
        match job.send(&socket) {
            Ok(_) => {}
            Err(e) if matches!(e.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted) => {}
            Err(e) => return Err(e),
        }
    }
    Ok(())
}

/// A job under way; ended by dropping this.
pub struct Moving(JoinHandle<io::Result<()>>);

impl Moving {
    pub fn poll(&mut self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.0).poll(cx).map(|joined| joined.map_err(io::Error::other)?)
    }
}

impl Drop for Moving {
    fn drop(&mut self) {
        self.0.abort();
    }
}
