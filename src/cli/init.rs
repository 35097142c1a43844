//! `bootstead init`

use super::Globals;
use crate::problem::{Exit, Problem, Problems};

#[derive(Debug, clap::Args)]
pub struct InitArgs {}

pub fn run(_g: &Globals, _args: InitArgs) -> Result<Exit, Problems> {
    Err(Problem::fault("this command is not built yet").into())
}
