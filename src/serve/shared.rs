//! Owns what all servers of the process share: the hub, what lies ready to be sent, who has which address.

use super::answers::Cache;
use super::clock::Clock;
use super::difference;
use super::health::Health;
use super::hub::{Hub, World};
use super::recorder::Recorder;
use super::tally::Tally;
use super::works::Works;
use crate::api::Orders;
use crate::base::secret::SiteKey;
use crate::base::{Mac, Secret, Timestamp};
use crate::boot::decide::identity;
use crate::kickstart::Answer;
use crate::lifecycle::{Event, State, What};
use crate::problem::{Problem, Problems};
use crate::shelf::Shelf;
use crate::site::model::Server;
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

    /// The name of another machine than `node` that has the address which a request came from.
    pub fn other_holder(&self, from: Option<IpAddr>, node: &Node) -> Option<String> {
        let holder = self.who(from?)?;
        if node.macs.contains(&holder) {
            return None;
        }
        Some(self.hub.world().site.node_by_mac(holder).map_or(holder.to_string(), |n| n.name.clone()))
    }

    /// Whether every machine of the provisioning network has its address from this process.
    pub fn gives_addresses(&self) -> bool {
        self.health.serves_dhcp() && self.hub.world().site.server.tolerate.is_empty()
    }

    /// The node with what its arming approved for erasing beside what the site file does.
    pub fn approved(&self, node: &Node) -> Node {
        let mut node = node.clone();
        if let Some(record) = self.hub.ledger().record(node.mac()) {
            node.erase.extend(record.approved.iter().cloned());
        }
        node
    }

    /// `text` of a machine without the token of its installation: installers log the commands that they run, addresses
    /// and all, and people send timelines to each other.
    pub fn scrub(&self, mac: Mac, text: String) -> String {
        let ledger = self.hub.ledger();
        let arming = match ledger.state(mac) {
            State::Held { before, .. } => before.arming(),
            state => state.arming(),
        };
        let Some(token) = arming.map(|a| self.key.token(mac, a)) else { return text };
        match text.contains(token.reveal()) {
            true => text.replace(token.reveal(), "(token)"),
            false => text,
        }
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
    ///
    /// A site that gives installed nodes another name or address is not taken, unless `moved` says how many.
    pub fn reload(&self, moved: Option<usize>) -> Result<String, Problems> {
        let (mut world, shelf) = (self.load)()?;
        // What is bound stays what machines are told; the rest of [server] counts at once.
        let bound = self.hub.world().site.server.clone();
        let wanted = std::mem::replace(&mut world.site.server, bound.clone());
        world.site.server = Server {
            interfaces: bound.interfaces,
            address: bound.address,
            http_port: bound.http_port,
            agent_port: bound.agent_port,
            dhcp: bound.dhcp,
            ..wanted.clone()
        };
        let later = world.site.server != wanted;
        difference::agreed(&self.hub.world().site, &world.site, &self.hub.ledger(), moved)?;
        let changed = {
            let old = self.hub.world();
            let mut said = vec![difference::difference(&old.site, &world.site)];
            said.extend(difference::surprises(&old.site, &world.site, &self.hub.ledger()));
            if later {
                said.push(
                    "[server]: another address, port, interface or DHCP mode counts after a restart of the \
                     server only"
                        .to_string(),
                );
            }
            said.join("; ")
        };
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
