//! Installed nodes → a cluster: which steps there are on every node, in which order, and which may be done now.
//!
//! Pure: a plan is made from the site, the parts of its roles and what was done so far. It orders steps, not roles.

pub mod audit;
pub mod diff;
pub mod drill;
pub mod gates;
pub mod plan;
pub mod recover;
pub mod standing;
mod together;
pub mod view;

pub use diff::{Change, diff};
pub use gates::{Gates, Presence, Status, gates};
pub use plan::{Need, Plan, Planned, plan};
pub use standing::{Running, Standing, overdue, standings};
pub use view::{Look, backups, looks, recovery, restores};
