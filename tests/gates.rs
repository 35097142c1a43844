//! What of a plan may be done now: versions, batches, machines that are away, what was done once.

#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use bootstead::base::{Mac, Timestamp};
use bootstead::cluster::{Presence, Status, gates, plan};
use bootstead::lifecycle::{What, Work};
use bootstead::steps::Step;
use std::collections::BTreeMap;

mod planned;
use planned::{catalog, done, finish, first_plan, here, lab, reference};

/// A success of a step of packages with these versions.
fn packages(p: &bootstead::cluster::plan::Planned, version: &str) -> What {
    let Step::Packages { names } = &p.step else { panic!("{} is no step of packages", p.id) };
    let versions = names.iter().map(|n| (n.clone(), version.to_string())).collect();
    let (step, digest) = (p.id.clone(), p.digest);
    What::StepDone {
        generation: 1,
        step,
        digest,
        changed: true,
        millis: 1,
        output: String::new(),
        once: false,
        versions,
    }
}

#[test]
fn a_quorum_is_not_begun_with_members_of_two_versions() {
    let site = lab();
    let plan = first_plan(&site);
    let mut work = Work::default();
    let first = |id: &str| plan.steps.iter().find(|p| p.id == id).unwrap();
    let bootstrap = first("galera.bootstrap");
    // Everything before the bootstrap is done; one member has an older server.
    for p in &plan.steps {
        if p.id == "galera.packages" {
            let version = if p.node == bootstrap.node { "11.4.1" } else { "11.4.2" };
            work.apply(Timestamp(1), Some(p.mac), &packages(p, version));
        } else if p.id != "galera.bootstrap" {
            work.apply(Timestamp(1), Some(p.mac), &done(&p.id, p.digest, 1));
        }
    }
    let status = |work: &Work| {
        let i = plan.steps.iter().position(|p| p.id == "galera.bootstrap").unwrap();
        gates(&plan, work, &here).status[i].clone()
    };
    let Status::Blocked { why } = status(&work) else { panic!("{:?}", status(&work)) };
    assert!(why.contains("11.4.1") && why.contains("11.4.2"), "{why}");
    let retry = format!("steps --retry --node {} --step galera.packages", bootstrap.node);
    assert!(why.contains(&retry), "the one that is alone is named: {why}");
    // The node was given the others' version, and the step was gone through again.
    let p = plan.find(&bootstrap.node, "galera.packages").unwrap();
    work.apply(Timestamp(2), Some(p.mac), &packages(p, "11.4.2"));
    assert_eq!(status(&work), Status::Ready);
    // A step that was reported before versions were told stops nobody.
    work.apply(Timestamp(3), Some(p.mac), &done(&p.id, p.digest, 1));
    assert_eq!(status(&work), Status::Ready);
}

#[test]
fn computes_are_restarted_in_batches_and_too_many_failures_stop_them() {
    let site = reference(100);
    let before = first_plan(&site);
    let mut work = Work::default();
    finish(&before, &mut work, 1);
    // A second plan in which every compute's service is to be seen to.
    let plan = plan(&site, catalog(), &work, &BTreeMap::new()).unwrap_or_else(|p| panic!("{p}"));
    let services: Vec<usize> =
        (0..plan.steps.len()).filter(|i| plan.steps[*i].id == "nova-compute.service").collect();
    let retry = What::StepRetried { step: "nova-compute.service".into(), by: "test".into() };
    for i in &services {
        work.apply(Timestamp(2_000_000), Some(plan.steps[*i].mac), &retry);
    }
    let ready = |work: &Work, presence: &dyn Fn(Mac) -> Presence| -> Vec<usize> {
        let status = gates(&plan, work, presence).status;
        services.iter().copied().filter(|i| status[*i] == Status::Ready).collect()
    };
    assert_eq!(ready(&work, &here), services[..32], "the first batch");
    let end = |work: &mut Work, i: usize| {
        work.apply(
            Timestamp(2_000_000),
            Some(plan.steps[i].mac),
            &done(&plan.steps[i].id, plan.steps[i].digest, 1),
        );
    };
    end(&mut work, services[7]);
    assert_eq!(ready(&work, &here).last(), Some(&services[32]), "who is done makes room");
    // Machines that never came hold no turn; of those that are silent, as many as may fail.
    let away = |presence: Presence, count: usize| {
        let macs: Vec<Mac> = services[..count].iter().map(|i| plan.steps[*i].mac).collect();
        move |mac: Mac| if macs.contains(&mac) { presence } else { here(mac) }
    };
    assert_eq!(ready(&work, &away(Presence::Never, 40)).first(), Some(&services[40]));
    assert_eq!(ready(&work, &away(Presence::Never, 40)).len(), 32);
    assert_eq!(
        ready(&work, &away(Presence::Silent, 16)).len(),
        32 + 1 - 1,
        "sixteen silent ones are forgiven"
    );
    assert_eq!(ready(&work, &away(Presence::Silent, 60)).len(), 0, "sixty are not");
    for i in &services[40..57] {
        let p = &plan.steps[*i];
        let (step, digest) = (p.id.clone(), p.digest);
        let what = What::StepFailed { generation: 1, step, digest, why: "no".into(), output: String::new() };
        work.apply(Timestamp(7), Some(p.mac), &what);
    }
    assert!(ready(&work, &here).is_empty(), "seventeen that failed are too many");
    let status = gates(&plan, &work, &here).status;
    let Status::Blocked { why } = &status[services[60]] else { panic!("{:?}", status[services[60]]) };
    assert!(why.contains("failed and 16 more"), "{why}");
}

#[test]
fn computes_that_are_away_do_not_hold_up_discovery_and_late_ones_are_discovered() {
    let site = reference(20);
    let plan = first_plan(&site);
    let mut work = Work::default();
    finish(&plan, &mut work, 1);
    let computes: Vec<Mac> =
        plan.steps.iter().filter(|p| p.id == "nova-compute.service").map(|p| p.mac).collect();
    let reset = |work: &mut Work, mac: Mac, id: &str| {
        work.apply(
            Timestamp(2_000_000),
            Some(mac),
            &What::StepRetried { step: id.into(), by: "test".into() },
        );
    };
    let discover = plan.steps.iter().position(|p| p.id == "nova.discover").unwrap();
    let status = |work: &Work, away: &[Mac]| {
        let presence = |mac| if away.contains(&mac) { Presence::Never } else { here(mac) };
        gates(&plan, work, &presence).status[discover].clone()
    };
    // Three never came, the packages of a fourth could not be had: the others are discovered all the same.
    reset(&mut work, plan.steps[discover].mac, "nova.discover");
    for mac in &computes[..4] {
        reset(&mut work, *mac, "nova-compute.service");
    }
    let p = plan.steps.iter().find(|p| p.id == "nova-compute.packages" && p.mac == computes[3]).unwrap();
    let (step, digest) = (p.id.clone(), p.digest);
    let what = What::StepFailed { generation: 1, step, digest, why: "no".into(), output: String::new() };
    work.apply(Timestamp(2_000_001), Some(p.mac), &what);
    assert_eq!(status(&work, &computes[..3]), Status::Ready);
    // One that is here and at it is waited for.
    assert!(matches!(status(&work, &computes[..2]), Status::Waiting { .. }));
    let p = &plan.steps[discover];
    work.apply(Timestamp(2_000_002), Some(p.mac), &done(&p.id, p.digest, 1));
    assert!(matches!(status(&work, &computes[..3]), Status::Done { .. }));
    // One of the three arrives late.
    let late = plan.steps.iter().find(|p| p.id == "nova-compute.service" && p.mac == computes[0]).unwrap();
    work.apply(Timestamp(2_000_003), Some(late.mac), &done(&late.id, late.digest, 1));
    assert_eq!(status(&work, &computes[1..3]), Status::Ready, "it is discovered");
}

#[test]
fn what_was_done_once_stays_done_when_its_node_is_installed_anew_and_ends_with_the_last_member() {
    let site = lab();
    let plan = first_plan(&site);
    let mut work = Work::default();
    finish(&plan, &mut work, 1);
    for p in plan.steps.iter().filter(|p| p.once) {
        let mut what = done(&p.id, p.digest, 1);
        if let What::StepDone { once, .. } = &mut what {
            *once = true;
        }
        work.apply(Timestamp(2_000_000), Some(p.mac), &what);
    }
    let bootstrap = plan.steps.iter().position(|p| p.id == "galera.bootstrap").unwrap();
    let members: Vec<Mac> = plan.steps.iter().filter(|p| p.id == "galera.packages").map(|p| p.mac).collect();
    assert_eq!(members.len(), 3);
    let forget = |work: &mut Work, mac: Mac| {
        work.apply(Timestamp(3_000_000), Some(mac), &What::Forgotten { by: "test".into() });
    };
    let status = |work: &Work| gates(&plan, work, &here).status[bootstrap].clone();
    forget(&mut work, plan.steps[bootstrap].mac);
    assert!(matches!(status(&work), Status::Done { .. }), "the database was begun, whoever began it");
    assert!(work.ever_done("galera.bootstrap"));
    for mac in &members {
        forget(&mut work, *mac);
    }
    assert!(!matches!(status(&work), Status::Done { .. }), "nobody has it any more: it is begun anew");
}
