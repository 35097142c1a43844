//! `bootstead tree`

use super::Globals;
use crate::problem::{Exit, Problem, Problems};

#[derive(Debug, clap::Args)]
pub struct TreeArgs {}

pub fn run(_g: &Globals, _args: TreeArgs) -> Result<Exit, Problems> {
    Err(Problem::fault("this command is not built yet").into())
}
