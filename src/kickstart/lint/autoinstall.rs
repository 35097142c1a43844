//! Rules for autoinstall.

use super::Found;

/// Checks a user-data.
pub fn check(_content: &str, _found: &mut Found) {}
