//! `bootstead diff`

use super::Globals;
use crate::problem::{Exit, Problem, Problems};

#[derive(Debug, clap::Args)]
pub struct DiffArgs {}

pub fn run(_g: &Globals, _args: DiffArgs) -> Result<Exit, Problems> {
    Err(Problem::fault("this command is not built yet").into())
}
