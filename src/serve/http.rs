//! Owns the HTTP servers: TCP for machines, the UNIX socket for the operator; limits on everything.

use super::path::{self, Parameters};
use super::reply::{Outgoing, Reply};
use super::routes::{self, Asked, Door, NoRoute, Target};
use super::seats::Seats;
use super::sendfile::{Jobs, Pipe};
use super::shared::Shared;
use super::{agent_files, answers, control, media, plans, reports, scripts};
use bytes::Bytes;
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use hyper::header::ALLOW;
use hyper::rt::{Read, Write};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::server::graceful::{GracefulShutdown, Watcher};
use std::convert::Infallible;
use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tokio::net::{TcpListener, UnixListener};
use tokio::runtime::Handle;
use tokio::sync::{Semaphore, watch};

/// How long a client may take for a request's head, or stay silent between two requests.
const HEAD: Duration = Duration::from_secs(60);
/// How long sent bytes may stay unacknowledged before a transfer counts as dead (field-pain #54). Generous: an
/// installer that writes to a slow disk stops reading for a while.
const STALLED: Duration = Duration::from_secs(300);
/// Connections at once; more of them wait in the system's queue.
const CONNECTIONS: usize = 8192;
/// The longest body of a request, in bytes: a hardware report of a machine with very many disks.
const BODY: usize = 512 * 1024;
/// How long a body may take to arrive, and how long it may have to wait for its turn.
const BODY_WITHIN: Duration = Duration::from_secs(30);
/// Bodies that the network may send at once: they are in memory before the token in them can be looked at.
static BODIES: Semaphore = Semaphore::const_new(64);
/// How long transfers may go on after the server was told to stop.
const LAST: Duration = Duration::from_secs(2);

/// Accepts machines until `stop` says so.
pub async fn network(
    listener: TcpListener,
    shared: Arc<Shared>,
    bulk: Handle,
    mut stop: watch::Receiver<bool>,
) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let seats = Arc::new(Seats::default());
    let graceful = GracefulShutdown::new();
    loop {
        let Ok(chair) = room.clone().acquire_owned().await else { break };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|s| *s) => break,
        };
        let (stream, from) = match accepted {
            Ok(accepted) => accepted,
            // Out of file descriptors, or the client is gone already: neither ends the server.
            Err(e) => {
                tracing::debug!("accept: {e}");
                tokio::time::sleep(Duration::from_millis(50)).await;
                continue;
            }
        };
        let from = from.ip().to_canonical();
        let Some(seat) = seats.take(from) else {
            tracing::debug!("{from} has more connections than one address may have; another one is closed");
            continue;
        };
        let socket = socket2::SockRef::from(&stream);
        let _ = socket.set_tcp_nodelay(true);
        let _ = socket.set_tcp_user_timeout(Some(STALLED));
        let _ = socket.set_keepalive(true);
        let jobs = Jobs::default();
        let pipe = Pipe::new(stream, jobs.clone(), bulk.clone());
        let watcher = graceful.watcher();
        let shared = shared.clone();
        tokio::spawn(async move {
            connection(pipe, shared, Door::Network, Some(from), jobs, watcher).await;
            drop((seat, chair));
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(LAST, graceful.shutdown()).await;
}

/// Accepts the operator until `stop` says so.
pub async fn socket(listener: UnixListener, shared: Arc<Shared>, mut stop: watch::Receiver<bool>) {
    let graceful = GracefulShutdown::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|s| *s) => break,
        };
        let Ok((stream, _)) = accepted else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let watcher = graceful.watcher();
        let shared = shared.clone();
        tokio::spawn(async move {
            connection(TokioIo::new(stream), shared, Door::Socket, None, Jobs::default(), watcher).await;
        });
    }
    drop(listener);
    let _ = tokio::time::timeout(LAST, graceful.shutdown()).await;
}

async fn connection<I>(
    io: I,
    shared: Arc<Shared>,
    door: Door,
    from: Option<IpAddr>,
    jobs: Jobs,
    watcher: Watcher,
) where
    I: Read + Write + Unpin + Send + 'static,
{
    let service = service_fn(move |request| {
        let (shared, jobs) = (shared.clone(), jobs.clone());
        async move { Ok::<_, Infallible>(respond(&shared, door, from, &jobs, request).await) }
    });
    let connection = hyper::server::conn::http1::Builder::new()
        .timer(TokioTimer::new())
        // A client that has said all it wants (`nc -N`) still gets all its answers.
        .half_close(true)
        .header_read_timeout(HEAD)
        .max_buf_size(64 * 1024)
        .max_headers(64)
        .serve_connection(io, service);
    if let Err(e) = watcher.watch(connection).await {
        tracing::debug!("a connection ended early: {e}");
    }
}

async fn respond(
    shared: &Arc<Shared>,
    door: Door,
    from: Option<IpAddr>,
    jobs: &Jobs,
    request: Request<Incoming>,
) -> Response<Outgoing> {
    let bodiless = request.method() == Method::HEAD;
    // Who looks at the board all night is no traffic.
    let counted = u64::from(door == Door::Network);
    shared.health.http_requests.fetch_add(counted, Ordering::Relaxed);
    shared.health.http_active.fetch_add(counted, Ordering::Relaxed);
    let method = request.method().clone();
    let (path, reply) = handle(shared, door, from, request).await;
    shared.health.http_active.fetch_sub(counted, Ordering::Relaxed);
    let len = reply.content.size();
    if !bodiless {
        shared.health.bytes_sent.fetch_add(counted * len, Ordering::Relaxed);
    }
    tracing::debug!(status = reply.status.as_u16(), len, "{method} {}", tellable(path.as_deref()));
    reply.into_response(jobs, bodiless)
}

/// The reply, and the path that was asked for unless it leads outside.
async fn handle(
    shared: &Arc<Shared>,
    door: Door,
    from: Option<IpAddr>,
    request: Request<Incoming>,
) -> (Option<Vec<String>>, Reply) {
    let (head, body) = request.into_parts();
    let Some(path) = path::parts(head.uri.path()) else {
        return (None, Reply::not_found("such path"));
    };
    let route = match routes::find(door, &head.method, &path) {
        Ok(route) => route,
        Err(NoRoute::NotFound) => return (Some(path), Reply::not_found("such page")),
        Err(NoRoute::Method(allowed)) => {
            let names: Vec<&str> = allowed.iter().map(Method::as_str).collect();
            let reply = Reply::text(StatusCode::METHOD_NOT_ALLOWED, "not with this method\n");
            return (Some(path), reply.with(ALLOW, names.join(", ")));
        }
    };
    let body = match head.method {
        Method::POST => match Box::pin(self::body(door, body)).await {
            Ok(body) => body,
            Err(refused) => return (Some(path), refused),
        },
        _ => Bytes::new(),
    };
    let query = Parameters::read(head.uri.query().unwrap_or_default());
    let asked = Asked { method: head.method, path, query, headers: head.headers, from, body };
    let reply = dispatch(shared, route.target, &asked).await;
    (Some(asked.path), reply)
}

/// A path as it may stand in a log: whatever stands where a token belongs is left out, whether the route exists or not.
fn tellable(path: Option<&[String]>) -> String {
    let Some(path) = path else { return "(a path outside)".to_string() };
    let mut parts: Vec<&str> = path.iter().map(String::as_str).collect();
    if let ["a", _, token, ..] = parts.as_mut_slice() {
        *token = "…";
    }
    format!("/{}", parts.join("/"))
}

/// The body of a request whose method has one.
async fn body(door: Door, body: Incoming) -> Result<Bytes, Reply> {
    let read = async {
        let _turn = match door {
            Door::Network => BODIES.acquire().await.ok(),
            Door::Socket => None,
        };
        Limited::new(body, BODY).collect().await
    };
    match tokio::time::timeout(BODY_WITHIN, read).await {
        Ok(Ok(collected)) => Ok(collected.to_bytes()),
        Ok(Err(_)) => Err(Reply::text(StatusCode::PAYLOAD_TOO_LARGE, "this is too long\n")),
        Err(_) => Err(Reply::text(StatusCode::REQUEST_TIMEOUT, "the body did not arrive\n")),
    }
}

/// The answer of a route. What has to wait for something is boxed: hyper moves the future of every request into its
/// connection, with the room that the largest branch would need.
async fn dispatch(shared: &Arc<Shared>, target: Target, asked: &Asked) -> Reply {
    match target {
        Target::BootScript => Box::pin(scripts::boot(shared, asked)).await,
        Target::Autoexec => scripts::autoexec(shared),
        Target::Loader => loader(shared, asked),
        Target::Image => image(shared, asked),
        Target::Answer => Box::pin(answers::serve(shared, asked)).await,
        Target::Report => Box::pin(reports::report(shared, asked)).await,
        Target::Orders => Box::pin(reports::orders(shared, asked)).await,
        Target::AgentScript => agent_files::script(shared, asked),
        Target::AgentBinary => agent_files::binary(shared, asked),
        Target::Plan | Target::Apply | Target::Steps | Target::Look | Target::Looks | Target::Drills => {
            Box::pin(plans::serve(shared, target, asked)).await
        }
        _ => Box::pin(control::serve(shared, target, asked)).await,
    }
}

fn loader(shared: &Shared, asked: &Asked) -> Reply {
    let name = asked.path.last().map(String::as_str).unwrap_or_default();
    match shared.supply().shelf.loader(name) {
        Some(served) => media::file(&asked.headers, &served, name),
        None => Reply::not_found("such loader"),
    }
}

fn image(shared: &Shared, asked: &Asked) -> Reply {
    let (image, path) = (&asked.path[1], asked.path[2..].join("/"));
    let Some(served) = shared.supply().shelf.file(image, &path) else {
        return Reply::not_found("such file");
    };
    let mut reply = media::file(&asked.headers, &served, &path);
    if asked.method == Method::GET
        && reply.status.is_success()
        && let Some(mac) = asked.from.and_then(|from| shared.who(from))
    {
        let world = shared.hub.world();
        let single = world.catalog.images.get(image).and_then(|i| {
            let boots = *path == i.kernel || i.initrd.contains(&path);
            boots.then(|| format!("fetched {path} of {image}"))
        });
        reply.fetch = Some(shared.tally.begin(mac, single, reply.content.size()));
    }
    reply
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_token_is_told_whatever_the_path() {
        let told = |path: &str| tellable(Some(&path.split('/').map(str::to_string).collect::<Vec<_>>()));
        assert_eq!(told("a/02-00/secret/ks.cfg"), "/a/02-00/…/ks.cfg");
        assert_eq!(told("a/02-00/secret"), "/a/02-00/…");
        assert_eq!(told("a/02-00/secret/more/ks.cfg"), "/a/02-00/…/more/ks.cfg");
        assert_eq!(told("images/debian12/linux"), "/images/debian12/linux");
    }
}
