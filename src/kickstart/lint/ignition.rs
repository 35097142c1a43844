//! Rules for Ignition.

use super::Found;

/// Checks an Ignition configuration.
pub fn check(_content: &str, _found: &mut Found) {}
