//! Owns `Turns`: a lock that is given in the order in which it was asked for.
//!
//! std's Mutex gives itself to whoever is running: a thread that lets go and asks again at once can keep another one
//! waiting for seconds. The journal has such a pair: the recorder, which flushes what HTTP and the installers say for as
//! long as they say something, and DHCP, whose ACK waits for its own flush.

use std::ops::{Deref, DerefMut};
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};

/// A value for one thread at a time.
pub struct Turns<T> {
    tickets: Mutex<Tickets>,
    called: Condvar,
    inner: Mutex<T>,
}

#[derive(Default)]
struct Tickets {
    /// The next one to be given out.
    next: u64,
    /// The one whose turn it is.
    now: u64,
}

/// The value, until this is dropped.
pub struct Turn<'a, T> {
    inner: MutexGuard<'a, T>,
    _end: End<'a, T>,
}

/// Calls the next one; dropped after the value was let go.
struct End<'a, T>(&'a Turns<T>);

impl<T> Turns<T> {
    pub fn new(value: T) -> Turns<T> {
        Turns { tickets: Mutex::default(), called: Condvar::new(), inner: Mutex::new(value) }
    }

    /// Waits for those that asked before, and for nobody else.
    pub fn take(&self) -> Turn<'_, T> {
        let mut tickets = self.tickets.lock().unwrap_or_else(PoisonError::into_inner);
        let mine = tickets.next;
        tickets.next += 1;
        while tickets.now != mine {
            tickets = self.called.wait(tickets).unwrap_or_else(PoisonError::into_inner);
        }
        drop(tickets);
        // Free now, or as soon as the one before has let go of it.
        Turn { inner: self.inner.lock().unwrap_or_else(PoisonError::into_inner), _end: End(self) }
    }
}

impl<T> Drop for End<'_, T> {
    fn drop(&mut self) {
        self.0.tickets.lock().unwrap_or_else(PoisonError::into_inner).now += 1;
        self.0.called.notify_all();
    }
}

impl<T> Deref for Turn<'_, T> {
    type Target = T;
    fn deref(&self) -> &T {
        &self.inner
    }
}

impl<T> DerefMut for Turn<'_, T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.inner
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;
    use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
    use std::thread::{sleep, spawn};
    use std::time::Duration;

    #[test]
    fn whoever_waits_is_next_although_another_comes_back_at_once() {
        let turns = Arc::new(Turns::new(()));
        let (rounds, stop) = (Arc::new(AtomicU32::new(0)), Arc::new(AtomicBool::new(false)));
        let busy = {
            let (turns, rounds, stop) = (turns.clone(), rounds.clone(), stop.clone());
            spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let _turn = turns.take();
                    rounds.fetch_add(1, Ordering::Relaxed);
                    sleep(Duration::from_millis(5));
                }
            })
        };
        let mut went_before = 0;
        for _ in 0..20 {
            sleep(Duration::from_millis(2));
            let at = rounds.load(Ordering::Relaxed);
            let _turn = turns.take();
            went_before += rounds.load(Ordering::Relaxed) - at;
        }
        stop.store(true, Ordering::Relaxed);
        busy.join().unwrap();
        // One round may begin between looking and asking; a busy machine makes it a few more. A lock that is not fair
        // lets hundreds through.
        assert!(went_before <= 60, "{went_before} rounds went before 20 who waited");
    }

    #[test]
    fn a_panic_with_the_value_in_hand_locks_nobody_out() {
        let turns = Arc::new(Turns::new(1));
        let other = turns.clone();
        assert!(
            spawn(move || {
                let _turn = other.take();
                panic!("on purpose");
            })
            .join()
            .is_err()
        );
        assert_eq!(*turns.take(), 1);
    }
}
