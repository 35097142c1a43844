//! Owns `gates`: which step of a plan may be done now, and what each of the others waits for.

use super::plan::{Need, Plan, Planned};
use crate::base::{Mac, Sha256};
use crate::lifecycle::Work;
use crate::lifecycle::work::{End, Outcome};
use crate::steps::Step;
use serde::Serialize;
use std::collections::{BTreeMap, HashMap};

/// A clock further off than this breaks tokens, quorums and certificates (field-pain #118); in milliseconds.
pub const CLOCK: i64 = 5_000;

/// What is known of a node's agent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Presence {
    /// It has not joined since the node was installed.
    Never,
    /// It was heard, and is silent now.
    Silent,
    /// It asks for work; its clock is so many milliseconds ahead of ours.
    Here { ahead: i64 },
}

/// Where a step is.
#[derive(Debug, Clone, PartialEq, Serialize, serde::Deserialize)]
#[serde(tag = "status", rename_all = "lowercase")]
pub enum Status {
    Done {
        changed: bool,
    },
    Skipped,
    Failed {
        why: String,
    },
    Ready,
    /// In one sentence, for what.
    Waiting {
        why: String,
    },
    /// It waits for something that failed.
    Blocked {
        why: String,
    },
}

/// The status of every step of a plan, in the plan's order.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Gates {
    pub status: Vec<Status>,
}

/// How many steps are where.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, serde::Deserialize)]
pub struct Count {
    pub steps: usize,
    pub done: usize,
    /// Of those done, in this plan's time.
    pub changed: usize,
    pub failed: usize,
    pub ready: usize,
    pub waiting: usize,
    pub blocked: usize,
}

impl Gates {
    pub fn count(&self) -> Count {
        count(self.status.iter())
    }
    /// The steps that this node may do now.
    pub fn ready<'a>(&'a self, plan: &'a Plan, mac: Mac) -> impl Iterator<Item = &'a Planned> {
        let both = plan.steps.iter().zip(&self.status);
        both.filter(move |(p, s)| p.mac == mac && **s == Status::Ready).map(|(p, _)| p)
    }
}

/// Counts them.
pub fn count<'a>(all: impl Iterator<Item = &'a Status>) -> Count {
    let mut c = Count::default();
    for status in all {
        c.steps += 1;
        match status {
            Status::Done { changed } => {
                c.done += 1;
                c.changed += usize::from(*changed);
            }
            Status::Skipped => c.done += 1,
            Status::Failed { .. } => c.failed += 1,
            Status::Ready => c.ready += 1,
            Status::Waiting { .. } => c.waiting += 1,
            Status::Blocked { .. } => c.blocked += 1,
        }
    }
    c
}

/// The plan in use with its steps, as the operator's route lists it.
#[derive(Debug, Serialize, serde::Deserialize)]
pub struct Listed {
    pub generation: u32,
    pub digest: Sha256,
    pub steps: Vec<Row>,
}

/// One of its steps.
#[derive(Debug, Serialize, serde::Deserialize)]
pub struct Row {
    pub node: String,
    pub id: String,
    pub sentence: String,
    /// An agent is at it.
    pub running: bool,
    /// It is at it for too long.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub overdue: Option<String>,
    #[serde(flatten)]
    pub status: Status,
}

impl Listed {
    pub fn count(&self) -> Count {
        count(self.steps.iter().map(|r| &r.status))
    }
}

/// How the instances of one step's name are doing. Lists are in the plan's order.
#[derive(Default)]
struct Tally {
    total: usize,
    done: usize,
    failed: Vec<usize>,
    /// Those that are not done.
    open: Vec<usize>,
    /// Of these, those that cannot come to it now: their node is away, or something before it failed.
    stuck: Vec<usize>,
    /// Of these, those whose agent is silent: it may be in the middle of it.
    silent: Vec<usize>,
    /// Those that are done but stand on something that is to be done again, each with that: see [`gates`].
    undermined: Vec<(usize, usize)>,
}

impl Tally {
    /// What there is to say as long as some are not done.
    ///
    /// Where failures are allowed, who cannot come counts as one: some of 500 machines are always away.
    fn all(&self, plan: &Plan, id: &str, allow_failed: usize, ended: &[Option<Status>]) -> Option<Status> {
        if let Some(blocked) = self.too_many(plan, id, allow_failed) {
            return Some(blocked);
        }
        let forgiven = allow_failed > 0 && self.failed.len() + self.stuck.len() <= allow_failed;
        let mut left = self.open.iter().filter(|o| !forgiven || !self.stuck.contains(o));
        let Some(first) = left.next() else {
            // Where some may be missing, those that were there once are enough.
            let (_, beneath) = self.undermined.first().filter(|_| allow_failed == 0)?;
            return not_done(plan, ended, *beneath);
        };
        let more = match left.count() {
            0 => String::new(),
            n => format!(" and {n} more"),
        };
        Some(Status::Waiting { why: format!("{id} on {}{more}", plan.steps[*first].node) })
    }

    fn too_many(&self, plan: &Plan, id: &str, allow_failed: usize) -> Option<Status> {
        let failed = self.failed.get(allow_failed)?;
        let node = &plan.steps[*failed].node;
        let more = if allow_failed > 0 {
            format!(" and {allow_failed} more, which is too many")
        } else {
            String::new()
        };
        Some(Status::Blocked { why: format!("{id} on {node} failed{more}") })
    }

    /// The turn of instance `i`: fewer than `width` that stand before it are not done.
    ///
    /// Without allowed failures the order is strict, so that no two members of a quorum can be at it: whoever is not
    /// done holds its turn, wherever it is. With them, who cannot come to it holds none; of the silent ones, who may be
    /// in the middle of it, as many as may fail.
    fn turn(&self, plan: &Plan, i: usize, width: usize, allow_failed: usize) -> Option<Status> {
        if let Some(blocked) = self.too_many(plan, &plan.steps[i].id, allow_failed) {
            return Some(blocked);
        }
        let before = |list: &[usize]| list.partition_point(|o| *o < i);
        let open = before(&self.open);
        let at_it = if allow_failed == 0 {
            open
        } else {
            let silent = before(&self.silent);
            open - (before(&self.stuck) - silent) - silent.min(allow_failed - self.failed.len())
        };
        let last = self.open[..open].iter().rfind(|o| allow_failed == 0 || !self.stuck.contains(o));
        let last = last.or(self.open[..open].last()).filter(|_| at_it >= width)?;
        Some(Status::Waiting { why: format!("its turn after {}", plan.steps[*last].node) })
    }
}

/// What there is to say of a step that is not done.
fn not_done(plan: &Plan, ended: &[Option<Status>], i: usize) -> Option<Status> {
    let Planned { id, node, .. } = &plan.steps[i];
    match &ended[i] {
        Some(Status::Failed { .. }) => Some(Status::Blocked { why: format!("{id} on {node} failed") }),
        Some(_) => None,
        None => Some(Status::Waiting { why: format!("{id} on {node}") }),
    }
}

/// Where nodes have different versions of one package, a sentence that says who and what to do.
///
/// The version that most nodes have is taken for the right one; of two that are equally frequent the later in the alphabet.
fn versions(plan: &Plan, work: &Work, id: &str) -> Option<String> {
    let mut all: BTreeMap<&str, BTreeMap<&str, Vec<&str>>> = BTreeMap::new();
    for p in plan.steps.iter().filter(|p| p.id == id) {
        for (package, version) in work.outcome(p.mac, id).into_iter().flat_map(|o| &o.versions) {
            all.entry(package).or_default().entry(version).or_default().push(&p.node);
        }
    }
    let (package, found) = all.into_iter().find(|(_, versions)| versions.len() > 1)?;
    let (usual, those) = found.iter().max_by_key(|(_, nodes)| nodes.len())?;
    let (other, nodes) = found.iter().find(|(version, _)| *version != usual)?;
    let node = nodes[0];
    Some(format!(
        "one version of {package}, which is {other} on {} and {usual} on {}: give {node} the others' version with its package manager, then \
         `bootstead steps --retry --node {node} --step {id}`",
        nodes.join(", "),
        those.join(", "),
    ))
}

/// Pure: the plan, what became of its steps, and who is there now.
///
/// What was done stands on what it needs: where that is to be done again, what comes after both waits, though its own need
/// is done. A keystone that answered yesterday does not know today's password before its steps are through. Only needs on
/// the same node count for this: a node that is away holds up those that need it, not all that ever followed from it.
pub fn gates(plan: &Plan, work: &Work, presence: &dyn Fn(Mac) -> Presence) -> Gates {
    let mut ended: Vec<Option<Status>> = plan.steps.iter().map(|p| ended(p, work)).collect();
    services(plan, work, &mut ended);
    late(plan, work, &mut ended);
    let mut tallies: HashMap<&str, Tally> = HashMap::new();
    let mut own: HashMap<(&str, &str), usize> = HashMap::with_capacity(plan.steps.len());
    for (i, p) in plan.steps.iter().enumerate() {
        own.insert((p.node.as_str(), p.id.as_str()), i);
        let tally = tallies.entry(&p.id).or_default();
        tally.total += 1;
        match &ended[i] {
            Some(Status::Failed { .. }) => tally.failed.push(i),
            Some(_) => tally.done += 1,
            None => tally.open.push(i),
        }
    }
    let mut differ: HashMap<&str, Option<String>> = HashMap::new();
    for need in plan.steps.iter().zip(&ended).filter(|(_, e)| e.is_none()).flat_map(|(p, _)| &p.needs) {
        if let Need::Same { id } = need {
            differ.entry(id).or_insert_with(|| versions(plan, work, id));
        }
    }
    let mut stuck = vec![false; plan.steps.len()];
    // What a step stands on that is not done: itself, or the first such one of what it needs on its node.
    let mut beneath: Vec<Option<usize>> = vec![None; plan.steps.len()];
    let mut status = Vec::with_capacity(plan.steps.len());
    // In the plan's order: what a step needs was looked at before it.
    for (i, (p, end)) in plan.steps.iter().zip(&ended).enumerate() {
        let before = |id: &str| own.get(&(p.node.as_str(), id)).copied();
        if let Some(end) = end {
            let needs = p.needs.iter().filter_map(|n| if let Need::Own(id) = n { before(id) } else { None });
            let failed = matches!(end, Status::Failed { .. });
            beneath[i] = match end {
                Status::Failed { .. } => Some(i),
                // A person said that it counts.
                Status::Skipped => None,
                _ => needs.filter_map(|o| beneath[o]).next(),
            };
            stuck[i] = failed || beneath[i].is_some_and(|b| stuck[b]);
            if let Some(b) = beneath[i].filter(|_| !failed)
                && let Some(tally) = tallies.get_mut(p.id.as_str())
            {
                tally.undermined.push((i, b));
            }
            status.push(end.clone());
            continue;
        }
        beneath[i] = Some(i);
        let mut open: Vec<Status> = Vec::new();
        for need in &p.needs {
            open.extend(match need {
                Need::Own(id) => before(id).and_then(|o| {
                    stuck[i] |= stuck[o];
                    beneath[o].and_then(|b| not_done(plan, &ended, b))
                }),
                Need::All { id, allow_failed } => {
                    tallies.get(id.as_str()).and_then(|t| t.all(plan, id, *allow_failed, &ended))
                }
                Need::Turn { id, width, allow_failed } => {
                    tallies.get(id.as_str()).and_then(|t| t.turn(plan, i, *width, *allow_failed))
                }
                Need::Same { id } => {
                    let incomplete = tallies.get(id.as_str()).and_then(|t| t.all(plan, id, 0, &ended));
                    let differ = || differ.get(id.as_str()).cloned().flatten();
                    incomplete.or_else(|| differ().map(|why| Status::Blocked { why }))
                }
            });
        }
        let present = presence(p.mac);
        // What cannot come by itself is the news.
        let blocked = open.iter().find(|s| matches!(s, Status::Blocked { .. }));
        let now = blocked.or(open.first()).cloned().unwrap_or_else(|| here(p, present));
        stuck[i] |= matches!(now, Status::Blocked { .. }) || !matches!(present, Presence::Here { .. });
        if let Some(tally) = tallies.get_mut(p.id.as_str()).filter(|_| stuck[i]) {
            tally.stuck.push(i);
            if present == Presence::Silent {
                tally.silent.push(i);
            }
        }
        status.push(now);
    }
    Gates { status }
}

/// Which steps of a plan that is not in use yet would be done if it were, in the plan's order.
pub fn open(plan: &Plan, work: &Work) -> Vec<bool> {
    // As it will be then: what was seen to differ is to be mended.
    let mut work = work.clone();
    if let Some(current) = &mut work.plan {
        current.generation += 1;
        current.again = false;
    }
    let all = gates(plan, &work, &|_| Presence::Here { ahead: 0 });
    all.status.iter().map(|s| !matches!(s, Status::Done { .. } | Status::Skipped)).collect()
}

fn here(p: &Planned, presence: Presence) -> Status {
    let waiting = |why: String| Status::Waiting { why };
    match presence {
        Presence::Never => waiting(format!("the agent of {} to join", p.node)),
        Presence::Silent => waiting(format!("{} to be heard of again", p.node)),
        Presence::Here { ahead } if ahead.abs() > CLOCK => waiting(format!(
            "the clock of {}, which is {} s {}",
            p.node,
            ahead.abs() / 1000,
            if ahead > 0 { "ahead" } else { "behind" }
        )),
        Presence::Here { .. } => Status::Ready,
    }
}

/// A service is looked at again when one of its files is to be done, or was changed after the service was seen to.
fn services(plan: &Plan, work: &Work, ended: &mut [Option<Status>]) {
    let mut writers: HashMap<(&str, &str), usize> = HashMap::new();
    for (i, p) in plan.steps.iter().enumerate() {
        if let Step::File { path, .. } | Step::Link { path, .. } | Step::Remove { path } = &p.step {
            writers.insert((&p.node, path), i);
        }
    }
    for (i, p) in plan.steps.iter().enumerate() {
        let Step::Service(service) = &p.step else { continue };
        let Some(seen) = work.outcome(p.mac, &p.id).map(|o| o.at) else { continue };
        let news =
            service.files.iter().filter_map(|f| writers.get(&(p.node.as_str(), f.as_str()))).any(|w| {
                let newer = || {
                    let outcome = work.outcome(p.mac, &plan.steps[*w].id);
                    outcome.is_some_and(|o| o.at > seen && matches!(o.end, End::Done { changed: true, .. }))
                };
                ended[*w].is_none() || newer()
            });
        if news && matches!(ended[i], Some(Status::Done { .. })) {
            ended[i] = None;
        }
    }
}

/// What went on although some were missing is done again when they came: a compute that arrives late is discovered.
fn late(plan: &Plan, work: &Work, ended: &mut [Option<Status>]) {
    for (i, p) in plan.steps.iter().enumerate() {
        if !matches!(ended[i], Some(Status::Done { .. })) {
            continue;
        }
        let Some(done) = outcome(p, work).map(|o| o.at) else { continue };
        let news = p.needs.iter().any(|need| match need {
            Need::All { id, allow_failed } if *allow_failed > 0 => {
                let mut all = work.outcomes_of(id);
                all.any(|(_, o)| o.at > done && matches!(o.end, End::Done { .. }))
            }
            _ => false,
        });
        if news {
            ended[i] = None;
        }
    }
}

/// How a step ended, if it did: by this plan, or by an earlier one that had the same step.
fn ended(p: &Planned, work: &Work) -> Option<Status> {
    let current = work.plan.as_ref();
    let outcome = outcome(p, work)?;
    match &outcome.end {
        End::Done { changed, .. } => {
            let now = current.is_none_or(|c| outcome.generation >= c.generation);
            Some(Status::Done { changed: *changed && now })
        }
        End::Skipped { .. } => Some(Status::Skipped),
        End::Failed { why, .. } => Some(Status::Failed { why: why.clone() }),
        // Whoever looks changes nothing: the next plan that is put to work mends it.
        End::Drifted { .. } => {
            let waits = current.is_none_or(|c| outcome.generation >= c.generation);
            waits.then_some(Status::Done { changed: false })
        }
    }
}

/// What counts of what is known of a step.
fn outcome<'a>(p: &'a Planned, work: &'a Work) -> Option<&'a Outcome> {
    let current = work.plan.as_ref();
    let counts = |o: &&Outcome| {
        o.digest == p.digest && current.is_none_or(|c| !c.again || o.generation >= c.generation)
    };
    if !p.once {
        return work.outcome(p.mac, &p.id).filter(counts);
    }
    let all = work.outcomes_of(&p.id).map(|(_, o)| o).chain(work.kept(&p.id));
    all.filter(counts).max_by_key(|o| (matches!(o.end, End::Done { .. } | End::Skipped { .. }), o.at))
}
