//! Reads tree and site for every command; `bootstead check` and `bootstead schema`.

use super::Globals;
use crate::problem::{Exit, Problem, Problems};

pub fn check(_g: &Globals) -> Result<Exit, Problems> {
    Err(Problem::fault("this command is not built yet").into())
}

pub fn schema() -> Result<Exit, Problems> {
    Err(Problem::fault("this command is not built yet").into())
}
