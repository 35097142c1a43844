//! Owns what is wrong with the server itself, as sentences: shown on the board while it lasts, logged when it changes;
//! and what it has counted.

use crate::ui::Counters;
use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

/// Trouble by its source.
#[derive(Default)]
pub struct Health {
    trouble: Mutex<BTreeMap<&'static str, String>>,
    dhcp: Mutex<String>,
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
        self.trouble.lock().unwrap_or_else(|e| e.into_inner()).values().cloned().collect()
    }
    /// What DHCP does now.
    pub fn dhcp(&self) -> String {
        let said = self.dhcp.lock().unwrap_or_else(|e| e.into_inner()).clone();
        if said.is_empty() { "off".to_string() } else { said }
    }
    /// What was counted since the start; DHCP's numbers are filled in by DHCP.
    pub fn counters(&self) -> Counters {
        let read = |n: &AtomicU64| n.load(Ordering::Relaxed);
        Counters {
            tftp_transfers: read(&self.tftp_transfers),
            http_requests: read(&self.http_requests),
            http_active: read(&self.http_active),
            bytes_sent: read(&self.bytes_sent),
            ..Counters::default()
        }
    }
    pub fn set_dhcp(&self, said: impl Into<String>) {
        *self.dhcp.lock().unwrap_or_else(|e| e.into_inner()) = said.into();
    }
}
