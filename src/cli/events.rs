//! `bootstead events`: what happened, on one axis; of the whole site or of one node.

use super::station::Station;
use super::{Globals, say, terminal};
use crate::base::Mac;
use crate::problem::{Exit, Problem, Problems};
use crate::store::Entry;
use crate::ui::timeline::Timeline;
use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub struct EventsArgs {
    /// Only this machine: a node's name, or any spelling of a MAC address
    #[arg(long)]
    pub node: Option<String>,
    /// Go on: print what happens from now on; Ctrl-C ends
    #[arg(long, short)]
    pub follow: bool,
    /// Only events after this number (the `seq` of --json)
    #[arg(long, value_name = "SEQ")]
    pub after: Option<u64>,
    /// At most the newest N events [default: 200, of one node: all]
    #[arg(long, value_name = "N")]
    pub last: Option<usize>,
}

/// How long the newest line stays open for repetitions of it.
const OPEN: Duration = Duration::from_secs(2);

pub fn run(g: &Globals, args: EventsArgs) -> Result<Exit, Problems> {
    let station = Station::find(g)?;
    let (mac, names) = who(&station, args.node.as_deref())?;
    let keep = match (args.last, args.after, mac) {
        (Some(n), ..) => n,
        (None, None, None) => 200,
        _ => usize::MAX,
    };
    let mut after = args.after.unwrap_or(0);
    let mut newest: VecDeque<Entry> = VecDeque::new();
    loop {
        let page = station.events(after, mac, Duration::ZERO)?;
        let Some(last) = page.last() else { break };
        after = last.seq;
        newest.extend(page);
        newest.drain(..newest.len().saturating_sub(keep));
    }
    let mut out = Output::new(g, mac.is_none().then_some(&names));
    if newest.is_empty() && !args.follow && !g.json {
        let whose = args.node.as_deref().unwrap_or("this site");
        return say(&format!("nothing is known of {whose} yet\n"));
    }
    out.print(newest.make_contiguous())?;
    out.flush()?;
    if args.follow { follow(g, mac, after, &mut out) } else { Ok(Exit::Ok) }
}

/// Prints what happens from number `after` on, until the person ends it or stops reading.
fn follow(g: &Globals, mac: Option<Mac>, mut after: u64, out: &mut Output<'_>) -> Result<Exit, Problems> {
    loop {
        if terminal::reader_is_gone() {
            return Ok(Exit::Ok);
        }
        let page = match Station::find(g).and_then(|s| s.events(after, mac, OPEN)) {
            Ok(page) => page,
            // The server restarts: the journal stays, so nothing is missed.
            Err(_) => {
                std::thread::sleep(OPEN);
                continue;
            }
        };
        match page.last() {
            Some(last) => {
                after = last.seq;
                out.print(&page)?;
            }
            None => out.flush()?,
        }
    }
}

/// The machine asked for, and the names of all nodes by any of their addresses.
fn who(station: &Station<'_>, node: Option<&str>) -> Result<(Option<Mac>, BTreeMap<Mac, String>), Problems> {
    let board = station.board();
    let mac = match node {
        None => None,
        Some(word) => match (&board, Mac::parse(word)) {
            // A stranger has no name, and a site file that is broken now does not hide what happened.
            (_, Ok(mac)) => Some(mac),
            (Ok(b), Err(_)) => match b.nodes.iter().find(|n| n.name == word) {
                Some(n) => Some(n.mac),
                None => {
                    let names = b.nodes.iter().map(|n| n.name.as_str());
                    return Err(super::status::unknown("node", word, names).into());
                }
            },
            (Err(problems), Err(_)) => return Err(problems.clone()),
        },
    };
    let names = board.map(|b| b.nodes.into_iter().map(|n| (n.mac, n.name)).collect()).unwrap_or_default();
    Ok((mac, names))
}

/// Where events go: a timeline, or a line of JSON each.
struct Output<'a> {
    json: bool,
    timeline: Timeline<'a>,
}

impl<'a> Output<'a> {
    fn new(g: &Globals, names: Option<&'a BTreeMap<Mac, String>>) -> Output<'a> {
        Output { json: g.json, timeline: Timeline::new(terminal::style(), names) }
    }

    fn print(&mut self, entries: &[Entry]) -> Result<(), Problems> {
        let mut text = String::new();
        for entry in entries {
            if self.json {
                let line = serde_json::to_string(entry).map_err(|e| Problem::fault(e.to_string()))?;
                text.push_str(&line);
                text.push('\n');
            } else {
                text.extend(self.timeline.push(&entry.event).into_iter().map(|l| l + "\n"));
            }
        }
        say(&text).map(|_| ())
    }

    fn flush(&mut self) -> Result<(), Problems> {
        let text: String = self.timeline.flush().into_iter().map(|l| l + "\n").collect();
        if text.is_empty() { Ok(()) } else { say(&text).map(|_| ()) }
    }
}
