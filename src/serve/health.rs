//! Owns what is wrong with the server itself, as sentences: shown on the board while it lasts, logged when it changes;
//! and what it has counted.

use super::dhcp;
use crate::ui::Counters;
use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};

/// Trouble by its source.
#[derive(Default)]
pub struct Health {
    trouble: Mutex<BTreeMap<&'static str, String>>,
    dhcp: OnceLock<Arc<dhcp::Shared>>,
    pub tftp_transfers: AtomicU64,
    pub http_requests: AtomicU64,
    pub http_active: AtomicU64,
    pub bytes_sent: AtomicU64,
}

impl Health {
    /// `source` has this trouble now; `None`: no longer. Logs a change once.
    pub fn set(&self, source: &'static str, trouble: Option<String>) {
        let mut all = self.trouble.lock().unwrap_or_else(|e| e.into_inner());
        match trouble {
            Some(sentence) if all.get(source) != Some(&sentence) => {
                tracing::warn!("{sentence}");
                all.insert(source, sentence);
            }
            Some(_) => {}
            None => {
                if let Some(was) = all.remove(source) {
                    tracing::info!("over: {was}");
                }
            }
        }
    }
    /// One sentence each.
    pub fn trouble(&self) -> Vec<String> {
        let mut all: Vec<String> =
            self.trouble.lock().unwrap_or_else(|e| e.into_inner()).values().cloned().collect();
        all.extend(self.dhcp.get().map(|d| d.troubles()).unwrap_or_default());
        all
    }
    /// What DHCP does now.
    pub fn dhcp(&self) -> String {
        self.dhcp.get().map_or_else(|| "off".to_string(), |d| d.said())
    }
    /// Whether this process serves DHCP.
    pub fn serves_dhcp(&self) -> bool {
        self.dhcp.get().is_some()
    }
    /// DHCP is served by this one.
    pub fn set_dhcp(&self, served: Arc<dhcp::Shared>) {
        let _ = self.dhcp.set(served);
    }
    /// What was counted since the start.
    pub fn counters(&self) -> Counters {
        let read = |n: &AtomicU64| n.load(Ordering::Relaxed);
        let dhcp = self.dhcp.get().map(|d| &d.tally);
        Counters {
            dhcp_heard: dhcp.map_or(0, |t| read(&t.heard)),
            dhcp_answered: dhcp.map_or(0, |t| read(&t.answered)),
            dhcp_ignored: dhcp.map_or(0, |t| read(&t.ignored)),
            tftp_transfers: read(&self.tftp_transfers),
            http_requests: read(&self.http_requests),
            http_active: read(&self.http_active),
            bytes_sent: read(&self.bytes_sent),
        }
    }
}
