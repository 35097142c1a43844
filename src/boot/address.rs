//! Owns which address a machine gets: its reservation, its lease, or a free one of the pool.

use crate::base::{IpRange, Mac, Timestamp};
use crate::lifecycle::Ledger;
use crate::site::Site;
use std::collections::{BTreeMap, VecDeque};
use std::net::Ipv4Addr;

/// How long an offered address is kept for the machine that it was offered to, in seconds (field-pain #11).
pub const HOLD_SECS: u64 = 120;
/// How long "nobody answered for this address" is believed, in seconds.
pub const CLEAR_SECS: u64 = 600;
/// After the pool was found full, it is not searched again for so long, in milliseconds.
const FULL_MILLIS: i64 = 500;

/// Addresses offered but not yet leased, and those known to be free. In memory: a lost offer is only asked for again.
#[derive(Debug, Default)]
pub struct Offers {
    by_mac: BTreeMap<Mac, (Ipv4Addr, Timestamp)>,
    by_address: BTreeMap<Ipv4Addr, Mac>,
    /// In order of their end, for cheap expiry.
    ends: VecDeque<(Timestamp, Mac)>,
    /// Pool addresses that nobody answered for (ARP), and until when that counts.
    clear: BTreeMap<Ipv4Addr, Timestamp>,
    /// Where the search for a free pool address goes on, and where the search for one to probe.
    cursor: u64,
    probe_cursor: u64,
    full_until: Option<Timestamp>,
}

/// What decides about a pool address.
#[derive(Clone, Copy)]
struct Pool<'a> {
    range: IpRange,
    ledger: &'a Ledger,
    now: Timestamp,
}

impl Offers {
    /// The address to offer `mac` at `now`, reserved from here on; `None` where there is none to give.
    ///
    /// In this order: the node's own address of the site file; the lease that it has; the one just offered; the
    /// one that it asks for, if free; one that nobody answered for; the next free one of the pool (an offer is
    /// never delayed for a probe). A pool address is never one of the site's: the site check sees to that.
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
        let pool = Pool { range: site.provisioning().pool?, ledger, now };
        let kept = ledger.lease(mac).map(|l| l.address);
        let offered = self.by_mac.get(&mac).map(|(a, _)| *a);
        let wanted = wanted.filter(|a| self.clear.is_empty() || self.clear.contains_key(a));
        let own = [kept, offered, wanted].into_iter().flatten().find(|a| self.usable(pool, mac, *a));
        let address = own.or_else(|| self.next_free(pool, mac))?;
        self.hold(mac, address, now);
        Some(address)
    }

    /// The address that a REQUEST of `mac` can be granted at `now`, reserved from here on.
    ///
    /// A node: its own address. Another machine: the one it wants, if it chose this server's offer (`chose_us`) or
    /// has it on lease, and nobody else has it; else what it was promised before, so that the difference shows.
    pub fn confirm(
        &mut self,
        site: &Site,
        ledger: &Ledger,
        mac: Mac,
        wanted: Option<Ipv4Addr>,
        chose_us: bool,
        now: Timestamp,
    ) -> Option<Ipv4Addr> {
        self.expire(now);
        if let Some(node) = site.node_by_mac(mac) {
            return site.boot_address(node);
        }
        let pool = Pool { range: site.provisioning().pool?, ledger, now };
        let kept = ledger.lease(mac).map(|l| l.address);
        let offered = self.by_mac.get(&mac).map(|(a, _)| *a);
        let wanted = wanted.filter(|w| chose_us || kept == Some(*w));
        let address = [wanted, offered, kept].into_iter().flatten().find(|a| self.usable(pool, mac, *a))?;
        self.hold(mac, address, now);
        Some(address)
    }

    /// Forgets the offer to `mac` (it took another server's, or declined).
    pub fn drop_offer(&mut self, mac: Mac) {
        if let Some((address, _)) = self.by_mac.remove(&mac) {
            self.by_address.remove(&address);
        }
    }

    /// What was offered to `mac` and not yet leased.
    pub fn offered(&self, mac: Mac) -> Option<Ipv4Addr> {
        self.by_mac.get(&mac).map(|(a, _)| *a)
    }

    /// Nobody answered for `address` at `now`.
    pub fn mark_clear(&mut self, address: Ipv4Addr, now: Timestamp) {
        self.clear.insert(address, now.plus_secs(CLEAR_SECS));
    }

    /// Somebody uses `address`.
    pub fn mark_used(&mut self, address: Ipv4Addr) {
        self.clear.remove(&address);
    }

    /// Pool addresses to probe next, so that `ahead` of them are known to be free.
    pub fn to_probe(&mut self, site: &Site, ledger: &Ledger, ahead: usize, now: Timestamp) -> Vec<Ipv4Addr> {
        self.expire(now);
        self.clear.retain(|_, until| *until > now);
        let Some(range) = site.provisioning().pool else { return Vec::new() };
        // Probe in batches, not one address for every offer.
        if self.clear.len() > ahead / 2 {
            return Vec::new();
        }
        let wanted = ahead - self.clear.len();
        let mut found = Vec::new();
        for _ in 0..range.len().min(8 * ahead as u64) {
            let at = self.probe_cursor % range.len();
            self.probe_cursor = at + 1;
            if let Some(a) = range.nth(at)
                && !self.clear.contains_key(&a)
                && !self.by_address.contains_key(&a)
                && !ledger.is_set_aside(a, now)
                && ledger.holder(a, now).is_none()
            {
                found.push(a);
                if found.len() == wanted {
                    break;
                }
            }
        }
        found
    }

    fn usable(&self, pool: Pool<'_>, mac: Mac, address: Ipv4Addr) -> bool {
        pool.range.contains(address)
            && !pool.ledger.is_set_aside(address, pool.now)
            && pool.ledger.holder(address, pool.now).is_none_or(|m| m == mac)
            && self.by_address.get(&address).is_none_or(|m| *m == mac)
    }

    fn next_free(&mut self, pool: Pool<'_>, mac: Mac) -> Option<Ipv4Addr> {
        while let Some((address, until)) = self.clear.pop_first() {
            if until > pool.now && self.usable(pool, mac, address) {
                return Some(address);
            }
        }
        if self.full_until.is_some_and(|until| pool.now < until) {
            return None;
        }
        for step in 0..pool.range.len() {
            let at = (self.cursor + step) % pool.range.len();
            if let Some(address) = pool.range.nth(at)
                && self.usable(pool, mac, address)
            {
                self.cursor = at + 1;
                return Some(address);
            }
        }
        // A full pool must not cost a search for every packet of a crowd.
        self.full_until = Some(Timestamp(pool.now.0 + FULL_MILLIS));
        None
    }

    fn hold(&mut self, mac: Mac, address: Ipv4Addr, now: Timestamp) {
        let until = now.plus_secs(HOLD_SECS);
        self.clear.remove(&address);
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
                self.full_until = None;
            }
        }
    }
}
