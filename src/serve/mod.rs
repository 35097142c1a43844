//! Sockets in, pure, sockets out. Decisions are made in `boot`, `dhcp` and `lifecycle`; here bytes move.

pub mod hub;
