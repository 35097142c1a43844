//! A node's life: which states there are, which events move it, how long each may last.
//!
//! `step` is the only function that moves a node. The install latch lives here: one arming is good for one
//! installation; only a person arms; a lost report never arms again.

pub mod event;
pub mod ledger;
pub mod patience;
pub mod state;
pub mod step;
pub mod work;

pub use event::{Event, Lane, WAITS, What, Wire};
pub use ledger::{Lease, Ledger, Progress, Record};
pub use state::{Proofs, State};
pub use step::{Refused, step};
pub use work::Work;
