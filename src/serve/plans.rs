//! Owns the operator's routes about the cluster: the plan in use, putting one to work, steps that failed, looks.

use super::agents::listed;
use super::collected;
use super::control::{problem, sorry};
use super::reply::Reply;
use super::routes::{Asked, Target};
use super::shared::Shared;
use super::works::Looking;
use crate::api::{Apply, Collected, LookKind, LookWish, Seen, StepWish};
use crate::base::Mac;
use crate::cluster::drill::{self, Act, drills};
use crate::cluster::view::Phase;
use crate::cluster::{Presence, Status, backups, looks, recovery, restores};
use crate::lifecycle::{Event, What};
use crate::problem::{Problem, Problems};
use crate::steps::{BringBack, Step, versioned};
use hyper::StatusCode;
use serde::Serialize;
use std::collections::HashMap;
use std::sync::Arc;

#[derive(Serialize)]
struct Adopted {
    generation: u32,
    steps: usize,
}

#[derive(Serialize)]
struct Changed {
    /// `node step`
    steps: Vec<String>,
}

#[derive(Serialize)]
struct Asking {
    number: u64,
    things: usize,
}

/// Answers one of the operator's requests.
pub async fn serve(shared: &Arc<Shared>, target: Target, asked: &Asked) -> Reply {
    match target {
        Target::Plan => match listed(shared) {
            Some(list) => Reply::json(StatusCode::OK, &list),
            None => sorry(
                StatusCode::NOT_FOUND,
                "no plan was put to work yet".to_string(),
                Some("look at one with `bootstead plan`, then `bootstead apply`".to_string()),
            ),
        },
        Target::Apply => read(asked, |wish: Apply| apply(shared, wish)).await,
        Target::Steps => read(asked, |wish: StepWish| steps(shared, wish)).await,
        Target::Look => read(asked, |wish: LookWish| look(shared, wish)).await,
        Target::Looks => Reply::json(StatusCode::OK, &shared.works.seen()),
        Target::Drills => {
            let world = shared.hub.world();
            match drills(&world.site, &world.catalog, shared.hub.ledger().work()) {
                Ok(list) => Reply::json(StatusCode::OK, &list),
                Err(problems) => sorry(StatusCode::CONFLICT, problems.to_string(), None),
            }
        }
        _ => Reply::not_found("such route"),
    }
}

async fn read<T, F, R>(asked: &Asked, then: F) -> Reply
where
    T: serde::de::DeserializeOwned,
    F: FnOnce(T) -> R,
    R: Future<Output = Reply>,
{
    match serde_json::from_slice(&asked.body) {
        Ok(wish) => then(wish).await,
        Err(e) => sorry(StatusCode::BAD_REQUEST, format!("the request cannot be read: {e}"), None),
    }
}

async fn apply(shared: &Arc<Shared>, wish: Apply) -> Reply {
    let working = shared.clone();
    match tokio::task::spawn_blocking(move || working.works.adopt(&working, &wish)).await {
        Ok(Ok(adopted)) => {
            let (generation, steps) = (adopted.generation, adopted.plan.steps.len());
            tracing::info!("plan {generation} is put to work: {steps} steps");
            Reply::json(StatusCode::OK, &Adopted { generation, steps })
        }
        Ok(Err(problems)) => sorry(StatusCode::CONFLICT, problems.to_string(), None),
        Err(e) => problem(&Problem::fault(format!("planning stopped: {e}"))),
    }
}

/// Failed steps are tried again, or skipped.
async fn steps(shared: &Arc<Shared>, wish: StepWish) -> Reply {
    let Some(adopted) = shared.works.adopted() else {
        return sorry(StatusCode::NOT_FOUND, "no plan was put to work yet".to_string(), None);
    };
    if wish.skip.as_deref().is_some_and(|why| why.trim().is_empty()) {
        return sorry(StatusCode::BAD_REQUEST, "a skip needs its reason".to_string(), None);
    }
    if wish.skip.is_some() && (wish.node.is_none() || wish.step.is_none()) {
        return sorry(StatusCode::BAD_REQUEST, "a skip is for one step on one node".to_string(), None);
    }
    let gates = shared.works.gates(shared, &adopted);
    let named = wish.node.is_some() && wish.step.is_some();
    let ended = |s: &Status| matches!(s, Status::Done { .. } | Status::Skipped);
    let mut done = Vec::new();
    for (p, status) in adopted.plan.steps.iter().zip(&gates.status) {
        let meant = wish.node.as_ref().is_none_or(|n| *n == p.node)
            && wish.step.as_ref().is_none_or(|s| *s == p.id)
            && match &wish.skip {
                // One that is done is gone through again where a person names it and its node.
                None => matches!(status, Status::Failed { .. }) || named && ended(status),
                Some(_) => !ended(status),
            };
        if !meant {
            continue;
        }
        let (step, by) = (p.id.clone(), wish.by.clone());
        let what = match &wish.skip {
            None => What::StepRetried { step, by },
            Some(why) => What::StepSkipped { step, digest: p.digest, why: why.clone(), by },
        };
        if let Err(e) = shared.to.record(Event::new(shared.clock.now(), p.mac, what)).await {
            return sorry(StatusCode::SERVICE_UNAVAILABLE, e.to_string(), None);
        }
        done.push(format!("{} {}", p.node, p.id));
    }
    if done.is_empty() {
        let help = Some("`bootstead steps` lists them".to_string());
        return sorry(StatusCode::NOT_FOUND, "no such step failed".to_string(), help);
    }
    Reply::json(StatusCode::OK, &Changed { steps: done })
}

/// Has agents look at their nodes.
async fn look(shared: &Arc<Shared>, wish: LookWish) -> Reply {
    let kind = wish.kind;
    if let Some(node) = shared.works.bringing(shared.clock.now()) {
        let why =
            format!("{node} is bringing a part back; nothing else is asked of the nodes until it is through");
        return sorry(StatusCode::CONFLICT, why, Some("wait for `bootstead restore` to end".to_string()));
    }
    let mut wanted = match kind {
        LookKind::Restore => {
            let working = shared.clone();
            let asked = wish.clone();
            match tokio::task::spawn_blocking(move || restoring(&working, &asked)).await {
                Ok(Ok(wanted)) => wanted,
                Ok(Err(problems)) => return sorry(StatusCode::CONFLICT, problems.to_string(), None),
                Err(e) => return problem(&Problem::fault(format!("the restore stopped: {e}"))),
            }
        }
        LookKind::Recover => match recovering(shared, &wish) {
            Ok(wanted) => wanted,
            Err(problems) => return sorry(StatusCode::CONFLICT, problems.to_string(), None),
        },
        LookKind::Drill => match drilling(shared, &wish) {
            Ok(wanted) => wanted,
            Err(problems) => return sorry(StatusCode::CONFLICT, problems.to_string(), None),
        },
        LookKind::Verify | LookKind::Backup => {
            let world = shared.hub.world();
            let ledger = shared.hub.ledger();
            let found = match kind {
                LookKind::Backup => backups(&world.site, &world.catalog, ledger.work()),
                _ => looks(&world.site, &world.catalog, ledger.work()),
            };
            match found {
                Ok(list) => list
                    .into_iter()
                    .map(|l| pair(l.node, l.mac, l.id, l.title, l.step, l.timeout, false))
                    .collect::<Vec<_>>(),
                Err(problems) => return sorry(StatusCode::CONFLICT, problems.to_string(), None),
            }
        }
        LookKind::DryRun => match dry_run(shared, wish.node.as_deref()) {
            Ok(wanted) => wanted,
            Err(problems) => return sorry(StatusCode::CONFLICT, problems.to_string(), None),
        },
        LookKind::Drift => {
            let Some(adopted) = shared.works.adopted() else {
                return sorry(StatusCode::NOT_FOUND, "no plan was put to work yet".to_string(), None);
            };
            let gates = shared.works.gates(shared, &adopted);
            let done = adopted.plan.steps.iter().zip(gates.status);
            let done = done.filter(|(p, s)| matches!(s, Status::Done { .. }) && p.step.can_compare());
            done.map(|(p, _)| {
                let title = p.step.sentence();
                pair(p.node.clone(), p.mac, p.id.clone(), title, p.step.clone(), 60, true)
            })
            .collect()
        }
    };
    // What is compared is the plan's own step; the others hold secrets as they are now.
    if !matches!(kind, LookKind::Drift | LookKind::DryRun) {
        let versions = match crate::secrets::versions(&shared.state) {
            Ok(versions) => versions,
            Err(e) => return problem(&e),
        };
        for text in wanted.iter_mut().flat_map(|(_, l)| l.step.texts_mut()) {
            match versioned(text, &versions) {
                Ok(with) => *text = with,
                Err(why) => return problem(&Problem::fault(why)),
            }
        }
    }
    let things = wanted.len();
    let number = shared.works.look(kind, wanted, wish.beside);
    Reply::json(StatusCode::OK, &Asking { number, things })
}

/// What the plan of now has still to do, to be compared with the nodes.
fn dry_run(shared: &Arc<Shared>, node: Option<&str>) -> Result<Vec<(Seen, Looking)>, Problems> {
    let world = shared.hub.world();
    let versions = crate::secrets::versions(&shared.state)?;
    let ledger = shared.hub.ledger();
    let plan = crate::cluster::plan(&world.site, &world.catalog, ledger.work(), &versions)?;
    let open = crate::cluster::gates::open(&plan, ledger.work());
    drop(ledger);
    let meant = plan
        .steps
        .into_iter()
        .zip(open)
        .filter(|(p, open)| *open && p.step.can_compare() && node.is_none_or(|n| n == p.node));
    Ok(meant.map(|(p, _)| pair(p.node, p.mac, p.id, p.step.sentence(), p.step, 60, true)).collect())
}

/// What is overwritten is a person's decision: it is on the node's timeline. Never beside a plan at work.
fn restoring(shared: &Arc<Shared>, wish: &LookWish) -> Result<Vec<(Seen, Looking)>, Problems> {
    if let Some(adopted) = shared.works.adopted() {
        let gates = shared.works.gates(shared, &adopted);
        let at_it = adopted.plan.steps.iter().zip(&gates.status).find(|(_, s)| **s == Status::Ready);
        if let Some((p, _)) = at_it {
            return Err(Problem::input(format!("the plan is at work: {} on {} is being done", p.id, p.node))
                .why("its steps and what is brought back would write the same data")
                .help("wait until `bootstead steps` shows nothing that is being done, then try again")
                .into());
        }
    }
    let world = shared.hub.world();
    let part = wish.part.as_deref().unwrap_or_default();
    let found = {
        let ledger = shared.hub.ledger();
        restores(&world.site, &world.catalog, ledger.work(), part)?
    };
    let mut out = Vec::new();
    for l in found {
        let path = collected::back(&shared.state, &l.node, part);
        let Step::Run(run) = l.step else { continue };
        if !path.exists() {
            continue;
        }
        let Collected { bytes, sha256 } = collected::measure(&path)?;
        let line = format!("restore of {part}: what is here is overwritten, as an operator decided");
        shared.to.note(Event::new(shared.clock.now(), l.mac, What::Log { line }));
        let step = Step::BringBack(BringBack { run, bytes, sha256 });
        let (seen, looking) = pair(l.node, l.mac, l.id, l.title, step, l.timeout, false);
        out.push((seen, Looking { once: true, ..looking }));
    }
    if out.is_empty() {
        return Err(Problem::input(format!("there is no archive of {part} for any of its nodes")).into());
    }
    Ok(out)
}

/// A recovery is a person's decision about data: it is on every member's timeline.
fn recovering(shared: &Arc<Shared>, wish: &LookWish) -> Result<Vec<(Seen, Looking)>, Problems> {
    let world = shared.hub.world();
    let phase = match wish.phase.as_deref() {
        Some("begin") => Phase::Begin,
        Some("join") => Phase::Join,
        _ => Phase::State,
    };
    let part = wish.part.as_deref().unwrap_or_default();
    let node = wish.node.as_deref();
    let found = {
        let ledger = shared.hub.ledger();
        recovery(&world.site, &world.catalog, ledger.work(), part, phase, node)?
    };
    if phase != Phase::State {
        for l in &found {
            let line = format!("recovery of {part}: {} here, as an operator decided", phase.name());
            shared.to.note(Event::new(shared.clock.now(), l.mac, What::Log { line }));
        }
    }
    Ok(found.into_iter().map(|l| pair(l.node, l.mac, l.id, l.title, l.step, l.timeout, false)).collect())
}

/// What is broken on purpose is on the node's timeline before it is broken.
fn drilling(shared: &Arc<Shared>, wish: &LookWish) -> Result<Vec<(Seen, Looking)>, Problems> {
    let name = wish.part.as_deref().unwrap_or_default();
    let act = match wish.phase.as_deref() {
        Some("measure") => Act::Measure,
        Some("break") => Act::Break,
        Some("mend") => Act::Mend,
        _ => Act::Find,
    };
    let (world, now) = (shared.hub.world(), shared.clock.now());
    let here = |mac| matches!(shared.works.presence(shared, mac, now), Presence::Here { .. });
    let present: HashMap<Mac, bool> = world.site.nodes.iter().map(|n| (n.mac(), here(n.mac()))).collect();
    let found = {
        let ledger = shared.hub.ledger();
        let here = |mac: Mac| present.get(&mac).copied().unwrap_or(false);
        drill::act(&world.site, &world.catalog, ledger.work(), name, act, wish.node.as_deref(), &here)?
    };
    if act == Act::Break {
        for l in &found {
            let line = format!("drill {name}: broken here on purpose, as an operator decided");
            shared.to.note(Event::new(now, l.mac, What::Log { line }));
        }
    }
    let once = act == Act::Break;
    let pairs = found.into_iter().map(|l| {
        let (seen, looking) = pair(l.node, l.mac, l.id, l.title, l.step, l.timeout, false);
        (seen, Looking { once, ..looking })
    });
    Ok(pairs.collect())
}

fn pair(
    node: String,
    mac: Mac,
    id: String,
    title: String,
    step: Step,
    timeout: u32,
    compare: bool,
) -> (Seen, Looking) {
    let seen = Seen { node, id: id.clone(), title, begun: None, found: None };
    (seen, Looking { number: 0, mac, id, step, timeout, compare, once: false })
}
