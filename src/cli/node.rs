//! `bootstead node`

use super::Globals;
use crate::problem::{Exit, Problem, Problems};

#[derive(Debug, clap::Args)]
pub struct NodeArgs {}

pub fn run(_g: &Globals, _args: NodeArgs) -> Result<Exit, Problems> {
    Err(Problem::fault("this command is not built yet").into())
}
