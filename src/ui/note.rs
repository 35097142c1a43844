//! Owns the one sentence about a node that stands in its row: what is most useful to know now.

use super::board::{NodeRow, Phase};
use crate::base::Timestamp;
use crate::base::time::span;

impl NodeRow {
    /// The most useful sentence about this node now; empty if there is nothing to say.
    pub fn note(&self, now: Timestamp) -> String {
        if let Some(late) = &self.overdue {
            // The state and its time stand in the row already.
            return late.look_at.split_once(": ").map_or(&*late.look_at, |(_, rest)| rest).to_string();
        }
        if let Some(conflict) = &self.conflict
            && !matches!(self.phase, Phase::Failed | Phase::Held)
        {
            return conflict.clone();
        }
        match self.phase {
            Phase::Failed | Phase::Held => self.why.clone().unwrap_or_default(),
            Phase::Configuring => match (&self.why, &self.progress) {
                (Some(why), _) => why.clone(),
                (None, Some(p)) => p.step.clone(),
                (None, None) => String::new(),
            },
            Phase::Installing => match &self.progress {
                Some(p) => p.sentence(),
                None => "took its answers".to_string(),
            },
            Phase::Booting => self.last.clone().unwrap_or_else(|| "network-boots".to_string()),
            Phase::Armed => match (&self.refused, &self.last) {
                (Some(refused), _) => format!("refused: {refused}"),
                (None, Some(last)) => last.clone(),
                (None, None) => "waits for its power button".to_string(),
            },
            Phase::Finishing => match self.proofs {
                Some(p) if p.reported => {
                    "the installer is done; its first boot has not called home yet".into()
                }
                _ => "runs from its disk; the installer's own report is missing".into(),
            },
            Phase::Expected => match (&self.refused, self.last_seen) {
                (Some(refused), _) => format!("refused: {refused}"),
                (None, Some(seen)) => {
                    format!("was heard {} ago; arm it to install it", span(now.since(seen)))
                }
                (None, None) => String::new(),
            },
            Phase::Joined => "its agent is there; `bootstead plan` shows what it would do".to_string(),
            Phase::Installed | Phase::Ready => String::new(),
        }
    }

    /// Whether a person should see this row before the others of its phase.
    pub fn needs_a_look(&self) -> bool {
        self.overdue.is_some() || self.conflict.is_some() || self.phase == Phase::Failed || self.step_failed()
    }
}
