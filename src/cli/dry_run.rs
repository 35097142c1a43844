//! `bootstead plan --dry-run`: what a plan that is not put to work yet would change on the nodes, as they are now.

use super::plan::{Made, open};
use super::station::Station;
use super::steps::look;
use super::{Globals, say, terminal};
use crate::api::{LookKind, LookWish, Seen};
use crate::problem::{Exit, Problem, Problems};
use crate::ui::text::{Paint, Style};
use std::fmt::Write as _;

/// Asks every agent to compare what is still to do with its node, and prints the differences.
pub fn run(g: &Globals, made: &Made, node: Option<&str>, wait: u64) -> Result<Exit, Problems> {
    let station = Station::find(g)?;
    if !station.is_live() {
        return Err(Problem::environment("a dry run asks the nodes, and no server runs that they answer to")
            .help("start `bootstead serve`; without it `bootstead plan` and `plan --diff` show what is known here")
            .into());
    }
    let wish = LookWish {
        kind: LookKind::DryRun,
        part: None,
        phase: None,
        node: node.map(str::to_string),
        beside: false,
    };
    let seen = look(&station, &wish, wait)?;
    if g.json {
        let text = serde_json::to_string_pretty(&seen).map_err(|e| Problem::fault(e.to_string()))?;
        return say(&(text + "\n"));
    }
    // Scripts and waits: what they would change is known when they have run.
    let steps = made.plan.steps.iter().zip(open(made));
    let untold =
        steps.filter(|(p, open)| *open && !p.step.can_compare() && node.is_none_or(|n| n == p.node)).count();
    say(&text(&seen, untold, &terminal::style()))
}

fn text(seen: &[Seen], untold: usize, style: &Style) -> String {
    let mut out = String::new();
    let (mut same, mut change, mut later, mut silent) = (0, 0, 0, 0);
    for s in seen {
        let Some(found) = &s.found else {
            silent += 1;
            continue;
        };
        let (paint, mark, said) = match (&found.failed, found.changed) {
            (None, false) => {
                same += 1;
                continue;
            }
            (None, true) => {
                change += 1;
                (Paint::Moving, "~", &found.output)
            }
            // Mostly because something before it is not there yet: an account that a package brings.
            (Some(why), _) => {
                later += 1;
                (Paint::Quiet, "?", why)
            }
        };
        let _ = writeln!(out, "{}", style.paint(paint, &format!("{mark} {}  {}  {}", s.node, s.id, s.title)));
        said.trim_end().lines().for_each(|l| {
            let _ = writeln!(out, "    {l}");
        });
    }
    let _ = write!(out, "{change} things would be changed, {same} are as they should be");
    if later > 0 {
        let _ = write!(out, ", {later} cannot be told before what comes first is done (?)");
    }
    if untold > 0 {
        let _ = write!(out, ", {untold} scripts and waits say only when they run what they do");
    }
    if silent > 0 {
        let _ = write!(out, ", {silent} could not be looked at (their agents did not answer)");
    }
    out.push_str("; nothing was changed\n");
    out
}
