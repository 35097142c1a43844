//! `bootstead events`

use super::Globals;
use crate::problem::{Exit, Problem, Problems};

#[derive(Debug, clap::Args)]
pub struct EventsArgs {}

pub fn run(_g: &Globals, _args: EventsArgs) -> Result<Exit, Problems> {
    Err(Problem::fault("this command is not built yet").into())
}
