//! Bootstead: blank machines in, installed machines by role out. This file is the map.
//!
//! In reading order; a module uses only modules above it (`tests/tidy.rs` checks that against ARCHITECTURE.md):
//!
//! - [`problem`]   what went wrong, where, why and what to do: the one way to say it
//! - [`base`]      values with one spelling: MAC, architecture, networks, digests, secrets, times
//! - [`steps`]     what an agent can do: the contract with the node
//! - [`tree`]      the three folders of data (profiles, kickstart, images), embedded and overlaid; strict templates
//! - [`images`]    images/*.toml → [`images::Image`]; what lies on the shelf
//! - [`profiles`]  profiles/*/role.toml → [`profiles::Profile`]
//! - [`kickstart`] kickstart/*.j2 → [`kickstart::Family`]: header, context, render, lint
//! - [`lifecycle`] a node's life: state, event, step, patience, ledger
//! - [`site`]      site.toml + nodes.csv + tree → [`site::Site`], or every problem at once
//! - [`api`]       every HTTP route by name; report types
//! - [`boot`]      who asks and what it gets: the boot decision, scripts, addresses
//! - [`dhcp`]      DHCP in bytes: packet → ask, decision → packet
//! - [`cluster`]   installed nodes → cluster: view, plan, gates, audit, differences
//! - [`ui`]        the board (plain data) and its renderings
//!
//! Below this line the world is touched:
//!
//! - [`disk`]      files: read, write atomically, stream
//! - [`tls`]       pinned TLS between server and agents
//! - [`secrets`]   the site's key: made once, kept from others
//! - [`store`]     the journal: append, replay
//! - [`shelf`]     the images folder: open, verify, fetch, import, build a mirror
//! - [`serve`]     hub (the only writer), DHCP, TFTP, HTTP, syslog: sockets in, pure, sockets out
//! - [`system`]    the fast lane: this binary as init of a blank machine
//! - [`agent`]     on an installed node: fetches its steps, applies them, reports
//! - [`build`]     makes the fast lane's system and prepared roots out of distribution packages
//! - [`cli`]       one file per command

pub mod agent;
pub mod api;
pub mod base;
pub mod boot;
pub mod build;
pub mod cli;
pub mod cluster;
pub mod dhcp;
pub mod disk;
pub mod images;
pub mod kickstart;
pub mod lifecycle;
pub mod problem;
pub mod profiles;
pub mod secrets;
pub mod serve;
pub mod shelf;
pub mod site;
pub mod steps;
pub mod store;
pub mod system;
pub mod tls;
pub mod tree;
pub mod ui;
