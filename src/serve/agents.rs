//! Owns the agents' door: TLS on its own port; join, work, report. Who calls is told by the client's certificate.

use super::collected;
use super::hub::NotTaken;
use super::path::Parameters;
use super::shared::Shared;
use super::works::{Taking, Works};
use crate::api::{self, Finished, Found, Join, LookKind, Mode, Task, Work, WorkAsked};
use crate::base::{Mac, Sha256};
use crate::cluster::gates::{Listed, Row};
use crate::cluster::{Status, overdue};
use crate::lifecycle::{Event, State, What};
use crate::secrets;
use crate::steps::Step;
use bytes::Bytes;
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use serde::de::DeserializeOwned;
use std::collections::BTreeMap;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::TcpListener;
use tokio::sync::{Semaphore, watch};
use tokio_rustls::TlsAcceptor;

/// A report holds at most the output of one step; the other is a piece of a file.
const BODY: usize = 256 * 1024;
const PIECE: usize = api::PIECE_BYTES;
/// Agents at once.
const CONNECTIONS: usize = 4096;
/// Steps that one agent does side by side.
const ABREAST: usize = 4;
/// How long a handshake, and the head of a request, may take.
const WITHIN: Duration = Duration::from_secs(90);

/// Accepts agents until `stop` says so.
pub async fn serve(
    listener: TcpListener,
    tls: Arc<rustls::ServerConfig>,
    shared: Arc<Shared>,
    mut stop: watch::Receiver<bool>,
) {
    let room = Arc::new(Semaphore::new(CONNECTIONS));
    let acceptor = TlsAcceptor::from(tls);
    loop {
        let Ok(seat) = room.clone().acquire_owned().await else { return };
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            _ = stop.wait_for(|s| *s) => return,
        };
        let Ok((stream, from)) = accepted else {
            tokio::time::sleep(Duration::from_millis(50)).await;
            continue;
        };
        let socket = socket2::SockRef::from(&stream);
        let _ = socket.set_tcp_nodelay(true);
        let _ = socket.set_keepalive(true);
        let _ = socket.set_tcp_user_timeout(Some(Duration::from_secs(60)));
        let (acceptor, shared, mut stop) = (acceptor.clone(), shared.clone(), stop.clone());
        tokio::spawn(async move {
            let stream = match tokio::time::timeout(WITHIN, acceptor.accept(stream)).await {
                Ok(Ok(stream)) => stream,
                Ok(Err(e)) => return tracing::debug!("{from}: no TLS: {e}"),
                Err(_) => return,
            };
            let shown = stream.get_ref().1.peer_certificates().and_then(|c| c.first());
            let Some(key) = shown.map(|c| Sha256::of(c)) else { return };
            let service = service_fn(move |request| {
                let shared = shared.clone();
                async move { Ok::<_, Infallible>(answer(&shared, key, request).await) }
            });
            let connection = hyper::server::conn::http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(WITHIN)
                .serve_connection(TokioIo::new(stream), service);
            tokio::select! {
                _ = connection => {}
                _ = stop.wait_for(|s| *s) => {}
            }
            drop(seat);
        });
    }
}

type Answer = Response<Full<Bytes>>;

fn say(status: StatusCode, text: impl Into<String>) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::from(text.into() + "\n")));
    *answer.status_mut() = status;
    answer
}

fn json<T: serde::Serialize>(value: &T) -> Answer {
    match serde_json::to_vec(value) {
        Ok(bytes) => Response::new(Full::new(Bytes::from(bytes))),
        Err(e) => say(StatusCode::INTERNAL_SERVER_ERROR, e.to_string()),
    }
}

async fn answer(shared: &Arc<Shared>, key: Sha256, request: Request<Incoming>) -> Answer {
    let (head, body) = request.into_parts();
    if head.method != Method::POST {
        return say(StatusCode::METHOD_NOT_ALLOWED, "agents post");
    }
    let most = if head.uri.path() == api::PIECE { PIECE } else { BODY };
    let body = match tokio::time::timeout(WITHIN, Limited::new(body, most).collect()).await {
        Ok(Ok(collected)) => collected.to_bytes(),
        _ => return say(StatusCode::BAD_REQUEST, "the body did not arrive, or is too long"),
    };
    match head.uri.path() {
        api::JOIN => match read::<Join>(&body) {
            Ok(join_asked) => join(shared, key, join_asked).await,
            Err(refused) => *refused,
        },
        path @ (api::WORK | api::REPORT | api::PIECE | api::TAKE) => {
            let whose = shared.hub.ledger().work().whose(&key);
            let Some(mac) = whose else {
                return say(
                    StatusCode::UNAUTHORIZED,
                    "this agent has not joined, or its node was installed anew",
                );
            };
            let query = Parameters::read(head.uri.query().unwrap_or_default());
            if path == api::PIECE {
                return piece(shared, mac, query, body).await;
            }
            if path == api::TAKE {
                return take(shared, mac, query).await;
            }
            if path == api::WORK {
                match read::<WorkAsked>(&body) {
                    Ok(asked) => work(shared, mac, asked).await,
                    Err(refused) => *refused,
                }
            } else {
                match read::<Finished>(&body) {
                    Ok(finished) => report(shared, mac, finished).await,
                    Err(refused) => *refused,
                }
            }
        }
        _ => say(StatusCode::NOT_FOUND, "there is no such page here"),
    }
}

fn read<T: DeserializeOwned>(body: &[u8]) -> Result<T, Box<Answer>> {
    // serde's error may show a part of what was sent, and that may be a token.
    serde_json::from_slice(body).map_err(|_| {
        Box::new(say(StatusCode::BAD_REQUEST, "this cannot be read: agent and server differ in version"))
    })
}

/// Entry point for fuzzing: what an agent posts.
pub fn whatever_arrives(body: &[u8]) {
    let _ = read::<Join>(body).map(|j| j.version);
    let _ = read::<WorkAsked>(body);
    let _ = read::<Finished>(body);
}

async fn join(shared: &Arc<Shared>, key: Sha256, asked: Join) -> Answer {
    let world = shared.hub.world();
    let Some(node) = world.site.node_by_mac(asked.mac) else {
        return say(StatusCode::NOT_FOUND, format!("{} is not in the site file", asked.mac));
    };
    let mac = node.mac();
    let arming = match shared.hub.ledger().state(mac) {
        State::Held { before, .. } => before.arming(),
        state => state.arming(),
    };
    let Some(arming) = arming.filter(|a| shared.key.accepts(mac, *a, &asked.token)) else {
        let why = format!("this token is not for the current installation of {}", node.name);
        shared.refuse(mac, "to let its agent join", &why);
        return say(StatusCode::FORBIDDEN, why);
    };
    let known = shared.hub.ledger().work().agent(mac).map(|a| (a.arming, a.key));
    if known == Some((arming, key)) {
        return say(StatusCode::OK, "joined");
    }
    let version = asked.version.chars().filter(|c| !c.is_control()).take(40).collect();
    let what = What::AgentJoined { arming, key, version };
    match shared.to.record(Event::new(shared.clock.now(), mac, what)).await {
        Ok(()) => say(StatusCode::OK, "joined"),
        Err(NotTaken::Refused(why)) => {
            shared.refuse(mac, "to let its agent join", &why.0);
            say(StatusCode::CONFLICT, why.0)
        }
        Err(NotTaken::Store(p)) => say(StatusCode::SERVICE_UNAVAILABLE, p.what),
    }
}

/// Waits until there is something to do for this node, for a while.
async fn work(shared: &Arc<Shared>, mac: Mac, asked: WorkAsked) -> Answer {
    let works = &shared.works;
    works.hear(mac, shared.clock.now(), asked.clock, &asked.running);
    let node = shared.hub.world().site.node_by_mac(mac).map(|n| n.name.clone()).unwrap_or_default();
    let mut snapshots = works.subscribe();
    let until = tokio::time::Instant::now() + Duration::from_secs(api::WAIT);
    loop {
        let snapshot = snapshots.borrow_and_update().clone();
        let generation = snapshot.now.as_ref().map_or(0, |(a, _)| a.generation);
        let mut tasks = Vec::new();
        for look in works.looks_for(mac, &node, &asked.running, shared.clock.now()) {
            let mode = if look.compare { Mode::Compare } else { Mode::Apply };
            let task = Task {
                id: look.id.clone(),
                digest: look.step.digest(),
                timeout: look.timeout,
                mode,
                look: look.number,
                step: look.step.clone(),
            };
            tasks.push(task);
        }
        // While a part is brought back no step begins: both would write the same data.
        let free = works.knows(&snapshot, mac) && works.bringing(shared.clock.now()).is_none();
        if let Some((adopted, gates)) = snapshot.now.as_ref().filter(|_| free) {
            // Package steps queue up on the node, which does those that wait in one run: they take no room.
            let node = adopted.plan.steps.iter().filter(|p| p.mac == mac && asked.running.contains(&p.id));
            let busy = node.filter(|p| !matches!(p.step, Step::Packages { .. })).count();
            let mut room = ABREAST.saturating_sub(busy);
            for p in gates.ready(&adopted.plan, mac).filter(|p| !asked.running.contains(&p.id)) {
                if !matches!(p.step, Step::Packages { .. }) {
                    if room == 0 {
                        continue;
                    }
                    room -= 1;
                }
                works.gave(mac, &p.id, p.digest);
                tasks.push(Task {
                    id: p.id.clone(),
                    digest: p.digest,
                    timeout: p.timeout,
                    mode: Mode::Apply,
                    look: 0,
                    step: p.step.clone(),
                });
            }
        }
        if !tasks.is_empty() {
            return with_secrets(shared, mac, generation, tasks);
        }
        match tokio::time::timeout_at(until, snapshots.changed()).await {
            Ok(Ok(())) => {}
            _ => return json(&Work { generation, tasks, servers: servers(shared) }),
        }
    }
}

fn servers(shared: &Shared) -> Vec<String> {
    shared.hub.world().site.server.doors()
}

/// Secrets go in here, on the way to the one node whose step needs them, and nowhere else.
fn with_secrets(shared: &Shared, mac: Mac, generation: u32, tasks: Vec<Task>) -> Answer {
    let world = shared.hub.world();
    let mut ready = Vec::with_capacity(tasks.len());
    for task in tasks {
        match secrets::reveal(&task.step, &world.catalog.parts, &shared.key) {
            Ok(step) => ready.push(Task { step, ..task }),
            Err(problem) => {
                tracing::error!(%mac, step = task.id, "{problem}");
                return say(StatusCode::SERVICE_UNAVAILABLE, problem.what);
            }
        }
    }
    json(&Work { generation, tasks: ready, servers: servers(shared) })
}

/// A piece of what this node was asked to collect.
async fn piece(shared: &Arc<Shared>, mac: Mac, query: Parameters, body: Bytes) -> Answer {
    let look = query.number::<u64>("look").unwrap_or(0);
    let (id, at) = (query.get("id").unwrap_or_default().to_string(), query.number::<u64>("at").unwrap_or(0));
    let Some(node) = shared.hub.world().site.node_by_mac(mac).map(|n| n.name.clone()) else {
        return say(StatusCode::NOT_FOUND, "this node is not in the site file any more");
    };
    if !shared.works.collects(look, mac, &id) {
        return say(StatusCode::CONFLICT, "nobody asked this node for such a file (any more)");
    }
    let path = collected::path(&shared.state, look, &node, &id);
    match tokio::task::spawn_blocking(move || collected::append(&path, at, &body)).await {
        Ok(Ok(())) => say(StatusCode::OK, "thank you"),
        Ok(Err(problem)) => say(StatusCode::CONFLICT, problem.what),
        Err(e) => say(StatusCode::SERVICE_UNAVAILABLE, e.to_string()),
    }
}

/// A piece of the archive that this node, and no other, was asked to bring back.
async fn take(shared: &Arc<Shared>, mac: Mac, query: Parameters) -> Answer {
    let look = query.number::<u64>("look").unwrap_or(0);
    let (id, at) = (query.get("id").unwrap_or_default(), query.number::<u64>("at").unwrap_or(0));
    let node = shared.hub.world().site.node_by_mac(mac).map(|n| n.name.clone());
    let Some(node) = node.filter(|_| shared.works.brings(look, mac, id)) else {
        return say(StatusCode::CONFLICT, "nobody asked this node to bring such a file back (any more)");
    };
    let path = collected::back(&shared.state, &node, id.split('.').next().unwrap_or_default());
    match tokio::task::spawn_blocking(move || collected::piece(&path, at)).await {
        Ok(Ok(bytes)) => Response::new(Full::new(Bytes::from(bytes))),
        Ok(Err(problem)) => say(StatusCode::CONFLICT, problem.what),
        Err(e) => say(StatusCode::SERVICE_UNAVAILABLE, e.to_string()),
    }
}

/// Of a step's own packages only: what an agent says is kept in the journal for ever.
fn versions(step: &Step, said: BTreeMap<String, String>) -> BTreeMap<String, String> {
    let Step::Packages { names } = step else { return BTreeMap::new() };
    let own = said.into_iter().filter(|(name, _)| names.contains(name));
    own.map(|(name, version)| (name, version.chars().filter(|c| !c.is_control()).take(80).collect()))
        .collect()
}

async fn report(shared: &Arc<Shared>, mac: Mac, done: Finished) -> Answer {
    let world = shared.hub.world();
    let Some(node) = world.site.node_by_mac(mac) else {
        return say(StatusCode::NOT_FOUND, "this node is not in the site file any more");
    };
    let adopted = shared.works.adopted();
    let place = adopted.as_ref().and_then(|a| a.plan.place(&node.name, &done.id));
    let planned = adopted.as_ref().zip(place).and_then(|(a, place)| a.plan.steps.get(place));
    // What a step or a check printed may hold what it was given.
    let rotated = secrets::versions(&shared.state).unwrap_or_default();
    let known = secrets::known(planned.map(|p| &p.step), &world.catalog.parts, &shared.key, &rotated);
    let clean = |text: &str| cut(&secrets::redact(text, &known), api::OUTPUT);
    let output = clean(&done.output);
    let failed = done.failed.as_deref().map(&clean);
    if done.look > 0 {
        let mut failed = failed;
        if failed.is_none() && shared.works.collects(done.look, mac, &done.id) {
            let path = collected::path(&shared.state, done.look, &node.name, &done.id);
            let said = done.output.clone();
            let judged = tokio::task::spawn_blocking(move || collected::finish(&path, &said)).await;
            failed = match judged {
                Ok(Ok(())) => None,
                Ok(Err(problem)) => Some(problem.what),
                Err(e) => Some(e.to_string()),
            };
        }
        let found = Found { failed: failed.clone(), changed: done.changed, millis: done.millis, output };
        let kind = shared.works.found(done.look, mac, &node.name, &done.id, found);
        if kind == Some(LookKind::Drift) && (done.changed || failed.is_some()) && planned.is_some() {
            let detail = failed.unwrap_or_else(|| "the node differs from the plan".to_string());
            let what = What::StepDrifted { step: done.id.clone(), detail };
            let _ = shared.to.record(Event::new(shared.clock.now(), mac, what)).await;
        }
        return say(StatusCode::OK, "thank you");
    }
    let Some(planned) = planned.filter(|p| p.digest == done.digest) else {
        // A newer plan has another step of this name, or none: what was done counts for nothing.
        return say(StatusCode::OK, "this step is not in the plan any more");
    };
    if let Some((adopted, place)) = adopted.clone().zip(place) {
        let judging = shared.clone();
        let taking = move || judging.works.takes(&judging, &adopted, place);
        match tokio::task::spawn_blocking(taking).await.unwrap_or(Taking::NotItsTurn) {
            Taking::News => {}
            Taking::Known => return say(StatusCode::OK, "this was known"),
            Taking::NotItsTurn => {
                let why = "it was not given to this node, and what it needs is not done";
                shared.refuse(mac, &format!("the report of {}", planned.id), why);
                return say(StatusCode::CONFLICT, format!("{}: {why}", planned.id));
            }
        }
    }
    let generation = adopted.as_ref().map_or(done.generation, |a| a.generation);
    let (step, digest) = (planned.id.clone(), planned.digest);
    let what = match failed {
        None => What::StepDone {
            generation,
            step,
            digest,
            changed: done.changed,
            millis: done.millis,
            output: cut(&output, 2000),
            once: planned.once,
            versions: versions(&planned.step, done.versions),
        },
        Some(why) => {
            What::StepFailed { generation, step, digest, why: cut(&why, 500), output: cut(&output, 4000) }
        }
    };
    match shared.to.record(Event::new(shared.clock.now(), mac, what)).await {
        Ok(()) => {
            let seq = *shared.hub.subscribe().borrow();
            shared.works.reported(mac, seq);
            say(StatusCode::OK, "thank you")
        }
        Err(NotTaken::Refused(why)) => say(StatusCode::CONFLICT, why.0),
        Err(NotTaken::Store(p)) => say(StatusCode::SERVICE_UNAVAILABLE, p.what),
    }
}

/// The end of a text is where an error stands.
fn cut(text: &str, most: usize) -> String {
    if text.len() <= most {
        return text.to_string();
    }
    let mut from = text.len() - most;
    while !text.is_char_boundary(from) {
        from += 1;
    }
    format!("… {}", &text[from..])
}

/// Keeps what agents may do up to date, until the end.
pub async fn follow(shared: Arc<Shared>, stopped: watch::Receiver<bool>) {
    Works::follow(shared, stopped).await;
}

/// The steps of a plan with their status, for the operator.
pub fn listed(shared: &Shared) -> Option<Listed> {
    let adopted = shared.works.adopted()?;
    let gates = shared.works.gates(shared, &adopted);
    let (running, now) = (shared.works.running(), shared.clock.now());
    let steps = adopted
        .plan
        .steps
        .iter()
        .zip(gates.status)
        .map(|(p, status)| Row {
            node: p.node.clone(),
            id: p.id.clone(),
            sentence: p.step.sentence(),
            running: status == Status::Ready && running.get(&p.mac).is_some_and(|r| r.contains_key(&p.id)),
            overdue: overdue(p, &running, now).filter(|_| status == Status::Ready),
            status,
        })
        .collect();
    Some(Listed { generation: adopted.generation, digest: adopted.digest, steps })
}
