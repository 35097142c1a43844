//! Owns the check of this machine's firewall: which one there is, whether our ports are open, and the command that
//! opens them (field-pain #26). Nothing is changed.
//!
//! TFTP's and HTTP's further packets need no rule: they are replies, which connection tracking lets in. DHCP is
//! heard by the kernel before it filters where packet sockets are used, but port 67 is opened all the same.

use super::Finding;
use super::ports::reached;
use crate::site::Site;
use std::process::Command;

const CHECK: &str = "firewall";

/// What is known of a packet filter's input side.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Input {
    /// Nothing is dropped.
    Open,
    /// It drops, and none of its rules seems to let our ports in.
    Closed,
    /// It drops, and rules name our ports or interface.
    Opened,
}

pub fn look(site: &Site, interfaces: &[String]) -> Finding {
    let interface = interfaces.first().map_or("INTERFACE", String::as_str);
    let ports = reached(site);
    if output("firewall-cmd", &["--state"]).is_some_and(|t| t.trim() == "running") {
        return firewalld(interface, &ports);
    }
    if output("ufw", &["status"]).is_some_and(|t| t.contains("Status: active")) {
        let text = output("ufw", &["status"]).unwrap_or_default();
        return ufw(&text, interface, &ports);
    }
    if let Some(text) = output("nft", &["list", "ruleset"]) {
        return told(nft_input(&text, interface, &ports), "nftables", nft_command(&text, interface, &ports));
    }
    if let Some(text) = output("iptables", &["-S"]) {
        return told(
            iptables_input(&text, interface, &ports),
            "iptables",
            iptables_command(interface, &ports),
        );
    }
    Finding::skipped(
        CHECK,
        "neither nft nor iptables answers (not installed, or not root), so it was not looked at",
    )
}

fn told(input: Input, which: &str, command: String) -> Finding {
    match input {
        Input::Open => Finding::ok(CHECK, format!("{which} drops nothing that comes in")),
        Input::Opened => {
            Finding::ok(CHECK, format!("{which} drops what comes in, and has rules for our ports"))
        }
        Input::Closed => Finding::error(
            CHECK,
            format!("{which} drops what comes in, and no rule lets our ports in"),
            command,
        ),
    }
}

/// What a command prints; `None` where it is missing or fails.
fn output(program: &str, arguments: &[&str]) -> Option<String> {
    let out = Command::new(program).args(arguments).stdin(std::process::Stdio::null()).output().ok()?;
    out.status.success().then(|| String::from_utf8_lossy(&out.stdout).into_owned())
}

fn list(ports: &[(u16, &str)], protocol: &str, by: &str) -> String {
    let of: Vec<String> = ports.iter().filter(|(_, t)| *t == protocol).map(|(p, _)| p.to_string()).collect();
    of.join(by)
}

fn firewalld(interface: &str, ports: &[(u16, &str)]) -> Finding {
    let zone = output("firewall-cmd", &[&format!("--get-zone-of-interface={interface}")])
        .or_else(|| output("firewall-cmd", &["--get-default-zone"]))
        .map(|z| z.trim().to_string())
        .unwrap_or_else(|| "public".to_string());
    let text = output("firewall-cmd", &[&format!("--zone={zone}"), "--list-all"]).unwrap_or_default();
    let field = |name: &str| {
        let line = text.lines().find_map(|l| l.trim().strip_prefix(name)).unwrap_or_default();
        line.split_whitespace().map(str::to_string).collect::<Vec<_>>()
    };
    let (open, services) = (field("ports:"), field("services:"));
    let by_service = |p: u16, t: &str| {
        let name = match (p, t) {
            (67, "udp") => "dhcp",
            (69, "udp") => "tftp",
            (80, "tcp") => "http",
            (514, "udp") => "syslog",
            _ => return false,
        };
        services.iter().any(|s| s == name)
    };
    let missing: Vec<String> = ports
        .iter()
        .filter(|(p, t)| !open.contains(&format!("{p}/{t}")) && !by_service(*p, t))
        .map(|(p, t)| format!("{p}/{t}"))
        .collect();
    if missing.is_empty() || text.contains("target: ACCEPT") {
        return Finding::ok(CHECK, format!("firewalld lets our ports in (zone {zone})"));
    }
    let what = format!("firewalld's zone {zone} does not let in {}", missing.join(", "));
    let flags: Vec<String> = missing.iter().map(|p| format!("--add-port={p}")).collect();
    Finding::error(CHECK, what, format!("sudo firewall-cmd --zone={zone} {}", flags.join(" ")))
}

fn ufw(text: &str, interface: &str, ports: &[(u16, &str)]) -> Finding {
    let whole = text.lines().any(|l| l.contains(&format!("Anywhere on {interface}")) && l.contains("ALLOW"));
    let missing: Vec<&(u16, &str)> = ports
        .iter()
        .filter(|(p, t)| {
            let first = |l: &str| l.split_whitespace().next().unwrap_or_default().to_string();
            !text
                .lines()
                .any(|l| l.contains("ALLOW") && (first(l) == format!("{p}/{t}") || first(l) == p.to_string()))
        })
        .collect();
    if whole || missing.is_empty() {
        return Finding::ok(CHECK, "ufw lets our ports in");
    }
    let names: Vec<String> = missing.iter().map(|(p, t)| format!("{p}/{t}")).collect();
    let commands: Vec<String> = missing
        .iter()
        .map(|(p, t)| format!("sudo ufw allow in on {interface} to any port {p} proto {t}"))
        .collect();
    Finding::error(CHECK, format!("ufw does not let in {}", names.join(", ")), commands.join("\n"))
}

/// A chain of nftables' listing.
struct Chain<'a> {
    path: String,
    hooked: bool,
    drops: bool,
    rules: Vec<&'a str>,
}

/// Reads `nft list ruleset` (nft(8)): tables, their chains, and the lines in them.
fn chains(text: &str) -> Vec<Chain<'_>> {
    let mut out: Vec<Chain<'_>> = Vec::new();
    let (mut table, mut inside) = (String::new(), false);
    for line in text.lines().map(str::trim) {
        if let Some(name) = line.strip_prefix("table ").and_then(|l| l.strip_suffix(" {")) {
            table = name.to_string();
        } else if let Some(name) = line.strip_prefix("chain ").and_then(|l| l.strip_suffix(" {")) {
            inside = true;
            let path = format!("{table} {name}");
            out.push(Chain { path, hooked: false, drops: false, rules: Vec::new() });
        } else if line == "}" {
            inside = false;
        } else if inside && let Some(chain) = out.last_mut() {
            if line.starts_with("type filter hook input") {
                chain.hooked = true;
                chain.drops |= line.contains("policy drop");
            } else {
                // A rule with no condition at the end of the chain is a policy by another name.
                chain.drops |= ["drop", "reject"].contains(&line)
                    || line.starts_with("reject with")
                    || line.starts_with("counter drop")
                    || (line.starts_with("counter packets") && line.ends_with(" drop"));
                chain.rules.push(line);
            }
        }
    }
    out
}

fn nft_input(text: &str, interface: &str, ports: &[(u16, &str)]) -> Input {
    let all = chains(text);
    let dropping: Vec<&Chain<'_>> = all.iter().filter(|c| c.hooked && c.drops).collect();
    if dropping.is_empty() {
        return Input::Open;
    }
    let lets_in = |(port, protocol): &(u16, &str)| {
        all.iter().flat_map(|c| &c.rules).filter(|r| r.ends_with("accept")).any(|r| {
            let whole = r.contains(&format!("iifname \"{interface}\""))
                || r.contains(&format!("iif \"{interface}\""));
            (whole && !r.contains("dport") && !r.contains("ct state"))
                || (r.contains(&format!("{protocol} dport")) && names_port(r, *port))
                || (r.contains("th dport") && names_port(r, *port))
        })
    };
    if ports.iter().all(lets_in) { Input::Opened } else { Input::Closed }
}

/// Whether a rule's port list (`dport 69`, `dport { 67-69, 80 }`, `--dports 67:69`) has `port`.
fn names_port(rule: &str, port: u16) -> bool {
    let after = rule.split_once("dport").map_or("", |(_, rest)| rest);
    after.split(|c: char| !(c.is_ascii_digit() || c == '-' || c == ':')).any(|part| {
        match part.split_once(['-', ':']) {
            Some((a, b)) => {
                matches!((a.parse::<u16>(), b.parse::<u16>()), (Ok(a), Ok(b)) if (a..=b).contains(&port))
            }
            None => part.parse() == Ok(port),
        }
    })
}

fn nft_command(text: &str, interface: &str, ports: &[(u16, &str)]) -> String {
    let all = chains(text);
    let chain = all.iter().find(|c| c.hooked && c.drops).map_or("inet filter input", |c| c.path.as_str());
    ["udp", "tcp"]
        .map(|t| {
            format!(
                "sudo nft insert rule {chain} iifname {interface} {t} dport '{{ {} }}' accept",
                list(ports, t, ", ")
            )
        })
        .join("\n")
}

fn iptables_input(text: &str, interface: &str, ports: &[(u16, &str)]) -> Input {
    let drops = text.lines().any(|l| {
        l == "-P INPUT DROP" || l.starts_with("-A INPUT -j REJECT") || l.starts_with("-A INPUT -j DROP")
    });
    if !drops {
        return Input::Open;
    }
    let accepts = || text.lines().filter(|l| l.starts_with("-A ") && l.contains("-j ACCEPT"));
    let lets_in = |(port, protocol): &(u16, &str)| {
        accepts().any(|l| {
            (l.contains(&format!("-i {interface} ")) && !l.contains("dport") && !l.contains("--ctstate"))
                || (l.contains(&format!("-p {protocol} ")) && names_port(l, *port))
        })
    };
    if ports.iter().all(lets_in) { Input::Opened } else { Input::Closed }
}

fn iptables_command(interface: &str, ports: &[(u16, &str)]) -> String {
    ["udp", "tcp"]
        .map(|t| {
            format!(
                "sudo iptables -I INPUT -i {interface} -p {t} -m multiport --dports {} -j ACCEPT",
                list(ports, t, ",")
            )
        })
        .join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    const PORTS: &[(u16, &str)] = &[(67, "udp"), (69, "udp"), (80, "tcp"), (514, "udp"), (514, "tcp")];

    fn nft(rules: &str, policy: &str) -> String {
        format!(
            "table inet filter {{\n\tchain input {{\n\t\ttype filter hook input priority filter; policy {policy};\n{rules}\t}}\n\n\tchain forward {{\n\t\ttype filter hook forward priority filter; policy drop;\n\t}}\n}}\n"
        )
    }

    #[test]
    fn nftables_open_closed_and_opened_are_told_apart() {
        assert_eq!(nft_input(&nft("", "accept"), "eth1", PORTS), Input::Open);
        assert_eq!(nft_input("", "eth1", PORTS), Input::Open);
        let ssh = "\t\tct state established,related accept\n\t\ttcp dport 22 accept\n";
        assert_eq!(nft_input(&nft(ssh, "drop"), "eth1", PORTS), Input::Closed);
        let some = "\t\tudp dport { 67-69, 514 } accept\n\t\ttcp dport 80 accept\n";
        assert_eq!(nft_input(&nft(some, "drop"), "eth1", PORTS), Input::Closed, "514/tcp is missing");
        let all = "\t\tudp dport { 67-69, 514 } accept\n\t\ttcp dport { 80, 514 } accept\n";
        assert_eq!(nft_input(&nft(all, "drop"), "eth1", PORTS), Input::Opened);
        let whole = "\t\tiifname \"eth1\" accept\n";
        assert_eq!(nft_input(&nft(whole, "drop"), "eth1", PORTS), Input::Opened);
        assert_eq!(nft_input(&nft(whole, "drop"), "eth2", PORTS), Input::Closed);
        let last = "\t\tct state established accept\n\t\treject with icmpx admin-prohibited\n";
        assert_eq!(nft_input(&nft(last, "accept"), "eth1", PORTS), Input::Closed);
    }

    #[test]
    fn the_command_opens_what_is_closed() {
        let ruleset = nft("", "drop");
        let command = nft_command(&ruleset, "eth1", PORTS);
        assert_eq!(
            command.lines().next().unwrap(),
            "sudo nft insert rule inet filter input iifname eth1 udp dport '{ 67, 69, 514 }' accept"
        );
        let rules: String = command
            .lines()
            .map(|l| format!("\t\t{}\n", l.rsplit_once("iifname eth1 ").unwrap().1.replace('\'', "")))
            .collect();
        assert_eq!(nft_input(&nft(&rules, "drop"), "eth1", PORTS), Input::Opened);
        assert!(
            iptables_command("eth1", PORTS).starts_with("sudo iptables -I INPUT -i eth1 -p udp -m multiport")
        );
    }

    #[test]
    fn iptables_and_ufw_read() {
        assert_eq!(iptables_input("-P INPUT ACCEPT\n-P FORWARD DROP\n", "eth1", PORTS), Input::Open);
        assert_eq!(iptables_input("-P INPUT DROP\n-A INPUT -i lo -j ACCEPT\n", "eth1", PORTS), Input::Closed);
        let rules = "-P INPUT DROP\n-A INPUT -p udp -m multiport --dports 67,69,514 -j ACCEPT\n-A INPUT -p tcp -m multiport --dports 80,514 -j ACCEPT\n";
        assert_eq!(iptables_input(rules, "eth1", PORTS), Input::Opened);
        let text = "Status: active\n\nTo                         Action      From\n--                         ------      ----\n22/tcp                     ALLOW       Anywhere\n69/udp                     ALLOW       Anywhere\n";
        let f = ufw(text, "eth1", PORTS);
        assert!(f.what.contains("67/udp, 80/tcp") && !f.what.contains("69/udp"), "{f:?}");
    }
}
