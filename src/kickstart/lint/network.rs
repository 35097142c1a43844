//! Rules for a kickstart's network lines.

use super::Found;
use super::kickstart::Command;
use std::collections::BTreeSet;
use std::net::Ipv4Addr;

/// Checks all network lines together.
pub fn check(commands: &[Command], found: &mut Found) {
    let mut names = BTreeSet::new();
    let mut addresses = BTreeSet::new();
    for c in commands.iter().filter(|c| c.name == "network") {
        address(c, found);
        if let Some(ip) = c.option("--ip")
            && !addresses.insert(ip.to_string())
        {
            found.add(c.line, "ip", format!("{ip} is given twice"));
        }
        if let Some(members) = c.option("--bondslaves") {
            if members.contains(':') {
                found.add(c.line, "bondslaves", "bond members must be names of ports, not MAC addresses");
            }
            let list: Vec<&str> = members.split(',').collect();
            if list.iter().any(|m| m.is_empty()) {
                found.add(c.line, "bondslaves", "a bond member has no name");
            }
        }
        if let Some(name) = c.option("--interfacename")
            && (name.len() > 15 || !names.insert(name.to_string()))
        {
            found.add(c.line, "interfacename", format!("{name} is used twice or longer than 15 characters"));
        }
        if let Some(id) = c.option("--vlanid")
            && !id.parse::<u16>().is_ok_and(|n| (1..=4094).contains(&n))
        {
            found.add(c.line, "vlanid", format!("{id:?} is no VLAN id from 1 to 4094"));
        }
        if let Some(host) = c.option("--hostname")
            && (host.len() > 64 || host.contains('_') || host.is_empty())
        {
            found.add(c.line, "hostname", format!("{host:?} is refused: no \"_\", at most 64 characters"));
        }
        if c.words.iter().filter(|w| w.starts_with("--nameserver")).count() > 1 {
            found.add(c.line, "nameserver", "only the last --nameserver counts; use one list with commas");
        }
    }
}

fn address(c: &Command, found: &mut Found) {
    let ip = c.option("--ip");
    for (option, value) in
        [("--ip", ip), ("--netmask", c.option("--netmask")), ("--gateway", c.option("--gateway"))]
    {
        let Some(value) = value else { continue };
        if value.contains('/') {
            found.add(c.line, "prefix", format!("{option} takes no prefix length ({value}); give --netmask"));
        } else if value.parse::<Ipv4Addr>().is_err() {
            found.add(c.line, "ip", format!("{option} {value:?} is no IPv4 address"));
        }
    }
    let fixed = c.option("--bootproto") == Some("static");
    if fixed && ip.is_none() {
        found.add(c.line, "ip", "--bootproto=static without --ip");
    }
    if ip.is_some() && c.option("--netmask").is_none() {
        found.add(c.line, "netmask", "--ip without --netmask");
    }
    if let Some(mask) = c.option("--netmask").and_then(|m| m.parse::<Ipv4Addr>().ok())
        && (!mask.to_bits()).checked_add(1).is_none_or(|n| !n.is_power_of_two())
    {
        found.add(c.line, "netmask", format!("{mask} is no netmask"));
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{commands, plant};
    use super::*;

    const GOOD: &str = "network --hostname=a.example
network --device=bond0 --bondslaves=eno1,eno2 --bootproto=static --ip=10.0.0.2 --netmask=255.255.255.0 --gateway=10.0.0.1 --nameserver=10.0.0.1,10.0.0.3
network --device=bond0 --vlanid=100 --interfacename=vlan100 --bootproto=static --ip=10.1.0.2 --netmask=255.255.0.0
network --device=bond0 --vlanid=101 --interfacename=vlan101 --bootproto=static --ip=10.2.0.2 --netmask=255.255.0.0
";

    fn lines(content: &str, found: &mut Found) {
        check(&commands(content), found);
    }

    #[test]
    fn each_rule_finds_its_mistake() {
        for (from, to, rule) in [
            ("--ip=10.0.0.2", "--ip=10.0.0.2/24", "prefix"),
            ("--ip=10.0.0.2", "--ip=10.0.0.256", "ip"),
            ("--ip=10.0.0.2", "", "ip"),
            ("--ip=10.2.0.2", "--ip=10.1.0.2", "ip"),
            (" --netmask=255.255.255.0", "", "netmask"),
            ("--netmask=255.255.255.0", "--netmask=255.0.255.0", "netmask"),
            ("eno1,eno2", "52:54:00:00:00:01,eno2", "bondslaves"),
            ("eno1,eno2", "eno1,", "bondslaves"),
            ("vlan101", "vlan100", "interfacename"),
            ("vlan101", "enp129s0f0np0.101", "interfacename"),
            ("--vlanid=101", "--vlanid=4095", "vlanid"),
            ("a.example", "a_b.example", "hostname"),
            ("--nameserver=10.0.0.1,10.0.0.3", "--nameserver=10.0.0.1 --nameserver=10.0.0.3", "nameserver"),
        ] {
            plant(lines, GOOD, from, to, rule);
        }
    }
}
