//! Owns what all servers of the process share: the hub, what lies ready to be sent, who has which address.

use super::answers::Cache;
use super::clock::Clock;
use super::health::Health;
use super::hub::{Hub, World};
use super::recorder::Recorder;
use super::tally::Tally;
use super::works::Works;
use crate::api::{NO_CHANGE, Orders};
use crate::base::secret::SiteKey;
use crate::base::{Mac, Secret, Timestamp};
use crate::boot::decide::identity;
use crate::kickstart::Answer;
use crate::lifecycle::{Event, What};
use crate::problem::{Problem, Problems};
use crate::shelf::Shelf;
use crate::site::{Node, Site};
use std::collections::{BTreeMap, HashMap};
use std::net::{IpAddr, Ipv4Addr};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, RwLock};

/// Reads site, tree and images anew, for start and reload.
pub type Load = Arc<dyn Fn() -> Result<(World, Shelf), Problems> + Send + Sync>;

/// What an armed node is given: texts that are made from the site alone.
pub trait Renders: Send + Sync {
    /// The iPXE script that starts its installation.
    fn script(&self, world: &World, node: &Node, arming: u32, token: &Secret) -> Result<String, Problem>;
    /// Its answer files; the first is the one whose taking begins the installation.
    fn answers(
        &self,
        world: &World,
        node: &Node,
        arming: u32,
        token: &Secret,
    ) -> Result<Vec<Answer>, Problem>;
    /// What the fast lane's system is to do.
    fn orders(&self, world: &World, node: &Node, arming: u32, token: &Secret) -> Result<Orders, Problem>;
}

/// Shared by all servers.
pub struct Shared {
    pub hub: Arc<Hub>,
    pub to: Recorder,
    pub clock: Clock,
    pub key: SiteKey,
    /// SHA-256 of the certificate that agents pin.
    pub pin: crate::base::Sha256,
    /// The cluster's plan and who works on it.
    pub works: Works,
    pub renders: Arc<dyn Renders>,
    pub load: Load,
    pub tally: Arc<Tally>,
    pub cache: Cache,
    pub health: Health,
    /// The state folder.
    pub state: PathBuf,
    pub started: Timestamp,
    supply: RwLock<Arc<Supply>>,
    refusals: Mutex<HashMap<(Mac, String), Timestamp>>,
}

/// What changes with a reload, beside the site itself.
pub struct Supply {
    pub shelf: Shelf,
    /// Loaders in memory, by lower-case name.
    pub loaders: BTreeMap<String, Arc<[u8]>>,
    people: HashMap<Ipv4Addr, Mac>,
}

impl Supply {
    /// Reads the loaders into memory.
    pub fn new(site: &Site, shelf: Shelf, stock: &crate::images::Stock) -> Supply {
        let mut loaders = BTreeMap::new();
        for name in stock.loaders.keys() {
            match shelf.loader(name).map(|served| read(&served)) {
                Some(Ok(bytes)) => {
                    loaders.insert(name.to_lowercase(), bytes);
                }
                Some(Err(e)) => tracing::error!("cannot read the loader {name}: {e}"),
                None => {}
            }
        }
        let people = site
            .nodes
            .iter()
            .flat_map(|node| node.addresses.values().map(move |address| (*address, node.mac())))
            .collect();
        Supply { shelf, loaders, people }
    }
}

fn read(served: &crate::shelf::Served) -> std::io::Result<Arc<[u8]>> {
    use std::os::unix::fs::FileExt as _;
    let mut out = vec![0; usize::try_from(served.size).map_err(std::io::Error::other)?];
    let mut at = 0;
    for (offset, len) in &served.extents {
        let len = usize::try_from(*len).map_err(std::io::Error::other)?;
        served.file.read_exact_at(&mut out[at..at + len], *offset)?;
        at += len;
    }
    Ok(out.into())
}

/// How long the same refusal to the same machine is not told again, in milliseconds.
const QUIET: u64 = 60_000;

impl Shared {
    pub fn supply(&self) -> Arc<Supply> {
        self.supply.read().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// Which machine has `address`: by its lease, by the site file, by its last lease. Its identity, whichever of
    /// its ports has the lease.
    pub fn who(&self, address: IpAddr) -> Option<Mac> {
        let IpAddr::V4(address) = address else { return None };
        let supply = self.supply();
        let mac = {
            let ledger = self.hub.ledger();
            ledger
                .holder(address, self.clock.now())
                .or_else(|| supply.people.get(&address).copied())
                .or_else(|| ledger.last_holder(address))
        }?;
        Some(identity(&self.hub.world().site, mac))
    }

    /// The node with what its arming approved for erasing beside what the site file does.
    pub fn approved(&self, node: &Node) -> Node {
        let mut node = node.clone();
        if let Some(record) = self.hub.ledger().record(node.mac()) {
            node.erase.extend(record.approved.iter().cloned());
        }
        node
    }

    /// Shows a refusal on the node's timeline, the same one at most once a minute.
    pub fn refuse(&self, mac: Mac, what_asked: &str, why: &str) {
        let now = self.clock.now();
        let mut refusals = self.refusals.lock().unwrap_or_else(|e| e.into_inner());
        refusals.retain(|_, at| now.since(*at) < QUIET);
        // Somebody who tries many paths shall not fill memory or journal.
        if refusals.len() < 4096 && refusals.insert((mac, format!("{what_asked} {why}")), now).is_none() {
            let what = What::Refused { what_asked: what_asked.to_string(), why: why.to_string() };
            self.to.note(Event::new(now, mac, what));
        }
    }

    /// After a person changed a machine's life, the same refusal is news again.
    pub fn forget_refusals(&self, mac: Mac) {
        self.refusals.lock().unwrap_or_else(|e| e.into_inner()).retain(|(m, _), _| *m != mac);
    }

    /// Reads everything anew; takes it into use as a whole, or keeps what is. Returns what changed, for people.
    pub fn reload(&self) -> Result<String, Problems> {
        let (world, shelf) = (self.load)()?;
        let changed = difference(&self.hub.world().site, &world.site);
        let supply = Supply::new(&world.site, shelf, &world.stock);
        let loaded = What::SiteLoaded { digest: world.site.digest, nodes: world.site.nodes.len() };
        self.hub.swap(world);
        *self.supply.write().unwrap_or_else(|e| e.into_inner()) = Arc::new(supply);
        self.to.note(Event::server(self.clock.now(), loaded));
        Ok(changed)
    }
}

/// The parts that `Shared` is made of.
pub struct Parts {
    pub hub: Arc<Hub>,
    pub to: Recorder,
    pub clock: Clock,
    pub key: SiteKey,
    pub pin: crate::base::Sha256,
    pub renders: Arc<dyn Renders>,
    pub load: Load,
    pub shelf: Shelf,
    pub state: PathBuf,
}

impl Shared {
    pub fn new(parts: Parts) -> Arc<Shared> {
        let world = parts.hub.world();
        let supply = Supply::new(&world.site, parts.shelf, &world.stock);
        Arc::new(Shared {
            tally: Tally::new(parts.clock.clone(), parts.to.clone()),
            started: parts.clock.now(),
            hub: parts.hub,
            to: parts.to,
            clock: parts.clock,
            key: parts.key,
            pin: parts.pin,
            works: Works::default(),
            renders: parts.renders,
            load: parts.load,
            cache: Cache::default(),
            health: Health::default(),
            state: parts.state,
            supply: RwLock::new(Arc::new(supply)),
            refusals: Mutex::default(),
        })
    }
}

/// What a new site changes, in one line.
fn difference(old: &Site, new: &Site) -> String {
    let by_mac = |site: &Site| site.nodes.iter().map(|n| (n.mac(), n.clone())).collect::<BTreeMap<_, _>>();
    let (before, after) = (by_mac(old), by_mac(new));
    let added = after.keys().filter(|m| !before.contains_key(m)).count();
    let removed = before.keys().filter(|m| !after.contains_key(m)).count();
    let changed = after.iter().filter(|(m, n)| before.get(m).is_some_and(|b| b != *n)).count();
    let mut parts = Vec::new();
    for (count, word) in [(added, "added"), (removed, "removed"), (changed, "changed")] {
        if count > 0 {
            parts.push(format!("{count} {word}"));
        }
    }
    let nodes = if parts.is_empty() { NO_CHANGE.to_string() } else { parts.join(", ") };
    let rest = [
        ("roles", old.roles != new.roles),
        ("networks", old.networks != new.networks),
        ("access", old.access != new.access),
        ("virtual addresses", old.vips != new.vips),
        ("[server] (its address, port and interfaces count after a restart)", old.server != new.server),
    ];
    let rest: Vec<&str> = rest.iter().filter(|(_, differs)| *differs).map(|(name, _)| *name).collect();
    if rest.is_empty() { nodes } else { format!("{nodes}; other {}", rest.join(", ")) }
}
