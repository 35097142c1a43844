//! Owns the plan in use and who works on it: which steps each agent may do now, and what is merely looked at.

use super::shared::Shared;
use crate::api::{Found, LookKind, Seen};
use crate::base::{Mac, Sha256, Timestamp};
use crate::cluster::{Gates, Plan, Presence, Running, Standing, Status, gates, standings};
use crate::disk;
use crate::lifecycle::{Event, What};
use crate::problem::{Problem, Problems};
use crate::steps::Step;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, RwLock};
use std::time::Duration;
use tokio::sync::{Notify, watch};

/// An agent that was not heard for so long counts as silent: it asks every 25 seconds at least.
const SILENT: u64 = 60_000;
/// Seconds that fetching an archive may take, beside what its script may.
const FETCH: u64 = 600;
/// Many reports arrive together: the gates are worked out once for all of them.
const TOGETHER: Duration = Duration::from_millis(15);

/// A plan that was put to work.
#[derive(Debug)]
pub struct Adopted {
    pub generation: u32,
    pub digest: Sha256,
    pub plan: Plan,
}

/// The plan with the status of its steps at one moment.
#[derive(Clone, Default)]
pub struct Snapshot {
    pub now: Option<(Arc<Adopted>, Arc<Gates>)>,
    /// Number of the last fact that is in it.
    pub seq: u64,
}

/// An agent as it was last heard.
#[derive(Debug, Clone)]
pub struct Heard {
    pub at: Timestamp,
    /// Its clock is so many milliseconds ahead of ours.
    pub ahead: i64,
    /// What it is at, and since when.
    pub running: BTreeMap<String, Timestamp>,
}

/// One thing to look at, for an agent.
#[derive(Debug, Clone)]
pub struct Looking {
    pub number: u64,
    pub mac: Mac,
    pub id: String,
    pub step: Step,
    pub timeout: u32,
    pub compare: bool,
    /// It is handed out once at most: what breaks a node must not be there again after its reboot.
    pub once: bool,
}

#[derive(Default)]
struct Looks {
    number: u64,
    kind: Option<LookKind>,
    open: Vec<Looking>,
    /// Handed out, and not to be handed out again.
    out: Vec<Looking>,
    seen: Vec<Seen>,
}

impl Looks {
    /// An archive that this agent was given, and that it knows nothing of: nobody waits for it any longer.
    fn lost(&mut self, mac: Mac, node: &str, running: &[String]) {
        let gone = |l: &Looking| {
            l.mac == mac && matches!(l.step, Step::BringBack(_)) && !running.contains(&look_key(l))
        };
        for l in self.out.extract_if(.., |l| gone(l)) {
            let why = "its agent was restarted meanwhile, and nobody knows how far it came".to_string();
            let found = Found { failed: Some(why), changed: true, millis: 0, output: String::new() };
            let same = self.seen.iter_mut().filter(|s| s.node == node && s.id == l.id);
            same.for_each(|s| s.found = s.found.take().or(Some(found.clone())));
        }
    }
}

/// Shared by the agents' door and the operator's.
pub struct Works {
    adopted: RwLock<Option<Arc<Adopted>>>,
    heard: Mutex<HashMap<Mac, Heard>>,
    looks: Mutex<Looks>,
    /// The steps that were given to an agent and are not reported yet, by name and digest.
    given: Mutex<HashMap<Mac, HashSet<(String, Sha256)>>>,
    /// Number of the fact that an agent's last report became.
    reported: Mutex<HashMap<Mac, u64>>,
    snapshot: watch::Sender<Snapshot>,
    /// Something other than the journal changed.
    stirred: Notify,
}

impl Default for Works {
    fn default() -> Works {
        Works {
            adopted: RwLock::default(),
            heard: Mutex::default(),
            looks: Mutex::default(),
            given: Mutex::default(),
            reported: Mutex::default(),
            snapshot: watch::channel(Snapshot::default()).0,
            stirred: Notify::new(),
        }
    }
}

/// What a report of an agent is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Taking {
    News,
    /// It came before: the answer to it was lost.
    Known,
    /// What it needs is not done: it cannot have been done as planned.
    NotItsTurn,
}

/// The file of a plan in the state folder.
pub fn plan_path(state: &Path, generation: u32) -> PathBuf {
    state.join("plans").join(format!("{generation:05}.json"))
}

/// Reads a plan that was put to work; its digest must be the journal's.
pub fn read_plan(state: &Path, generation: u32, digest: Sha256) -> Result<Plan, Problem> {
    let path = plan_path(state, generation);
    let bytes = disk::read(&path)?;
    let plan: Option<Plan> = serde_json::from_slice(&bytes).ok();
    match plan.filter(|p| p.digest() == digest) {
        Some(plan) => Ok(plan),
        None => Err(Problem::environment(format!("{} is not the plan that was put to work", path.display()))
            .why("its content does not have the digest that the journal names")
            .help(
                "restore it from a backup; or make a new plan with `bootstead plan` and `bootstead apply`",
            )),
    }
}

/// Whether everything that the plan has nodes fetch from this server lies on the shelf.
fn shelved(shared: &Shared, plan: &Plan) -> Result<(), Problem> {
    let world = shared.hub.world();
    let base = format!("{}/images/", world.site.url());
    let mut names: BTreeMap<String, (&str, &str)> = BTreeMap::new();
    for p in &plan.steps {
        for text in p.step.texts() {
            for rest in text.split(&base).skip(1) {
                let name = rest.split(|c: char| !(c.is_ascii_alphanumeric() || "-_.".contains(c))).next();
                names.entry(name.unwrap_or_default().to_string()).or_insert((&p.id, &p.node));
            }
        }
    }
    for (name, (step, node)) in names {
        if !world.stock.images.contains_key(&name) {
            return Err(Problem::environment(format!("{name} is not here, and {step} on {node} fetches from it"))
                .why("nodes get the cluster's software from this machine, so that they need no internet")
                .help(format!(
                    "`bootstead image fetch {name}` while this machine has a mirror in reach; or set the variable `repository` in \
                     [vars] to another source"
                )));
        }
    }
    Ok(())
}

impl Works {
    /// Takes up the plan that the journal names, after a start.
    pub fn resume(&self, shared: &Shared) {
        let current = shared.hub.ledger().work().plan.clone();
        let Some(current) = current else { return };
        match read_plan(&shared.state, current.generation, current.digest) {
            Ok(plan) => self.set(Adopted { generation: current.generation, digest: current.digest, plan }),
            Err(problem) => tracing::error!("{problem}"),
        }
    }

    fn set(&self, adopted: Adopted) {
        *self.adopted.write().unwrap_or_else(|e| e.into_inner()) = Some(Arc::new(adopted));
        self.stirred.notify_one();
    }

    pub fn adopted(&self) -> Option<Arc<Adopted>> {
        self.adopted.read().unwrap_or_else(|e| e.into_inner()).clone()
    }

    /// Makes the plan of now and puts it to work, if it is the one that was shown.
    pub fn adopt(&self, shared: &Shared, wish: &crate::api::Apply) -> Result<Arc<Adopted>, Problems> {
        let world = shared.hub.world();
        let versions = crate::secrets::versions(&shared.state)?;
        let (plan, generation) = {
            let ledger = shared.hub.ledger();
            let work = ledger.work();
            let plan = crate::cluster::plan(&world.site, &world.catalog, work, &versions)?;
            (plan, work.next_generation())
        };
        shelved(shared, &plan)?;
        let digest = plan.digest();
        if digest != wish.digest {
            return Err(Problem::input("the plan is not the one that was shown")
                .why("the site, the tree or what was done so far changed in between")
                .help("look at it again with `bootstead plan`, then `bootstead apply`")
                .into());
        }
        let bytes = serde_json::to_vec(&plan).map_err(|e| Problem::fault(e.to_string()))?;
        disk::make_folder(&shared.state.join("plans"), 0o700)?;
        disk::write(&plan_path(&shared.state, generation), &bytes, 0o600)?;
        let what = What::Planned {
            generation,
            digest,
            steps: plan.steps.len(),
            by: wish.by.clone(),
            again: wish.again,
            elected: plan.elected.clone(),
            rotated: versions,
        };
        shared.hub.record(vec![Event::server(shared.clock.now(), what)])?;
        self.set(Adopted { generation, digest, plan });
        self.adopted().ok_or_else(|| Problem::fault("the plan was not kept").into())
    }

    /// Notes that an agent asked; tells whether that is news.
    pub fn hear(&self, mac: Mac, now: Timestamp, clock: i64, running: &[String]) {
        let mut all = self.heard.lock().unwrap_or_else(|e| e.into_inner());
        let since = |id: &String| all.get(&mac).and_then(|h| h.running.get(id).copied()).unwrap_or(now);
        let running = running.iter().map(|id| (id.clone(), since(id))).collect();
        let heard = Heard { at: now, ahead: clock - now.0, running };
        let news = all.get(&mac).is_none_or(|h| {
            now.since(h.at) > SILENT
                || (h.ahead.abs() > crate::cluster::gates::CLOCK)
                    != (heard.ahead.abs() > crate::cluster::gates::CLOCK)
        });
        all.insert(mac, heard);
        drop(all);
        if news {
            self.stirred.notify_one();
        }
    }

    pub fn heard(&self, mac: Mac) -> Option<Heard> {
        self.heard.lock().unwrap_or_else(|e| e.into_inner()).get(&mac).cloned()
    }

    /// Whether its agent is there now.
    pub fn presence(&self, shared: &Shared, mac: Mac, now: Timestamp) -> Presence {
        if shared.hub.ledger().work().agent(mac).is_none() {
            return Presence::Never;
        }
        match self.heard(mac) {
            Some(h) if now.since(h.at) <= SILENT => Presence::Here { ahead: h.ahead },
            _ => Presence::Silent,
        }
    }

    pub fn subscribe(&self) -> watch::Receiver<Snapshot> {
        self.snapshot.subscribe()
    }

    /// The status of every step as it is now.
    pub fn gates(&self, shared: &Shared, adopted: &Adopted) -> Gates {
        let now = shared.clock.now();
        let heard = self.heard.lock().unwrap_or_else(|e| e.into_inner()).clone();
        let ledger = shared.hub.ledger();
        let work = ledger.work();
        gates(&adopted.plan, work, &|mac| match (work.agent(mac), heard.get(&mac)) {
            (None, _) => Presence::Never,
            (Some(_), Some(h)) if now.since(h.at) <= SILENT => Presence::Here { ahead: h.ahead },
            _ => Presence::Silent,
        })
    }

    /// How far each node is in the plan in use.
    pub fn standings(&self, shared: &Shared) -> BTreeMap<Mac, Standing> {
        let Some((adopted, gates)) = self.snapshot.borrow().now.clone() else { return BTreeMap::new() };
        let now = shared.clock.now();
        standings(&adopted.plan, &gates, shared.hub.ledger().work(), &self.running(), now)
    }

    /// Keeps the snapshot fresh: after every fact, and when an agent comes or goes.
    pub async fn follow(shared: Arc<Shared>, mut stopped: watch::Receiver<bool>) {
        let mut facts = shared.hub.subscribe();
        loop {
            let works = &shared.works;
            let adopted = works.adopted();
            let seq = *facts.borrow_and_update();
            let now = match adopted {
                Some(adopted) => {
                    let (sharing, worked) = (shared.clone(), adopted.clone());
                    let gates = tokio::task::spawn_blocking(move || sharing.works.gates(&sharing, &worked));
                    match gates.await {
                        Ok(gates) => Some((adopted, Arc::new(gates))),
                        Err(_) => return,
                    }
                }
                None => None,
            };
            works.snapshot.send_replace(Snapshot { now, seq });
            tokio::select! {
                changed = facts.changed() => if changed.is_err() { return },
                () = works.stirred.notified() => {}
                () = tokio::time::sleep(Duration::from_secs(5)) => {}
                _ = stopped.wait_for(|s| *s) => return,
            }
            tokio::time::sleep(TOGETHER).await;
        }
    }

    /// An agent's report is in the journal: it gets no work from an older snapshot.
    pub fn reported(&self, mac: Mac, seq: u64) {
        self.reported.lock().unwrap_or_else(|e| e.into_inner()).insert(mac, seq);
    }

    /// Whether the snapshot knows the agent's last report.
    pub fn knows(&self, snapshot: &Snapshot, mac: Mac) -> bool {
        let reported = self.reported.lock().unwrap_or_else(|e| e.into_inner());
        reported.get(&mac).is_none_or(|seq| *seq <= snapshot.seq)
    }

    /// Asks agents to look; what was asked before is dropped, or goes on beside it.
    pub fn look(&self, kind: LookKind, wanted: Vec<(Seen, Looking)>, beside: bool) -> u64 {
        let mut looks = self.looks.lock().unwrap_or_else(|e| e.into_inner());
        if !beside {
            looks.number += 1;
            looks.seen.clear();
            looks.open.clear();
            looks.out.clear();
        }
        looks.kind = Some(kind);
        let number = looks.number;
        for (seen, l) in wanted {
            looks.seen.push(seen);
            looks.open.push(Looking { number, ..l });
        }
        drop(looks);
        self.stirred.notify_one();
        number
    }

    /// Hands out what is to be looked at on this node, beside what it does already.
    pub fn looks_for(&self, mac: Mac, node: &str, running: &[String], now: Timestamp) -> Vec<Looking> {
        // Checks are programs of some weight: many at once would make a small node look ill.
        let busy = running.iter().filter(|r| r.starts_with("look ")).count();
        let mut looks = self.looks.lock().unwrap_or_else(|e| e.into_inner());
        looks.lost(mac, node, running);
        let comparing = matches!(looks.kind, Some(LookKind::Drift | LookKind::DryRun));
        let abreast = if comparing { 32 } else { 2_usize };
        let open = looks.open.iter().filter(|l| l.mac == mac && !running.contains(&look_key(l)));
        let given: Vec<Looking> = open.take(abreast.saturating_sub(busy)).cloned().collect();
        for l in &given {
            let same = looks.seen.iter_mut().filter(|s| s.node == node && s.id == l.id);
            same.for_each(|s| s.begun = s.begun.or(Some(now)));
        }
        looks.out.extend(given.iter().filter(|l| l.once).cloned());
        looks.open.retain(|l| !(l.once && given.iter().any(|g| g.mac == l.mac && g.id == l.id)));
        given
    }

    /// Whether this look was asked for and brings a file.
    pub fn collects(&self, number: u64, mac: Mac, id: &str) -> bool {
        let looks = self.looks.lock().unwrap_or_else(|e| e.into_inner());
        looks.number == number
            && looks.open.iter().any(|l| l.mac == mac && l.id == id && matches!(l.step, Step::Collect(_)))
    }

    /// Whether this node was given this archive to bring back, and has not said yet what became of it.
    pub fn brings(&self, number: u64, mac: Mac, id: &str) -> bool {
        let looks = self.looks.lock().unwrap_or_else(|e| e.into_inner());
        let same = |l: &&Looking| l.mac == mac && l.id == id && matches!(l.step, Step::BringBack(_));
        looks.number == number && looks.out.iter().any(|l| same(&l))
    }

    /// The node that is bringing something back now: meanwhile no step is begun and nothing else is looked at.
    ///
    /// One whose time is over counts no more: its agent may have died.
    pub fn bringing(&self, now: Timestamp) -> Option<String> {
        let looks = self.looks.lock().unwrap_or_else(|e| e.into_inner());
        let back = |id: &str| looks.out.iter().find(|l| l.id == id && matches!(l.step, Step::BringBack(_)));
        let mut open = looks.seen.iter().filter(|s| s.found.is_none());
        let at_it = open.find(|s| {
            let limit = back(&s.id).map(|l| (u64::from(l.timeout) + FETCH) * 1000);
            s.begun.zip(limit).is_some_and(|(begun, limit)| now.since(begun) < limit)
        });
        at_it.map(|s| s.node.clone())
    }

    /// What was found; `None` where nobody asked (any more).
    pub fn found(&self, number: u64, mac: Mac, node: &str, id: &str, found: Found) -> Option<LookKind> {
        let mut looks = self.looks.lock().unwrap_or_else(|e| e.into_inner());
        if looks.number != number {
            return None;
        }
        looks.open.retain(|l| !(l.mac == mac && l.id == id));
        looks.out.retain(|l| !(l.mac == mac && l.id == id));
        let seen = looks.seen.iter_mut().find(|s| s.node == node && s.id == id)?;
        seen.found = Some(found);
        looks.kind
    }

    /// What was asked last, with the answers so far.
    pub fn seen(&self) -> Vec<Seen> {
        self.looks.lock().unwrap_or_else(|e| e.into_inner()).seen.clone()
    }

    /// Notes that an agent got this step.
    pub fn gave(&self, mac: Mac, id: &str, digest: Sha256) {
        let mut given = self.given.lock().unwrap_or_else(|e| e.into_inner());
        given.entry(mac).or_default().insert((id.to_string(), digest));
    }

    /// Whether this agent may report the step of this place in the plan: it was given to it, or could be now (a server
    /// that was restarted does not know what its former self gave). Else nothing that it says of it counts.
    pub fn takes(&self, shared: &Shared, adopted: &Adopted, place: usize) -> Taking {
        let Some(p) = adopted.plan.steps.get(place) else { return Taking::NotItsTurn };
        let mut given = self.given.lock().unwrap_or_else(|e| e.into_inner());
        if given.get_mut(&p.mac).is_some_and(|g| g.remove(&(p.id.clone(), p.digest))) {
            return Taking::News;
        }
        drop(given);
        match self.gates(shared, adopted).status.get(place) {
            Some(Status::Ready) => Taking::News,
            Some(Status::Done { .. } | Status::Skipped | Status::Failed { .. }) => Taking::Known,
            _ => Taking::NotItsTurn,
        }
    }

    /// What agents are doing now, by node.
    pub fn running(&self) -> Running {
        let heard = self.heard.lock().unwrap_or_else(|e| e.into_inner());
        heard.iter().map(|(mac, h)| (*mac, h.running.clone())).collect()
    }
}

/// How an agent names a look among what it is doing.
fn look_key(l: &Looking) -> String {
    format!("look {} {}", l.number, l.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::steps::{BringBack, Run};

    #[test]
    fn an_archive_goes_to_the_one_agent_that_was_asked_and_only_once() {
        let run = Run {
            script: String::new(),
            env: BTreeMap::new(),
            unless: None,
            creates: None,
            changed_if: None,
            user: None,
            retries: 0,
        };
        let step = Step::BringBack(BringBack { run, bytes: 1, sha256: Sha256::of(b"x") });
        let (own, other) = (Mac([2, 0, 0, 0, 0, 1]), Mac([2, 0, 0, 0, 0, 2]));
        let (node, id) = ("n1".to_string(), "alpha.bring-back".to_string());
        let seen = Seen { node, id: id.clone(), title: String::new(), begun: None, found: None };
        let looking = Looking { number: 0, mac: own, id, step, timeout: 10, compare: false, once: true };
        let works = Works::default();
        let number = works.look(LookKind::Restore, vec![(seen, looking)], false);
        let now = Timestamp(1_000_000);
        assert!(!works.brings(number, own, "alpha.bring-back"), "it was not handed out yet");
        assert!(works.looks_for(other, "n2", &[], now).is_empty());
        let given = works.looks_for(own, "n1", &[], now);
        assert_eq!(given.len(), 1);
        assert!(works.brings(number, own, "alpha.bring-back"));
        assert!(
            !works.brings(number, other, "alpha.bring-back") && !works.brings(number + 1, own, &given[0].id)
        );
        assert_eq!(works.bringing(now).as_deref(), Some("n1"));
        assert_eq!(works.bringing(Timestamp(now.0 + 611_000)), None, "its time is over");
        // It works on it, and is given nothing twice; an agent that lost it is not waited for.
        assert!(works.looks_for(own, "n1", &[look_key(&given[0])], now).is_empty());
        assert!(works.brings(number, own, "alpha.bring-back"));
        assert!(works.looks_for(own, "n1", &[], now).is_empty());
        assert!(!works.brings(number, own, "alpha.bring-back") && works.bringing(now).is_none());
        assert!(works.seen()[0].found.as_ref().unwrap().failed.as_ref().unwrap().contains("restarted"));
    }
}
