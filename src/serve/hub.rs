//! Owns the hub: the only writer of the journal and the ledger; everybody else reads the ledger under its lock.

use super::turns::Turns;
use crate::base::{Mac, Timestamp};
use crate::boot::Known;
use crate::images::Stock;
use crate::lifecycle::{Event, Ledger, Refused, What};
use crate::problem::Problem;
use crate::site::{Catalog, Site};
use crate::store::{Entry, Store};
use std::collections::BTreeMap;
use std::sync::{Arc, RwLock, RwLockReadGuard};

/// The running state: site, stock and ledger; shared by all servers of the process.
pub struct Hub {
    store: Turns<Box<dyn Store>>,
    ledger: RwLock<Ledger>,
    world: RwLock<Arc<World>>,
    watch: tokio::sync::watch::Sender<u64>,
    began_after: Option<Timestamp>,
}

/// What changes only by a reload: swapped as a whole.
#[derive(Debug, Clone)]
pub struct World {
    pub site: Site,
    pub catalog: Arc<Catalog>,
    pub stock: Stock,
}

impl World {
    /// What the boot decision may look at.
    pub fn known<'a>(&'a self, ledger: &'a Ledger) -> Known<'a> {
        Known { site: &self.site, images: &self.catalog.images, stock: &self.stock, ledger }
    }
}

/// Why events were not taken.
#[derive(Debug)]
pub enum NotTaken {
    /// The life-cycle does not allow it: the requester did something that is not its turn.
    Refused(Refused),
    /// The journal could not be written: nobody may be answered.
    Store(Problem),
}

impl std::fmt::Display for NotTaken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NotTaken::Refused(r) => r.fmt(f),
            NotTaken::Store(p) => write!(f, "{}", p.what),
        }
    }
}

impl Hub {
    /// Replays the journal and goes on from there.
    pub fn new(store: Box<dyn Store>, world: World) -> Result<Hub, Problem> {
        let mut ledger = Ledger::default();
        let (mut seq, mut last) = (0, None);
        loop {
            let part = store.read(seq, 10_000)?;
            let Some(end) = part.last() else { break };
            seq = end.seq;
            last = Some(end.event.at);
            for entry in &part {
                let _ = ledger.apply(&entry.event);
            }
        }
        Ok(Hub {
            store: Turns::new(store),
            ledger: RwLock::new(ledger),
            world: RwLock::new(Arc::new(world)),
            watch: tokio::sync::watch::channel(seq).0,
            began_after: last,
        })
    }

    /// When the last fact happened that was in the journal at the start.
    pub fn began_after(&self) -> Option<Timestamp> {
        self.began_after
    }

    /// The ledger as it is now. Keep the guard short: writers wait for it.
    pub fn ledger(&self) -> RwLockReadGuard<'_, Ledger> {
        self.ledger.read().unwrap_or_else(|e| e.into_inner())
    }
    /// Site, images and stock as they are now.
    pub fn world(&self) -> Arc<World> {
        self.world.read().unwrap_or_else(|e| e.into_inner()).clone()
    }
    /// Takes a new site and stock into use, as a whole.
    pub fn swap(&self, world: World) {
        *self.world.write().unwrap_or_else(|e| e.into_inner()) = Arc::new(world);
    }
    /// Tells the number of the newest event, again whenever there is one.
    pub fn subscribe(&self) -> tokio::sync::watch::Receiver<u64> {
        self.watch.subscribe()
    }

    /// Makes facts durable, then takes them into the ledger: all that are allowed, in one flush.
    ///
    /// Blocks for the flush: async callers use `spawn_blocking`. The result has one entry per event, in order.
    /// If the journal cannot be written, none is taken and the `Err` says why.
    pub fn record(&self, events: Vec<Event>) -> Result<Vec<Result<(), Refused>>, Problem> {
        if events.is_empty() {
            return Ok(Vec::new());
        }
        let mut store = self.store.take();
        let mut results = Vec::with_capacity(events.len());
        let mut taken = Vec::with_capacity(events.len());
        {
            // What a later event of the burst may do depends on the earlier ones, so the check runs on a scratch
            // copy of just the states concerned.
            let ledger = self.ledger();
            let mut states: BTreeMap<Mac, crate::lifecycle::State> = BTreeMap::new();
            let mut keys: BTreeMap<Mac, crate::base::Sha256> = BTreeMap::new();
            let mut armings: BTreeMap<Mac, u32> = BTreeMap::new();
            let world = self.world();
            let mut room = (world.site.nodes.len() + STRANGERS).saturating_sub(ledger.records().len());
            for event in events {
                let result = match event.mac {
                    None => Ok(()),
                    Some(mac) => {
                        let new = !states.contains_key(&mac) && ledger.record(mac).is_none();
                        if new && world.site.node_by_mac(mac).is_none() && hearsay(&event.what) {
                            if room == 0 {
                                results.push(Err(Refused("too many unknown machines were heard".into())));
                                continue;
                            }
                            room -= 1;
                        }
                        let state = states.entry(mac).or_insert_with(|| ledger.state(mac).clone());
                        crate::lifecycle::step(state, &event.what, event.at)
                            .and_then(|next| ledger.work().admits(event.mac, &event.what).map(|()| next))
                            .and_then(|next| first_key(&mut keys, mac, &event.what).map(|()| next))
                            .and_then(|next| fresh(&mut armings, &ledger, mac, &event.what).map(|()| next))
                            .map(|next| *state = next)
                    }
                };
                if result.is_ok() {
                    taken.push(event);
                }
                results.push(result);
            }
        }
        if !taken.is_empty() {
            let first = store.append(&taken)?;
            let mut ledger = self.ledger.write().unwrap_or_else(|e| e.into_inner());
            for event in &taken {
                let _ = ledger.apply(event);
            }
            drop(ledger);
            self.watch.send_replace(first + taken.len() as u64 - 1);
        }
        Ok(results)
    }

    /// One fact; refused facts change nothing.
    pub fn record_one(&self, event: Event) -> Result<(), NotTaken> {
        match self.record(vec![event]) {
            Err(p) => Err(NotTaken::Store(p)),
            Ok(results) => results.into_iter().next().unwrap_or(Ok(())).map_err(NotTaken::Refused),
        }
    }

    /// Arms `mac` for one installation; of two at the same time one is refused (`fresh`).
    pub fn arm(&self, at: Timestamp, mac: Mac, by: &str, image: &str, role: &str) -> Result<u32, NotTaken> {
        let arming = self.ledger().next_arming(mac);
        let (by, image, role) = (by.to_string(), image.to_string(), role.to_string());
        let what = What::Armed { arming, by, image, role, erase: Vec::new(), bound: None };
        self.record_one(Event::new(at, mac, what))?;
        Ok(arming)
    }

    /// Events after number `after`, at most `limit`; of one machine if `mac` is given.
    pub fn events(&self, after: u64, limit: usize, mac: Option<Mac>) -> Result<Vec<Entry>, Problem> {
        self.store.take().read_for(mac, after, limit)
    }
}

/// Machines of no site that are remembered for having been heard. Who makes up addresses shall not fill memory and
/// journal; a lease, which the pool limits, is always recorded.
const STRANGERS: usize = 4096;

/// Whether a fact is only that somebody was heard.
fn hearsay(what: &What) -> bool {
    matches!(what, What::Asked { .. } | What::Refused { .. } | What::Identified { .. } | What::Log { .. })
}

/// An arming number is good for one arming, also of two within one burst.
fn fresh(armings: &mut BTreeMap<Mac, u32>, ledger: &Ledger, mac: Mac, what: &What) -> Result<(), Refused> {
    let What::Armed { arming, .. } = what else { return Ok(()) };
    let last = armings.entry(mac).or_insert_with(|| ledger.record(mac).map_or(0, |r| r.armings));
    if *arming <= *last {
        return Err(Refused(format!("arming {arming} was used before")));
    }
    *last = *arming;
    Ok(())
}

/// Of two agents that join within one burst only the first one counts.
fn first_key(keys: &mut BTreeMap<Mac, crate::base::Sha256>, mac: Mac, what: &What) -> Result<(), Refused> {
    match what {
        What::AgentJoined { key, .. } if *keys.entry(mac).or_insert(*key) != *key => {
            Err(Refused("another agent joined with this installation's token at the same moment".to_string()))
        }
        _ => Ok(()),
    }
}
