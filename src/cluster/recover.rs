//! Owns `choose`: which member of a cluster that is wholly down may begin it anew (field-pain #106). The others join it.

use serde::{Deserialize, Serialize};
use std::fmt::Write as _;

/// What a member says of its data: Galera's grastate.dat and the position that its log can be recovered to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    pub node: String,
    /// It answers as a working member now.
    pub running: bool,
    /// The cluster's UUID; all zero: it has none.
    pub uuid: String,
    /// The last write-set that it has; -1: unknown.
    pub seqno: i64,
    /// It left last, in order, and knows that nothing came after.
    pub safe: bool,
}

/// Who begins, and why; in words for people.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Choice {
    pub node: String,
    pub why: String,
}

const NOBODY: &str = "00000000-0000-0000-0000-000000000000";

impl Member {
    /// Reads what a part's recovery script prints: `running|down UUID SEQNO SAFE`.
    pub fn read(node: &str, text: &str) -> Result<Member, String> {
        let line = text.lines().rev().find(|l| !l.trim().is_empty()).unwrap_or_default();
        let words: Vec<&str> = line.split_whitespace().collect();
        let [state, uuid, seqno, safe] = words.as_slice() else {
            return Err(format!("{node} says {line:?}, not `running|down UUID SEQNO SAFE`"));
        };
        let seqno = seqno.parse().map_err(|_| format!("{node}: {seqno:?} is no position"))?;
        Ok(Member {
            node: node.to_string(),
            running: *state == "running",
            uuid: uuid.to_string(),
            seqno,
            safe: *safe == "1",
        })
    }
}

/// Chooses; `silent` are the members that were not seen. `Err` says in one sentence why nobody may begin.
pub fn choose(members: &[Member], silent: &[String]) -> Result<Choice, String> {
    if let Some(up) = members.iter().find(|m| m.running) {
        return Err(format!("{} runs as a member: the cluster is not down, start the others", up.node));
    }
    if !silent.is_empty() {
        return Err(format!(
            "{} {} not seen: it may have newer data than all others, which would be lost",
            silent.join(" and "),
            if silent.len() == 1 { "was" } else { "were" }
        ));
    }
    // A server that runs without its majority has data and does not say how new it is.
    if let Some(unsure) = members.iter().find(|m| m.uuid != NOBODY && m.seqno < 0) {
        return Err(format!(
            "{} has data and does not know its position: stop the service there, then ask again",
            unsure.node
        ));
    }
    let known: Vec<&Member> = members.iter().filter(|m| m.uuid != NOBODY && m.seqno >= 0).collect();
    let Some(first) = known.first() else {
        return Err("no member knows its position: none has data to begin with".to_string());
    };
    if let Some(other) = known.iter().find(|m| m.uuid != first.uuid) {
        return Err(format!(
            "{} and {} hold different clusters ({} and {}): a person must say whose data counts",
            first.node, other.node, first.uuid, other.uuid
        ));
    }
    let newest = known.iter().map(|m| m.seqno).max().unwrap_or(-1);
    let mut why = String::new();
    for m in members {
        let _ = write!(why, "{} is at {}{}; ", m.node, m.seqno, if m.safe { " and left last" } else { "" });
    }
    let safe = known.iter().find(|m| m.safe && m.seqno == newest);
    if let Some(wrong) = known.iter().find(|m| m.safe && m.seqno < newest) {
        return Err(format!(
            "{} says that it left last, but is at {} while another member is at {newest}",
            wrong.node, wrong.seqno
        ));
    }
    let chosen = safe.or_else(|| known.iter().find(|m| m.seqno == newest)).copied().unwrap_or(first);
    let _ = write!(why, "nobody has more than {}", chosen.node);
    Ok(Choice { node: chosen.node.clone(), why })
}

#[cfg(test)]
mod tests {
    use super::*;

    const U: &str = "ddfeb174-e4e1-11f1-a869-674960931ee6";

    fn member(node: &str, line: &str) -> Member {
        Member::read(node, line).unwrap()
    }

    #[test]
    fn the_newest_begins_and_nobody_while_one_is_unseen() {
        let all = [
            member("ctl1", &format!("down {U} 41 0")),
            member("ctl2", &format!("noise\ndown {U} 43 0\n")),
            member("ctl3", &format!("down {U} 43 1")),
        ];
        assert_eq!(choose(&all, &[]).unwrap().node, "ctl3", "of equals the one that left last");
        assert_eq!(choose(&all[..2], &[]).unwrap().node, "ctl2");
        let why = choose(&all[..2], &["ctl3".to_string()]).unwrap_err();
        assert!(why.contains("ctl3 was not seen"), "{why}");
    }

    #[test]
    fn doubt_is_refused() {
        let up = member("ctl1", &format!("running {U} 9 0"));
        assert!(choose(&[up], &[]).unwrap_err().contains("not down"));
        let zero = member("ctl1", &format!("down {NOBODY} -1 0"));
        assert!(choose(std::slice::from_ref(&zero), &[]).unwrap_err().contains("none has data"));
        let other = member("ctl2", "down 11111111-e4e1-11f1-a869-674960931ee6 5 0");
        let one = member("ctl3", &format!("down {U} 5 0"));
        assert!(choose(&[other, one.clone()], &[]).unwrap_err().contains("different clusters"));
        let liar = member("ctl1", &format!("down {U} 3 1"));
        assert!(choose(&[liar, one.clone()], &[]).unwrap_err().contains("left last, but is at 3"));
        let unsure = member("ctl2", &format!("down {U} -1 0"));
        let why = choose(&[unsure, one.clone()], &[]).unwrap_err();
        assert!(why.contains("ctl2 has data and does not know its position"), "{why}");
        // A blank member has nothing to say; the one with data begins.
        assert_eq!(choose(&[zero, one], &[]).unwrap().node, "ctl3");
        assert!(Member::read("ctl1", "what").is_err());
    }
}
