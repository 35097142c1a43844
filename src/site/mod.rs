//! One place's networks, nodes, roles and addresses: read, checked, and then valid by construction.
//!
//! `site.toml` + `nodes.csv`/`.xlsx` + the tree → [`Site`], or every [`crate::problem::Problem`] at once.

pub mod catalog;
mod check;
mod columns;
mod context;
mod credentials;
pub mod init;
pub mod model;
mod naming;
pub mod reference;
mod report;
mod rows;
pub mod schema;
mod shape;
pub mod snapshot;
mod sources;
mod tables;
pub mod wire;
mod workbook;

pub use catalog::Catalog;
pub use check::check;
pub use context::{context, hosts, image as image_of};
pub use model::*;
pub use naming::Naming;
pub use report::{Files, Table};
pub use shape::table_names;
pub use sources::sources;
