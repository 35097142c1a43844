//! Owns `bootstead node arm`: what an installation would be and erase, who must agree, and the arming.

use super::load::{Loaded, load};
use super::node::{Which, agree, by_name, choose, decide, told};
use super::station::{Station, Verb, Wish};
use super::{Globals, hardware, say, say_json, terminal};
use crate::boot::Known;
use crate::lifecycle::{Lane, Ledger, State};
use crate::problem::{Exit, Problem, Problems};
use crate::shelf::Shelf;
use crate::site::Node;
use crate::ui::arming::{Arming, arming};
use crate::ui::text::{Paint, Style, width};
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// Shows what would be installed and erased, and does it if that is agreed to.
pub fn run(
    g: &Globals,
    which: &Which,
    yes: Option<Option<usize>>,
    erase: bool,
    again: bool,
) -> Result<Exit, Problems> {
    let loaded = load(g)?;
    let mut nodes = choose(&loaded, which)?;
    let station = Station::find(g)?;
    if station.is_live() && station.board()?.digest != loaded.site.digest.to_string() {
        return Err(Problem::input("the running server uses another site file than the one read here")
            .why("what is shown here would not be what is installed")
            .help("run `bootstead node reload`, or name the server's site file with --site")
            .into());
    }
    let ledger = station.ledger()?;
    if which.role.is_some() || which.all {
        spare(&mut nodes, &ledger, again)?;
    }
    let armings = plan(g, &loaded, &ledger, &nodes);
    if !g.json {
        say(&describe(&armings, erase, &terminal::style()))?;
    }
    let (done, problems) = match allowed(g, &armings, yes, erase) {
        Err(why) => (Vec::new(), why),
        Ok(()) => {
            let approved = armings.iter().map(|a| if erase { a.refused.as_slice() } else { &[] });
            let wishes = approved.map(|erase| Wish { verb: Verb::Arm, why: "", erase });
            decide(&station, &loaded, nodes.iter().copied().zip(wishes))
        }
    };
    if g.json {
        // One value, whatever came of it: a script reads it whole.
        say_json(&serde_json::json!({ "plan": armings, "done": by_name(&done) }))?;
    } else {
        told(&done)?;
        if !station.is_live() && !done.is_empty() {
            say("no server runs yet: start it with `bootstead serve`\n")?;
        }
    }
    if problems.errors() > 0 { Err(problems) } else { Ok(Exit::Ok) }
}

/// Whether what is planned may be done, and is wanted.
fn allowed(g: &Globals, armings: &[Arming], yes: Option<Option<usize>>, erase: bool) -> Result<(), Problems> {
    let cannot = refusals(armings);
    if cannot.errors() > 0 {
        return Err(cannot);
    }
    if erase && armings.iter().all(|a| a.refused.is_empty()) {
        return Err(Problem::input(
            "there is no disk to approve: the last installation of none of them ended at the disk guard",
        )
        .help("arm without --erase; if the guard finds something on a disk, it says which and what")
        .into());
    }
    if g.json && yes.is_none() {
        return Err(Problem::input("nothing was armed: with --json nobody is asked")
            .help(format!("look at the plan; if it is what you want, add `--yes {}`", armings.len()))
            .into());
    }
    Ok(agree(armings.len(), "arm", yes)?)
}

fn plan(g: &Globals, loaded: &Loaded, ledger: &Ledger, nodes: &[&Node]) -> Vec<Arming> {
    let (_, stock, _) = Shelf::open(&g.images_dir());
    let known = Known { site: &loaded.site, images: &loaded.catalog.images, stock: &stock, ledger };
    let whole = |node: &&Node| {
        let (picks, picks_nothing) = match hardware::picked(&loaded.site, ledger, node) {
            Some(Ok(disk)) => (Some(disk), None),
            Some(Err(why)) => (None, Some(why)),
            None => (None, None),
        };
        Arming { picks, picks_nothing, ..arming(known, &loaded.catalog, node) }
    };
    // Every file of every node is rendered: on all processors, so that five hundred nodes take no second.
    let share = nodes.len().div_ceil(std::thread::available_parallelism().map_or(1, usize::from)).max(1);
    std::thread::scope(|scope| {
        let parts = nodes.chunks(share);
        let running: Vec<_> =
            parts.map(|part| scope.spawn(move || part.iter().map(whole).collect::<Vec<_>>())).collect();
        let ended = running.into_iter().map(|r| r.join().unwrap_or_else(|e| std::panic::resume_unwind(e)));
        ended.flatten().collect()
    })
}

/// Nodes that lack the same share one problem.
fn refusals(armings: &[Arming]) -> Problems {
    let mut by_reason: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for a in armings {
        if let Some(why) = &a.cannot {
            by_reason.entry(why).or_default().push(&a.node);
        }
    }
    let problem = |(why, nodes): (&str, Vec<&str>)| {
        let who = match nodes.as_slice() {
            [] | [_] | [_, _] => nodes.join(" and "),
            [first, .., last] => format!("{first} … {last} ({} nodes)", nodes.len()),
        };
        Problem::input(format!("{who} cannot be armed: {why}"))
    };
    Problems(by_reason.into_iter().map(problem).collect())
}

/// What will be installed, and what is erased for it. Nodes for which all is the same share their lines.
fn describe(armings: &[Arming], erase: bool, style: &Style) -> String {
    let mut groups: BTreeMap<String, Vec<&Arming>> = BTreeMap::new();
    for a in armings {
        let lane = match a.lane {
            Lane::Installer => "its own installer",
            Lane::Fast => "the fast lane",
        };
        let mut text = format!("as {} with {} by {lane}\n", a.role, a.image);
        let _ = writeln!(text, "    erases  {}", style.paint(Paint::Bad, &a.erases));
        for f in &a.formats {
            let _ = writeln!(text, "    formats {}", style.paint(Paint::Bad, f));
        }
        groups.entry(text).or_default().push(a);
    }
    let mut out = String::new();
    for (text, nodes) in groups {
        let n = nodes.len();
        let _ = write!(
            out,
            "{} node{} {text}",
            style.paint(Paint::Bold, &n.to_string()),
            if n == 1 { "" } else { "s" }
        );
        let name_width = nodes.iter().map(|a| width(&a.node)).max().unwrap_or(0);
        for a in nodes {
            let _ = writeln!(out, "    {}  {}", style.pad(&a.node, name_width), style.clean(&a.now));
            let last = match (&a.picks, &a.picks_nothing) {
                (Some(disk), _) => Some(format!("of the disks it last reported: {disk}")),
                (None, Some(why)) => Some(format!("of the disks it last reported none would do: {why}")),
                (None, None) => None,
            };
            if let Some(last) = last {
                let last = style.paint(Paint::Bad, &style.clean(&last));
                let _ = writeln!(out, "    {:name_width$}  {last}", "");
            }
            if erase && !a.refused.is_empty() {
                let disks = format!("erases disk {} whatever is on it", a.refused.join(" and disk "));
                let _ = writeln!(
                    out,
                    "    {:name_width$}  {}",
                    "",
                    style.paint(Paint::Bad, &style.clean(&disks))
                );
            }
        }
    }
    if !erase && armings.iter().any(|a| !a.refused.is_empty()) {
        out.push_str("--erase approves, for this installation alone, the disks that were refused\n");
    }
    out
}

/// Takes out of a whole role, or of all nodes, those that an arming is not for: what is installed stays as it is unless
/// it is named, or `again` says so; what is armed, under way or held goes on. Says how many of each.
fn spare(nodes: &mut Vec<&Node>, ledger: &Ledger, again: bool) -> Result<(), Problem> {
    let mut spared: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    nodes.retain(|node| {
        let state = ledger.state(node.mac());
        let meant = match state {
            State::Expected | State::Failed { .. } => true,
            State::Installed { .. } => again,
            State::Armed { .. } | State::Booting { .. } | State::Installing { .. } | State::Held { .. } => {
                false
            }
        };
        if !meant {
            spared.entry(state.name()).or_default().push(&node.name);
        }
        meant
    });
    let lines: Vec<String> = spared
        .iter()
        .map(|(state, names)| match names.as_slice() {
            [first, .., last] => {
                format!("left alone: {} nodes that are {state} ({first} … {last})", names.len())
            }
            names => format!("left alone: {} is {state}", names.concat()),
        })
        .collect();
    for line in &lines {
        eprintln!("{line}");
    }
    if !nodes.is_empty() {
        return Ok(());
    }
    let problem = Problem::input("there is nothing to arm: none of these nodes waits for an installation");
    Err(match spared.contains_key("installed") && !again {
        true => problem.help("to install again what is installed, name the nodes, or add --again"),
        false => problem.help("`bootstead status` says where each of them is"),
    })
}
