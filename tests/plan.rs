//! The plan and its gates: stable, total, in an order that holds; nothing is done before what it needs.

#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use bootstead::base::{Mac, Secret, Sha256, Timestamp};
use bootstead::cluster::{Gates, Need, Plan, Presence, Status, audit::audit, gates, plan};
use bootstead::lifecycle::{What, Work};
use bootstead::site::{Catalog, Files, Site, check, context};
use bootstead::steps::Step;
use bootstead::tree::Tree;
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::sync::OnceLock;

fn catalog() -> &'static Catalog {
    static ONCE: OnceLock<Catalog> = OnceLock::new();
    ONCE.get_or_init(|| Catalog::read(&Tree::embedded()).unwrap())
}

fn site(text: &str) -> Site {
    let (site, problems) = check(&Files::only("site.toml", text), catalog());
    site.unwrap_or_else(|| panic!("{problems}"))
}

fn lab() -> Site {
    site(include_str!("lab/cluster.site.toml"))
}

fn first_plan(site: &Site) -> Plan {
    plan(site, catalog(), &Work::default(), &BTreeMap::new()).unwrap_or_else(|p| panic!("{p}"))
}

/// The reference site: 5 controllers, 3 nodes with database and queue, 1 that watches, 512 computes.
fn reference(computes: usize) -> Site {
    let mut text = String::from(
        "[site]\nname = \"reference\"\ndomain = \"ref.example\"\n[server]\naddress = \"10.90.0.1\"\n\
         [network.provisioning]\ncidr = \"10.90.0.0/16\"\n[cluster]\n\
         [vip.api]\nnetwork = \"provisioning\"\naddress = \"10.90.0.2\"\n",
    );
    let without = |part: &&String| !["galera", "rabbitmq"].contains(&part.as_str());
    let controller: Vec<&String> = catalog().profiles["controller"].parts.iter().filter(without).collect();
    for (kind, (role, count, range, parts)) in [
        ("controller", 5, "10.90.1.1-10.90.1.9", format!("parts = {controller:?}\n")),
        (
            "database",
            3,
            "10.90.2.1-10.90.2.9",
            "parts = [\"repository\", \"hosts\", \"time\", \"galera\", \"rabbitmq\"]\n".into(),
        ),
        ("monitor", 1, "10.90.3.1-10.90.3.9", String::new()),
        ("compute", computes, "10.90.16.1-10.90.31.254", String::new()),
    ]
    .into_iter()
    .enumerate()
    {
        text += &format!(
            "[role.{role}]\nimage = \"debian12\"\nname = \"{role}-{{n:04}}\"\ndisk = {{ min_gib = 10 }}\n{parts}\
             addresses.provisioning = \"{range}\"\n"
        );
        for n in 1..=count {
            text += &format!(
                "[[node]]\nmac = \"52:54:{kind:02x}:00:{:02x}:{:02x}\"\nrole = \"{role}\"\n",
                n >> 8,
                n & 255
            );
        }
    }
    site(&text)
}

#[test]
fn a_plan_is_stable_and_its_judge_agrees() {
    let site = lab();
    let (a, b) = (first_plan(&site), first_plan(&site));
    assert_eq!(serde_json::to_vec(&a).unwrap(), serde_json::to_vec(&b).unwrap());
    assert_eq!(a.digest(), b.digest());
    assert_eq!(audit(&site, catalog(), &a).errors(), 0);
    let back: Plan = serde_json::from_slice(&serde_json::to_vec(&a).unwrap()).unwrap();
    assert_eq!(back.digest(), a.digest(), "what is read back is what was written");
}

#[test]
fn the_reference_site_is_planned_whole_and_a_new_compute_adds_only_its_own_steps() {
    let small = reference(511);
    let before = first_plan(&small);
    assert!(before.steps.len() > 511 * 5, "{}", before.steps.len());
    // What was done stays done when the site grows.
    let mut work = Work::default();
    finish(&before, &mut work, 1);
    let grown = reference(512);
    let after = plan(&grown, catalog(), &work, &BTreeMap::new()).unwrap_or_else(|p| panic!("{p}"));
    let now = gates(&after, &work, &|_| Presence::Here { ahead: 0 });
    let open: Vec<(&str, &str)> = after
        .steps
        .iter()
        .zip(&now.status)
        .filter(|(_, s)| !matches!(s, Status::Done { .. }))
        .map(|(p, _)| (p.node.as_str(), p.id.as_str()))
        .collect();
    assert!(open.iter().any(|(node, _)| *node == "compute-0512"));
    let others: Vec<_> = open.iter().filter(|(node, _)| *node != "compute-0512").collect();
    // Somebody has to take the new hypervisor in, and whoever watches has to know it.
    for (node, id) in &others {
        let known = id.contains("discover") || node.starts_with("monitor");
        assert!(known, "{id} on {node} is to be done again because of a compute");
    }
}

/// Records a success of every step of the plan.
fn finish(plan: &Plan, work: &mut Work, generation: u32) {
    let at = Timestamp(1_000_000 + i64::from(generation));
    let what = What::Planned {
        generation,
        digest: plan.digest(),
        steps: plan.steps.len(),
        by: "test".into(),
        again: false,
        elected: plan.elected.clone(),
        rotated: BTreeMap::new(),
    };
    work.apply(at, None, &what);
    for p in &plan.steps {
        work.apply(at, Some(p.mac), &done(&p.id, p.digest, generation));
    }
}

fn done(id: &str, digest: Sha256, generation: u32) -> What {
    let (step, versions) = (id.to_string(), BTreeMap::new());
    What::StepDone {
        generation,
        step,
        digest,
        changed: true,
        millis: 1,
        output: String::new(),
        once: false,
        versions,
    }
}

fn here(_: Mac) -> Presence {
    Presence::Here { ahead: 0 }
}

/// What the rules say on their own: may step `i` be done, when `finished` tells what is.
fn allowed(plan: &Plan, i: usize, finished: &[bool]) -> bool {
    let is = |node: Option<&str>, id: &str| {
        plan.steps
            .iter()
            .zip(finished)
            .filter(|(p, _)| p.id == id && node.is_none_or(|n| n == p.node))
            .all(|(_, done)| *done)
    };
    plan.steps[i].needs.iter().all(|need| match need {
        Need::Own(id) => is(Some(&plan.steps[i].node), id),
        Need::Turn { id, width, .. } => {
            let before = plan.steps[..i].iter().zip(finished).filter(|(p, done)| p.id == *id && !**done);
            before.count() < *width
        }
        Need::All { id, .. } | Need::Same { id } => is(None, id),
    })
}

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

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, ..ProptestConfig::default() })]
    /// In whatever order agents finish, nothing is ready before what it needs, and in the end all is done.
    #[test]
    fn nothing_is_done_before_what_it_needs(choices in proptest::collection::vec(any::<u16>(), 600)) {
        let site = lab();
        let plan = first_plan(&site);
        let mut work = Work::default();
        let mut finished = vec![false; plan.steps.len()];
        let mut choices = choices.into_iter().cycle();
        loop {
            let now: Gates = gates(&plan, &work, &here);
            let ready: Vec<usize> = (0..plan.steps.len()).filter(|i| now.status[*i] == Status::Ready).collect();
            for i in &ready {
                prop_assert!(allowed(&plan, *i, &finished), "{} on {}", plan.steps[*i].id, plan.steps[*i].node);
            }
            if ready.is_empty() {
                break;
            }
            // Several at once: agents do not wait for each other.
            for _ in 0..=choices.next().unwrap() % 5 {
                let i = ready[choices.next().unwrap() as usize % ready.len()];
                let p = &plan.steps[i];
                work.apply(Timestamp(1), Some(p.mac), &done(&p.id, p.digest, 1));
                finished[i] = true;
            }
        }
        prop_assert!(finished.iter().all(|f| *f), "the plan ends");
    }
}

#[test]
fn a_failure_blocks_what_needs_it_and_nothing_else() {
    let site = lab();
    let plan = first_plan(&site);
    let mut work = Work::default();
    let failed = plan.steps.iter().find(|p| p.id == "galera.packages").unwrap();
    let what = What::StepFailed {
        generation: 1,
        step: failed.id.clone(),
        digest: failed.digest,
        why: "no space".into(),
        output: String::new(),
    };
    work.apply(Timestamp(1), Some(failed.mac), &what);
    loop {
        let now = gates(&plan, &work, &here);
        let ready: Vec<_> =
            plan.steps.iter().zip(&now.status).filter(|(_, s)| **s == Status::Ready).collect();
        if ready.is_empty() {
            break;
        }
        let all: Vec<_> = ready.iter().map(|(p, _)| (p.mac, p.id.clone(), p.digest)).collect();
        for (mac, id, digest) in all {
            work.apply(Timestamp(2), Some(mac), &done(&id, digest, 1));
        }
    }
    let now = gates(&plan, &work, &here);
    let of = |node: &str, id: &str| {
        let i = plan.steps.iter().position(|p| p.node == node && p.id == id).unwrap();
        now.status[i].clone()
    };
    assert_eq!(of("ctl1", "memcached.service"), Status::Done { changed: true });
    let Status::Blocked { why } = of(&failed.node, "galera.conf-debian") else { panic!() };
    assert_eq!(why, format!("galera.packages on {} failed", failed.node));
    assert!(matches!(of("ctl2", "galera.service"), Status::Waiting { .. } | Status::Blocked { .. }));
}

#[test]
fn what_was_begun_once_is_never_begun_again() {
    let site = lab();
    let begins = |plan: &Plan| -> Vec<String> {
        let starts = plan.steps.iter().filter(|p| matches!(&p.step, Step::Service(s) if s.start.is_some()));
        starts.map(|p| format!("{} on {}", p.id, p.node)).collect()
    };
    let one = first_plan(&site);
    assert_eq!(begins(&one).iter().filter(|b| b.starts_with("galera.")).count(), 1);
    let mut work = Work::default();
    finish(&one, &mut work, 1);
    // The first one was installed anew: what it did is gone with its disk, and the others still run.
    let mac = one.elected["galera"];
    work.apply(Timestamp(9), Some(mac), &What::Forgotten { by: "test".into() });
    let two = plan(&site, catalog(), &work, &BTreeMap::new()).unwrap_or_else(|p| panic!("{p}"));
    assert_eq!(begins(&two), Vec::<String>::new());
    assert_eq!(two.elected, one.elected, "the election stays");
}

#[test]
fn a_rotated_secret_changes_the_steps_that_hold_it() {
    let site = lab();
    let old = first_plan(&site);
    let versions = BTreeMap::from([("galera-sst".to_string(), 2)]);
    let new = plan(&site, catalog(), &Work::default(), &versions).unwrap();
    let changed: Vec<&str> = old
        .steps
        .iter()
        .zip(&new.steps)
        .filter(|(a, b)| a.digest != b.digest)
        .map(|(a, _)| a.id.as_str())
        .collect();
    assert!(!changed.is_empty() && changed.iter().all(|id| id.starts_with("galera.")), "{changed:?}");
    assert!(serde_json::to_string(&new).unwrap().contains("@@secret:galera-sst/2@@"));
}

#[test]
fn a_password_that_two_holders_would_differ_in_changes_everywhere_at_once_and_quorums_keep_their_turns() {
    let site = lab();
    let mut work = Work::default();
    let first = first_plan(&site);
    finish(&first, &mut work, 1);
    let turns = |plan: &Plan, id: &str| {
        let steps: Vec<_> = plan.steps.iter().filter(|p| p.id == id).collect();
        assert!(steps.len() > 1, "{id}");
        let turns = steps.iter().filter(|p| p.needs.iter().any(|n| matches!(n, Need::Turn { .. })));
        (turns.count(), steps.len())
    };
    let versions = BTreeMap::from([("vip-vrrp".to_string(), 2), ("galera-sst".to_string(), 2)]);
    let second = plan(&site, catalog(), &work, &versions).unwrap_or_else(|p| panic!("{p}"));
    assert_eq!(turns(&second, "vip.keepalived").0, 0);
    for id in ["vip.haproxy", "galera.service", "rabbitmq.service"] {
        let (with, all) = turns(&second, id);
        assert_eq!(with, all, "{id} goes by turns as ever");
    }
    // Nobody restarts before everybody has the file; then all may.
    let what = What::Planned {
        generation: 2,
        digest: second.digest(),
        steps: second.steps.len(),
        by: "test".into(),
        again: false,
        elected: second.elected.clone(),
        rotated: versions.clone(),
    };
    work.apply(Timestamp(2_000_000), None, &what);
    let conf: Vec<_> = second.steps.iter().filter(|p| p.id == "vip.keepalived-conf").collect();
    let judged: Vec<_> = second.steps.iter().filter(|p| p.id == "vip.keepalived-judged").collect();
    let ready = |work: &Work| {
        let status = gates(&second, work, &here).status;
        let both = second.steps.iter().zip(status);
        both.filter(|(p, s)| p.id == "vip.keepalived" && *s == Status::Ready).count()
    };
    for (i, p) in conf.iter().enumerate() {
        assert_eq!(ready(&work), 0, "after {i} of {} files", conf.len());
        work.apply(Timestamp(2_000_001), Some(p.mac), &done(&p.id, p.digest, 2));
        work.apply(Timestamp(2_000_002), Some(p.mac), &done(&judged[i].id, judged[i].digest, 2));
    }
    assert_eq!(ready(&work), conf.len());
    // A plan that is made in the middle of it keeps to it; one that comes after it goes by turns again.
    let mut half = work.clone();
    half.apply(Timestamp(2_000_003), Some(conf[0].mac), &done(&conf[0].id, first.digest(), 1));
    let middle = plan(&site, catalog(), &half, &versions).unwrap_or_else(|p| panic!("{p}"));
    assert_eq!(turns(&middle, "vip.keepalived").0, 0);
    let later = plan(&site, catalog(), &work, &versions).unwrap_or_else(|p| panic!("{p}"));
    let (with, all) = turns(&later, "vip.keepalived");
    assert_eq!(with, all);
}

#[test]
fn clocks_absence_and_silence_are_waited_for_by_name() {
    let site = lab();
    let plan = first_plan(&site);
    let why = |presence: Presence| match &gates(&plan, &Work::default(), &|_| presence).status[0] {
        Status::Waiting { why } => why.clone(),
        other => panic!("{other:?}"),
    };
    assert!(why(Presence::Never).starts_with("the agent of "));
    assert!(why(Presence::Silent).ends_with("to be heard of again"));
    assert!(why(Presence::Here { ahead: -90_000 }).ends_with("which is 90 s behind"));
}

#[test]
fn an_even_quorum_a_missing_address_and_a_lonely_part_are_refused() {
    let text = include_str!("lab/cluster.site.toml");
    let two = text.replace("[[node]]\nmac = \"52:54:00:78:00:13\"\nrole = \"controller\"\n", "");
    let said = |text: &str| {
        let (site, problems) = check(&Files::only("site.toml", text), catalog());
        assert!(site.is_none());
        problems.to_string()
    };
    assert!(said(&two).contains("2 nodes have the part galera, whose members vote"));
    let no_vip = text.replace("[vip.api]\nnetwork = \"cluster\"\naddress = \"10.78.0.100\"\n", "");
    assert!(said(&no_vip).contains("needs the virtual address api"), "{}", said(&no_vip));
    let lonely = text.replace("role = \"controller\"\n", "role = \"compute\"\n");
    assert!(said(&lonely).contains("and no node has it"), "{}", said(&lonely));
    let unknown = text.replace("[role.compute]\n", "[role.compute]\nparts = [\"nova-compte\"]\n");
    assert!(said(&unknown).contains("did you mean \"nova-compute\"?"), "{}", said(&unknown));
}

/// Digest of a step on a node.
fn digest(plan: &Plan, id: &str, node: &str) -> Sha256 {
    plan.steps.iter().find(|p| p.id == id && p.node == node).map(|p| p.digest).unwrap()
}

#[test]
fn a_fail_over_is_proven_before_anything_is_built_upon_the_address_and_again_when_it_is_configured_anew() {
    let text = include_str!("lab/cluster.site.toml");
    let plan = first_plan(&lab());
    for id in ["keystone.database", "placement.database", "nova.database"] {
        let step = plan.steps.iter().find(|p| p.id == id).unwrap();
        assert!(step.needs.iter().any(|n| matches!(n, Need::All { id, .. } if id == "vip.failover")), "{id}");
    }
    let due = plan.steps.iter().filter(|p| p.id == "vip.failover");
    for step in due {
        // Who is tested is settled everywhere before the address moves.
        assert!(step.needs.contains(&Need::All { id: "vip.failover-due".to_string(), allow_failed: 0 }));
    }
    let changed =
        first_plan(&site(&text.replace("[cluster]\n", "[cluster]\n[vars]\nvip_router_id = \"77\"\n")));
    let more = "[[node]]\nmac = \"52:54:00:78:00:14\"\nrole = \"controller\"\n\
                [[node]]\nmac = \"52:54:00:78:00:15\"\nrole = \"controller\"\n";
    let grown = first_plan(&site(&format!("{text}\n{more}")));
    for id in ["vip.failover-due", "vip.failover"] {
        for node in ["ctl1", "ctl2", "ctl3"] {
            assert_ne!(
                digest(&plan, id, node),
                digest(&changed, id, node),
                "{id} on {node}: another router id"
            );
            assert_eq!(digest(&plan, id, node), digest(&grown, id, node), "{id} on {node}: more members");
        }
    }
    let one = text
        .replace("[[node]]\nmac = \"52:54:00:78:00:12\"\nrole = \"controller\"\n", "")
        .replace("[[node]]\nmac = \"52:54:00:78:00:13\"\nrole = \"controller\"\n", "");
    assert!(
        !first_plan(&site(&one))
            .steps
            .iter()
            .any(|p| p.id.starts_with("vip.failover") && !p.id.ends_with("script"))
    );
}

#[test]
fn what_a_part_listens_on_is_open_also_where_a_variable_says_which_port() {
    let text = include_str!("lab/lvs.site.toml");
    let vars =
        "[vars]\nlvs_method = \"nat\"\nlvs_port = \"80 443\"\nlvs_protocol = \"udp\"\nlvs_check = \"udp\"\n";
    let other = text.replace("[vars]\n", vars);
    for (text, name, ports) in [
        (text, "lb1", vec!["8848/udp", "80/tcp"]),
        (text, "web1", vec!["80/tcp"]),
        (&*other, "lb2", vec!["8848/udp", "80/udp", "443/udp"]),
        (&*other, "web2", vec!["80/udp", "443/udp"]),
    ] {
        let site = site(text);
        let node = site.nodes.iter().find(|n| n.name == name).unwrap();
        let role = context(&site, catalog(), node, &Secret::new("token")).unwrap().role;
        for port in ports {
            assert!(role.ports.iter().any(|p| p == port), "{name}: {port} is not among {:?}", role.ports);
        }
        assert!(!role.ports.iter().any(|p| p.contains('{') || p.starts_with('/')), "{:?}", role.ports);
        assert!(role.protocols.contains(&4), "{name}: tunnelled packets");
        assert_eq!(role.protocols.contains(&112), name.starts_with("lb"), "{name}: VRRP");
    }
}

#[test]
fn a_node_of_el_with_openstack_needs_a_source_that_has_it() {
    let text = include_str!("lab/cluster.site.toml");
    let el = text.replace("image = \"debian12\"\nlane = \"fast\"", "image = \"el9\"");
    let said = |text: &str| match plan(&site(text), catalog(), &Work::default(), &BTreeMap::new()) {
        Ok(plan) => plan.steps.iter().filter(|p| p.id == "repository.dnf").count().to_string(),
        Err(problems) => problems.to_string(),
    };
    assert!(said(&el).contains("nodes of role controller are of the el family"), "{}", said(&el));
    let with = |vars: &str| said(&el.replace("[cluster]\n", &format!("[cluster]\n[vars]\n{vars}")));
    assert_eq!(with("repository = \"http://mirror.example/a http://mirror.example/b\"\n"), "5");
    assert_eq!(with("repository = \"\"\n"), "0", "what the installation left");
    let key = with("repository = \"http://mirror.example/a\"\nrepository_key = \"RDO\"\n");
    assert!(key.contains("repository_key = RDO is neither"), "{key}");
}
