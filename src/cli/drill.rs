//! `bootstead drill`: breaks things on purpose, measures what users see meanwhile, waits until all is whole, and writes
//! the acceptance report.

use super::station::{Station, by, now};
use super::steps::look;
use super::{Globals, beneath, say, terminal};
use crate::api::{self, LookKind, LookWish, Seen};
use crate::base::Timestamp;
use crate::cluster::drill::Listed;
use crate::cluster::gates;
use crate::disk;
use crate::problem::{Exit, Problem, Problems};
use crate::steps::Measured;
use crate::ui::acceptance::{Checked, Probed, Report, Trial, page, seconds};
use crate::ui::text::Paint;
use hyper::Method;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub struct DrillArgs {
    /// Which ones, for example vip.power; none: all of them
    names: Vec<String>,
    /// Only list what there is
    #[arg(long)]
    list: bool,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// A command that has the nodes' power: it is called as `COMMAND cut NODE` and `COMMAND on NODE`. Without one a node
    /// cuts its links and resets itself
    #[arg(long, value_name = "COMMAND")]
    power: Option<String>,
    /// Where the report goes: report.html and report.json [default: drills/TIME in the state folder]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
}

/// Seconds of measuring before anything is broken.
const BASELINE: u64 = 2;
/// Seconds for an agent to take up what it is given.
const TAKEN_UP: u64 = 40;

pub fn run(g: &Globals, args: &DrillArgs) -> Result<Exit, Problems> {
    let station = Station::find(g)?;
    let known: Vec<Listed> = station.ask::<(), _>(Method::GET, api::DRILLS, None)?;
    if args.list {
        return list(g, &known);
    }
    let wanted = choose(known, &args.names)?;
    let plan: gates::Listed = station.ask::<(), _>(Method::GET, api::PLAN, None)?;
    let board = station.board()?;
    sure(args, &wanted, &board.site)?;
    beneath::with(g, || try_all(g, args, &station, &wanted, &plan, &board.site))
}

/// Every drill of `wanted`, one after the other, and the report.
fn try_all(
    g: &Globals,
    args: &DrillArgs,
    station: &Station<'_>,
    wanted: &[Listed],
    plan: &gates::Listed,
    site: &str,
) -> Result<Exit, Problems> {
    say("looking at the cluster first: what is broken already proves nothing\n")?;
    let before = checks(station, ANSWERS, false)?;
    if let Some(bad) = before.iter().find(|c| c.failed.is_some()) {
        let why = bad.failed.clone().unwrap_or_default();
        return Err(Problem::environment(format!("{} on {}: {why}", bad.title, bad.node))
            .why("the cluster is not whole, so nothing was broken on purpose")
            .help("`bootstead verify` shows everything; mend it, then drill")
            .into());
    }
    let mut report = Report {
        site: site.to_string(),
        domain: super::load::load(g)?.site.domain,
        begun: now(),
        ended: now(),
        by: by(),
        version: env!("CARGO_PKG_VERSION").to_string(),
        generation: plan.generation,
        digest: plan.digest.to_string(),
        nodes: plan.steps.iter().map(|s| &s.node).collect::<std::collections::BTreeSet<_>>().len(),
        trials: Vec::new(),
        not_run: Vec::new(),
        checks: before,
    };
    let style = terminal::style();
    let mut stopped: Option<Problem> = None;
    for (n, drill) in wanted.iter().enumerate() {
        if stopped.is_some() {
            report.not_run.push(drill.name.clone());
            continue;
        }
        let head = format!("{} of {}  {}: {}", n + 1, wanted.len(), drill.name, drill.title);
        say(&(style.paint(Paint::Bold, &head) + "\n"))?;
        let tried = Drilling { station, power: args.power.as_deref(), drill }.run();
        match tried {
            Ok((trial, checks)) => {
                say(&(trial.lines(&style).join("\n") + "\n"))?;
                // What is not whole again must not be broken further.
                if trial.whole.is_none() {
                    stopped = Some(Problem::environment(format!(
                        "the cluster did not become whole after {}",
                        drill.name
                    )));
                }
                report.trials.push(trial);
                report.checks = checks;
            }
            Err(problem) => {
                say(&format!("  {problem}\n"))?;
                report.not_run.push(drill.name.clone());
                stopped = Some(problem);
            }
        }
    }
    report.ended = now();
    let at = write(g, args, &report)?;
    if report.passed() {
        return say(&format!("{} drills passed; the report: {}\n", report.trials.len(), at.display()));
    }
    let failed = report.trials.iter().filter(|t| !t.wrong.is_empty()).count();
    let sentence =
        format!("{failed} of {} drills failed, {} did not run", wanted.len(), report.not_run.len());
    let mut problems = Problems::default();
    problems.push(Problem::environment(sentence).help(format!("the report: {}", at.display())));
    problems.0.extend(stopped);
    Err(problems)
}

fn list(g: &Globals, known: &[Listed]) -> Result<Exit, Problems> {
    if g.json {
        let text = serde_json::to_string_pretty(known).map_err(|e| Problem::fault(e.to_string()))?;
        return say(&(text + "\n"));
    }
    let wide = known.iter().map(|d| d.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for d in known {
        text.push_str(&format!(
            "{:wide$}  {} (on one of {}; out for at most {} s, whole within {} s)\n",
            d.name,
            d.title,
            d.members.join(", "),
            d.outage,
            d.back
        ));
    }
    say(&text)
}

fn choose(known: Vec<Listed>, names: &[String]) -> Result<Vec<Listed>, Problem> {
    if known.is_empty() {
        return Err(Problem::input("the site's parts have no drills"));
    }
    for name in names {
        if !known.iter().any(|d| d.name == *name) {
            let problem = Problem::input(format!("the site has no drill {name:?}"));
            let near = crate::problem::did_you_mean(name, known.iter().map(|d| d.name.as_str()));
            return Err(match near {
                Some(near) => problem.help(format!("did you mean {near:?}?")),
                None => problem.help("`bootstead drill --list` names them"),
            });
        }
    }
    Ok(known.into_iter().filter(|d| names.is_empty() || names.contains(&d.name)).collect())
}

/// A drill breaks what somebody may be using: the person types the site's name.
fn sure(args: &DrillArgs, wanted: &[Listed], site: &str) -> Result<(), Problems> {
    say(&format!("{} things will be broken on purpose, one after the other:\n", wanted.len()))?;
    for d in wanted {
        let how = match (d.power, &args.power) {
            (true, Some(command)) => format!(" (by `{command} cut NODE`)"),
            (true, None) => " (the node cuts its links and resets itself)".to_string(),
            _ => String::new(),
        };
        say(&format!("  {}: {}{how}\n", d.name, d.title))?;
    }
    if args.yes {
        return Ok(());
    }
    if !terminal::can_ask() {
        return Err(Problem::input("there is no terminal to ask at; nothing was broken")
            .help("add --yes")
            .into());
    }
    match terminal::ask(&format!("Type {site} to go on:"))? == site {
        true => Ok(()),
        false => Err(Problem::input("nothing was broken").into()),
    }
}

fn write(g: &Globals, args: &DrillArgs, report: &Report) -> Result<PathBuf, Problems> {
    let folder = match &args.out {
        Some(dir) => dir.clone(),
        None => {
            let stamp: String =
                report.begun.to_string().chars().take(19).map(|c| if c == ':' { '-' } else { c }).collect();
            g.state_dir().join("drills").join(stamp)
        }
    };
    disk::make_folder(&folder, 0o700)?;
    let json = serde_json::to_vec_pretty(report).map_err(|e| Problem::fault(e.to_string()))?;
    disk::write(&folder.join("report.json"), &json, 0o600)?;
    let html = folder.join("report.html");
    disk::write(&html, page(report).as_bytes(), 0o600)?;
    Ok(html)
}

/// How long all checks of the site may take, in seconds: one node has the most of them, two side by side, and a loaded one
/// takes a minute. A round that is asked anew too early never ends.
const ANSWERS: u64 = 90;

/// Every check of the site; a node that does not answer for so many seconds has failed its own. `hasty`: the first that
/// fails ends it, and those that did not answer yet stay unknown.
fn checks(station: &Station<'_>, wait: u64, hasty: bool) -> Result<Vec<Checked>, Problem> {
    let wish = LookWish { kind: LookKind::Verify, part: None, phase: None, node: None, beside: false };
    let _: serde_json::Value = station.ask(Method::POST, api::LOOK, Some(&wish))?;
    let end = now().plus_secs(wait);
    let seen = loop {
        let seen: Vec<Seen> = station.ask::<(), _>(Method::GET, api::LOOKS, None)?;
        let bad = |s: &Seen| s.found.as_ref().is_some_and(|f| f.failed.is_some());
        if seen.iter().all(|s| s.found.is_some()) || hasty && seen.iter().any(bad) || now() >= end {
            break seen;
        }
        std::thread::sleep(Duration::from_millis(200));
    };
    Ok(seen
        .into_iter()
        .map(|s| match s.found {
            Some(f) => Checked { node: s.node, title: s.title, failed: f.failed, output: f.output },
            None => {
                let failed = Some("its agent did not answer".to_string());
                Checked { node: s.node, title: s.title, failed, output: String::new() }
            }
        })
        .collect())
}

/// One drill on its way.
struct Drilling<'a> {
    station: &'a Station<'a>,
    power: Option<&'a str>,
    drill: &'a Listed,
}

impl Drilling<'_> {
    fn wish(&self, phase: &str, node: Option<&str>, beside: bool) -> LookWish {
        LookWish {
            kind: LookKind::Drill,
            part: Some(self.drill.name.clone()),
            phase: Some(phase.to_string()),
            node: node.map(str::to_string),
            beside,
        }
    }

    fn ask(&self, wish: &LookWish) -> Result<(), Problem> {
        self.station.ask::<_, serde_json::Value>(Method::POST, api::LOOK, Some(wish)).map(drop)
    }

    /// What was asked and what was found so far, until `enough` says so.
    fn until(&self, secs: u64, enough: impl Fn(&[Seen]) -> bool) -> Result<Option<Vec<Seen>>, Problem> {
        let end = now().plus_secs(secs);
        loop {
            let seen: Vec<Seen> = self.station.ask::<(), _>(Method::GET, api::LOOKS, None)?;
            if enough(&seen) {
                return Ok(Some(seen));
            }
            if now() >= end {
                return Ok(None);
            }
            std::thread::sleep(Duration::from_millis(100));
        }
    }

    fn run(&self) -> Result<(Trial, Vec<Checked>), Problem> {
        let node = self.victim()?;
        self.ask(&self.wish("measure", Some(&node), false))?;
        let begun =
            self.until(TAKEN_UP, |seen| seen.iter().all(|s| s.begun.is_some()))?.ok_or_else(|| {
                Problem::environment("the node to measure from did not begin; nothing was broken")
            })?;
        let from: Vec<&str> = begun.iter().map(|s| s.node.as_str()).collect();
        say(&format!("  {node} it is; measured from {}\n", from.join(" and "))).map_err(first)?;
        std::thread::sleep(Duration::from_secs(BASELINE));
        let broken = self.break_it(&node)?;
        let measured = self.until(240, |seen| {
            seen.iter().filter(|s| s.id.ends_with(":measure")).all(|s| s.found.is_some())
        })?;
        let mut trial = Trial {
            name: self.drill.name.clone(),
            title: self.drill.title.clone(),
            node: node.clone(),
            broken,
            probes: Vec::new(),
            outage_limit: u64::from(self.drill.outage) * 1000,
            back_limit: u64::from(self.drill.back) * 1000,
            whole: None,
            wrong: Vec::new(),
        };
        match measured {
            Some(seen) => self.take(&mut trial, &seen),
            None => trial.wrong.push("the measuring nodes did not answer".to_string()),
        }
        self.mend(&node, &mut trial)?;
        let checks = self.whole(&mut trial)?;
        for p in &trial.probes {
            if p.lost {
                trial.wrong.push(format!("{} did not come back while it was measured", p.title));
            } else if p.longest > trial.outage_limit {
                let (was, most) = (seconds(p.longest), seconds(trial.outage_limit));
                trial.wrong.push(format!("{} was out for {was}, allowed are {most}", p.title));
            }
        }
        Ok((trial, checks))
    }

    /// Which member it is about: the one where the part's own script says so.
    fn victim(&self) -> Result<String, Problem> {
        let seen = look(self.station, &self.wish("find", None, false), TAKEN_UP)?;
        let is = |s: &&Seen| s.found.as_ref().is_some_and(|f| f.failed.is_none());
        seen.iter().find(is).map(|s| s.node.clone()).ok_or_else(|| {
            let said: Vec<String> = seen
                .iter()
                .map(|s| format!("{}: {}", s.node, s.found.as_ref().map_or("no answer", |_| "not here")))
                .collect();
            Problem::environment(format!("no node is the one that {} is about", self.drill.name))
                .why(said.join(", "))
                .help("`bootstead verify` shows whether the cluster is whole")
        })
    }

    /// When it was broken.
    fn break_it(&self, node: &str) -> Result<Timestamp, Problem> {
        if let Some(command) = self.power.filter(|_| self.drill.power) {
            let at = now();
            power(command, "cut", node)?;
            return Ok(at);
        }
        self.ask(&self.wish("break", Some(node), true))?;
        let given = |seen: &[Seen]| {
            seen.iter().find(|s| s.id.ends_with(":break")).and_then(|s| Some((s.begun?, s.found.clone())))
        };
        // A machine that resets itself says nothing more; a script must say that it worked.
        let done = |seen: &[Seen]| given(seen).is_some_and(|(_, found)| self.drill.power || found.is_some());
        let seen = self.until(TAKEN_UP + 60, done)?.unwrap_or_default();
        match given(&seen) {
            Some((at, Some(found))) => match found.failed {
                None => Ok(at),
                Some(why) => Err(Problem::environment(format!("{node} could not be broken: {why}"))
                    .why(found.output.trim().to_string())),
            },
            Some((at, None)) => Ok(at),
            None => Err(Problem::environment(format!("{node} did not take up what breaks it"))),
        }
    }

    fn mend(&self, node: &str, trial: &mut Trial) -> Result<(), Problem> {
        if let Some(command) = self.power.filter(|_| self.drill.power) {
            return power(command, "on", node);
        }
        let wish = self.wish("mend", Some(node), true);
        self.ask(&wish)?;
        let seen = self.until(TAKEN_UP + 60, |seen| {
            seen.iter().filter(|s| s.id.ends_with(":mend")).all(|s| s.found.is_some())
        })?;
        let bad = |s: &Seen| s.found.as_ref().and_then(|f| f.failed.clone());
        let ends = |s: &&Seen| s.id.ends_with(":mend");
        match seen {
            None => trial.wrong.push(format!("{node} did not mend what was broken")),
            Some(seen) => trial.wrong.extend(seen.iter().filter(ends).filter_map(bad)),
        }
        Ok(())
    }

    /// Waits until every check passes.
    fn whole(&self, trial: &mut Trial) -> Result<Vec<Checked>, Problem> {
        loop {
            let late = now().since(trial.broken) > trial.back_limit;
            let checks = checks(self.station, ANSWERS, !late)?;
            let bad: Vec<&Checked> = checks.iter().filter(|c| c.failed.is_some()).collect();
            let since = now().since(trial.broken);
            let Some(one) = bad.first() else {
                trial.whole = (since <= trial.back_limit).then_some(since);
                if trial.whole.is_none() {
                    trial.wrong.push(format!("it was whole only after {}", seconds(since)));
                }
                return Ok(checks);
            };
            if late {
                let why = one.failed.clone().unwrap_or_default();
                trial.wrong.push(format!(
                    "after {} {} checks still fail: {} on {}: {why}",
                    seconds(since),
                    bad.len(),
                    one.title,
                    one.node
                ));
                return Ok(checks);
            }
            std::thread::sleep(Duration::from_millis(500));
        }
    }

    /// What was measured, with 0 where it was broken.
    fn take(&self, trial: &mut Trial, seen: &[Seen]) {
        for s in seen.iter().filter(|s| s.id.ends_with(":measure")) {
            let (Some(found), Some(begun)) = (&s.found, s.begun) else { continue };
            let Ok(measured) = serde_json::from_str::<Measured>(&found.output) else {
                let why = found.failed.clone().unwrap_or_else(|| "it cannot be read".to_string());
                trial.wrong.push(format!("what {} measured is lost: {why}", s.node));
                continue;
            };
            let zero = trial.broken.0 - begun.0;
            let end = measured.millis as i64;
            for t in measured.targets {
                let spans: Vec<(i64, i64)> = t
                    .outages
                    .iter()
                    .map(|o| (o.from as i64 - zero, o.until.map_or(end, |u| u as i64) - zero))
                    .collect();
                trial.probes.push(Probed {
                    id: t.id,
                    title: t.title,
                    from: s.node.clone(),
                    asked: t.asked,
                    failed: t.failed,
                    longest: spans.iter().map(|(a, b)| (b - a).max(0) as u64).max().unwrap_or(0),
                    lost: t.outages.iter().any(|o| o.until.is_none()),
                    why: t.outages.first().map(|o| o.why.clone()),
                    outages: spans,
                    until: end - zero,
                });
            }
        }
        if trial.probes.is_empty() {
            trial.wrong.push("nothing was measured".to_string());
        }
        trial.probes.sort_by(|a, b| a.id.cmp(&b.id));
    }
}

fn first(problems: Problems) -> Problem {
    problems.0.into_iter().next().unwrap_or_else(|| Problem::fault("no problem"))
}

/// The operator's own command for the power of machines.
fn power(command: &str, verb: &str, node: &str) -> Result<(), Problem> {
    let line = format!("{command} \"$@\"");
    let ended = Command::new("sh").args(["-c", &line, "power", verb, node]).status();
    match ended {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(Problem::environment(format!("`{command} {verb} {node}` ended with {status}"))
            .help("try the command by hand; what it did not do is not counted")),
        Err(e) => Err(Problem::environment(format!("cannot run `{command}`: {e}"))),
    }
}
