//! Owns a journal in memory, for tests and rehearsals.

use super::{Entry, Store};
use crate::base::Mac;
use crate::lifecycle::Event;
use crate::problem::Problem;

/// A journal that is gone with the process.
#[derive(Debug, Default)]
pub struct Memory(Vec<Event>);

impl Store for Memory {
    fn append(&mut self, events: &[Event]) -> Result<u64, Problem> {
        let first = self.0.len() as u64 + 1;
        self.0.extend_from_slice(events);
        Ok(first)
    }
    fn read(&self, after: u64, limit: usize) -> Result<Vec<Entry>, Problem> {
        self.read_for(None, after, limit)
    }
    fn read_for(&self, mac: Option<Mac>, after: u64, limit: usize) -> Result<Vec<Entry>, Problem> {
        let entries = self.0.iter().enumerate().skip(after as usize);
        let wanted = entries.filter(|(_, e)| mac.is_none() || e.mac == mac).take(limit);
        Ok(wanted.map(|(i, e)| Entry { seq: i as u64 + 1, event: e.clone() }).collect())
    }
}
