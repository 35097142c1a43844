//! Owns the way to a node's state: through the running server's control socket, or, where none runs, in the journal.

use super::Globals;
use crate::api::{self, Intent};
use crate::base::{Mac, Timestamp};
use crate::boot::bound::armed;
use crate::cluster::{Presence, gates, standings};
use crate::lifecycle::{Event, Ledger, What};
use crate::problem::{Problem, Problems};
use crate::site::{Node, Site};
use crate::store::sqlite::Sqlite;
use crate::store::{Entry, Store as _};
use crate::ui::{Board, board};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::body::Bytes;
use hyper::{Method, Request, StatusCode};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The largest reply that is read: a board of some thousand nodes is a tenth of it.
const REPLY_LIMIT: usize = 64 << 20;
/// How long a reply may take, beyond what was asked to be waited for.
const PATIENCE: Duration = Duration::from_secs(20);
/// How many events are read at a time.
const PAGE: usize = 5000;

/// What a person decides about a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verb {
    Arm,
    Hold,
    Release,
    Forget,
    Disarm,
}

impl Verb {
    pub fn name(self) -> &'static str {
        match self {
            Verb::Arm => "arm",
            Verb::Hold => "hold",
            Verb::Release => "release",
            Verb::Forget => "forget",
            Verb::Disarm => "disarm",
        }
    }
}

/// A decision with what belongs to it.
#[derive(Debug, Clone, Copy)]
pub struct Wish<'a> {
    pub verb: Verb,
    /// The reason of a hold.
    pub why: &'a str,
    /// Of an arming: serial numbers of disks whose content may be erased, beside those of the site file.
    pub erase: &'a [String],
}

/// Where a node is after a person decided something about it.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize, Serialize)]
pub struct Decided {
    /// The state's name.
    pub state: String,
    /// The arming that the state belongs to.
    #[serde(default)]
    pub arming: Option<u32>,
}

/// Where the state of this site is found.
pub struct Station<'a> {
    globals: &'a Globals,
    /// Talks to the server; none: there is no server, the journal is read and written directly.
    server: Option<tokio::runtime::Runtime>,
}

/// The time now: the one place where commands ask for it.
pub fn now() -> Timestamp {
    let millis = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64);
    Timestamp(millis)
}

/// Who gives this command, for the journal: the person behind sudo, not root.
pub fn by() -> String {
    let named =
        ["SUDO_USER", "USER", "LOGNAME"].iter().find_map(|v| std::env::var(v).ok().filter(|s| !s.is_empty()));
    named.unwrap_or_else(|| match nix::unistd::getuid() {
        id if id.is_root() => "root".to_string(),
        id => format!("uid {id}"),
    })
}

impl<'a> Station<'a> {
    /// Finds the running server, if there is one.
    pub fn find(globals: &'a Globals) -> Result<Station<'a>, Problem> {
        let socket = globals.socket();
        let server = match UnixStream::connect(&socket) {
            Ok(_) => Some(runtime()?),
            Err(e) if e.kind() == std::io::ErrorKind::PermissionDenied => {
                return Err(Problem::environment(format!(
                    "a server runs, but its control socket {} is not for this user",
                    socket.display()
                ))
                .help("run this command as the user that runs `bootstead serve`, for example with sudo"));
            }
            // No socket, one that a killed server left behind, or a path that no server could listen on.
            Err(_) => None,
        };
        Ok(Station { globals, server })
    }

    /// Whether a server runs.
    pub fn is_live(&self) -> bool {
        self.server.is_some()
    }

    /// Whether what is said is for programs: then only the result is, and nothing on the way to it.
    pub fn is_for_programs(&self) -> bool {
        self.globals.json
    }

    /// Where everything is now.
    pub fn board(&self) -> Result<Board, Problems> {
        if self.is_live() {
            let (status, body) = self.call(Method::GET, api::BOARD, Vec::new(), Duration::ZERO)?;
            return Ok(parse(status, &body)?);
        }
        let site = super::load::load(self.globals)?.site;
        let ledger = self.ledger()?;
        // Without a server nobody hears the agents: what is known is what the journal says.
        let standings = match &ledger.work().plan {
            Some(current) => {
                let state = self.globals.state_dir();
                let plan = crate::serve::works::read_plan(&state, current.generation, current.digest)?;
                let known = gates(&plan, ledger.work(), &|_| Presence::Silent);
                standings(&plan, &known, ledger.work(), &BTreeMap::new(), now())
            }
            None => BTreeMap::new(),
        };
        Ok(board(&site, &ledger, &standings, now(), None))
    }

    /// The ledger as the journal has it: what a running server's is too, a moment later.
    pub fn ledger(&self) -> Result<Ledger, Problem> {
        let Some(store) = self.journal()? else { return Ok(Ledger::default()) };
        let (mut ledger, mut after) = (Ledger::default(), 0);
        loop {
            let page = store.read(after, PAGE)?;
            let Some(last) = page.last() else { return Ok(ledger) };
            after = last.seq;
            for entry in &page {
                let _ = ledger.apply(&entry.event);
            }
        }
    }

    /// Events after number `after`; waits up to `wait` for the first one if there is none yet.
    pub fn events(&self, after: u64, mac: Option<Mac>, wait: Duration) -> Result<Vec<Entry>, Problem> {
        if self.is_live() {
            let node = mac.map(|m| format!("&node={}", m.hyphens())).unwrap_or_default();
            let path = format!("{}?after={after}&limit={PAGE}&wait={}{node}", api::EVENTS, wait.as_secs());
            let (status, body) = self.call(Method::GET, &path, Vec::new(), wait)?;
            return parse(status, &body);
        }
        let found = match self.journal()? {
            Some(store) => store.read_for(mac, after, PAGE)?,
            None => Vec::new(),
        };
        if found.is_empty() && !wait.is_zero() {
            std::thread::sleep(wait);
        }
        Ok(found)
    }

    /// Does what a person decided; the answer says where the node is now.
    pub fn decide(&self, site: &Site, node: &Node, wish: Wish<'_>) -> Result<Decided, Problem> {
        if !self.is_live() {
            return self.write(site, node, wish);
        }
        let Wish { verb, why, erase } = wish;
        let intent = Intent { by: by(), why: why.to_string(), erase: erase.to_vec() };
        let body = serde_json::to_vec(&intent).map_err(|e| Problem::fault(e.to_string()))?;
        let path = api::verb_path(&node.name, verb.name());
        let (status, body) = self.call(Method::POST, &path, body, Duration::ZERO)?;
        parse(status, &body)
    }

    /// Has the running server take the changed site file into use; says what changed. `None`: there is no server.
    /// `moved` is how many installed nodes may get another name or address.
    pub fn reload(&self, moved: Option<usize>) -> Result<Option<String>, Problem> {
        #[derive(Deserialize)]
        struct Reloaded {
            changed: String,
        }
        if !self.is_live() {
            return Ok(None);
        }
        let path = moved.map_or(api::RELOAD.to_string(), |n| format!("{}?moved={n}", api::RELOAD));
        let (status, body) = self.call(Method::POST, &path, Vec::new(), Duration::ZERO)?;
        parse::<Reloaded>(status, &body).map(|r| Some(r.changed))
    }

    /// Asks the running server; there must be one.
    pub fn ask<T: Serialize, R: serde::de::DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Option<&T>,
    ) -> Result<R, Problem> {
        if !self.is_live() {
            return Err(Problem::environment("no server runs on this state folder")
                .why("the nodes' agents get their work from a running server")
                .help("start it with `bootstead serve`"));
        }
        let body = match body {
            Some(body) => serde_json::to_vec(body).map_err(|e| Problem::fault(e.to_string()))?,
            None => Vec::new(),
        };
        let (status, body) = self.call(method, path, body, Duration::ZERO)?;
        parse(status, &body)
    }

    /// The same on the journal: under its lock, so never beside a server.
    fn write(&self, site: &Site, node: &Node, wish: Wish<'_>) -> Result<Decided, Problem> {
        let Wish { verb, why, erase } = wish;
        let mut store = Sqlite::open(&self.globals.state_dir())?;
        let mut ledger = self.ledger()?;
        let mac = node.mac();
        let what = match verb {
            Verb::Arm => armed(site, node, ledger.next_arming(mac), by(), erase.to_vec()),
            Verb::Hold => What::Held { why: why.to_string(), by: by() },
            Verb::Release => What::Released { by: by() },
            Verb::Forget => What::Forgotten { by: by() },
            Verb::Disarm => What::Disarmed { by: by() },
        };
        let event = Event::new(now(), mac, what);
        ledger
            .apply(&event)
            .map_err(|r| Problem::input(format!("{} was not {}: {r}", node.name, past(verb))))?;
        store.append(std::slice::from_ref(&event))?;
        let state = ledger.state(mac);
        Ok(Decided { state: state.name().to_string(), arming: state.arming() })
    }

    fn journal(&self) -> Result<Option<Sqlite>, Problem> {
        Sqlite::read_only(&self.globals.state_dir())
    }

    fn call(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
        wait: Duration,
    ) -> Result<(StatusCode, Bytes), Problem> {
        let socket = self.globals.socket();
        let Some(runtime) = &self.server else {
            return Err(Problem::fault("there is no server to ask"));
        };
        runtime
            .block_on(async {
                tokio::time::timeout(PATIENCE + wait, request(&socket, method, path, body)).await
            })
            .unwrap_or_else(|_| Err("it did not answer in time".to_string()))
            .map_err(|e| {
                Problem::environment(format!("the server at {} cannot be asked: {e}", socket.display()))
                    .help("it may have stopped just now; look at its log, then try again")
            })
    }
}

fn runtime() -> Result<tokio::runtime::Runtime, Problem> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| Problem::environment(format!("cannot prepare to talk to the server: {e}")))
}

async fn request(
    socket: &Path,
    method: Method,
    path: &str,
    body: Vec<u8>,
) -> Result<(StatusCode, Bytes), String> {
    let text = |e: &dyn std::fmt::Display| e.to_string();
    let stream = tokio::net::UnixStream::connect(socket).await.map_err(|e| text(&e))?;
    let io = hyper_util::rt::TokioIo::new(stream);
    let (mut sender, connection) = hyper::client::conn::http1::handshake(io).await.map_err(|e| text(&e))?;
    let driver = tokio::spawn(connection);
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header("host", "bootstead")
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))
        .map_err(|e| text(&e))?;
    let response = sender.send_request(request).await.map_err(|e| text(&e))?;
    let status = response.status();
    let body =
        Limited::new(response.into_body(), REPLY_LIMIT).collect().await.map_err(|e| text(&e))?.to_bytes();
    drop(sender);
    driver.abort();
    Ok((status, body))
}

fn parse<T: serde::de::DeserializeOwned>(status: StatusCode, body: &[u8]) -> Result<T, Problem> {
    if status != StatusCode::OK {
        return Err(unexpected(status, body));
    }
    serde_json::from_slice(body).map_err(|e| {
        Problem::environment(format!("the running server's reply cannot be read: {e}"))
            .why("it is another version of bootstead than this command")
            .help("use the same binary for both, or restart the server with this one")
    })
}

/// A refusal in the server's own words.
fn unexpected(status: StatusCode, body: &[u8]) -> Problem {
    #[derive(Deserialize)]
    struct Sorry {
        error: String,
        help: Option<String>,
    }
    match serde_json::from_slice::<Sorry>(body) {
        Ok(sorry) => {
            let problem = match status.is_client_error() {
                true => Problem::input(sorry.error),
                false => Problem::environment(sorry.error),
            };
            sorry.help.into_iter().fold(problem, Problem::help)
        }
        Err(_) => {
            let text = String::from_utf8_lossy(&body[..body.len().min(500)]).trim().to_string();
            Problem::environment(format!("the running server answered {}: {text}", status.as_u16()))
                .help("look at its log; `bootstead doctor` looks over this machine")
        }
    }
}

fn past(verb: Verb) -> &'static str {
    match verb {
        Verb::Arm => "armed",
        Verb::Hold => "held",
        Verb::Release => "released",
        Verb::Forget => "forgotten",
        Verb::Disarm => "disarmed",
    }
}
