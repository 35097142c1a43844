//! Owns `Reply`: what a route answers, and how it becomes hyper's response with its exact length.

use super::sendfile::{Jobs, PART};
use super::tally::Fetch;
use crate::problem::Problem;
use bytes::Bytes;
use hyper::body::{Body, Frame, SizeHint};
use hyper::header::{self, HeaderName, HeaderValue};
use hyper::{Response, StatusCode};
use std::collections::VecDeque;
use std::convert::Infallible;
use std::fs::File;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

/// What a route answers.
pub struct Reply {
    pub status: StatusCode,
    kind: &'static str,
    headers: Vec<(HeaderName, String)>,
    pub content: Content,
    /// Counts what leaves, for the node's timeline.
    pub fetch: Option<Arc<Fetch>>,
}

/// The body.
pub enum Content {
    Memory(Bytes),
    /// Parts of a file: offset and length.
    File(Arc<File>, Vec<(u64, u64)>),
}

impl Content {
    pub fn size(&self) -> u64 {
        match self {
            Content::Memory(bytes) => bytes.len() as u64,
            Content::File(_, parts) => parts.iter().map(|(_, len)| len).sum(),
        }
    }
}

const TEXT: &str = "text/plain; charset=utf-8";

impl Reply {
    pub fn new(status: StatusCode, kind: &'static str, content: Content) -> Reply {
        Reply { status, kind, headers: Vec::new(), content, fetch: None }
    }
    pub fn text(status: StatusCode, text: impl Into<String>) -> Reply {
        Reply::new(status, TEXT, Content::Memory(text.into().into()))
    }
    pub fn ok(text: impl Into<String>) -> Reply {
        Reply::text(StatusCode::OK, text)
    }
    pub fn bytes(kind: &'static str, bytes: Bytes) -> Reply {
        Reply::new(StatusCode::OK, kind, Content::Memory(bytes))
    }
    pub fn empty(status: StatusCode) -> Reply {
        Reply::new(status, "", Content::Memory(Bytes::new()))
    }
    pub fn not_found(what: &str) -> Reply {
        Reply::text(StatusCode::NOT_FOUND, format!("there is no {what} here\n"))
    }
    pub fn json<T: serde::Serialize>(status: StatusCode, value: &T) -> Reply {
        match serde_json::to_vec(value) {
            Ok(bytes) => Reply::new(status, "application/json", Content::Memory(bytes.into())),
            Err(e) => Reply::text(StatusCode::INTERNAL_SERVER_ERROR, format!("{e}\n")),
        }
    }
    /// The journal cannot be written: nothing is lost if the client asks again.
    pub fn later(problem: &Problem) -> Reply {
        Reply::text(StatusCode::SERVICE_UNAVAILABLE, format!("{}\n", problem.what))
            .with(header::RETRY_AFTER, "10".to_string())
    }
    pub fn with(mut self, name: HeaderName, value: String) -> Reply {
        self.headers.push((name, value));
        self
    }

    /// The response. `bodiless` for HEAD: the same head, no body.
    pub fn into_response(self, jobs: &Jobs, bodiless: bool) -> Response<Outgoing> {
        let len = self.content.size();
        let mut response = Response::new(if bodiless {
            Outgoing::Memory(None)
        } else {
            Outgoing::new(self.content, jobs.clone(), self.fetch)
        });
        *response.status_mut() = self.status;
        let headers = response.headers_mut();
        if self.status != StatusCode::NOT_MODIFIED {
            headers.insert(header::CONTENT_LENGTH, HeaderValue::from(len));
        }
        if !self.kind.is_empty() {
            headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(self.kind));
        }
        for (name, value) in self.headers {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        }
        response
    }
}

/// A response's body on its way out.
pub enum Outgoing {
    Memory(Option<Bytes>),
    File { file: Arc<File>, parts: VecDeque<(u64, u64)>, jobs: Jobs, fetch: Option<Arc<Fetch>> },
}

impl Outgoing {
    fn new(content: Content, jobs: Jobs, fetch: Option<Arc<Fetch>>) -> Outgoing {
        match content {
            Content::Memory(bytes) => Outgoing::Memory(Some(bytes).filter(|b| !b.is_empty())),
            Content::File(file, parts) => Outgoing::File {
                file,
                parts: parts.into_iter().filter(|(_, len)| *len > 0).collect(),
                jobs,
                fetch,
            },
        }
    }
}

impl Body for Outgoing {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let frame = match &mut *self {
            Outgoing::Memory(bytes) => bytes.take(),
            Outgoing::File { file, parts, jobs, fetch } => parts.front_mut().map(|(offset, left)| {
                let len = usize::try_from(*left).unwrap_or(PART).min(PART);
                let stand_in = jobs.queue(file.clone(), *offset, len, fetch.clone());
                *offset += len as u64;
                *left -= len as u64;
                stand_in
            }),
        };
        if let Outgoing::File { parts, .. } = &mut *self
            && parts.front().is_some_and(|(_, left)| *left == 0)
        {
            parts.pop_front();
        }
        Poll::Ready(frame.map(|bytes| Ok(Frame::data(bytes))))
    }

    fn is_end_stream(&self) -> bool {
        match self {
            Outgoing::Memory(bytes) => bytes.is_none(),
            Outgoing::File { parts, .. } => parts.is_empty(),
        }
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(match self {
            Outgoing::Memory(bytes) => bytes.as_ref().map_or(0, |b| b.len() as u64),
            Outgoing::File { parts, .. } => parts.iter().map(|(_, len)| len).sum(),
        })
    }
}
