//! What people see: the board (plain data), and its renderings as a table, as plain lines and as a timeline.
//!
//! Nothing here asks the clock or the terminal: times, widths and colours are handed in.

pub mod acceptance;
pub mod arming;
pub mod board;
pub mod note;
pub mod table;
pub mod text;
pub mod timeline;

pub use board::{Board, Counters, Serving, board};
