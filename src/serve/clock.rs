//! Owns the one place where servers ask the time; tests wind it by hand.

use crate::base::Timestamp;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

/// Tells the time.
#[derive(Clone)]
pub struct Clock(Arc<dyn Fn() -> Timestamp + Send + Sync>);

impl Clock {
    /// This machine's clock.
    pub fn system() -> Clock {
        Clock(Arc::new(|| {
            let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
            Timestamp(i64::try_from(since.as_millis()).unwrap_or(i64::MAX))
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
