//! `bootstead node`: what a person decides about nodes.

use super::load::{Loaded, load};
use super::station::{Station, Verb, Wish};
use super::status::unknown;
use super::{Globals, assign, hardware, say, say_json, terminal};
use crate::boot::Known;
use crate::lifecycle::{Lane, Ledger, State};
use crate::problem::{Exit, Problem, Problems};
use crate::shelf::Shelf;
use crate::site::Node;
use crate::ui::arming::{Arming, arming};
use crate::ui::text::{Paint, Style, width};
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
struct Which {
    /// Names or MAC addresses
    nodes: Vec<String>,
    /// Every node of this role
    #[arg(long, conflicts_with = "nodes")]
    role: Option<String>,
    /// Every node of the site
    #[arg(long, conflicts_with_all = ["nodes", "role"])]
    all: bool,
}

pub fn run(g: &Globals, args: NodeArgs) -> Result<Exit, Problems> {
    match args.command {
        Command::Arm { which, yes, erase, again } => arm(g, &which, yes, erase, again),
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
fn choose<'a>(loaded: &'a Loaded, which: &Which) -> Result<Vec<&'a Node>, Problems> {
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

fn arm(
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
    if g.json {
        let text = serde_json::to_string_pretty(&armings).map_err(|e| Problem::fault(e.to_string()))?;
        say(&(text + "\n"))?;
    } else {
        say(&describe(&armings, erase, &terminal::style()))?;
    }
    let cannot = refusals(&armings);
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
    agree(nodes.len(), "arm", yes)?;
    let approved = armings.iter().map(|a| if erase { a.refused.as_slice() } else { &[] });
    let wishes = approved.map(|erase| Wish { verb: Verb::Arm, why: "", erase });
    apply(g, &station, &loaded, nodes.iter().copied().zip(wishes))
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
fn agree(count: usize, verb: &str, yes: Option<Option<usize>>) -> Result<(), Problem> {
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

/// Does it node by node; what is refused for one does not stop the others.
fn apply<'a>(
    g: &Globals,
    station: &Station<'_>,
    loaded: &Loaded,
    wishes: impl Iterator<Item = (&'a Node, Wish<'a>)>,
) -> Result<Exit, Problems> {
    let mut problems = Problems::default();
    let mut done = Vec::new();
    let mut arms = false;
    for (node, wish) in wishes {
        arms |= wish.verb == Verb::Arm;
        match station.decide(&loaded.site, node, wish) {
            Ok(d) => done.push((node.name.as_str(), d)),
            Err(p) => problems.push(p),
        }
    }
    if !g.json {
        for (name, d) in &done {
            let arming = d.arming.map(|a| format!(" (arming {a})")).unwrap_or_default();
            say(&format!("{name} is {}{arming}\n", d.state))?;
        }
        if arms && !station.is_live() && !done.is_empty() {
            say("no server runs yet: start it with `bootstead serve`\n")?;
        }
    } else {
        let all: BTreeMap<_, _> = done.into_iter().collect();
        let text = serde_json::to_string_pretty(&all).map_err(|e| Problem::fault(e.to_string()))?;
        say(&(text + "\n"))?;
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
