//! Owns `step`: the one function that moves a node. The whole table is on this screen.

use super::event::{Lane, What};
use super::state::{Proofs, State};
use crate::base::Timestamp;

/// An event that may not happen in this state, and why; a person reads it.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Refused(pub String);

/// The state after `what` happened at `at` to a node in `state`.
///
/// Events that say nothing about the life (a lease, a log line) leave it as it is.
/// `Err` means that the event must not be stored as a fact: the caller refuses the request instead.
pub fn step(state: &State, what: &What, at: Timestamp) -> Result<State, Refused> {
    let refuse = |why: String| Err(Refused(why));
    let stale = |arming: u32| {
        Refused(format!(
            "this belongs to arming {arming}, and the node is {} ({})",
            state.name(),
            whose(state)
        ))
    };
    match what {
        What::Armed { arming, .. } => match state {
            State::Expected | State::Installed { .. } | State::Failed { .. } => {
                Ok(State::Armed { since: at, arming: *arming })
            }
            State::Armed { .. } | State::Booting { .. } => refuse("it is armed already".to_string()),
            State::Installing { .. } => {
                refuse("it is installing now; wait for its report, or hold and forget it first".to_string())
            }
            State::Held { why, .. } => refuse(format!("it is held ({why}); release it first")),
        },
        // What it was before is in its record (`Ledger::apply`): a state says where a node is, not where it was.
        What::Disarmed { .. } => match state {
            State::Armed { .. } | State::Booting { .. } => Ok(State::Expected),
            _ => refuse(format!("it is not armed, it is {}", state.name())),
        },
        What::Held { why, .. } => match state {
            State::Held { .. } => refuse("it is held already".to_string()),
            _ => Ok(State::Held { since: at, why: why.clone(), before: Box::new(state.clone()) }),
        },
        What::Released { .. } => match state {
            State::Held { before, .. } => Ok((**before).clone()),
            _ => refuse(format!("it is not held, it is {}", state.name())),
        },
        What::Forgotten { .. } => Ok(State::Expected),

        What::Asked { boot: true, .. } => match state {
            State::Armed { arming, .. } => Ok(State::Booting { since: at, arming: *arming }),
            _ => Ok(state.clone()),
        },

        What::AnswersServed { arming, lane, run, .. } => match state {
            State::Armed { arming: a, .. } | State::Booting { arming: a, .. } if a == arming => {
                Ok(State::Installing { since: at, arming: *arming, lane: *lane, run: run.clone() })
            }
            // An installer may ask again (dracut asks once per interface, curl retries): same answers. In the
            // fast lane the grant to write is for one run of one boot: another boot is another installation.
            State::Installing { arming: a, run: r, lane: l, .. } if a == arming && l == lane => {
                match (lane, r == run) {
                    (Lane::Installer, _) | (Lane::Fast, true) => Ok(state.clone()),
                    (Lane::Fast, false) => {
                        refuse("this arming was used by an earlier boot; arm the node again".to_string())
                    }
                }
            }
            _ => Err(stale(*arming)),
        },

        // A hold stops what the node gets, not what it tells: a completion that arrives now still counts.
        What::Progressed { .. } | What::InstallReported { .. } | What::FirstBooted { .. }
            if let State::Held { since, why, before } = state =>
        {
            let before = Box::new(step(before, what, at)?);
            Ok(State::Held { since: *since, why: why.clone(), before })
        }

        What::Progressed { arming, .. } => match state.arming() {
            Some(a) if a == *arming => Ok(state.clone()),
            _ => Err(stale(*arming)),
        },
        What::InstallReported { arming, ok, detail } => match state {
            State::Installing { arming: a, .. } if a == arming => Ok(if *ok {
                let proofs = Proofs { reported: true, first_boot: false };
                State::Installed { since: at, arming: *arming, proofs }
            } else {
                State::Failed { since: at, arming: *arming, why: detail.clone() }
            }),
            // A failure before anything was erased (no disk matched the rule) ends the arming as well: what
            // stopped it once would stop it again, and a person has to look.
            State::Armed { arming: a, .. } | State::Booting { arming: a, .. } if a == arming && !*ok => {
                Ok(State::Failed { since: at, arming: *arming, why: detail.clone() })
            }
            State::Installed { arming: a, since, proofs } if a == arming && *ok => Ok(State::Installed {
                since: *since,
                arming: *a,
                proofs: Proofs { reported: true, ..*proofs },
            }),
            State::Failed { arming: a, .. } if a == arming && !*ok => Ok(state.clone()),
            _ => Err(stale(*arming)),
        },
        What::FirstBooted { arming, .. } => match state {
            State::Installing { arming: a, .. } | State::Failed { arming: a, .. } if a == arming => {
                let proofs = Proofs { reported: false, first_boot: true };
                Ok(State::Installed { since: at, arming: *arming, proofs })
            }
            State::Installed { arming: a, since, proofs } if a == arming => Ok(State::Installed {
                since: *since,
                arming: *a,
                proofs: Proofs { first_boot: true, ..*proofs },
            }),
            _ => Err(stale(*arming)),
        },

        // Its one-installation token is good for the installation that is under way or done.
        What::AgentJoined { arming, .. } => match state {
            State::Installing { arming: a, .. } | State::Installed { arming: a, .. } if a == arming => {
                Ok(state.clone())
            }
            State::Held { before, .. } if before.arming() == Some(*arming) => Ok(state.clone()),
            _ => Err(stale(*arming)),
        },

        What::Started { .. }
        | What::Planned { .. }
        | What::StepDone { .. }
        | What::StepFailed { .. }
        | What::StepRetried { .. }
        | What::StepSkipped { .. }
        | What::StepDrifted { .. }
        | What::SiteLoaded { .. }
        | What::RivalHeard { .. }
        | What::Asked { boot: false, .. }
        | What::Identified { .. }
        | What::Leased { .. }
        | What::LeaseReleased { .. }
        | What::AddressInUse { .. }
        | What::SentToDisk { .. }
        | What::Refused { .. }
        | What::Hardware { .. }
        | What::Log { .. } => Ok(state.clone()),
    }
}

fn whose(state: &State) -> String {
    match state.arming() {
        Some(a) => format!("arming {a}"),
        None => "not armed".to_string(),
    }
}
