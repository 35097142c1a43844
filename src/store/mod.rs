//! The journal: events in order, the only thing that is stored. Two verbs, so that kinds of store can differ.

pub mod memory;
pub mod sqlite;

use crate::base::Mac;
use crate::lifecycle::Event;
use crate::problem::Problem;

/// An event with its place in the journal.
#[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
pub struct Entry {
    /// Counts from 1, without gaps within one journal.
    pub seq: u64,
    #[serde(flatten)]
    pub event: Event,
}

/// What a journal can do.
pub trait Store: Send {
    /// Makes all of `events` durable in one go, or none of them. Returns the number of the first.
    ///
    /// When this returns `Ok`, killing the process or cutting the power loses none of them.
    fn append(&mut self, events: &[Event]) -> Result<u64, Problem>;
    /// All events after number `after`, in order, at most `limit`.
    fn read(&self, after: u64, limit: usize) -> Result<Vec<Entry>, Problem>;
    /// The same for one machine, or for all.
    fn read_for(&self, mac: Option<Mac>, after: u64, limit: usize) -> Result<Vec<Entry>, Problem>;
}
