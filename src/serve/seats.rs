//! Owns who may have how many connections at once: one client that opens too many keeps nobody else out.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Arc, Mutex};

/// Connections of one address at once. Package managers and iPXE open a few; this many is a fault or an attack, and
/// still an eighth of what the server takes.
pub const EACH: usize = 1024;

/// The connections of every address that has any.
#[derive(Debug, Default)]
pub struct Seats(Mutex<HashMap<IpAddr, usize>>);

impl Seats {
    /// A seat for a connection from `from`, until the result is dropped; `None`: that address has `EACH` already.
    pub fn take(self: &Arc<Seats>, from: IpAddr) -> Option<Seat> {
        let mut all = self.0.lock().unwrap_or_else(|e| e.into_inner());
        let taken = all.entry(from).or_default();
        if *taken >= EACH {
            return None;
        }
        *taken += 1;
        Some(Seat { seats: self.clone(), from })
    }
}

/// One connection's seat.
#[derive(Debug)]
pub struct Seat {
    seats: Arc<Seats>,
    from: IpAddr,
}

impl Drop for Seat {
    fn drop(&mut self) {
        let mut all = self.seats.0.lock().unwrap_or_else(|e| e.into_inner());
        match all.get_mut(&self.from) {
            Some(taken) if *taken > 1 => *taken -= 1,
            _ => drop(all.remove(&self.from)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_address_has_its_share_and_others_theirs() {
        let seats = Arc::new(Seats::default());
        let (one, other): (IpAddr, IpAddr) = ([10, 0, 0, 1].into(), [10, 0, 0, 2].into());
        let mut held: Vec<Seat> = (0..EACH).map(|_| seats.take(one).unwrap()).collect();
        assert!(seats.take(one).is_none());
        assert!(seats.take(other).is_some());
        held.pop();
        assert!(seats.take(one).is_some());
        drop(held);
        assert!(seats.0.lock().unwrap().is_empty(), "nothing is kept of those who left");
    }
}
