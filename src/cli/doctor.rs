//! `bootstead doctor`

use super::Globals;
use crate::problem::{Exit, Problem, Problems};

#[derive(Debug, clap::Args)]
pub struct DoctorArgs {}

pub fn run(_g: &Globals, _args: DoctorArgs) -> Result<Exit, Problems> {
    Err(Problem::fault("this command is not built yet").into())
}
