//! The plan and its gates: stable, total, in an order that holds; nothing is done before what it needs.

#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use bootstead::base::{Secret, Sha256, Timestamp};
use bootstead::cluster::{Gates, Need, Plan, Presence, Status, audit::audit, gates, plan};
use bootstead::lifecycle::{What, Work};
use bootstead::site::{Files, check, context};
use bootstead::steps::Step;
use proptest::prelude::*;
use std::collections::BTreeMap;

mod planned;
use planned::{catalog, done, finish, first_plan, here, lab, reference, site};

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
    assert_eq!(said(&no_vip).matches("need the virtual address api").count(), 1, "{}", said(&no_vip));
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
