//! `bootstead render`

use super::Globals;
use crate::problem::{Exit, Problem, Problems};

#[derive(Debug, clap::Args)]
pub struct RenderArgs {}

pub fn run(_g: &Globals, _args: RenderArgs) -> Result<Exit, Problems> {
    Err(Problem::fault("this command is not built yet").into())
}
