//! Owns the way of facts from async servers into the journal: many requests at once share one flush.

use super::hub::{Hub, NotTaken};
use crate::base::Mac;
use crate::lifecycle::{Event, What};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread::JoinHandle;
use tokio::sync::{mpsc, oneshot};

/// How many facts one flush takes at most.
const BATCH: usize = 512;
/// How many facts may wait. Asking servers wait for room; mere notes are dropped (and counted) when it is full.
const QUEUE: usize = 16_384;

struct Job {
    event: Event,
    done: Option<oneshot::Sender<Result<(), NotTaken>>>,
}

/// Hands facts to the hub. Cheap to clone; the recording thread ends when the last clone is gone.
#[derive(Clone)]
pub struct Recorder {
    to: mpsc::Sender<Job>,
    dropped: Arc<AtomicU64>,
}

impl Recorder {
    /// Starts the recording thread.
    pub fn start(hub: Arc<Hub>) -> std::io::Result<(Recorder, JoinHandle<()>)> {
        let (to, from) = mpsc::channel(QUEUE);
        let dropped = Arc::new(AtomicU64::new(0));
        let counted = dropped.clone();
        let thread = std::thread::Builder::new()
            .name("recorder".into())
            .stack_size(512 * 1024)
            .spawn(move || record_all(&hub, from, &counted))?;
        Ok((Recorder { to, dropped }, thread))
    }

    /// Makes a fact durable. When this returns `Ok`, it may be answered.
    pub async fn record(&self, event: Event) -> Result<(), NotTaken> {
        let (done, result) = oneshot::channel();
        let gone = || NotTaken::Store(crate::problem::Problem::environment("the server is stopping"));
        self.to.send(Job { event, done: Some(done) }).await.map_err(|_| gone())?;
        result.await.unwrap_or_else(|_| Err(gone()))
    }

    /// Takes a note that nobody waits for: a log line, a finished download.
    pub fn note(&self, event: Event) {
        if self.to.try_send(Job { event, done: None }).is_err() {
            self.dropped.fetch_add(1, Ordering::Relaxed);
        }
    }
}

fn record_all(hub: &Hub, mut from: mpsc::Receiver<Job>, dropped: &AtomicU64) {
    let mut failing = false;
    while let Some(first) = from.blocking_recv() {
        let mut jobs = vec![first];
        while jobs.len() < BATCH
            && let Ok(job) = from.try_recv()
        {
            jobs.push(job);
        }
        let (events, waiting): (Vec<_>, Vec<_>) = jobs.into_iter().map(|j| (j.event, j.done)).unzip();
        let told = events.clone();
        match hub.record(events) {
            Ok(results) => {
                if std::mem::take(&mut failing) {
                    tracing::info!("the journal can be written again; serving goes on");
                }
                // Machines wait for their answer; the log can wait for them.
                for (done, result) in waiting.into_iter().zip(&results) {
                    if let Some(done) = done {
                        let _ = done.send(result.clone().map_err(NotTaken::Refused));
                    }
                }
                for (event, result) in told.iter().zip(&results) {
                    match result {
                        Ok(()) => tell(hub, event),
                        Err(why) => tracing::debug!(mac = event.mac.map(tracing::field::display), %why,
                            "not taken: {}", event.what.sentence()),
                    }
                }
            }
            Err(problem) => {
                if !std::mem::replace(&mut failing, true) {
                    tracing::error!("{problem}");
                }
                for done in waiting.into_iter().flatten() {
                    let _ = done.send(Err(NotTaken::Store(problem.clone())));
                }
            }
        }
        let lost = dropped.swap(0, Ordering::Relaxed);
        if lost > 0 {
            tracing::warn!("{lost} notes were dropped: the journal is slower than what is heard");
        }
    }
}

/// One log line per fact; an installer's own lines only at debug level.
fn tell(hub: &Hub, event: &Event) {
    let Some(mac) = event.mac else {
        tracing::info!("{}", event.what.sentence());
        return;
    };
    let world = hub.world();
    let node = world.site.node_by_mac(mac).map_or("-", |n| n.name.as_str());
    let state = state_of(hub, mac);
    match event.what {
        What::Log { .. } | What::Progressed { .. } => {
            tracing::debug!(node, %mac, state, "{}", event.what.sentence());
        }
        What::Refused { .. } => tracing::warn!(node, %mac, state, "{}", event.what.sentence()),
        _ => tracing::info!(node, %mac, state, "{}", event.what.sentence()),
    }
}

fn state_of(hub: &Hub, mac: Mac) -> &'static str {
    hub.ledger().state(mac).name()
}
