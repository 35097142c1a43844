//! `bootstead status`

use super::Globals;
use crate::problem::{Exit, Problem, Problems};

#[derive(Debug, clap::Args)]
pub struct StatusArgs {}

pub fn run(_g: &Globals, _args: StatusArgs) -> Result<Exit, Problems> {
    Err(Problem::fault("this command is not built yet").into())
}
