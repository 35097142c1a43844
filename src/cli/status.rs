//! `bootstead status`: where every node is, once or as a live table.

use super::station::Station;
use super::{Globals, say, terminal, watch};
use crate::problem::{Exit, Problem, Problems};
use crate::ui::Board;
use crate::ui::board::{NodeRow, Phase};
use crate::ui::table::table;

#[derive(Debug, clap::Args)]
pub struct StatusArgs {
    /// Only these nodes (names or MAC addresses)
    pub nodes: Vec<String>,
    /// Only nodes of this role
    #[arg(long)]
    pub role: Option<String>,
    /// Only nodes in this phase (failed, installing, armed …)
    #[arg(long)]
    pub phase: Option<String>,
    /// Every node, also those that do not fit the screen
    #[arg(long)]
    pub all: bool,
    /// Keep the table up to date in place; q or Ctrl-C ends. In a pipe: a line per change
    #[arg(long, short)]
    pub watch: bool,
    /// With --watch: end when nothing more happens by itself; exit code 3 if a node failed
    #[arg(long, requires = "watch")]
    pub until_done: bool,
    /// With --watch: what comes by standard input is printed above the table, which lasts as long as the input
    #[arg(long, requires = "watch", conflicts_with_all = ["until_done", "nodes", "role", "phase", "all"])]
    pub with_input: bool,
}

pub fn run(g: &Globals, args: StatusArgs) -> Result<Exit, Problems> {
    if args.with_input {
        return watch::with_input(g);
    }
    let filter = Filter::new(&args)?;
    if args.watch {
        return watch::run(g, &filter, args.until_done);
    }
    let station = Station::find(g)?;
    let board = filter.apply(station.board()?)?;
    if g.json {
        return say(&json(&board)?);
    }
    let mut style = terminal::style();
    // One row stays for the prompt.
    style.height = style.height.filter(|_| !args.all && board.nodes.len() > 30).map(|h| h.saturating_sub(1));
    say(&(table(&board, &style, 0).join("\n") + "\n"))
}

/// The board as a program reads it.
pub fn json(board: &Board) -> Result<String, Problem> {
    serde_json::to_string_pretty(board)
        .map(|t| t + "\n")
        .map_err(|e| Problem::fault(format!("the board cannot be written as JSON: {e}")))
}

/// Which nodes are asked for.
#[derive(Debug, Default)]
pub struct Filter {
    nodes: Vec<String>,
    role: Option<String>,
    phase: Option<Phase>,
}

impl Filter {
    fn new(args: &StatusArgs) -> Result<Filter, Problem> {
        let phase = match &args.phase {
            None => None,
            Some(word) => Some(Phase::ALL.into_iter().find(|p| p.name() == word).ok_or_else(|| {
                let names: Vec<&str> = Phase::ALL.iter().map(|p| p.name()).collect();
                Problem::input(format!("{word:?} is no state of a node"))
                    .help(format!("use {}", names.join(", ")))
            })?),
        };
        Ok(Filter { nodes: args.nodes.clone(), role: args.role.clone(), phase })
    }

    /// The board with only those nodes; a name or role that is not there is an error.
    pub fn apply(&self, board: Board) -> Result<Board, Problem> {
        let named = |n: &NodeRow, word: &str| n.name == word || crate::base::Mac::parse(word) == Ok(n.mac);
        if let Some(word) = self.nodes.iter().find(|w| !board.nodes.iter().any(|n| named(n, w))) {
            let names = board.nodes.iter().map(|n| n.name.as_str());
            return Err(unknown("node", word, names));
        }
        if let Some(role) = &self.role
            && !board.nodes.iter().any(|n| n.role == *role)
        {
            return Err(unknown("role", role, board.roles.iter().map(|r| r.role.as_str())));
        }
        if self.nodes.is_empty() && self.role.is_none() && self.phase.is_none() {
            return Ok(board);
        }
        Ok(board.only(|n| {
            (self.nodes.is_empty() || self.nodes.iter().any(|w| named(n, w)))
                && self.role.as_ref().is_none_or(|r| n.role == *r)
                && self.phase.is_none_or(|p| n.phase == p)
        }))
    }
}

/// "no node named X", with the nearest name.
pub fn unknown<'a>(what: &str, word: &str, names: impl Iterator<Item = &'a str>) -> Problem {
    let problem = Problem::input(format!("the site has no {what} named {word:?}"));
    match crate::problem::did_you_mean(word, names) {
        Some(near) => problem.help(format!("did you mean {near:?}?")),
        None => problem
            .help(format!("`bootstead node list` names every node and its role; this is no {what} of it")),
    }
}
