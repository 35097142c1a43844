//! Owns the agent's connection to its server: pinned TLS, one request at a time, JSON in and out.

use crate::base::Sha256;
use crate::problem::Problem;
use crate::tls::{self, Identity};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1::SendRequest;
use hyper::{Method, Request, StatusCode};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use serde::Serialize;
use serde::de::DeserializeOwned;
use std::time::Duration;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

/// A reply holds the files of a few steps.
const REPLY: usize = 16 << 20;
/// How long a connection may take; how long a reply may, beyond what the server waits itself.
const CONNECT: Duration = Duration::from_secs(10);
const ANSWER: Duration = Duration::from_secs(crate::api::WAIT + 20);

/// Why there is no answer; each is a sentence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Lost {
    #[error("the server {0} cannot be reached: {1}")]
    Away(String, String),
    #[error("the server does not know this agent yet")]
    Unknown,
    #[error("joined")]
    Joined,
    #[error("the server refuses: {0}")]
    Refused(String),
    #[error("the server cannot answer now: {0}")]
    Later(String),
    #[error(
        "the server offers plan {offered}, and this node has seen plan {seen}: it is another or an older server"
    )]
    Older { offered: u32, seen: u32 },
    #[error("{0}")]
    Here(String),
}

/// The connection, made anew whenever it is gone.
pub struct Client {
    tls: TlsConnector,
    servers: Vec<String>,
    at: usize,
    open: Option<SendRequest<Full<Bytes>>>,
}

impl Client {
    pub fn new(identity: &Identity, pin: Sha256, servers: Vec<String>) -> Result<Client, Problem> {
        Ok(Client { tls: TlsConnector::from(tls::client(identity, pin)?), servers, at: 0, open: None })
    }
    /// Takes the next server of the list.
    pub fn next(&mut self) {
        self.at = (self.at + 1) % self.servers.len().max(1);
        self.open = None;
    }
    /// A new list of servers; the connection stays.
    pub fn servers(&mut self, servers: Vec<String>) {
        self.servers = servers;
        self.at = 0;
    }
    pub fn hang_up(&mut self) {
        self.open = None;
    }

    /// Posts; `None` where the reply is a mere sentence.
    pub async fn post<T: Serialize, R: DeserializeOwned>(
        &mut self,
        path: &str,
        body: &T,
    ) -> Result<Option<R>, Lost> {
        let bytes = serde_json::to_vec(body).map_err(|e| Lost::Here(e.to_string()))?;
        let reply = self.send(path, bytes).await?;
        Ok(serde_json::from_slice(&reply).ok())
    }

    /// Posts these bytes; returns the reply's.
    pub async fn send(&mut self, path: &str, bytes: Vec<u8>) -> Result<Bytes, Lost> {
        let server = self.servers.get(self.at).cloned().unwrap_or_default();
        let away = |why: String| Lost::Away(server.clone(), why);
        if self.open.as_ref().is_none_or(SendRequest::is_closed) {
            self.open = Some(
                tokio::time::timeout(CONNECT, connect(self.tls.clone(), server.clone()))
                    .await
                    .map_err(|_| away("no answer".to_string()))?
                    .map_err(away)?,
            );
        }
        let Some(open) = &mut self.open else { return Err(away("no connection".to_string())) };
        let request = Request::builder()
            .method(Method::POST)
            .uri(path)
            .header("host", "bootstead")
            .header("content-type", "application/json")
            .body(Full::new(Bytes::from(bytes)))
            .map_err(|e| Lost::Here(e.to_string()))?;
        let answered = tokio::time::timeout(ANSWER, async {
            let response = open.send_request(request).await.map_err(|e| e.to_string())?;
            let status = response.status();
            let body =
                Limited::new(response.into_body(), REPLY).collect().await.map_err(|e| e.to_string())?;
            Ok::<_, String>((status, body.to_bytes()))
        })
        .await;
        let (status, body) = match answered {
            Ok(Ok(answer)) => answer,
            Ok(Err(why)) => {
                self.open = None;
                return Err(away(why));
            }
            Err(_) => {
                self.open = None;
                return Err(away("it took too long".to_string()));
            }
        };
        let text = || String::from_utf8_lossy(&body[..body.len().min(300)]).trim().to_string();
        match status {
            StatusCode::OK => Ok(body),
            StatusCode::UNAUTHORIZED => Err(Lost::Unknown),
            s if s.is_client_error() => Err(Lost::Refused(text())),
            _ => Err(Lost::Later(text())),
        }
    }
}

async fn connect(tls: TlsConnector, server: String) -> Result<SendRequest<Full<Bytes>>, String> {
    let stream = TcpStream::connect(&server).await.map_err(|e| e.to_string())?;
    let _ = stream.set_nodelay(true);
    let socket = socket2::SockRef::from(&stream);
    let _ = socket.set_tcp_user_timeout(Some(Duration::from_secs(60)));
    // The name is not looked at: the certificate itself is pinned.
    let name = ServerName::try_from("bootstead").map_err(|e| e.to_string())?;
    let stream = tls.connect(name, stream).await.map_err(|e| e.to_string())?;
    let (sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|e| e.to_string())?;
    tokio::spawn(connection);
    Ok(sender)
}
