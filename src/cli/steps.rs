//! `bootstead steps`, `verify`, `drift`: where the plan's steps are, and what the nodes look like.

use super::station::{Station, by};
use super::{Globals, beneath, say, terminal};
use crate::api::{self, LookKind, LookWish, Seen, StepWish};
use crate::cluster::Status;
use crate::cluster::gates::{Listed, Row};
use crate::lifecycle::What;
use crate::problem::{Exit, Problem, Problems};
use crate::ui::text::{Paint, Style};
use hyper::Method;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

#[derive(Debug, clap::Args)]
pub struct StepsArgs {
    /// Only of this node
    #[arg(long)]
    node: Option<String>,
    /// Only this step, for example galera.join
    #[arg(long)]
    step: Option<String>,
    /// Every step, also what is done
    #[arg(long)]
    all: bool,
    /// Try failed steps again; with --node and --step also one that is done
    #[arg(long)]
    retry: bool,
    /// Let a step count as done: needs --node, --step and --why
    #[arg(long, requires = "why")]
    skip: bool,
    /// Why it may be skipped
    #[arg(long)]
    why: Option<String>,
    /// Stay and show how it goes until everything is done
    #[arg(long)]
    watch: bool,
}

#[derive(Debug, clap::Args)]
pub struct VerifyArgs {
    /// How long agents may take, in seconds
    #[arg(long, default_value_t = 90)]
    wait: u64,
}

#[derive(Debug, clap::Args)]
pub struct DriftArgs {
    /// How long agents may take, in seconds
    #[arg(long, default_value_t = 60)]
    wait: u64,
}

/// Why steps failed, a sentence each.
pub fn failed(list: &Listed) -> impl Iterator<Item = String> + '_ {
    list.steps.iter().filter_map(|r| match &r.status {
        Status::Failed { why } => Some(format!("{} on {}: {why}", r.id, r.node)),
        _ => None,
    })
}

/// What steps that are not done wait for, a sentence each.
pub fn waiting(list: &Listed) -> impl Iterator<Item = String> + '_ {
    list.steps.iter().filter_map(|r| match &r.status {
        Status::Waiting { why } | Status::Blocked { why } => {
            Some(format!("{} on {} waits for {why}", r.id, r.node))
        }
        Status::Ready => Some(format!("{} on {} is being done", r.id, r.node)),
        _ => None,
    })
}

fn settled(list: &Listed) -> bool {
    let c = list.count();
    c.done == c.steps || c.failed + c.blocked > 0 && c.ready == 0 && !list.steps.iter().any(|r| r.running)
}

/// The plan in use.
pub fn fetch(station: &Station<'_>) -> Result<Listed, Problem> {
    station.ask::<(), _>(Method::GET, api::PLAN, None)
}

/// One line per step that ends, until nothing more can be done: also where nobody reads them, for the end is an answer.
pub fn follow(station: &Station<'_>, limit: Duration) -> Result<Listed, Problems> {
    follow_while(station, limit, || true)
}

/// The same, and no longer than somebody wants it.
fn follow_while(
    station: &Station<'_>,
    limit: Duration,
    wanted: impl Fn() -> bool,
) -> Result<Listed, Problems> {
    let style = terminal::style();
    let until = Instant::now() + limit;
    let start = Instant::now();
    let mut known: BTreeMap<(String, String), Status> = BTreeMap::new();
    let mut first = true;
    let mut blocked = 0;
    loop {
        let list = fetch(station)?;
        let c = list.count();
        for row in list.steps.iter().filter(|_| !station.is_for_programs()) {
            let key = (row.node.clone(), row.id.clone());
            let ended = matches!(row.status, Status::Done { .. } | Status::Failed { .. } | Status::Skipped);
            if ended && known.insert(key, row.status.clone()).as_ref() != Some(&row.status) && !first {
                let (mark, paint) = mark(&row.status, row.running);
                let time = format!("{:>5.0} s", start.elapsed().as_secs_f64());
                let text = format!("{time}  {:>4}/{}  {mark} {}  {}", c.done, c.steps, row.node, row.id);
                let why =
                    if let Status::Failed { why } = &row.status { format!(": {why}") } else { String::new() };
                say(&format!("{}\n", style.paint(paint, &format!("{text}{why}"))))?;
            }
        }
        first = false;
        if Instant::now() >= until || !wanted() {
            return Ok(list);
        }
        // A step between two requests is neither ready nor done for a moment.
        blocked = if settled(&list) { blocked + 1 } else { 0 };
        if c.done == c.steps || blocked > 3 {
            return Ok(list);
        }
        std::thread::sleep(Duration::from_millis(300));
    }
}

fn mark(status: &Status, running: bool) -> (&'static str, Paint) {
    match status {
        Status::Done { changed: true } => ("✓", Paint::Good),
        Status::Done { changed: false } => ("=", Paint::Quiet),
        Status::Skipped => ("~", Paint::Late),
        Status::Failed { .. } => ("✗", Paint::Bad),
        Status::Ready if running => ("▶", Paint::Moving),
        Status::Ready => ("▷", Paint::Moving),
        Status::Waiting { .. } => ("·", Paint::Plain),
        Status::Blocked { .. } => ("‖", Paint::Late),
    }
}

pub fn run(g: &Globals, args: StepsArgs) -> Result<Exit, Problems> {
    let station = Station::find(g)?;
    if args.retry || args.skip {
        let wish = StepWish {
            node: args.node.clone(),
            step: args.step.clone(),
            by: by(),
            skip: args.skip.then(|| args.why.clone().unwrap_or_default()),
        };
        let reply: serde_json::Value = station.ask(Method::POST, api::STEPS, Some(&wish))?;
        let steps = reply.get("steps").and_then(|s| s.as_array()).cloned().unwrap_or_default();
        for step in steps.iter().filter_map(|s| s.as_str()) {
            say(&format!("{step} {}\n", if args.skip { "counts as done" } else { "is tried again" }))?;
        }
        return Ok(Exit::Ok);
    }
    let list = if args.watch {
        let day = Duration::from_secs(24 * 3600);
        beneath::with(g, || follow_while(&station, day, || !terminal::reader_is_gone()))?
    } else {
        fetch(&station)?
    };
    if g.json {
        let text = serde_json::to_string_pretty(&list).map_err(|e| Problem::fault(e.to_string()))?;
        return say(&(text + "\n"));
    }
    let mut text = table(&list, &args, &terminal::style());
    if !args.watch {
        text.push_str(&outputs(&station, &list)?);
    }
    say(&text)
}

fn table(list: &Listed, args: &StepsArgs, style: &Style) -> String {
    let c = list.count();
    let mut out = String::new();
    let wide = list.steps.iter().map(|r| r.node.len()).max().unwrap_or(0);
    let idw = list.steps.iter().map(|r| r.id.len()).max().unwrap_or(0);
    for row in &list.steps {
        let meant = args.node.as_ref().is_none_or(|n| *n == row.node)
            && args.step.as_ref().is_none_or(|s| *s == row.id);
        let done = matches!(row.status, Status::Done { .. });
        if !meant || done && !args.all {
            continue;
        }
        let (mark, paint) = match &row.overdue {
            Some(_) => ("!", Paint::Late),
            None => mark(&row.status, row.running),
        };
        let note = match &row.status {
            _ if row.overdue.is_some() => row.overdue.clone().unwrap_or_default(),
            Status::Waiting { why } | Status::Blocked { why } => format!("waits for {why}"),
            Status::Failed { why } => why.clone(),
            Status::Skipped => "skipped".to_string(),
            _ => row.sentence.clone(),
        };
        let line = format!("{mark} {:wide$}  {:idw$}  {note}", row.node, row.id);
        let _ = writeln!(out, "{}", style.paint(paint, &line));
    }
    let _ = writeln!(
        out,
        "plan {}: {} of {} steps done ({} changed something), {} failed, {} waiting",
        list.generation,
        c.done,
        c.steps,
        c.changed,
        c.failed,
        c.waiting + c.blocked + c.ready
    );
    out
}

/// What failed steps printed, from the journal.
fn outputs(station: &Station<'_>, list: &Listed) -> Result<String, Problem> {
    let failed: Vec<&Row> = list.steps.iter().filter(|r| matches!(r.status, Status::Failed { .. })).collect();
    if failed.is_empty() {
        return Ok(String::new());
    }
    let mut last: BTreeMap<String, String> = BTreeMap::new();
    let mut after = 0;
    loop {
        let page = station.events(after, None, Duration::ZERO)?;
        let Some(end) = page.last() else { break };
        after = end.seq;
        for entry in page {
            if let (What::StepFailed { step, output, .. }, Some(mac)) = (&entry.event.what, entry.event.mac) {
                last.insert(format!("{mac} {step}"), output.clone());
            }
        }
    }
    let ledger =
        station.board().map_err(|p| p.0.into_iter().next().unwrap_or_else(|| Problem::fault("no board")))?;
    let mut out = String::new();
    for row in failed {
        let mac = ledger.nodes.iter().find(|n| n.name == row.node).map(|n| n.mac.to_string());
        let output = mac.and_then(|m| last.get(&format!("{m} {}", row.id))).cloned().unwrap_or_default();
        let _ = writeln!(out, "\n{} on {} printed:", row.id, row.node);
        for line in output.trim().lines() {
            let _ = writeln!(out, "    {line}");
        }
    }
    Ok(out)
}

/// Asks for a look and waits for the answers.
pub fn look(station: &Station<'_>, wish: &LookWish, wait: u64) -> Result<Vec<Seen>, Problem> {
    numbered(station, wish, wait).map(|(_, seen)| seen)
}

/// The same, with the number that the server gave it.
pub fn numbered(station: &Station<'_>, wish: &LookWish, wait: u64) -> Result<(u64, Vec<Seen>), Problem> {
    let asked: serde_json::Value = station.ask(Method::POST, api::LOOK, Some(wish))?;
    let number = asked.get("number").and_then(serde_json::Value::as_u64).unwrap_or_default();
    let until = Instant::now() + Duration::from_secs(wait);
    loop {
        let seen: Vec<Seen> = station.ask::<(), _>(Method::GET, api::LOOKS, None)?;
        if seen.iter().all(|s| s.found.is_some()) || Instant::now() >= until {
            return Ok((number, seen));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn wish(kind: LookKind) -> LookWish {
    LookWish { kind, part: None, phase: None, node: None, beside: false }
}

pub fn verify(g: &Globals, args: VerifyArgs) -> Result<Exit, Problems> {
    let station = Station::find(g)?;
    let seen = beneath::with(g, || look(&station, &wish(LookKind::Verify), args.wait))?;
    if g.json {
        let text = serde_json::to_string_pretty(&seen).map_err(|e| Problem::fault(e.to_string()))?;
        say(&(text + "\n"))?;
    }
    let style = terminal::style();
    let mut problems = Problems::default();
    let mut good = 0;
    for s in &seen {
        let (mark, paint, text) = match &s.found {
            None => {
                problems.push(Problem::environment(format!("{} did not answer: {}", s.node, s.title)));
                ("?", Paint::Late, String::new())
            }
            Some(f) => match &f.failed {
                Some(why) => {
                    problems.push(Problem::environment(format!("{} on {}: {why}", s.title, s.node)));
                    ("✗", Paint::Bad, f.output.clone())
                }
                None => {
                    good += 1;
                    ("✓", Paint::Good, f.output.clone())
                }
            },
        };
        if !g.json {
            let mut out = style.paint(paint, &format!("{mark} {} ({})", s.title, s.node)) + "\n";
            out.extend(text.trim_end().lines().map(|l| format!("    {l}\n")));
            say(&out)?;
        }
    }
    if problems.errors() > 0 {
        return Err(problems);
    }
    if g.json {
        return Ok(Exit::Ok);
    }
    say(&format!("{good} checks passed\n"))
}

pub fn drift(g: &Globals, args: DriftArgs) -> Result<Exit, Problems> {
    let seen = look(&Station::find(g)?, &wish(LookKind::Drift), args.wait)?;
    if g.json {
        let text = serde_json::to_string_pretty(&seen).map_err(|e| Problem::fault(e.to_string()))?;
        return say(&(text + "\n"));
    }
    let style = terminal::style();
    let (mut same, mut silent, mut drifted) = (0, 0, 0);
    for s in &seen {
        match &s.found {
            None => silent += 1,
            Some(f) if f.failed.is_none() && !f.changed => same += 1,
            Some(f) => {
                drifted += 1;
                let text = f.failed.clone().unwrap_or_else(|| f.output.clone());
                let mut out = style.paint(Paint::Bad, &format!("{}  {}", s.node, s.id)) + "\n";
                out.extend(text.trim_end().lines().map(|l| format!("    {l}\n")));
                say(&out)?;
            }
        }
    }
    let mut line = format!("{same} things are as the plan says, {drifted} are not");
    if silent > 0 {
        let _ = write!(line, ", {silent} could not be looked at (their agents did not answer)");
    }
    if drifted > 0 {
        line.push_str("; `bootstead apply` mends them");
    }
    say(&(line + "\n"))
}
