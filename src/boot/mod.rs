//! Who is asking, and what it gets. The boot decision is here; bytes and sockets are not.

pub mod address;
pub mod answers;
pub mod ask;
pub mod bound;
pub mod compare;
pub mod decide;
pub mod grub;
pub mod orders;
pub mod quirks;
pub mod script;

pub use ask::{Ask, Stage};
pub use decide::{Act, Decision, Known, Orders, Why, decide};
