//! What the tests of plans share: sites, their first plan, and what agents report.

#![allow(dead_code, reason = "every test file uses its own part")]
#![allow(clippy::unwrap_used, reason = "a test that panics has found something")]

use bootstead::base::{Mac, Sha256, Timestamp};
use bootstead::cluster::{Plan, Presence, plan};
use bootstead::lifecycle::{What, Work};
use bootstead::site::{Catalog, Files, Site, check};
use bootstead::tree::Tree;
use std::collections::BTreeMap;
use std::sync::OnceLock;

pub fn catalog() -> &'static Catalog {
    static ONCE: OnceLock<Catalog> = OnceLock::new();
    ONCE.get_or_init(|| Catalog::read(&Tree::embedded()).unwrap())
}

pub fn site(text: &str) -> Site {
    let (site, problems) = check(&Files::only("site.toml", text), catalog());
    site.unwrap_or_else(|| panic!("{problems}"))
}

pub fn lab() -> Site {
    site(include_str!("../lab/cluster.site.toml"))
}

pub fn first_plan(site: &Site) -> Plan {
    plan(site, catalog(), &Work::default(), &BTreeMap::new()).unwrap_or_else(|p| panic!("{p}"))
}

/// The reference site: 5 controllers, 3 nodes with database and queue, 1 that watches, 512 computes.
pub fn reference(computes: usize) -> Site {
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

/// Records a success of every step of the plan.
pub fn finish(plan: &Plan, work: &mut Work, generation: u32) {
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

pub fn done(id: &str, digest: Sha256, generation: u32) -> What {
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

pub fn here(_: Mac) -> Presence {
    Presence::Here { ahead: 0 }
}
