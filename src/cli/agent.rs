//! `bootstead agent`: runs on an installed node, under systemd, until it is ended.

use crate::agent::{CONFIG, Options, STATE, run as work};
use crate::problem::{Exit, Problems};
use std::path::PathBuf;
use tracing_subscriber::EnvFilter;

#[derive(Debug, clap::Args)]
pub struct AgentArgs {
    /// What the installation told it
    #[arg(long, value_name = "FILE", default_value = CONFIG)]
    config: PathBuf,
    /// Where it keeps its key
    #[arg(long, value_name = "DIR", default_value = STATE)]
    agent_state: PathBuf,
    /// Work below this folder, to try steps without touching the machine
    #[arg(long, value_name = "DIR", default_value = "/")]
    root: PathBuf,
}

pub fn run(args: AgentArgs) -> Result<Exit, Problems> {
    let filter = EnvFilter::try_from_default_env().unwrap_or_else(|_| EnvFilter::new("bootstead=info"));
    // systemd's journal has its own times.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_target(false)
        .without_time()
        .with_ansi(false)
        .try_init();
    work(&Options { root: args.root, config: args.config, state: args.agent_state })?;
    Ok(Exit::Ok)
}
