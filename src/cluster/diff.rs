//! Owns `diff`: what a plan has that another one has not, per node and step.

use super::plan::{Plan, Planned};
use serde::Serialize;
use std::collections::BTreeMap;

/// One difference.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(tag = "change", rename_all = "lowercase")]
pub enum Change {
    Added {
        node: String,
        id: String,
        sentence: String,
    },
    Removed {
        node: String,
        id: String,
        sentence: String,
    },
    /// The step as JSON lines before and after, for a line-wise comparison.
    Changed {
        node: String,
        id: String,
        before: String,
        after: String,
    },
}

/// The differences from `old` to `new`, in the order of the new plan; what went away comes last.
pub fn diff(old: &Plan, new: &Plan) -> Vec<Change> {
    let by_name = |plan: &'_ Plan| -> BTreeMap<(String, String), usize> {
        plan.steps.iter().enumerate().map(|(i, p)| ((p.node.clone(), p.id.clone()), i)).collect()
    };
    let (before, after) = (by_name(old), by_name(new));
    let mut out = Vec::new();
    for p in &new.steps {
        let (node, id) = (p.node.clone(), p.id.clone());
        match before.get(&(node.clone(), id.clone())).map(|i| &old.steps[*i]) {
            None => out.push(Change::Added { node, id, sentence: p.step.sentence() }),
            Some(was) if was.digest != p.digest => {
                out.push(Change::Changed { node, id, before: shown(was), after: shown(p) });
            }
            Some(_) => {}
        }
    }
    for p in old.steps.iter().filter(|p| !after.contains_key(&(p.node.clone(), p.id.clone()))) {
        let (node, id, sentence) = (p.node.clone(), p.id.clone(), p.step.sentence());
        out.push(Change::Removed { node, id, sentence });
    }
    out
}

/// The step for people: its content as it is, not as an escaped text.
fn shown(p: &Planned) -> String {
    match &p.step {
        crate::steps::Step::File { path, content, mode, owner, group } => {
            format!("{path} ({mode:04o} {owner}:{group})\n{content}")
        }
        step => serde_json::to_string_pretty(step).unwrap_or_default(),
    }
}

/// A line-wise comparison, with one line around each difference.
pub fn lines(before: &str, after: &str) -> String {
    let diff = similar::TextDiff::from_lines(before, after);
    diff.unified_diff().context_radius(1).to_string()
}
