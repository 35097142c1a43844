//! One place's networks, nodes, roles and addresses: read, checked, and then valid by construction.
//!
//! `site.toml` + `nodes.csv`/`.xlsx` + the tree → [`Site`], or every [`crate::problem::Problem`] at once.

pub mod catalog;
pub mod model;

pub use catalog::Catalog;
pub use model::*;
