//! Owns the one place where servers ask the time; tests wind it by hand.

use crate::base::Timestamp;
use std::sync::atomic::{AtomicI64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// Tells the time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// This machine's clock, which never goes back while this process runs: a clock in local time that is set to UTC
    /// would otherwise make every wait of the last hours begin anew, and mix the timeline's order.
    pub fn system() -> Clock {
        Clock::steady(wall, Instant::now)
    }
    /// The later one of `wall` and of the time that went by, `lapse`, since `wall` was last the later one.
    fn steady(
        wall: impl Fn() -> Timestamp + Send + Sync + 'static,
        lapse: impl Fn() -> Instant + Send + Sync + 'static,
    ) -> Clock {
        let last = Mutex::new((wall(), lapse()));
        Clock(Arc::new(move || {
            let mut last = last.lock().unwrap_or_else(|e| e.into_inner());
            let gone = lapse().saturating_duration_since(last.1).as_millis();
            let steady = Timestamp(last.0.0.saturating_add(i64::try_from(gone).unwrap_or(i64::MAX)));
            let shown = wall();
            if shown < steady {
                return steady;
            }
            *last = (shown, lapse());
            shown
        }))
    }
    /// A clock that stands still, and the hand that moves it (milliseconds).
    pub fn by_hand(start: Timestamp) -> (Clock, Arc<AtomicI64>) {
        let hand = Arc::new(AtomicI64::new(start.0));
        let shown = hand.clone();
        (Clock(Arc::new(move || Timestamp(shown.load(Ordering::Relaxed)))), hand)
    }
    pub fn now(&self) -> Timestamp {
        (self.0)()
    }
}

/// What this machine's clock shows.
fn wall() -> Timestamp {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn a_clock_that_is_set_back_goes_on_and_one_that_is_set_forward_is_followed() {
        let (hand, began) = (Arc::new(AtomicI64::new(1_000_000)), Instant::now());
        let gone = Arc::new(AtomicI64::new(0));
        let (shown, lapsed) = (hand.clone(), gone.clone());
        let clock = Clock::steady(
            move || Timestamp(shown.load(Ordering::Relaxed)),
            move || began + Duration::from_millis(lapsed.load(Ordering::Relaxed) as u64),
        );
        let pass = |ms: i64| {
            hand.fetch_add(ms, Ordering::Relaxed);
            gone.fetch_add(ms, Ordering::Relaxed);
        };
        pass(5_000);
        assert_eq!(clock.now(), Timestamp(1_005_000));
        hand.fetch_sub(900_000, Ordering::Relaxed);
        pass(2_000);
        assert_eq!(clock.now(), Timestamp(1_007_000), "set back: time goes on from where it was");
        pass(3_000);
        assert_eq!(clock.now(), Timestamp(1_010_000));
        hand.store(9_000_000, Ordering::Relaxed);
        pass(1_000);
        assert_eq!(clock.now(), Timestamp(9_001_000), "set forward: followed");
    }
}
