//! Reads tree and site for every command; `bootstead check` and `bootstead schema`.

use super::Globals;
use crate::problem::{Exit, Problem, Problems};
use crate::site::{Catalog, Site};

/// What a command works on.
pub struct Loaded {
    pub site: Site,
    pub catalog: Catalog,
}

/// Reads the tree and the site file.
pub fn load(_g: &Globals) -> Result<Loaded, Problems> {
    Err(Problem::fault("this command is not built yet").into())
}

pub fn check(_g: &Globals) -> Result<Exit, Problems> {
    Err(Problem::fault("this command is not built yet").into())
}

pub fn schema() -> Result<Exit, Problems> {
    Err(Problem::fault("this command is not built yet").into())
}
