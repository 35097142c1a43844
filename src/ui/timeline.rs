//! Owns the timeline: what happened, on one axis, with the wire it came over; repeated lines are folded.

use super::text::{Paint, Style};
use crate::base::time::span;
use crate::base::{Mac, Timestamp};
use crate::lifecycle::{Event, What, Wire};
use std::collections::BTreeMap;

/// Where an event came from, for the wire column.
pub fn wire(what: &What) -> &'static str {
    match what {
        What::Started { .. } | What::SiteLoaded { .. } => "server",
        What::Armed { .. }
        | What::Disarmed { .. }
        | What::Held { .. }
        | What::Released { .. }
        | What::Forgotten { .. }
        | What::Planned { .. }
        | What::StepRetried { .. }
        | What::StepSkipped { .. } => "person",
        What::AgentJoined { .. }
        | What::StepDone { .. }
        | What::StepFailed { .. }
        | What::StepDrifted { .. } => "agent",
        What::Asked { wire: Wire::Dhcp, .. }
        | What::Identified { .. }
        | What::Leased { .. }
        | What::LeaseReleased { .. }
        | What::AddressInUse { .. }
        | What::RivalHeard { .. } => "dhcp",
        What::Asked { wire: Wire::Tftp, .. } => "tftp",
        What::Asked { wire: Wire::Http, .. } | What::AnswersServed { .. } | What::SentToDisk { .. } => "http",
        What::Refused { .. } => "refused",
        What::Progressed { .. }
        | What::InstallReported { .. }
        | What::FirstBooted { .. }
        | What::Hardware { .. } => "report",
        What::Log { .. } => "log",
    }
}

fn paint(what: &What) -> Paint {
    match what {
        What::StepFailed { .. } => Paint::Bad,
        What::StepDone { changed: false, .. } => Paint::Quiet,
        What::StepDone { .. } | What::AgentJoined { .. } => Paint::Good,
        What::StepDrifted { .. } => Paint::Late,
        What::InstallReported { ok: false, .. } | What::RivalHeard { .. } | What::AddressInUse { .. } => {
            Paint::Bad
        }
        What::Refused { .. } => Paint::Late,
        What::InstallReported { .. } | What::FirstBooted { .. } => Paint::Good,
        What::Armed { .. }
        | What::Disarmed { .. }
        | What::Held { .. }
        | What::Released { .. }
        | What::Forgotten { .. } => Paint::Bold,
        What::AnswersServed { .. } | What::Progressed { .. } => Paint::Moving,
        What::Log { .. } | What::Leased { .. } => Paint::Quiet,
        _ => Paint::Plain,
    }
}

/// Renders events one by one, as they come; folds a line that repeats the one before it.
pub struct Timeline<'a> {
    style: Style,
    /// Names by MAC; none: the timeline is of one node and has no name column.
    names: Option<&'a BTreeMap<Mac, String>>,
    name_width: usize,
    last: Option<Line>,
    /// The time of the line printed before, for the delta.
    before: Option<Timestamp>,
    day: Option<String>,
}

struct Line {
    first: Timestamp,
    until: Timestamp,
    times: usize,
    who: String,
    wire: &'static str,
    text: String,
    paint: Paint,
}

impl<'a> Timeline<'a> {
    pub fn new(style: Style, names: Option<&'a BTreeMap<Mac, String>>) -> Timeline<'a> {
        let longest = names.map_or(0, |n| n.values().map(|s| s.len()).max().unwrap_or(0));
        let name_width = if names.is_some() { longest.clamp(6, 20) } else { 0 };
        Timeline { style, names, name_width, last: None, before: None, day: None }
    }

    /// Takes one event in; returns the lines that are finished by it.
    pub fn push(&mut self, event: &Event) -> Vec<String> {
        let at = event.at;
        let who = match (self.names, event.mac) {
            (Some(names), Some(mac)) => names.get(&mac).cloned().unwrap_or_else(|| mac.to_string()),
            (Some(_), None) => "server".to_string(),
            (None, _) => String::new(),
        };
        let next = Line {
            first: at,
            until: at,
            times: 1,
            who,
            wire: wire(&event.what),
            text: event.what.sentence(),
            paint: paint(&event.what),
        };
        if let Some(last) = &mut self.last
            && (last.wire, &last.text, &last.who) == (next.wire, &next.text, &next.who)
        {
            last.times += 1;
            last.until = at;
            return Vec::new();
        }
        let done = self.flush();
        self.last = Some(next);
        done
    }

    /// The line that is still open, if any: at the end, or when nothing new comes.
    pub fn flush(&mut self) -> Vec<String> {
        let Some(line) = self.last.take() else { return Vec::new() };
        let mut out = Vec::new();
        let day = line.first.to_string()[..10].to_string();
        if self.day.as_ref() != Some(&day) {
            out.push(self.style.paint(Paint::Quiet, &format!("{day} (times in UTC)")));
            self.day = Some(day);
        }
        let delta = match self.before {
            Some(b) => format!("+{}", span(line.first.since(b))),
            None => String::new(),
        };
        self.before = Some(line.until);
        let mut text = line.text.clone();
        if line.times > 1 {
            let sign = self.style.either("×", "x");
            text = format!("{text}  ({sign}{} in {})", line.times, span(line.until.since(line.first)));
        }
        let name = if self.name_width > 0 {
            format!("{}  ", self.style.pad(&line.who, self.name_width))
        } else {
            String::new()
        };
        let millis = line.first.0.rem_euclid(1000);
        let left = format!(
            "{}.{millis:03}  {}  {name}{}  ",
            line.first.clock(),
            self.style.right(&delta, 7),
            self.style.pad(line.wire, 7)
        );
        let room = self.style.width.saturating_sub(super::text::width(&left)).max(20);
        for (i, part) in self.style.wrap(&text, room).iter().enumerate() {
            let shown = self.style.paint(line.paint, part);
            out.push(if i == 0 {
                format!("{left}{shown}")
            } else {
                format!("{}{shown}", " ".repeat(super::text::width(&left)))
            });
        }
        out
    }
}
