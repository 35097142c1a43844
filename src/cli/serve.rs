//! `bootstead serve`

use super::Globals;
use crate::problem::{Exit, Problem, Problems};

#[derive(Debug, clap::Args)]
pub struct ServeArgs {}

pub fn run(_g: &Globals, _args: ServeArgs) -> Result<Exit, Problems> {
    Err(Problem::fault("this command is not built yet").into())
}
