//! Owns what the boot script says to the system: the `bootstead.*` words of the kernel's command line. Pure.

use crate::base::{Mac, Secret};
use std::net::{Ipv4Addr, SocketAddrV4};

/// What the system was told.
#[derive(Debug, Clone)]
pub struct Told {
    /// Where the server listens: an address, never a name (a static program must not look up names).
    pub server: SocketAddrV4,
    /// The node's identity, and the port that it boots from.
    pub mac: Mac,
    pub token: Secret,
    pub address: Ipv4Addr,
    pub prefix: u8,
    pub gateway: Option<Ipv4Addr>,
    /// `bootstead.then=poweroff`: switch off when done, in place of booting the new system.
    pub then_poweroff: bool,
}

/// Reads the kernel's command line; the error is a sentence that says which word is wrong.
pub fn read(line: &str) -> Result<Told, String> {
    let word = |name: &str| {
        line.split_ascii_whitespace()
            .filter_map(|w| w.strip_prefix("bootstead.")?.strip_prefix(name)?.strip_prefix('='))
            .next_back()
    };
    let need =
        |name: &str| word(name).ok_or_else(|| format!("the kernel's command line has no bootstead.{name}="));
    let bad = |name: &str, value: &str, want: &str| format!("bootstead.{name}={value} is not {want}");
    let server = need("server")?;
    let mac = need("mac")?;
    let ip = need("ip")?;
    let want_ip = "ADDRESS/PREFIX, for example 10.77.0.11/24";
    let (address, prefix) = ip.split_once('/').ok_or_else(|| bad("ip", ip, want_ip))?;
    let gateway = match word("gw").filter(|g| !g.is_empty()) {
        None => None,
        Some(g) => Some(g.parse().map_err(|_| bad("gw", g, "an IPv4 address"))?),
    };
    Ok(Told {
        server: server_address(server)
            .ok_or_else(|| bad("server", server, "http://ADDRESS or http://ADDRESS:PORT"))?,
        mac: Mac::parse(mac).map_err(|_| bad("mac", mac, "a MAC address"))?,
        token: Secret::new(need("token")?),
        address: address.parse().map_err(|_| bad("ip", ip, want_ip))?,
        prefix: prefix.parse().ok().filter(|p| *p <= 32).ok_or_else(|| bad("ip", ip, want_ip))?,
        gateway,
        then_poweroff: word("then") == Some("poweroff"),
    })
}

/// `http://10.0.0.1[:8080][/]` → its socket address.
pub fn server_address(url: &str) -> Option<SocketAddrV4> {
    let rest = url.strip_prefix("http://")?.trim_end_matches('/');
    match rest.split_once(':') {
        Some((ip, port)) => Some(SocketAddrV4::new(ip.parse().ok()?, port.parse().ok()?)),
        None => Some(SocketAddrV4::new(rest.parse().ok()?, 80)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const GOOD: &str = "console=ttyS0 bootstead.server=http://10.77.0.1:8080 bootstead.mac=52-54-00-00-00-01 \
                        bootstead.token=abc bootstead.ip=10.77.0.11/24 bootstead.gw=10.77.0.1 quiet";

    #[test]
    fn a_full_line_is_understood_and_the_token_never_prints() {
        let told = read(GOOD).unwrap();
        assert_eq!(told.server.to_string(), "10.77.0.1:8080");
        assert_eq!(told.mac.to_string(), "52:54:00:00:00:01");
        assert_eq!((told.address.to_string().as_str(), told.prefix), ("10.77.0.11", 24));
        assert!(told.gateway.is_some() && !told.then_poweroff);
        assert!(!format!("{told:?}").contains("abc"));
        assert!(read(&GOOD.replace("bootstead.gw=10.77.0.1", "bootstead.gw=")).unwrap().gateway.is_none());
    }

    #[test]
    fn a_wrong_word_is_named() {
        for (from, to, says) in [
            ("http://10.77.0.1:8080", "http://boothost", "bootstead.server=http://boothost is not"),
            ("bootstead.token=abc", "", "no bootstead.token="),
            ("10.77.0.11/24", "10.77.0.11/64", "ADDRESS/PREFIX"),
            ("bootstead.gw=10.77.0.1", "bootstead.gw=x", "bootstead.gw=x is not"),
        ] {
            let e = read(&GOOD.replace(from, to)).unwrap_err();
            assert!(e.contains(says), "{e}");
        }
    }
}
