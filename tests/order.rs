//! In which order things come that fail where another one was first: accounts before the services that use them, and a
//! second plan's changes before what stands on them.

#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use bootstead::base::Timestamp;
use bootstead::cluster::{Need, Plan, Planned, Status, gates, plan};
use bootstead::lifecycle::{What, Work};
use bootstead::profiles::secret::{Rotate, way};
use bootstead::steps::{SECRET, Step};
use proptest::prelude::*;
use std::collections::{BTreeMap, BTreeSet};

mod planned;
use planned::{catalog, done, finish, first_plan, here, lab, site};

/// Every step that is done before step `i` may begin, by the needs alone.
fn before(plan: &Plan, i: usize) -> BTreeSet<usize> {
    let (mut found, mut open) = (BTreeSet::new(), vec![i]);
    while let Some(at) = open.pop() {
        for need in &plan.steps[at].needs {
            let (id, own) = match need {
                Need::Own(id) => (id, true),
                Need::All { id, .. } | Need::Same { id } => (id, false),
                Need::Turn { .. } => continue,
            };
            let node = &plan.steps[at].node;
            let meant =
                plan.steps.iter().enumerate().filter(|(_, p)| p.id == *id && (!own || p.node == *node));
            open.extend(meant.map(|(n, _)| n).filter(|n| found.insert(*n)));
        }
    }
    found
}

/// nova-conductor ends for good where keystone does not know the account yet that its file names. The console proxy reads
/// the same file, but asks the database alone.
#[test]
fn no_service_starts_before_the_accounts_that_its_files_name() {
    let text = include_str!("lab/cloud.site.toml");
    for plan in [first_plan(&lab()), first_plan(&site(text))] {
        let makes = |p: &&Planned| match &p.step {
            Step::Run(run) => {
                ["libexec/bootstead/register <<", "make-database "].iter().any(|w| run.script.contains(w))
            }
            _ => false,
        };
        let (mut asked, mut early) = (0, Vec::new());
        for (i, p) in plan.steps.iter().enumerate() {
            let Step::Service(service) = &p.step else { continue };
            if p.id == "nova.novnc" {
                continue;
            }
            let texts: Vec<&str> = plan
                .steps
                .iter()
                .filter(|f| f.node == p.node)
                .filter_map(|f| match &f.step {
                    Step::File { path, content, .. } if service.files.contains(path) => {
                        Some(content.as_str())
                    }
                    _ => None,
                })
                .collect();
            let earlier = before(&plan, i);
            for (n, maker) in plan.steps.iter().enumerate().filter(|(_, p)| makes(p)) {
                let Step::Run(run) = &maker.step else { continue };
                for secret in run.env.values().filter(|v| v.starts_with(SECRET) && !v.contains("-admin")) {
                    if texts.iter().any(|t| t.contains(secret.as_str())) {
                        asked += 1;
                        if !earlier.contains(&n) {
                            early.push(format!(
                                "{} on {} may start before {} made {secret}",
                                p.id, p.node, maker.id
                            ));
                        }
                    }
                }
            }
        }
        assert!(early.is_empty(), "{}", early.join("\n"));
        assert!(asked > 20, "{asked} services with accounts");
    }
}

/// The plan of a working cluster whose secrets are all made anew, as far as a plan may do that.
fn all_rotated() -> (Plan, Work) {
    let site = lab();
    let mut work = Work::default();
    finish(&first_plan(&site), &mut work, 1);
    let parts: BTreeSet<&String> = site.roles.values().flat_map(|r| &r.parts).collect();
    let names = parts.iter().flat_map(|p| catalog().parts[*p].secrets.keys());
    let by_plan = |n: &&String| matches!(way(&catalog().parts, n).0, Rotate::Steps | Rotate::Together);
    let rotated: BTreeMap<String, u32> = names.filter(by_plan).map(|n| (n.clone(), 2)).collect();
    assert!(rotated.len() >= 10, "{rotated:?}");
    let plan = plan(&site, catalog(), &work, &rotated).unwrap_or_else(|p| panic!("{p}"));
    let what = What::Planned {
        generation: 2,
        digest: plan.digest(),
        steps: plan.steps.len(),
        by: "test".into(),
        again: false,
        elected: plan.elected.clone(),
        rotated,
    };
    work.apply(Timestamp(2_000_000), None, &what);
    (plan, work)
}

/// Whether step `i` is done, and so is what it stands on: its needs on its own node, theirs, and so on.
fn stands(plan: &Plan, i: usize, status: &[Status]) -> bool {
    let p = &plan.steps[i];
    let is_done = matches!(status[i], Status::Done { .. });
    is_done
        && p.needs.iter().all(|need| match need {
            Need::Own(id) => {
                let own = plan.steps[..i].iter().position(|o| o.node == p.node && o.id == *id);
                own.is_none_or(|o| stands(plan, o, status))
            }
            _ => true,
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 12, ..ProptestConfig::default() })]
    /// keystone's token is asked for with the new password when the steps that change it are through, though the step
    /// that it needs was done by the first plan and has no news: what that one stands on has.
    #[test]
    fn what_stands_on_a_change_waits_for_it_in_a_second_plan(choices in proptest::collection::vec(any::<u16>(), 600)) {
        let (plan, mut work) = all_rotated();
        let mut choices = choices.into_iter().cycle();
        let mut now = gates(&plan, &work, &here).status;
        let open = now.iter().filter(|s| !matches!(s, Status::Done { .. })).count();
        prop_assert!(open > 30 && open < plan.steps.len(), "{open} of {}", plan.steps.len());
        let mut clock = 2_000_000;
        loop {
            let ready: Vec<usize> = (0..plan.steps.len()).filter(|i| now[*i] == Status::Ready).collect();
            for i in &ready {
                let p = &plan.steps[*i];
                for need in &p.needs {
                    let (id, own) = match need {
                        Need::Own(id) => (id, true),
                        Need::All { id, allow_failed: 0 } => (id, false),
                        _ => continue,
                    };
                    let meant = |o: &&(usize, &Planned)| o.1.id == *id && (!own || o.1.node == p.node);
                    for (o, needed) in plan.steps.iter().enumerate().collect::<Vec<_>>().iter().filter(meant) {
                        prop_assert!(
                            stands(&plan, *o, &now),
                            "{} on {} begins before what {} on {} stands on is through", p.id, p.node, needed.id, needed.node
                        );
                    }
                }
            }
            if ready.is_empty() {
                break;
            }
            for _ in 0..=choices.next().unwrap() % 5 {
                let p = &plan.steps[ready[choices.next().unwrap() as usize % ready.len()]];
                clock += 1;
                work.apply(Timestamp(clock), Some(p.mac), &done(&p.id, p.digest, 2));
            }
            now = gates(&plan, &work, &here).status;
        }
        prop_assert!(now.iter().all(|s| matches!(s, Status::Done { .. })), "the plan ends");
    }
}

#[test]
fn what_is_skipped_stands_by_a_persons_word() {
    let (plan, mut work) = all_rotated();
    let of = |work: &Work, id: &str| {
        let i = plan.steps.iter().position(|p| p.node == "ctl1" && p.id == id).unwrap();
        gates(&plan, work, &here).status[i].clone()
    };
    let Status::Waiting { why } = of(&work, "keystone.token") else {
        panic!("{:?}", of(&work, "keystone.token"))
    };
    assert!(
        !why.contains("keystone.up"),
        "the step that is to be done is named, not the one that was: {why}"
    );
    let up = plan.steps.iter().find(|p| p.node == "ctl1" && p.id == "keystone.up").unwrap();
    let skip =
        What::StepSkipped { step: up.id.clone(), digest: up.digest, by: "test".into(), why: "seen".into() };
    work.apply(Timestamp(2_000_001), Some(up.mac), &skip);
    for p in plan.steps.iter().filter(|p| p.node == "ctl1" && p.id.starts_with("client.")) {
        work.apply(Timestamp(2_000_002), Some(p.mac), &done(&p.id, p.digest, 2));
    }
    assert_eq!(of(&work, "keystone.token"), Status::Ready);
}
