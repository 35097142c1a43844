//! `bootstead secrets`: names the cluster's secrets and makes one anew, in the way that its part says.

use super::load::load;
use super::{Globals, say, say_json};
use crate::problem::{Exit, Problem, Problems, did_you_mean};
use crate::profiles::secret::{Rotate, way};
use crate::secrets;

#[derive(Debug, clap::Args)]
pub struct SecretsArgs {
    #[command(subcommand)]
    command: SecretsCommand,
}

#[derive(Debug, clap::Subcommand)]
enum SecretsCommand {
    /// Name every secret of the cluster and who uses it; never a value
    List,
    /// Make one anew: the next plan changes everything that holds it
    Rotate {
        /// For example rabbitmq-openstack
        name: String,
        /// What its sentence asks a person to do is done
        #[arg(long)]
        by_hand: bool,
    },
}

pub fn run(g: &Globals, args: &SecretsArgs) -> Result<Exit, Problems> {
    let loaded = load(g)?;
    let used: Vec<&String> = loaded.site.roles.values().flat_map(|r| &r.parts).collect();
    let parts: Vec<_> = loaded.catalog.parts.values().filter(|p| used.contains(&&p.name)).collect();
    let mut names: Vec<&str> = parts.iter().flat_map(|p| p.secrets.keys()).map(String::as_str).collect();
    names.sort_unstable();
    names.dedup();
    let versions = secrets::versions(&g.state_dir())?;
    match &args.command {
        SecretsCommand::List => {
            let (mut out, mut json) = (String::new(), Vec::new());
            for name in names {
                let users: Vec<&str> =
                    parts.iter().filter(|p| p.secrets.contains_key(name)).map(|p| p.name.as_str()).collect();
                let version = versions.get(name).copied().unwrap_or(1);
                let rotate = way(&loaded.catalog.parts, name).0;
                json.push(serde_json::json!({
                    "name": name, "version": version, "used_by": users, "rotate": rotate,
                }));
                let how = match rotate {
                    Rotate::Steps => "",
                    Rotate::Together => "; changes on all nodes at the same time",
                    Rotate::ByHand => "; is rotated with something done by hand",
                    Rotate::Never => "; is never rotated",
                };
                out.push_str(&format!("{name:24}  version {version}  used by {}{how}\n", users.join(", ")));
            }
            if g.json { say_json(&json.into()) } else { say(&out) }
        }
        SecretsCommand::Rotate { name, by_hand } => {
            if !names.contains(&name.as_str()) {
                let problem = Problem::input(format!("no part of this site has a secret {name:?}"));
                return Err(match did_you_mean(name, names.iter().copied()) {
                    Some(near) => problem.help(format!("did you mean {near:?}?")),
                    None => problem.help("`bootstead secrets list` names them"),
                }
                .into());
            }
            let (way, why) = way(&loaded.catalog.parts, name);
            allowed(name, way, why.unwrap_or_default(), *by_hand)?;
            let version = secrets::rotate(&g.state_dir(), name)?;
            if g.json {
                return say_json(&serde_json::json!({ "name": name, "version": version, "why": why }));
            }
            let why = why.map(|w| format!("{w}\n")).unwrap_or_default();
            say(&format!(
                "{name} is at version {version} in the next plan; look at `bootstead plan --diff`, then `bootstead apply`\n{why}"
            ))
        }
    }
}

/// Whether this secret may be made anew by this command.
fn allowed(name: &str, way: Rotate, why: &str, by_hand: bool) -> Result<(), Problem> {
    match way {
        Rotate::Never => Err(Problem::input(format!("{name} is never rotated")).why(why)),
        Rotate::ByHand if !by_hand => Err(Problem::input(format!(
            "{name} is rotated only with something done by hand; nothing was changed"
        ))
        .why(why)
        .help(format!("`bootstead secrets rotate {name} --by-hand` says that you do it"))),
        _ => Ok(()),
    }
}
