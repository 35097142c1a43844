//! `bootstead image`

use super::Globals;
use crate::problem::{Exit, Problem, Problems};

#[derive(Debug, clap::Args)]
pub struct ImageArgs {}

pub fn run(_g: &Globals, _args: ImageArgs) -> Result<Exit, Problems> {
    Err(Problem::fault("this command is not built yet").into())
}
