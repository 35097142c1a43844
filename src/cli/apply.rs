//! `bootstead apply`: puts exactly the plan that was shown to work, and shows how it goes.

use super::plan::{make, open};
use super::station::{Station, by};
use super::steps::{failed, follow, waiting};
use super::{Globals, beneath, say, say_json, terminal};
use crate::api::{self, Apply};
use crate::cluster::gates::Listed;
use crate::problem::{Exit, Problem, Problems};
use hyper::Method;
use std::time::Duration;

#[derive(Debug, clap::Args)]
pub struct ApplyArgs {
    /// The plan's digest as `bootstead plan` printed it: only this plan is put to work
    #[arg(long, value_name = "DIGEST")]
    digest: Option<String>,
    /// Do not ask
    #[arg(long)]
    yes: bool,
    /// Go through everything again, also what is done: it finds nothing to do, or mends it
    #[arg(long)]
    again: bool,
    /// Stay until it is done, for so many seconds at most
    #[arg(long, value_name = "SECONDS", num_args = 0..=1, default_missing_value = "3600")]
    wait: Option<u64>,
}

pub fn run(g: &Globals, args: ApplyArgs) -> Result<Exit, Problems> {
    let made = make(g)?;
    let digest = made.plan.digest();
    let todo = match args.again {
        true => made.plan.steps.len(),
        false => open(&made).iter().filter(|o| **o).count(),
    };
    match &args.digest {
        Some(shown) if shown.len() >= 8 && digest.to_string().starts_with(shown.as_str()) => {}
        Some(shown) => {
            return Err(Problem::input(format!("the plan of now is {}, not {shown}", digest.short()))
                .why("the site, the tree or what was done so far changed since it was shown")
                .help("look at it again with `bootstead plan`")
                .into());
        }
        None if args.yes => {}
        None if !terminal::can_ask() => {
            return Err(Problem::input("there is no terminal to ask at; nothing was put to work")
                .help(format!("look at `bootstead plan`; then add `--digest {}`", digest.short()))
                .into());
        }
        None => {
            let question = format!("{todo} steps to do; type the plan's digest ({}):", digest.short());
            if terminal::ask(&question)? != digest.short() {
                return Err(Problem::input("nothing was put to work").into());
            }
        }
    }
    let station = Station::find(g)?;
    let wish = Apply { digest, by: by(), again: args.again };
    let reply: serde_json::Value = station.ask(Method::POST, api::APPLY, Some(&wish))?;
    let generation = reply.get("generation").and_then(serde_json::Value::as_u64).unwrap_or(0);
    if !g.json {
        say(&format!("plan {generation} ({}) is put to work: {todo} steps to do\n", digest.short()))?;
    }
    match args.wait {
        None if g.json => {
            say_json(&serde_json::json!({ "generation": generation, "digest": digest, "steps": todo }))
        }
        None => say("`bootstead steps --watch` shows how it goes\n"),
        Some(seconds) => {
            let list: Listed = beneath::with(g, || follow(&station, Duration::from_secs(seconds)))?;
            finish(g, &list)
        }
    }
}

/// The end in one line, or what failed.
fn finish(g: &Globals, list: &Listed) -> Result<Exit, Problems> {
    if g.json {
        let text = serde_json::to_string(&list.count()).map_err(|e| Problem::fault(e.to_string()))?;
        say(&(text + "\n"))?;
    }
    let count = list.count();
    let failed: Vec<String> = failed(list).collect();
    if failed.is_empty() && count.done == count.steps {
        if g.json {
            return Ok(Exit::Ok);
        }
        return say(&format!(
            "all {} steps are done; {} changed something, {} found nothing to do\n",
            count.steps,
            count.changed,
            count.done - count.changed
        ));
    }
    let mut problems = Problems::default();
    for one in failed {
        problems.push(
            Problem::environment(one)
                .help("`bootstead steps` shows its output; then `bootstead steps --retry`"),
        );
    }
    if problems.errors() == 0 {
        let open = waiting(list).next().unwrap_or_default();
        problems.push(
            Problem::environment(format!(
                "{} of {} steps are done, and time is over",
                count.done, count.steps
            ))
            .why(open)
            .help("it goes on by itself; `bootstead steps --watch` shows it"),
        );
    }
    Err(problems)
}
