//! The command line: one file per command; parse, call, print.
//!
//! Exit codes: 0 done, 2 the operator's input, 3 the environment, 70 a fault of ours.

mod agent;
mod apply;
mod arm;
mod assign;
mod beneath;
mod bring_back;
mod build;
mod diff;
mod doctor;
mod drill;
mod dry_run;
mod events;
mod explain;
mod hardware;
mod image;
mod init;
mod inventory;
mod keep;
mod load;
mod node;
mod plan;
mod recover;
mod render;
mod secrets;
mod serve;
mod site_files;
mod station;
mod status;
mod steps;
mod terminal;
mod tree;
mod watch;

use crate::problem::{Exit, Problem, Problems, Severity};
use clap::{Args, CommandFactory as _, Parser, Subcommand};
use std::io::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;

/// Blank machines in, a working highly available cluster out: one binary, one site file, no internet.
#[derive(Debug, Parser)]
#[command(name = "bootstead", version, max_term_width = 80, propagate_version = true)]
pub struct Arguments {
    #[command(flatten)]
    pub globals: Globals,
    #[command(subcommand)]
    pub command: Command,
}

/// What every command understands.
#[derive(Debug, Clone, Args)]
pub struct Globals {
    /// The site file
    #[arg(long, global = true, value_name = "FILE", default_value = "site.toml")]
    pub site: PathBuf,
    /// A folder whose profiles/, kickstart/ and images/ replace the built-in files, path by path
    #[arg(long, global = true, value_name = "DIR")]
    pub tree: Option<PathBuf>,
    /// State folder: journal, secrets, images [default: .bootstead beside the site file]
    #[arg(long, global = true, value_name = "DIR")]
    pub state: Option<PathBuf>,
    /// Print JSON for programs; errors too, on standard error
    #[arg(long, global = true)]
    pub json: bool,
}

impl Globals {
    /// The state folder that counts.
    pub fn state_dir(&self) -> PathBuf {
        self.state.clone().unwrap_or_else(|| {
            let beside = self.site.parent().map(PathBuf::from).unwrap_or_default();
            beside.join(".bootstead")
        })
    }
    /// Where images and loaders lie.
    pub fn images_dir(&self) -> PathBuf {
        self.state_dir().join("images")
    }
    /// The operator's socket of a running server.
    pub fn socket(&self) -> PathBuf {
        self.state_dir().join("control.sock")
    }
}

#[derive(Debug, Subcommand)]
pub enum Command {
    /// Write a commented site file to start from
    Init(init::InitArgs),
    /// Check the site: all problems at once
    Check,
    /// Print any file that a node would get
    Render(render::RenderArgs),
    /// Say what a machine would get, and why
    Explain(explain::ExplainArgs),
    /// What a changed site would change, per node
    Diff(diff::DiffArgs),
    /// List profiles, kickstart and images with their origin
    Tree(tree::TreeArgs),
    /// Print the site file's JSON Schema, for editors
    Schema,
    /// Get, build, check and list images
    Image(image::ImageArgs),
    /// Look over this machine before and during a visit
    Doctor(doctor::DoctorArgs),
    /// Serve DHCP, TFTP and HTTP, and install what is armed
    Serve(serve::ServeArgs),
    /// Where every node is
    Status(status::StatusArgs),
    /// What happened, in order
    Events(events::EventsArgs),
    /// Arm, hold, release, forget, assign nodes
    Node(node::NodeArgs),
    /// What will be done on every node to make the cluster, and why
    Plan(plan::PlanArgs),
    /// Put the plan that was shown to work
    Apply(apply::ApplyArgs),
    /// Where the plan's steps are; try a failed one again, or skip it
    Steps(steps::StepsArgs),
    /// Look at the cluster as an administrator would
    Verify(steps::VerifyArgs),
    /// What on the nodes differs from the plan
    Drift(steps::DriftArgs),
    /// Break things on purpose, measure the outage, write the acceptance report
    Drill(drill::DrillArgs),
    /// Begin a database cluster anew when all its members are down
    Recover(recover::RecoverArgs),
    /// The nodes for other tools: Ansible's dynamic inventory
    Inventory(inventory::InventoryArgs),
    /// The cluster's secrets: name them, make one anew
    Secrets(secrets::SecretsArgs),
    /// Copy what this appliance must not lose into a folder
    Backup(keep::BackupArgs),
    /// Bring a backup back into an empty state folder
    Restore(keep::RestoreArgs),
    /// Work on this node for a Bootstead server (runs on installed nodes)
    Agent(agent::AgentArgs),
    /// Write shell completions
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
    /// Write the manual pages into a folder
    Man {
        /// The folder; it must exist
        dir: PathBuf,
    },
}

/// Parses the arguments, runs the command, prints its problems, returns its exit code.
pub fn main() -> ExitCode {
    let arguments = match Arguments::try_parse() {
        Ok(a) => a,
        Err(e) => {
            if e.use_stderr() && std::env::args_os().any(|a| a == "--json") {
                let _ = writeln!(std::io::stderr(), "{}", misread(&e.to_string()));
            } else {
                let _ = e.print();
            }
            return ExitCode::from(if e.use_stderr() { Exit::Input as u8 } else { Exit::Ok as u8 });
        }
    };
    let json = arguments.globals.json;
    match run(arguments) {
        Ok(exit) => ExitCode::from(exit as u8),
        Err(problems) => {
            let _ = match json {
                true => writeln!(std::io::stderr(), "{}", for_programs(&problems)),
                false => writeln!(std::io::stderr(), "{problems}"),
            };
            ExitCode::from(problems.exit() as u8)
        }
    }
}

/// Problems with `--json`, on standard error as ever: the first error by itself, for whoever shows one sentence, and all.
fn for_programs(problems: &Problems) -> serde_json::Value {
    let first = problems.0.iter().find(|p| p.severity == Severity::Error).or(problems.0.first());
    serde_json::json!({
        "error": first.map(|p| &p.what),
        "help": first.and_then(|p| p.help.as_ref()),
        "problems": problems.0,
    })
}

/// The same of arguments that cannot be read: clap's first paragraph is what is wrong, the others are help.
fn misread(text: &str) -> serde_json::Value {
    let text = text.trim();
    let text = text.strip_prefix("error: ").unwrap_or(text);
    let (what, help) = text.split_once("\n\n").unwrap_or((text, ""));
    let mut problem = Problem::input(what.split_whitespace().collect::<Vec<_>>().join(" "));
    if !help.is_empty() {
        problem = problem.help(help);
    }
    for_programs(&problem.into())
}

/// Prints one JSON value, for programs.
pub fn say_json(value: &serde_json::Value) -> Result<Exit, Problems> {
    say(&format!("{value:#}\n"))
}

fn run(arguments: Arguments) -> Result<Exit, Problems> {
    let g = &arguments.globals;
    match arguments.command {
        Command::Init(args) => init::run(g, args),
        Command::Check => load::check(g),
        Command::Render(args) => render::run(g, args),
        Command::Explain(args) => explain::run(g, args),
        Command::Diff(args) => diff::run(g, args),
        Command::Tree(args) => tree::run(g, args),
        Command::Schema => load::schema(),
        Command::Image(args) => image::run(g, args),
        Command::Doctor(args) => doctor::run(g, args),
        Command::Serve(args) => serve::run(g, args),
        Command::Status(args) => status::run(g, args),
        Command::Events(args) => events::run(g, args),
        Command::Node(args) => node::run(g, args),
        Command::Plan(args) => plan::run(g, args),
        Command::Apply(args) => apply::run(g, args),
        Command::Steps(args) => steps::run(g, args),
        Command::Verify(args) => steps::verify(g, args),
        Command::Drift(args) => steps::drift(g, args),
        Command::Drill(args) => drill::run(g, &args),
        Command::Recover(args) => recover::run(g, &args),
        Command::Inventory(args) => inventory::run(g, args),
        Command::Secrets(args) => secrets::run(g, &args),
        Command::Backup(args) => keep::backup(g, &args),
        Command::Restore(args) => keep::restore(g, &args),
        Command::Agent(args) => agent::run(args),
        Command::Completions { shell } => {
            let mut out = Vec::new();
            clap_complete::generate(shell, &mut Arguments::command(), "bootstead", &mut out);
            say(&String::from_utf8_lossy(&out))
        }
        Command::Man { dir } => clap_mangen::generate_to(Arguments::command(), &dir)
            .map(|()| Exit::Ok)
            .map_err(|e| Problem::io("write manual pages into", &dir, &e).into()),
    }
}

/// Prints to standard output. A reader that went away (`| head`) is no error, and no reason to leave work half done;
/// what only watches asks `terminal::reader_is_gone`.
pub fn say(text: &str) -> Result<Exit, Problems> {
    match beneath::print(text.as_bytes()) {
        Ok(()) => Ok(Exit::Ok),
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(Exit::Ok),
        Err(e) => Err(Problem::environment(format!("cannot print: {e}")).into()),
    }
}
