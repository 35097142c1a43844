//! Owns which address a machine gets: its reservation, its lease, or a free one of the pool.

use crate::base::{Mac, Timestamp};
use crate::lifecycle::Ledger;
use crate::site::Site;
use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;

/// How long an offered address is kept for the machine that it was offered to, in seconds (field-pain #11).
pub const HOLD_SECS: u64 = 120;

/// Addresses offered but not yet leased. Kept in memory: a lost offer is only asked for again.
#[derive(Debug, Default)]
pub struct Offers {
    by_mac: BTreeMap<Mac, (Ipv4Addr, Timestamp)>,
    by_address: BTreeMap<Ipv4Addr, Mac>,
    /// In order of their end, for cheap expiry.
    ends: VecDeque<(Timestamp, Mac)>,
    /// Where the search for a free pool address goes on.
    cursor: u64,
}

impl Offers {
    /// The address for `mac` at `now`, reserved from here on; `None` where there is none to give.
    ///
    /// In this order: the node's own address of the site file; the lease that it has; the one just offered; the
    /// one that it asks for, if free; the next free one of the pool. A pool address is never one of the site's.
    pub fn choose(
        &mut self,
        site: &Site,
        ledger: &Ledger,
        mac: Mac,
        wanted: Option<Ipv4Addr>,
        now: Timestamp,
    ) -> Option<Ipv4Addr> {
        self.expire(now);
        if let Some(node) = site.node_by_mac(mac) {
            return site.boot_address(node);
        }
        let pool = site.provisioning().pool?;
        let usable = |offers: &Offers, a: Ipv4Addr| {
            pool.contains(a)
                && !ledger.is_set_aside(a, now)
                && ledger.holder(a, now).is_none_or(|m| m == mac)
                && offers.by_address.get(&a).is_none_or(|m| *m == mac)
        };
        let kept = ledger.lease(mac).map(|l| l.address);
        let offered = self.by_mac.get(&mac).map(|(a, _)| *a);
        let mut found = [kept, offered, wanted].into_iter().flatten().find(|address| usable(self, *address));
        if found.is_none() {
            for step in 0..pool.len() {
                let at = (self.cursor + step) % pool.len();
                if let Some(address) = pool.nth(at)
                    && usable(self, address)
                {
                    self.cursor = at + 1;
                    found = Some(address);
                    break;
                }
            }
        }
        let address = found?;
        self.hold(mac, address, now);
        Some(address)
    }

    /// Whether `mac` may have `address` at `now`: its reservation, its lease, its offer, or free in the pool.
    pub fn may_have(
        &self,
        site: &Site,
        ledger: &Ledger,
        mac: Mac,
        address: Ipv4Addr,
        now: Timestamp,
    ) -> bool {
        if let Some(node) = site.node_by_mac(mac) {
            return site.boot_address(node) == Some(address);
        }
        site.provisioning().pool.is_some_and(|p| p.contains(address))
            && !ledger.is_set_aside(address, now)
            && ledger.holder(address, now).is_none_or(|m| m == mac)
            && self.by_address.get(&address).is_none_or(|m| *m == mac)
    }

    /// Forgets the offer to `mac` (it took another server's, or declined).
    pub fn drop_offer(&mut self, mac: Mac) {
        if let Some((address, _)) = self.by_mac.remove(&mac) {
            self.by_address.remove(&address);
        }
    }

    fn hold(&mut self, mac: Mac, address: Ipv4Addr, now: Timestamp) {
        let until = now.plus_secs(HOLD_SECS);
        if let Some((old, _)) = self.by_mac.insert(mac, (address, until)) {
            self.by_address.remove(&old);
        }
        self.by_address.insert(address, mac);
        self.ends.push_back((until, mac));
    }

    fn expire(&mut self, now: Timestamp) {
        while let Some((end, mac)) = self.ends.front().copied()
            && end <= now
        {
            self.ends.pop_front();
            // A later offer to the same machine has its own entry in the queue.
            if self.by_mac.get(&mac).is_some_and(|(_, until)| *until <= now) {
                self.drop_offer(mac);
            }
        }
    }
}
