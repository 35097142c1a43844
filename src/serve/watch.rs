//! Owns looking after the server's own address and cable, and the housekeeping that is due every few seconds.

use super::shared::Shared;
use crate::lifecycle::State;
use std::net::{IpAddr, Ipv4Addr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

/// How often.
const EVERY: Duration = Duration::from_secs(3);

/// Looks every few seconds whether `address`, which is served, is still there; until `stop` says so.
pub async fn look(shared: Arc<Shared>, address: IpAddr, mut stop: watch::Receiver<bool>) {
    loop {
        shared.health.set("address", trouble(address, || restoring(&shared, address)));
        shared.tally.tell(false);
        shared.cache.retain(|mac, arming| {
            let ledger = shared.hub.ledger();
            let current = match ledger.state(mac) {
                State::Held { before, .. } => before.arming(),
                state => state.arming(),
            };
            current == Some(arming)
        });
        tokio::select! {
            () = tokio::time::sleep(EVERY) => {}
            _ = stop.wait_for(|s| *s) => return,
        }
    }
}

/// What brings a lost address back. One that only `--listen` names is on no network that the site knows.
fn restoring(shared: &Shared, address: IpAddr) -> String {
    let site = &shared.hub.world().site;
    match IpAddr::V4(site.server.address) == address {
        true => super::netlink::restoring(site),
        false => format!("sudo ip address add {address}/PREFIX dev INTERFACE"),
    }
}

/// What is wrong with `address` now, as one sentence, with the command that brings it back.
fn trouble(address: IpAddr, restoring: impl FnOnce() -> String) -> Option<String> {
    if address.is_unspecified() {
        return None;
    }
    let Some(interface) = interface(address) else {
        return Some(format!(
            "this machine no longer has the address {address}; machines cannot reach it until it is back: `{}`",
            restoring()
        ));
    };
    // Reading fails where the interface is down. A namespace may lack a /sys of its own: then nothing is known.
    let folder = format!("/sys/class/net/{interface}");
    let plugged = std::fs::read_to_string(format!("{folder}/carrier")).is_ok_and(|text| text.trim() == "1");
    (!plugged && std::path::Path::new(&folder).exists()).then(|| {
        format!(
            "the cable of {interface} is unplugged (or its switch is off); serving goes on when it is back"
        )
    })
}

/// The interface that has `address`. A loopback interface has its whole network: 127.9.0.1 answers, but is not listed.
pub fn interface(address: IpAddr) -> Option<String> {
    let IpAddr::V4(address) = address else { return None };
    let all = super::netlink::interfaces().ok()?;
    let covers = |(at, prefix): &(Ipv4Addr, u8)| {
        let mask = u32::MAX.checked_shl(32 - u32::from(*prefix)).unwrap_or(0);
        at.is_loopback() && u32::from(*at) & mask == u32::from(address) & mask
    };
    all.into_iter().find(|i| i.has(address) || i.addresses.iter().any(covers)).map(|i| i.name)
}

/// The MTU of the interface that has `address`.
pub fn mtu(address: IpAddr) -> Option<u32> {
    let name = interface(address)?;
    std::fs::read_to_string(format!("/sys/class/net/{name}/mtu")).ok()?.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_that_answers_is_no_trouble() {
        for there in ["127.0.0.1", "127.9.0.1", "0.0.0.0"] {
            assert_eq!(trouble(there.parse().unwrap(), || unreachable!()), None, "{there}");
        }
        let gone = trouble("192.0.2.1".parse().unwrap(), || "ip address add".to_string()).unwrap();
        assert!(gone.contains("no longer has the address 192.0.2.1"), "{gone}");
        assert!(gone.ends_with("`ip address add`"), "{gone}");
    }
}
