//! Rules for preseeds.

use super::Found;

/// Checks a preseed.
pub fn check(_content: &str, _found: &mut Found) {}
