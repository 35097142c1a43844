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
/// Installing is judged by silence, not by its length: a slow link is no fault. What counts is the installer's own
/// voice: a machine that lost its power in mid-installation and now network-boots for ever is heard all the time.
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

/// It network-booted in mid-installation and nothing has been at work on it since. Some grace: an installer whose
/// last report was lost boots its system next, which calls home.
fn cut_off(waited: u64) -> Option<Overdue> {
    (waited > CUT_OFF_SECS * 1000).then(|| Overdue {
        for_millis: waited,
        look_at: format!(
            "cut off for {}: it network-booted in mid-installation, and neither its installer nor its system has spoken \
             since; if its power was cut: forget it, then arm it again",
            span(waited)
        ),
    })
}

/// How long a machine that network-booted in mid-installation may stay silent, in seconds: its own system's first boot.
const CUT_OFF_SECS: u64 = 5 * 60;

/// Whether `record` has waited too long at `now`.
pub fn overdue(record: &Record, now: Timestamp) -> Option<Overdue> {
    let since = record.state.since()?;
    if let (State::Installing { .. }, Some(at)) = (&record.state, record.rebooted.filter(|at| *at > since)) {
        return cut_off(now.since(at));
    }
    let (secs, look_at) = limit(&record.state)?;
    let last = match record.state {
        State::Installing { .. } => record.at_work.max(since),
        _ => since,
    };
    let waited = now.since(last);
    (waited > secs * 1000).then(|| Overdue {
        for_millis: waited,
        look_at: format!("{} for {}: {look_at}", record.state.name(), span(waited)),
    })
}
