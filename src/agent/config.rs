//! Owns `/etc/bootstead/agent.toml`: what the installation told the agent.

use crate::base::{Mac, Secret, Sha256};
use crate::disk;
use crate::problem::Problem;
use serde::Deserialize;
use std::path::Path;

/// Who this node is, and how it knows its server.
#[derive(Debug, Clone)]
pub struct Config {
    pub mac: Mac,
    /// `address:port`, tried in turn.
    pub servers: Vec<String>,
    /// SHA-256 of the server's certificate.
    pub pin: Sha256,
    /// Good once, to join.
    pub token: Secret,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    mac: String,
    servers: Vec<String>,
    pin: String,
    token: String,
}

impl Config {
    pub fn read(path: &Path) -> Result<Config, Problem> {
        let text = disk::read_text(path)?;
        let damaged = |why: String| {
            Problem::environment(format!("{} cannot be used: {why}", path.display()))
                .help("the node's first boot wrote it; run that again, or install the node again")
        };
        // toml's own error shows the line, and that may be the token's.
        let wire: Wire = toml::from_str(&text).map_err(|_| {
            damaged("it needs mac, servers, pin and token, each a text (servers: a list)".into())
        })?;
        if wire.servers.is_empty() {
            return Err(damaged("it names no server".into()));
        }
        Ok(Config {
            mac: wire.mac.parse().map_err(|_| damaged(format!("{:?} is no MAC address", wire.mac)))?,
            servers: wire.servers,
            pin: Sha256::parse(&wire.pin).map_err(|e| damaged(format!("its pin: {e}")))?,
            token: Secret::new(wire.token),
        })
    }

    /// Keeps a server's new address.
    pub fn write(&self, path: &Path) -> Result<(), Problem> {
        let servers: Vec<String> = self.servers.iter().map(|s| format!("{s:?}")).collect();
        let text = format!(
            "# Where this node's agent finds its server, and how it knows it. The token is good once.\n\
             mac = \"{}\"\nservers = [{}]\npin = \"{}\"\ntoken = \"{}\"\n",
            self.mac,
            servers.join(", "),
            self.pin,
            self.token.reveal()
        );
        disk::write(path, text.as_bytes(), 0o600)
    }
}
