//! `bootstead explain`

use super::Globals;
use crate::problem::{Exit, Problem, Problems};

#[derive(Debug, clap::Args)]
pub struct ExplainArgs {}

pub fn run(_g: &Globals, _args: ExplainArgs) -> Result<Exit, Problems> {
    Err(Problem::fault("this command is not built yet").into())
}
