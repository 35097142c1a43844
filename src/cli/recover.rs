//! `bootstead recover`: a quorum whose members are all down is begun anew, on the member with the newest data.

use super::station::Station;
use super::steps::look;
use super::{Globals, say, terminal};
use crate::api::{LookKind, LookWish, Seen};
use crate::cluster::recover::{Member, choose};
use crate::problem::{Exit, Problem, Problems};

#[derive(Debug, clap::Args)]
pub struct RecoverArgs {
    /// The part, for example galera
    part: String,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// How long an agent may take for one step, in seconds
    #[arg(long, default_value_t = 420)]
    wait: u64,
}

pub fn run(g: &Globals, args: &RecoverArgs) -> Result<Exit, Problems> {
    let station = Station::find(g)?;
    let ask = |phase: &str, node: Option<&str>| -> Result<Vec<Seen>, Problem> {
        let wish = LookWish {
            kind: LookKind::Recover,
            part: Some(args.part.clone()),
            phase: Some(phase.to_string()),
            node: node.map(str::to_string),
            beside: false,
        };
        look(&station, &wish, args.wait)
    };
    let (mut members, mut silent) = (Vec::new(), Vec::new());
    for seen in ask("state", None)? {
        let read = match &seen.found {
            None => Err("did not answer".to_string()),
            Some(f) => match &f.failed {
                Some(why) => Err(why.clone()),
                None => Member::read(&seen.node, &f.output),
            },
        };
        match read {
            Ok(member) => {
                let state = if member.running { "runs" } else { "is down" };
                say(&format!("{} {state}, at {} of {}\n", member.node, member.seqno, member.uuid))?;
                members.push(member);
            }
            Err(why) => {
                say(&format!("{}: {why}\n", seen.node))?;
                silent.push(seen.node.clone());
            }
        }
    }
    // A recovery that was cut short goes on: what runs is the cluster, the others join it.
    let runs = members.iter().find(|m| m.running).map(|m| m.node.clone());
    let first = match &runs {
        Some(node) => node.clone(),
        None => {
            let choice = choose(&members, &silent).map_err(|why| {
                Problem::environment(format!("{} is not begun anew: {why}", args.part))
                    .help("bring every member's machine up so that its agent answers, then try again")
            })?;
            say(&format!("{} begins: {}\n", choice.node, choice.why))?;
            choice.node
        }
    };
    let others: Vec<&Member> = members.iter().filter(|m| !m.running && m.node != first).collect();
    if runs.is_some() {
        let names: Vec<&str> = others.iter().map(|m| m.node.as_str()).collect();
        if names.is_empty() {
            return say(&format!("{} runs; there is nothing to recover\n", args.part));
        }
        say(&format!("{first} runs; {} will join it\n", names.join(" and ")))?;
    }
    if !args.yes {
        if !terminal::can_ask() {
            return Err(Problem::input("there is no terminal to ask at; nothing was begun")
                .help("add --yes")
                .into());
        }
        if terminal::ask(&format!("Type {first} to go on:"))? != first {
            return Err(Problem::input("nothing was begun").into());
        }
    }
    if runs.is_none() {
        well(ask("begin", Some(&first))?)?;
        say(&format!("{first} is the cluster\n"))?;
    }
    for member in others {
        well(ask("join", Some(&member.node))?)?;
        say(&format!("{} joined\n", member.node))?;
    }
    say(&format!("{} is whole again: {} members\n", args.part, members.len()))
}

fn well(seen: Vec<Seen>) -> Result<(), Problem> {
    for s in seen {
        let why = match s.found {
            None => "it did not answer in time".to_string(),
            Some(f) => match f.failed {
                None => continue,
                Some(why) => format!("{why}\n{}", f.output.trim()),
            },
        };
        return Err(Problem::environment(format!("{} on {} failed: {why}", s.title, s.node))
            .help("look at the node; then give the command again: it goes on from what runs"));
    }
    Ok(())
}
