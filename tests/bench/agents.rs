//! Owns the agents' bench: N simulated nodes that join one server over real TLS and work through the plan in use; what
//! the makespan was. Each speaks as the product's own agent does (its client, its order of requests), and does nothing
//! but wait where a real one would work.
//!
//! Usage: `agents --server IP --http PORT --agents PORT --state DIR --macs FILE --steps N [--work MS] [--timeout SECS]`
//! `--state` is the server's folder: the tokens are made from its key. It ends when N steps were reported.

#![allow(clippy::unwrap_used, clippy::print_stdout, reason = "a bench tool, not the product")]

use bootstead::agent::client::{Client, Lost};
use bootstead::api::{self, Finished, Join, Task, Work, WorkAsked};
use bootstead::base::{Mac, Sha256};
use bootstead::tls::Identity;
use std::collections::{BTreeSet, HashMap};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::sync::mpsc;

struct Place {
    http: SocketAddr,
    agents: String,
    pin: Sha256,
    work: Duration,
    done: AtomicU64,
    joined: AtomicU64,
    failed: AtomicU64,
}

fn main() {
    let mut args: HashMap<String, String> = HashMap::new();
    let mut words = std::env::args().skip(1);
    while let Some(w) = words.next() {
        if let Some(name) = w.strip_prefix("--") {
            args.insert(name.to_string(), words.next().unwrap_or_default());
        }
    }
    if !args.contains_key("server") {
        // `cargo bench` without arguments runs every bench; this one needs a server with a plan.
        eprintln!("agents: run tests/bench/run, which starts the server");
        return;
    }
    let get = |k: &str| args.get(k).cloned().unwrap_or_else(|| panic!("--{k} is missing"));
    let number = |k: &str, d: u64| args.get(k).map_or(d, |v| v.parse().expect("a number"));
    let state = PathBuf::from(get("state"));
    let macs: Vec<Mac> =
        std::fs::read_to_string(get("macs")).unwrap().lines().map(|l| l.trim().parse().unwrap()).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    let ok = runtime.block_on(async {
        let key = bootstead::secrets::load_or_make(&state).unwrap();
        let http: SocketAddr = format!("{}:{}", get("server"), get("http")).parse().unwrap();
        let tokens: Vec<String> = macs.iter().map(|m| key.token(*m, 1).reveal().to_string()).collect();
        for (mac, token) in macs.iter().zip(&tokens) {
            install(http, *mac, token).await;
        }
        let pin = pin(http, macs[0], &tokens[0]).await;
        let place = Arc::new(Place {
            http,
            agents: format!("{}:{}", get("server"), get("agents")),
            pin,
            work: Duration::from_millis(number("work", 0)),
            done: AtomicU64::new(0),
            joined: AtomicU64::new(0),
            failed: AtomicU64::new(0),
        });
        let keys = tempfolder();
        for (mac, token) in macs.iter().zip(&tokens) {
            let identity = Identity::load_or_make(&keys.join(mac.hyphens()), &mac.to_string()).unwrap();
            tokio::spawn(agent(place.clone(), *mac, token.clone(), identity));
        }
        let until = Instant::now() + Duration::from_secs(number("timeout", 600));
        while place.joined.load(Ordering::Relaxed) < macs.len() as u64 && Instant::now() < until {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        // The caller puts the plan to work when all are there.
        println!("joined={}", place.joined.load(Ordering::Relaxed));
        let (wanted, mut start) = (number("steps", 0), None);
        let mut last = Instant::now();
        while place.done.load(Ordering::Relaxed) < wanted && Instant::now() < until {
            if start.is_none() && place.done.load(Ordering::Relaxed) > 0 {
                start = Some(last);
            }
            last = Instant::now();
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let seconds = start.map_or(0.0, |s| s.elapsed().as_secs_f64());
        let (done, failed) = (place.done.load(Ordering::Relaxed), place.failed.load(Ordering::Relaxed));
        println!("agents={} steps={done} failed={failed} seconds={seconds:.3}", macs.len());
        let _ = std::fs::remove_dir_all(keys);
        done >= wanted && failed == 0
    });
    std::process::exit(if ok { 0 } else { 1 });
}

fn tempfolder() -> PathBuf {
    let dir = std::env::temp_dir().join(format!("bootstead-agents-{}", std::process::id()));
    std::fs::create_dir_all(&dir).unwrap();
    dir
}

/// One GET over a connection of its own; status and body.
async fn get(at: SocketAddr, path: &str) -> (u16, String) {
    let mut stream = tokio::net::TcpStream::connect(at).await.unwrap();
    let request = format!("GET {path} HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n");
    stream.write_all(request.as_bytes()).await.unwrap();
    let mut text = Vec::new();
    stream.read_to_end(&mut text).await.unwrap();
    let text = String::from_utf8_lossy(&text).into_owned();
    let status = text.split(' ').nth(1).and_then(|s| s.parse().ok()).unwrap_or(0);
    (status, text)
}

/// What an installation says of itself until the node calls home.
async fn install(http: SocketAddr, mac: Mac, token: &str) {
    let hyphens = mac.hyphens();
    let (status, _) = get(http, &format!("/a/{hyphens}/{token}/preseed.cfg")).await;
    assert_eq!(status, 200, "{mac} gets its answers");
    for event in ["installed", "first-boot"] {
        let (status, _) = get(http, &format!("/v1/nodes/{hyphens}/report?token={token}&event={event}")).await;
        assert_eq!(status, 200, "{mac} {event}");
    }
}

/// The server's certificate as the node's installation was told it.
async fn pin(http: SocketAddr, mac: Mac, token: &str) -> Sha256 {
    let (status, text) = get(http, &format!("/v1/nodes/{}/agent.sh?token={token}", mac.hyphens())).await;
    assert_eq!(status, 200);
    let line =
        text.lines().find_map(|l| l.trim().strip_prefix("pin = ")).expect("the script names the certificate");
    Sha256::parse(line.trim().trim_matches('"')).unwrap()
}

fn clock() -> i64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as i64)
}

async fn agent(place: Arc<Place>, mac: Mac, token: String, identity: Identity) {
    let mut client = Client::new(&identity, place.pin, vec![place.agents.clone()]).unwrap();
    let _ = place.http;
    let (done, mut results) = mpsc::unbounded_channel::<Task>();
    let mut running: BTreeSet<String> = BTreeSet::new();
    let mut generation = 0;
    let version = env!("CARGO_PKG_VERSION").to_string();
    loop {
        while let Ok(task) = results.try_recv() {
            running.remove(&task.id);
            let finished = Finished {
                generation,
                id: task.id,
                digest: task.digest,
                mode: task.mode,
                look: task.look,
                failed: None,
                changed: true,
                millis: place.work.as_millis() as u64,
                output: "done\n".to_string(),
                versions: Default::default(),
            };
            match client.post::<_, ()>(api::REPORT, &finished).await {
                Ok(_) => place.done.fetch_add(1, Ordering::Relaxed),
                Err(e) => {
                    eprintln!("agents: {mac}: {e}");
                    place.failed.fetch_add(1, Ordering::Relaxed)
                }
            };
        }
        let asked = WorkAsked {
            clock: clock(),
            generation,
            running: running.iter().cloned().collect(),
            version: version.clone(),
        };
        let reply = tokio::select! {
            reply = client.post::<_, Work>(api::WORK, &asked) => reply,
            task = results.recv() => {
                if let Some(task) = task {
                    let _ = done.send(task);
                }
                client.hang_up();
                continue;
            }
        };
        match reply {
            Ok(Some(work)) => {
                generation = work.generation;
                for task in work.tasks {
                    running.insert(task.id.clone());
                    let (done, pause) = (done.clone(), place.work);
                    tokio::spawn(async move {
                        tokio::time::sleep(pause).await;
                        let _ = done.send(task);
                    });
                }
            }
            Ok(None) => {}
            Err(Lost::Unknown) => {
                let join = Join { mac, token: token.clone(), version: version.clone() };
                match client.post::<_, ()>(api::JOIN, &join).await {
                    Ok(_) => {
                        place.joined.fetch_add(1, Ordering::Relaxed);
                    }
                    Err(e) => {
                        eprintln!("agents: {mac}: {e}");
                        tokio::time::sleep(Duration::from_secs(1)).await;
                    }
                }
            }
            Err(e) => {
                eprintln!("agents: {mac}: {e}");
                client.next();
                tokio::time::sleep(Duration::from_secs(1)).await;
            }
        }
    }
}
