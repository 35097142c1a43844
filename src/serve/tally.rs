//! Owns what is told about downloads: one line per kernel and initrd, one line now and then for packages.

use super::clock::Clock;
use super::recorder::Recorder;
use crate::base::time::{size, span};
use crate::base::{Mac, Timestamp};
use crate::lifecycle::{Event, What, Wire};
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

/// How often a node's packages are summed up, in milliseconds.
const EVERY: u64 = 10_000;

/// Sums up what nodes download.
pub struct Tally {
    clock: Clock,
    to: Recorder,
    packages: Mutex<BTreeMap<Mac, Packages>>,
}

#[derive(Default)]
struct Packages {
    files: u64,
    bytes: u64,
    told: Timestamp,
    /// Whether something came since it was told.
    news: bool,
}

/// One download under way; when the last part of it is gone it is added to the tally.
pub struct Fetch {
    tally: Arc<Tally>,
    mac: Mac,
    /// Name for people; none for one of many packages.
    single: Option<String>,
    total: u64,
    began: Timestamp,
    sent: AtomicU64,
}

impl Tally {
    pub fn new(clock: Clock, to: Recorder) -> Arc<Tally> {
        Arc::new(Tally { clock, to, packages: Mutex::default() })
    }

    /// A download of `total` bytes begins. `single` is its name if it deserves a line of its own.
    pub fn begin(self: &Arc<Tally>, mac: Mac, single: Option<String>, total: u64) -> Arc<Fetch> {
        let began = self.clock.now();
        Arc::new(Fetch { tally: self.clone(), mac, single, total, began, sent: AtomicU64::new(0) })
    }

    /// Tells what is due; called every few seconds and once more at the end.
    pub fn tell(&self, all: bool) {
        let now = self.clock.now();
        let mut packages = self.packages.lock().unwrap_or_else(|e| e.into_inner());
        for (mac, p) in packages.iter_mut() {
            if p.news && (all || now.since(p.told) >= EVERY) {
                p.news = false;
                p.told = now;
                let answered = format!("{} files, {} so far", p.files, size(p.bytes));
                self.note(now, *mac, "packages".to_string(), answered);
            }
        }
        // A node that was silent for an hour begins a new sum.
        packages.retain(|_, p| p.news || now.since(p.told) < 3_600_000);
    }

    /// Forgets the sum of a node that starts anew.
    pub fn restart(&self, mac: Mac) {
        self.packages.lock().unwrap_or_else(|e| e.into_inner()).remove(&mac);
    }

    fn add(&self, mac: Mac, bytes: u64) {
        let mut packages = self.packages.lock().unwrap_or_else(|e| e.into_inner());
        let p = packages.entry(mac).or_default();
        p.files += 1;
        p.bytes += bytes;
        p.news = true;
    }

    fn note(&self, at: Timestamp, mac: Mac, asked: String, answered: String) {
        self.to.note(Event::new(at, mac, What::Asked { wire: Wire::Http, boot: false, asked, answered }));
    }
}

impl Fetch {
    /// So many bytes more have left.
    pub fn sent(&self, bytes: u64) {
        self.sent.fetch_add(bytes, Ordering::Relaxed);
    }
}

impl Drop for Fetch {
    fn drop(&mut self) {
        let sent = self.sent.load(Ordering::Relaxed);
        let Some(name) = self.single.take() else {
            self.tally.add(self.mac, sent);
            return;
        };
        let now = self.tally.clock.now();
        let took = span(now.since(self.began).max(1));
        let answered = if sent >= self.total {
            format!("{} in {took}", size(sent))
        } else {
            format!("stopped after {} of {} in {took}", size(sent), size(self.total))
        };
        self.tally.note(now, self.mac, name, answered);
    }
}
