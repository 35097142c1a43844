//! Owns which services take a new secret all together: members with different values would harm each other, so every
//! file is written first, on every node, and then all restart at the same time, and not by turns.

use super::plan::Planned;
use crate::lifecycle::Work;
use crate::lifecycle::work::End;
use crate::profiles::Part;
use crate::profiles::secret::{Rotate, way};
use crate::steps::{SECRET, Step, placeholders, secret_name};
use std::collections::{BTreeMap, BTreeSet, HashMap};

/// Name of a service's step → names of the files' steps that must be done on every node before.
///
/// Only while some node has an older value: later changes of the same file are by turns again.
pub(super) fn together<'a>(
    steps: impl Iterator<Item = &'a Planned> + Clone,
    parts: &BTreeMap<String, Part>,
    work: &Work,
) -> BTreeMap<&'a str, BTreeSet<&'a str>> {
    let mut writers: HashMap<(&str, &str), &str> = HashMap::new();
    for p in steps.clone() {
        if let Step::File { path, content, .. } = &p.step
            && content.contains(SECRET)
            && older(p, content, parts, work)
        {
            writers.insert((&p.node, path), &p.id);
        }
    }
    let mut out: BTreeMap<&str, BTreeSet<&str>> = BTreeMap::new();
    for p in steps.filter(|_| !writers.is_empty()) {
        if let Step::Service(service) = &p.step {
            let of = service.files.iter().filter_map(|f| writers.get(&(p.node.as_str(), f.as_str())));
            for writer in of {
                out.entry(&p.id).or_default().insert(writer);
            }
        }
    }
    out
}

/// Whether the node has this file with an older value of a secret that changes together.
fn older(p: &Planned, content: &str, parts: &BTreeMap<String, Part>, work: &Work) -> bool {
    let Some(outcome) = work.outcome(p.mac, &p.id) else { return false };
    let sure = matches!(outcome.end, End::Done { .. } | End::Drifted { .. });
    placeholders(content, SECRET).any(|inner| {
        let (name, version, _) = secret_name(inner);
        version > 1
            && (!sure || work.carried(outcome.generation, name) < version)
            && way(parts, name).0 == Rotate::Together
    })
}
