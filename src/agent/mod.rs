//! On an installed node: fetches its steps, applies them, reports. Knows steps and the api, nothing of sites.
//!
//! It pulls: a closed laptop lid, a restarted server or a reboot of the node only make it wait. What it did and did
//! not report is done again, and finds nothing to do: every step is idempotent.

pub mod apply;
pub mod bring_back;
pub mod client;
pub mod collect;
pub mod config;
pub mod files;
pub mod host;
pub mod measure;
pub mod memory;
pub mod packages;
pub mod probe;
pub mod service;
pub mod shell;

use crate::api::{self, Finished, Join, Mode, Task, Work, WorkAsked};
use crate::problem::{Problem, reason};
use crate::steps::Step;
use crate::tls::Identity;
use client::{Client, Lost};
use config::Config;
use host::Host;
use memory::Memory;
use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::sync::mpsc;

/// Where the agent keeps its key and what it must not forget.
pub const STATE: &str = "/var/lib/bootstead/agent";
/// What its installation told it.
pub const CONFIG: &str = "/etc/bootstead/agent.toml";

/// The longest pause between two attempts to reach a server, in seconds.
const PAUSE: u64 = 15;

/// How to run.
#[derive(Debug, Clone)]
pub struct Options {
    /// `/`; another folder to try steps without touching the machine.
    pub root: PathBuf,
    pub config: PathBuf,
    pub state: PathBuf,
}

/// Runs until the process is ended.
pub fn run(options: &Options) -> Result<(), Problem> {
    let config = Config::read(&options.config)?;
    crate::disk::make_folder(&options.state, 0o700)?;
    let identity = Identity::load_or_make(&options.state.join("key.json"), &config.mac.to_string())?;
    let memory = Arc::new(Memory::open(&options.state)?);
    let host = Host::new(&options.root, memory.clone());
    packages::tidy(&host);
    collect::tidy(&options.state);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .max_blocking_threads(32)
        .thread_stack_size(512 * 1024)
        .build()
        .map_err(|e| Problem::environment(format!("cannot start: {}", reason(&e))))?;
    runtime.block_on(work(options, config, identity, memory, host))
}

async fn work(
    options: &Options,
    mut config: Config,
    identity: Identity,
    memory: Arc<Memory>,
    host: Host,
) -> Result<(), Problem> {
    let mut client = Client::new(&identity, config.pin, config.servers.clone())?;
    let (done, mut results) = mpsc::unbounded_channel::<Ended>();
    let mut running: BTreeSet<String> = BTreeSet::new();
    let mut unsent: Vec<Ended> = Vec::new();
    let mut pause = 1;
    let mut complained = String::new();
    loop {
        while let Ok(ended) = results.try_recv() {
            running.remove(&key(&ended.said.id, ended.said.look));
            unsent.push(ended);
        }
        let turn =
            turn(options, &mut config, &mut client, &memory, &mut running, &mut unsent, &mut results).await;
        match turn {
            Ok(tasks) => {
                if !std::mem::take(&mut complained).is_empty() {
                    tracing::info!("the server answers again");
                }
                pause = 1;
                for task in tasks {
                    running.insert(key(&task.id, task.look));
                    let brought = match &task.step {
                        Step::BringBack(step) => Some(
                            bring_back::fetch(&mut client, memory.folder(), step, task.look, &task.id).await,
                        ),
                        _ => None,
                    };
                    let (host, done) = (host.clone(), done.clone());
                    tokio::task::spawn_blocking(move || {
                        let _ = done.send(one(&host, task, brought));
                    });
                }
            }
            Err(lost) => {
                let told = lost.to_string();
                if told != complained {
                    tracing::warn!("{told}; trying again");
                    complained = told;
                }
                // Who has just joined goes on with the same server.
                if lost != Lost::Joined {
                    client.next();
                }
                tokio::time::sleep(Duration::from_secs(pause)).await;
                pause = (pause * 2).min(PAUSE);
            }
        }
    }
}

fn key(id: &str, look: u64) -> String {
    if look > 0 { format!("look {look} {id}") } else { id.to_string() }
}

/// Reports what is done, then asks for more. Comes back early when a running step ends.
async fn turn(
    options: &Options,
    config: &mut Config,
    client: &mut Client,
    memory: &Memory,
    running: &mut BTreeSet<String>,
    unsent: &mut Vec<Ended>,
    results: &mut mpsc::UnboundedReceiver<Ended>,
) -> Result<Vec<Task>, Lost> {
    while let Some(ended) = unsent.first_mut() {
        let sent = match &ended.file {
            Some(path) => collect::send(client, path, ended.said.look, &ended.said.id).await,
            None => Ok(()),
        };
        let sent = match sent {
            Err(Lost::Refused(why) | Lost::Here(why)) => {
                ended.said.failed = Some(why);
                ended.drop_file();
                Ok(())
            }
            sent => sent,
        };
        let sent = match sent {
            Ok(()) => client.post::<_, ()>(api::REPORT, &ended.said).await.map(drop),
            Err(lost) => Err(lost),
        };
        match sent {
            // A report that the server refuses for good must not stop the others.
            Ok(()) | Err(Lost::Refused(_)) => {
                unsent.remove(0).drop_file();
            }
            Err(lost) => return Err(join_if(lost, config, client).await),
        }
    }
    let asked = WorkAsked {
        clock: clock(),
        generation: memory.generation(),
        running: running.iter().cloned().collect(),
        version: env!("CARGO_PKG_VERSION").to_string(),
    };
    let reply = tokio::select! {
        reply = client.post::<_, Work>(api::WORK, &asked) => reply,
        ended = results.recv() => {
            if let Some(ended) = ended {
                running.remove(&key(&ended.said.id, ended.said.look));
                unsent.push(ended);
            }
            // The request is dropped with its connection; the next turn reports first.
            client.hang_up();
            return Ok(Vec::new());
        }
    };
    let work = match reply {
        Ok(Some(work)) => work,
        Ok(None) => return Ok(Vec::new()),
        Err(lost) => return Err(join_if(lost, config, client).await),
    };
    if work.servers != config.servers && !work.servers.is_empty() {
        config.servers = work.servers.clone();
        client.servers(work.servers);
        if let Err(problem) = config.write(&options.config) {
            tracing::warn!("{problem}");
        }
    }
    if work.generation < memory.generation() {
        return Err(Lost::Older { offered: work.generation, seen: memory.generation() });
    }
    memory.saw(work.generation).map_err(|p| Lost::Here(p.what))?;
    Ok(work.tasks)
}

/// A server that does not know us yet is told who we are.
async fn join_if(lost: Lost, config: &Config, client: &mut Client) -> Lost {
    if !matches!(lost, Lost::Unknown) {
        return lost;
    }
    let join = Join {
        mac: config.mac,
        token: config.token.reveal().to_string(),
        version: env!("CARGO_PKG_VERSION").to_string(),
    };
    match client.post::<_, ()>(api::JOIN, &join).await {
        Ok(_) => Lost::Joined,
        Err(e) => e,
    }
}

fn clock() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

/// A task that ended: what is to be said of it, and a file that the server is to have.
struct Ended {
    said: Finished,
    file: Option<PathBuf>,
}

impl Ended {
    fn drop_file(&mut self) {
        if let Some(path) = self.file.take() {
            let _ = std::fs::remove_file(path);
        }
    }
}

/// Does one task; a step that panics has failed, and the agent goes on.
fn one(host: &Host, task: Task, brought: Option<Result<collect::Folder, String>>) -> Ended {
    let host = &host.for_step(&key(&task.id, task.look));
    let start = Instant::now();
    let limit = Duration::from_secs(u64::from(task.timeout.max(1)));
    let outcome =
        std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| match (task.mode, &task.step, brought) {
            (_, Step::BringBack(step), Some(Ok(folder))) => {
                bring_back::bring_back(host, step, &folder, limit)
            }
            (_, _, Some(Err(why))) => Err(apply::Failed::new(why)),
            (Mode::Apply, step, _) => {
                shell::alone(host, limit).and_then(|()| apply::apply(host, step, limit))
            }
            (Mode::Compare, step, _) => apply::compare(host, step),
        }))
        .unwrap_or_else(|_| Err(apply::Failed::new("the agent stumbled over this step (a fault of ours)")));
    let (failed, done) = match outcome {
        Ok(done) => (None, done),
        Err(failed) => (Some(failed.why), apply::Done { output: failed.output, ..apply::Done::default() }),
    };
    let apply::Done { changed, output, file, versions } = done;
    tracing::info!(
        step = task.id,
        "{}",
        match (&failed, changed) {
            (Some(_), _) => "failed",
            (None, true) => "changed",
            (None, false) => "nothing to do",
        }
    );
    let said = Finished {
        generation: host.memory.generation(),
        id: task.id,
        digest: task.digest,
        mode: task.mode,
        look: task.look,
        failed,
        changed,
        millis: start.elapsed().as_millis() as u64,
        output,
        versions,
    };
    Ended { said, file }
}
