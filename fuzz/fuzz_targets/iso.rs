//! Fuzzes the reader `iso` of tests/rubbish/readers.rs.
#![no_main]

#[path = "../../tests/rubbish/readers.rs"]
#[allow(dead_code, reason = "each target uses one reader")]
mod readers;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| readers::iso(bytes));
