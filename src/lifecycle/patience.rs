//! Owns how long each state may last, and what to look at when it lasts longer.

use super::ledger::Record;
use super::state::State;
use crate::base::Timestamp;
use crate::base::time::span;

/// A wait that has become too long.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize)]
pub struct Overdue {
    /// How long it has lasted, in milliseconds.
    pub for_millis: u64,
    /// One sentence: what is late and what to look at.
    pub look_at: String,
}

/// How long a state may last without a sign of life, in seconds, and what to look at then.
///
/// Installing is judged by silence, not by its length: a slow link is no fault.
fn limit(state: &State) -> Option<(u64, &'static str)> {
    match state {
        State::Armed { .. } => Some((
            30 * 60,
            "it has not asked on the network: is it powered on, cabled to the provisioning network, set to boot from it?",
        )),
        State::Booting { .. } => Some((
            10 * 60,
            "it asked but took no answers: look at its console; `bootstead events --node` shows the last request",
        )),
        State::Installing { .. } => {
            Some((20 * 60, "its installer has gone silent: look at its console for a question or an error"))
        }
        State::Installed { proofs, .. } if !proofs.both() => Some((
            15 * 60,
            "it has not called home from its disk: does it boot from the disk, and does its network come up?",
        )),
        State::Failed { .. } | State::Held { .. } | State::Expected | State::Installed { .. } => None,
    }
}

/// Whether `record` has waited too long at `now`.
pub fn overdue(record: &Record, now: Timestamp) -> Option<Overdue> {
    let (secs, look_at) = limit(&record.state)?;
    let since = record.state.since()?;
    let last = match record.state {
        State::Installing { .. } => record.last_seen.max(since),
        _ => since,
    };
    let waited = now.since(last);
    (waited > secs * 1000).then(|| Overdue {
        for_millis: waited,
        look_at: format!("{} for {}: {look_at}", record.state.name(), span(waited)),
    })
}
