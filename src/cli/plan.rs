//! `bootstead plan`: what will be done on every node, in which order, and why. Pure: nothing is put to work.

use super::load::{Loaded, load};
use super::station::Station;
use super::{Globals, say, terminal};
use crate::cluster::{Change, Need, Plan, Planned, diff};
use crate::lifecycle::Ledger;
use crate::problem::{Exit, Problem, Problems};
use crate::serve::works::read_plan;
use crate::ui::text::{Paint, Style};
use std::collections::BTreeMap;
use std::fmt::Write as _;

#[derive(Debug, clap::Args)]
pub struct PlanArgs {
    /// Only the steps of this node
    #[arg(long)]
    node: Option<String>,
    /// Against the plan in use: what is new, changed, gone
    #[arg(long)]
    diff: bool,
    /// With the files' content and the scripts
    #[arg(long)]
    full: bool,
    /// Ask the nodes what it would change on them; nothing is changed
    #[arg(long, conflicts_with_all = ["diff", "full"])]
    dry_run: bool,
    /// Of a dry run: how long agents may take, in seconds
    #[arg(long, default_value_t = 60, requires = "dry_run")]
    wait: u64,
}

/// The plan of now, and what it was made from.
pub struct Made {
    pub loaded: Loaded,
    pub ledger: Ledger,
    pub plan: Plan,
}

/// Makes the plan from the site file, the tree and the journal.
pub fn make(g: &Globals) -> Result<Made, Problems> {
    let loaded = load(g)?;
    let ledger = Station::find(g)?.ledger()?;
    let versions = crate::secrets::versions(&g.state_dir())?;
    let plan = crate::cluster::plan(&loaded.site, &loaded.catalog, ledger.work(), &versions)?;
    Ok(Made { loaded, ledger, plan })
}

pub fn run(g: &Globals, args: PlanArgs) -> Result<Exit, Problems> {
    let made = make(g)?;
    if let Some(node) = &args.node
        && made.loaded.site.find(node).is_none()
    {
        let names = made.loaded.site.nodes.iter().map(|n| n.name.as_str());
        return Err(super::status::unknown("node", node, names).into());
    }
    if args.diff {
        return show_diff(g, &made);
    }
    if args.dry_run {
        return super::dry_run::run(g, &made, args.node.as_deref(), args.wait);
    }
    let name = args.node.as_deref().and_then(|n| made.loaded.site.find(n)).map(|n| n.name.clone());
    if g.json {
        let text = serde_json::to_string_pretty(&made.plan).map_err(|e| Problem::fault(e.to_string()))?;
        return say(&(text + "\n"));
    }
    let style = terminal::style();
    match name {
        Some(name) => say(&of_node(&made, &name, args.full, &style)),
        None => say(&whole(&made, args.full, &style)),
    }
}

/// Whether a step is still to be done, for every step of the plan.
pub fn open(made: &Made) -> Vec<bool> {
    crate::cluster::gates::open(&made.plan, made.ledger.work())
}

/// One line per step with its nodes, in the plan's order.
fn whole(made: &Made, full: bool, style: &Style) -> String {
    let plan = &made.plan;
    let open = open(made);
    let mut groups: Vec<(&str, Vec<(&Planned, bool)>)> = Vec::new();
    for (p, open) in plan.steps.iter().zip(&open) {
        match groups.iter_mut().find(|(id, _)| *id == p.id) {
            Some((_, list)) => list.push((p, *open)),
            None => groups.push((&p.id, vec![(p, *open)])),
        }
    }
    let wide = groups.iter().map(|(id, _)| id.len()).max().unwrap_or(0);
    let mut out = String::new();
    for (number, (id, list)) in groups.iter().enumerate() {
        let todo = list.iter().filter(|(_, open)| *open).count();
        let (mark, paint) = if todo > 0 { ("•", Paint::Bold) } else { ("✓", Paint::Quiet) };
        let nodes: Vec<&str> = list.iter().map(|(p, _)| p.node.as_str()).collect();
        let head = format!("{:>3} {mark} {id:wide$}  {}", number + 1, fold(&nodes));
        let _ = writeln!(out, "{}", style.paint(paint, &head));
        let first = list[0].0;
        let _ = writeln!(out, "      {}{}", first.step.sentence(), when(first));
        if let Some(why) = &first.why {
            let _ = writeln!(out, "      {}", style.paint(Paint::Quiet, why));
        }
        if full {
            out.push_str(&detail(first));
        }
    }
    let todo = open.iter().filter(|o| **o).count();
    let nodes: std::collections::BTreeSet<&str> = plan.steps.iter().map(|p| p.node.as_str()).collect();
    let _ = writeln!(
        out,
        "\n{} steps on {} nodes, {todo} to do; plan {}",
        plan.steps.len(),
        nodes.len(),
        plan.digest().short()
    );
    if todo > 0 {
        let _ = writeln!(out, "`bootstead apply --digest {}` puts it to work", plan.digest().short());
    }
    out
}

/// `cs-compute-0001 … cs-compute-0512 (512)`
pub fn fold(nodes: &[&str]) -> String {
    match nodes {
        [] => String::new(),
        [first, .., last] if nodes.len() > 4 => format!("{first} … {last} ({})", nodes.len()),
        _ => nodes.join(" "),
    }
}

fn when(p: &Planned) -> String {
    let mut parts: Vec<String> = Vec::new();
    for need in &p.needs {
        parts.push(match need {
            Need::Own(id) => id.clone(),
            Need::All { id, .. } => format!("every {id}"),
            Need::Turn { width: 1, .. } => "one node at a time".to_string(),
            Need::Turn { width, .. } => format!("{width} nodes at a time"),
            Need::Same { id } => format!("one version of {id} everywhere"),
        });
    }
    match parts.is_empty() {
        true => String::new(),
        false => format!("  (after {})", parts.join(", ")),
    }
}

fn detail(p: &Planned) -> String {
    let text = match &p.step {
        crate::steps::Step::File { content, mode, owner, group, .. } => {
            format!("{mode:04o} {owner}:{group}\n{content}")
        }
        step => serde_json::to_string_pretty(step).unwrap_or_default(),
    };
    text.lines().map(|l| format!("        {l}\n")).collect()
}

fn of_node(made: &Made, name: &str, full: bool, style: &Style) -> String {
    let open = open(made);
    let mut out = String::new();
    for (p, open) in made.plan.steps.iter().zip(&open).filter(|(p, _)| p.node == name) {
        let (mark, paint) = if *open { ("•", Paint::Bold) } else { ("✓", Paint::Quiet) };
        let _ = writeln!(out, "{}", style.paint(paint, &format!("{mark} {}  {}", p.id, p.step.sentence())));
        let when = when(p);
        if !when.is_empty() {
            let _ = writeln!(out, "   {}", when.trim());
        }
        if full {
            out.push_str(&detail(p));
        }
    }
    out
}

fn show_diff(g: &Globals, made: &Made) -> Result<Exit, Problems> {
    let old = match &made.ledger.work().plan {
        Some(current) => read_plan(&g.state_dir(), current.generation, current.digest)?,
        None => Plan { site: made.plan.site.clone(), elected: BTreeMap::new(), steps: Vec::new() },
    };
    let changes = diff(&old, &made.plan);
    if g.json {
        let text = serde_json::to_string_pretty(&changes).map_err(|e| Problem::fault(e.to_string()))?;
        return say(&(text + "\n"));
    }
    if changes.is_empty() {
        return say("the plan is the one in use: nothing is new\n");
    }
    let style = terminal::style();
    let mut out = String::new();
    for change in &changes {
        match change {
            Change::Added { node, id, sentence } => {
                let _ = writeln!(out, "{}", style.paint(Paint::Good, &format!("+ {node}  {id}  {sentence}")));
            }
            Change::Removed { node, id, sentence } => {
                let _ = writeln!(out, "{}", style.paint(Paint::Bad, &format!("- {node}  {id}  {sentence}")));
            }
            Change::Changed { node, id, before, after } => {
                let _ = writeln!(out, "{}", style.paint(Paint::Bold, &format!("~ {node}  {id}")));
                let lines = crate::cluster::diff::lines(before, after);
                out.extend(lines.lines().map(|l| format!("    {l}\n")));
            }
        }
    }
    let _ = writeln!(out, "\n{} differences to the plan in use", changes.len());
    say(&out)
}
