//! Owns the DHCP server: binds its interfaces, looks for other servers, serves, and says what is wrong.
//!
//! Per interface there are two threads: `line` answers packets, `air` listens for others (ARP, other servers). Both
//! are apart from the HTTP runtime, so bulk transfers cannot hold up an offer.

mod air;
mod line;

use super::clock::Clock;
use super::hub::Hub;
use super::netlink;
use super::rivals::{self, Rival, Watch};
use crate::base::Timestamp;
use crate::dhcp::Desk;
use crate::lifecycle::Event;
use crate::problem::Problem;
use crate::site::Site;
use air::{Air, Queue};
use line::Line;
pub use line::listen;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;

/// Counted since the start.
#[derive(Debug, Default)]
pub struct Tally {
    /// Clients' messages that were understood.
    pub heard: AtomicU64,
    pub answered: AtomicU64,
    /// Messages of machines that are none of our business (field-pain #10).
    pub ignored: AtomicU64,
    /// Packets that are no client's message.
    pub rejected: AtomicU64,
    /// ACKs that were not sent because they could not be made durable.
    pub withheld: AtomicU64,
}

impl Tally {
    fn add(counter: &AtomicU64, n: u64) {
        counter.fetch_add(n, Ordering::Relaxed);
    }
}

/// What all threads of the DHCP server share.
pub struct Shared {
    hub: Arc<Hub>,
    clock: Clock,
    desk: Mutex<Desk>,
    watch: Mutex<Watch>,
    trouble: Mutex<BTreeMap<String, String>>,
    stop: AtomicBool,
    phase: Mutex<Phase>,
    pub interfaces: Vec<String>,
    pub tally: Tally,
}

/// What it does now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Looking,
    Serving,
    Refused,
}

impl Shared {
    fn now(&self) -> Timestamp {
        self.clock.now()
    }
    fn set_phase(&self, phase: Phase) {
        *self.phase.lock().unwrap_or_else(|e| e.into_inner()) = phase;
    }
    /// What it does now, for people: `full on eth0`.
    pub fn said(&self) -> String {
        let on = self.interfaces.join(", ");
        let phase = *self.phase.lock().unwrap_or_else(|e| e.into_inner());
        match phase {
            Phase::Looking => format!("not yet: looking for other DHCP servers on {on}"),
            Phase::Refused => format!("stopped: another DHCP server answers on {on}"),
            Phase::Serving if self.desk().rival_here => {
                format!("full on {on}, the site's nodes only: another DHCP server answers")
            }
            Phase::Serving if !self.desk().unsure.is_empty() => {
                format!(
                    "full on {on}, the site's nodes only: its link came up just now, are there other DHCP servers?"
                )
            }
            Phase::Serving => format!("full on {on}"),
        }
    }
    /// Tells all threads to end, also a survey that is under way.
    pub fn give_up(&self) {
        self.stop.store(true, Ordering::Relaxed);
    }
    fn stopped(&self) -> bool {
        self.stop.load(Ordering::Relaxed)
    }
    fn desk(&self) -> MutexGuard<'_, Desk> {
        self.desk.lock().unwrap_or_else(|e| e.into_inner())
    }
    fn watch(&self) -> MutexGuard<'_, Watch> {
        self.watch.lock().unwrap_or_else(|e| e.into_inner())
    }
    /// `source` has this trouble now; `None`: no longer. A change is logged once.
    fn trouble(&self, source: &str, sentence: Option<String>) {
        let mut all = self.trouble.lock().unwrap_or_else(|e| e.into_inner());
        match sentence {
            Some(s) if all.get(source) != Some(&s) => {
                tracing::warn!("{s}");
                all.insert(source.to_string(), s);
            }
            Some(_) => {}
            None => {
                if let Some(was) = all.remove(source) {
                    tracing::info!("over: {was}");
                }
            }
        }
    }
    /// What is wrong now, one sentence each; empty when all is well.
    pub fn troubles(&self) -> Vec<String> {
        self.trouble.lock().unwrap_or_else(|e| e.into_inner()).values().cloned().collect()
    }
    /// Makes facts durable. On failure nobody may be answered; the reason is kept as trouble until it works again.
    fn record(&self, events: Vec<Event>) -> bool {
        // Nothing to write proves nothing about the disk.
        if events.is_empty() {
            return true;
        }
        match self.hub.record(events) {
            Ok(_) => {
                self.trouble("journal", None);
                true
            }
            Err(p) => {
                self.trouble("journal", Some(format!("DHCP gives no addresses: {}", p.what)));
                false
            }
        }
    }
}

/// What keeps port 67 of the served interfaces from being bound.
pub fn obstacles(site: &Site) -> Vec<Problem> {
    // An interface that is not there, or without our address, is the other sockets' problem too, and said by them.
    let links = netlink::served(site).unwrap_or_default();
    links.iter().filter_map(|(l, _)| Some(line::cannot_bind(&l.name, &listen(&l.name).err()?))).collect()
}

/// A DHCP server whose sockets are bound, and that does not serve yet.
pub struct Dhcp {
    shared: Arc<Shared>,
    lines: Vec<Line>,
    airs: Vec<Air>,
}

impl Dhcp {
    /// Binds port 67 on every interface that the site names, or on none.
    pub fn bind(hub: Arc<Hub>, clock: Clock) -> Result<Dhcp, Problem> {
        let links = netlink::served(&hub.world().site)?;
        let shared = Arc::new(Shared {
            hub,
            clock,
            phase: Mutex::new(Phase::Looking),
            interfaces: links.iter().map(|(l, _)| l.name.clone()).collect(),
            desk: Mutex::default(),
            watch: Mutex::default(),
            trouble: Mutex::default(),
            stop: AtomicBool::new(false),
            tally: Tally::default(),
        });
        let (mut lines, mut airs) = (Vec::new(), Vec::new());
        for (link, server) in links {
            let queue = Arc::new(Queue::default());
            lines.push(Line::bind(shared.clone(), queue.clone(), &link, server)?);
            airs.push(Air::bind(shared.clone(), queue, &link, server)?);
        }
        Ok(Dhcp { shared, lines, airs })
    }

    /// Listens and asks on all interfaces for four seconds, and refuses while another server answers that the site
    /// does not name under `tolerate` (field-pain #9). The first addresses of the pool are probed meanwhile.
    pub fn survey(&mut self) -> Result<(), Problem> {
        let found: Vec<Rival> = std::thread::scope(|s| {
            let threads: Vec<_> = self.airs.iter_mut().map(|a| s.spawn(|| a.survey())).collect();
            threads.into_iter().flat_map(|t| t.join().unwrap_or_default()).collect()
        });
        let now = self.shared.now();
        let news: Vec<Event> = {
            let mut watch = self.shared.watch();
            found.iter().filter_map(|r| watch.note(r, now)).collect()
        };
        self.shared.hub.record(news)?;
        let tolerate = self.shared.hub.world().site.server.tolerate.clone();
        let (meant, others): (Vec<Rival>, Vec<Rival>) =
            found.into_iter().partition(|r| tolerate.contains(&r.server));
        for rival in &meant {
            tracing::info!("tolerated DHCP server {}", rival.sentence());
        }
        if others.is_empty() {
            return Ok(());
        }
        self.shared.set_phase(Phase::Refused);
        Err(rivals::refusal(&others))
    }

    /// What its threads will share.
    pub fn shared(&self) -> Arc<Shared> {
        self.shared.clone()
    }

    /// Serves, until the result is stopped.
    pub fn start(self) -> Result<Running, Problem> {
        let mut running = Running { shared: self.shared, threads: Vec::new() };
        for (line, air) in self.lines.into_iter().zip(self.airs) {
            let thread = |what: &str| std::thread::Builder::new().name(format!("dhcp-{what}"));
            let started = thread("line")
                .spawn(move || line.run())
                .and_then(|l| thread("air").spawn(move || air.run()).map(|a| [l, a]));
            match started {
                Ok(threads) => running.threads.extend(threads),
                Err(e) => {
                    running.stop();
                    return Err(Problem::environment(format!("cannot start a thread: {e}")));
                }
            }
        }
        running.shared.set_phase(Phase::Serving);
        Ok(running)
    }
}

/// A DHCP server that serves.
pub struct Running {
    pub shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

impl Running {
    /// Ends all threads; what they have recorded is durable, what they have not was not answered.
    pub fn stop(self) {
        self.shared.give_up();
        for thread in self.threads {
            let _ = thread.join();
        }
    }
}
