//! `bootstead node`: what a person decides about nodes.

use super::load::{Loaded, load};
use super::station::{Decided, Station, Verb, Wish};
use super::status::unknown;
use super::{Globals, arm, assign, hardware, say, say_json, terminal};
use crate::lifecycle::State;
use crate::problem::{Exit, Problem, Problems};
use crate::site::Node;
use crate::ui::text::{Paint, width};
use std::collections::BTreeMap;
use std::fmt::Write as _;

#[derive(Debug, clap::Args)]
pub struct NodeArgs {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, clap::Subcommand)]
enum Command {
    /// Allow one installation: what is on the node's disk will be erased
    Arm {
        #[command(flatten)]
        which: Which,
        /// Do not ask; for several nodes say how many (--yes N)
        #[arg(long, value_name = "N", num_args = 0..=1, value_parser = how_many)]
        yes: Option<Option<usize>>,
        /// Approve, for this installation alone, the disk that each node's last refusal named
        #[arg(long)]
        erase: bool,
        /// With --role or --all: also the nodes that are installed
        #[arg(long)]
        again: bool,
    },
    /// Take an arming back that nothing has come of yet: the node is what it was before
    Disarm {
        #[command(flatten)]
        which: Which,
    },
    /// Stop a node: it gets nothing until it is released
    Hold {
        #[command(flatten)]
        which: Which,
        /// The reason, which a hold must have; it is shown on the machine's console
        // Not left to clap to demand: what it says then is no sentence that helps.
        #[arg(long, value_name = "REASON")]
        why: Option<String>,
    },
    /// Let a held node go on where it was
    Release {
        #[command(flatten)]
        which: Which,
    },
    /// Forget what happened to a node, as if it were new; its disk stays as it is
    Forget {
        #[command(flatten)]
        which: Which,
        /// Do not ask; for several nodes say how many (--yes N)
        #[arg(long, value_name = "N", num_args = 0..=1)]
        yes: Option<Option<usize>>,
    },
    /// Take a discovered machine into the site, as a new node of a role or in the place of a node
    Assign(assign::AssignArgs),
    /// List every node with its role, addresses and state
    List,
    /// What a machine reported of itself, and the disk that its rule picks
    Show {
        /// A node, by name or MAC address
        node: String,
    },
    /// Have the running server take the changed site file into use
    Reload {
        /// So many installed nodes may get another name or address
        #[arg(long, value_name = "N")]
        yes: Option<usize>,
    },
}

/// Which nodes are meant.
#[derive(Debug, clap::Args)]
pub struct Which {
    /// Names or MAC addresses
    pub nodes: Vec<String>,
    /// Every node of this role
    #[arg(long, conflicts_with = "nodes")]
    pub role: Option<String>,
    /// Every node of the site
    #[arg(long, conflicts_with_all = ["nodes", "role"])]
    pub all: bool,
}

pub fn run(g: &Globals, args: NodeArgs) -> Result<Exit, Problems> {
    match args.command {
        Command::Arm { which, yes, erase, again } => arm::run(g, &which, yes, erase, again),
        Command::Disarm { which } => each(g, &which, Verb::Disarm, ""),
        Command::Hold { which, why } => match why.as_deref().map(str::trim) {
            None | Some("") => Err(hold_needs_why(&which).into()),
            Some(why) => each(g, &which, Verb::Hold, why),
        },
        Command::Release { which } => each(g, &which, Verb::Release, ""),
        Command::Forget { which, yes } => forget(g, &which, yes),
        Command::Assign(args) => assign::run(g, &args),
        Command::List => list(g),
        Command::Show { node } => hardware::show(g, &node),
        Command::Reload { yes } => match Station::find(g)?.reload(yes)? {
            Some(changed) if g.json => say_json(&serde_json::json!({ "reloaded": true, "changed": changed })),
            Some(changed) => say(&format!("the running server uses the site file as it is now: {changed}\n")),
            None => Err(Problem::environment(
                "no server runs on this state folder, so there is nothing to reload",
            )
            .help("the next `bootstead serve` reads the site file anyway")
            .into()),
        },
    }
}

/// The number of `--yes`. A name that follows it is taken for the number.
fn how_many(text: &str) -> Result<usize, String> {
    text.parse().map_err(|_| {
        format!(
            "it says how many nodes, as in --yes=1; put a node before it: `bootstead node arm {text} --yes`"
        )
    })
}

fn hold_needs_why(which: &Which) -> Problem {
    let name = which.nodes.first().map_or("NODE", String::as_str);
    Problem::input("a hold needs a reason")
        .help(format!("`bootstead node hold {name} --why \"disk is being replaced\"`"))
}

/// The nodes meant, in the site's order, each once.
pub fn choose<'a>(loaded: &'a Loaded, which: &Which) -> Result<Vec<&'a Node>, Problems> {
    let site = &loaded.site;
    let mut problems = Problems::default();
    let mut chosen: Vec<&Node> = Vec::new();
    if which.all {
        chosen.extend(&site.nodes);
    } else if let Some(role) = &which.role {
        if !site.roles.contains_key(role) {
            return Err(unknown("role", role, site.roles.keys().map(String::as_str)).into());
        }
        chosen.extend(site.nodes.iter().filter(|n| n.role == *role));
    } else if which.nodes.is_empty() {
        return Err(Problem::input("no node was named")
            .help("name nodes, or use --role ROLE or --all")
            .into());
    }
    for word in &which.nodes {
        match site.find(word) {
            Some(n) if chosen.iter().any(|c| c.name == n.name) => {}
            Some(n) => chosen.push(n),
            None => problems.push(unknown("node", word, site.nodes.iter().map(|n| n.name.as_str()))),
        }
    }
    if problems.errors() > 0 {
        return Err(problems);
    }
    if chosen.is_empty() {
        return Err(Problem::input("no node is meant by this")
            .help("the site has none there; `bootstead node list`")
            .into());
    }
    Ok(chosen)
}

/// Forgets; asks first where more than a mistake is lost.
fn forget(g: &Globals, which: &Which, yes: Option<Option<usize>>) -> Result<Exit, Problems> {
    let loaded = load(g)?;
    let nodes = choose(&loaded, which)?;
    let station = Station::find(g)?;
    let ledger = station.ledger()?;
    let installed: Vec<&str> = nodes
        .iter()
        .filter(|n| matches!(ledger.state(n.mac()), State::Installed { .. }))
        .map(|n| n.name.as_str())
        .collect();
    if !installed.is_empty() || nodes.len() > 1 {
        eprintln!(
            "{} of {} are installed{}: what Bootstead knows of them is lost, their agents, and what was done on them for \
             the cluster; to take an arming back, `bootstead node disarm` is enough",
            installed.len(),
            nodes.len(),
            match installed.as_slice() {
                [] => String::new(),
                [one] => format!(" ({one})"),
                [first, .., last] => format!(" ({first} … {last})"),
            }
        );
        agree(nodes.len(), "forget", yes)?;
    }
    let wish = Wish { verb: Verb::Forget, why: "", erase: &[] };
    apply(g, &station, &loaded, nodes.iter().map(|n| (*n, wish)))
}

/// Bulk arming asks for the number (field-pain #81): a wrong filter shows itself before anything is erased.
pub fn agree(count: usize, verb: &str, yes: Option<Option<usize>>) -> Result<(), Problem> {
    let help = format!("look at the list above; if it is what you want, add `--yes {count}`");
    let nothing = match verb {
        "forget" => "nothing was forgotten",
        _ => "nothing was armed",
    };
    match yes {
        Some(Some(n)) if n == count => Ok(()),
        Some(Some(n)) => {
            Err(Problem::input(format!("--yes says {n} nodes, and this is {count}; {nothing}")).help(help))
        }
        Some(None) if count == 1 => Ok(()),
        Some(None) => {
            Err(Problem::input(format!("--yes must say how many for {count} nodes; {nothing}")).help(help))
        }
        None if !terminal::can_ask() => {
            Err(Problem::input(format!("there is no terminal to ask at; {nothing}")).help(help))
        }
        None => {
            let typed = terminal::ask(&format!("Type the number of nodes to {verb} them:"))?;
            if typed == count.to_string() {
                Ok(())
            } else {
                Err(Problem::input(nothing).why(format!("{typed:?} is not {count}")))
            }
        }
    }
}

fn each(g: &Globals, which: &Which, verb: Verb, why: &str) -> Result<Exit, Problems> {
    let loaded = load(g)?;
    let nodes = choose(&loaded, which)?;
    let wish = Wish { verb, why, erase: &[] };
    apply(g, &Station::find(g)?, &loaded, nodes.iter().map(|n| (*n, wish)))
}

/// What became of each node, with its name.
pub type Done<'a> = Vec<(&'a str, Decided)>;

/// Does it node by node; what is refused for one does not stop the others.
pub fn decide<'a>(
    station: &Station<'_>,
    loaded: &Loaded,
    wishes: impl Iterator<Item = (&'a Node, Wish<'a>)>,
) -> (Done<'a>, Problems) {
    let mut problems = Problems::default();
    let mut done = Vec::new();
    for (node, wish) in wishes {
        match station.decide(&loaded.site, node, wish) {
            Ok(d) => done.push((node.name.as_str(), d)),
            Err(p) => problems.push(p),
        }
    }
    (done, problems)
}

/// The same for scripts: an object whose keys are the nodes' names.
pub fn by_name(done: &Done<'_>) -> serde_json::Value {
    serde_json::json!(done.iter().map(|(name, d)| (*name, d)).collect::<BTreeMap<_, _>>())
}

/// The same for people.
pub fn told(done: &Done<'_>) -> Result<(), Problems> {
    for (name, d) in done {
        let arming = d.arming.map(|a| format!(" (arming {a})")).unwrap_or_default();
        say(&format!("{name} is {}{arming}\n", d.state))?;
    }
    Ok(())
}

fn apply<'a>(
    g: &Globals,
    station: &Station<'_>,
    loaded: &Loaded,
    wishes: impl Iterator<Item = (&'a Node, Wish<'a>)>,
) -> Result<Exit, Problems> {
    let (done, problems) = decide(station, loaded, wishes);
    if g.json {
        say_json(&by_name(&done))?;
    } else {
        told(&done)?;
    }
    if problems.errors() > 0 { Err(problems) } else { Ok(Exit::Ok) }
}

fn list(g: &Globals) -> Result<Exit, Problems> {
    let board = Station::find(g)?.board()?;
    if g.json {
        let text = serde_json::to_string_pretty(&board.nodes).map_err(|e| Problem::fault(e.to_string()))?;
        return say(&(text + "\n"));
    }
    let style = terminal::style();
    let widest = |f: &dyn Fn(usize) -> usize| (0..board.nodes.len()).map(f).max().unwrap_or(0);
    let name = widest(&|i| width(&board.nodes[i].name)).max(4);
    let role = widest(&|i| width(&board.nodes[i].role)).max(4);
    let head = format!(
        "{}  {}  {:<17}  {:<15}  STATE",
        style.pad("NODE", name),
        style.pad("ROLE", role),
        "MAC",
        "ADDRESS"
    );
    let mut out = style.paint(Paint::Quiet, &head) + "\n";
    for n in &board.nodes {
        let address = n.address.map(|a| a.to_string()).unwrap_or_default();
        let state = style.paint(crate::ui::table::paint(n.phase, n.overdue.is_some()), n.phase.name());
        let _ = writeln!(
            out,
            "{}  {}  {}  {address:<15}  {state}",
            style.pad(&n.name, name),
            style.pad(&n.role, role),
            n.mac
        );
    }
    for d in &board.discovered {
        let _ = writeln!(out, "{}  {}  {}  discovered", style.pad("-", name), style.pad("-", role), d.mac);
    }
    say(&out)
}
