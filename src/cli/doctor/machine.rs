//! Owns the checks of the machine itself: rights, the binary, clock, memory, kernel limits, power.

use super::{Finding, nodes};
use crate::base::time::{size, span};
use crate::site::Site;
use std::path::Path;

pub fn look(site: Option<&Site>) -> Vec<Finding> {
    let mut all = vec![rights(), binary()];
    all.extend(clock());
    all.push(memory());
    all.extend(kernel(nodes(site)));
    all.extend(power());
    all
}

fn read(path: &str) -> Option<String> {
    std::fs::read_to_string(path).ok().map(|t| t.trim().to_string())
}

fn number(path: &str) -> Option<u64> {
    read(path)?.parse().ok()
}

/// Ports below 1024 and packet sockets need capabilities (capabilities(7)); root has them.
fn rights() -> Finding {
    const NEEDED: [(u32, &str); 2] = [(10, "CAP_NET_BIND_SERVICE"), (13, "CAP_NET_RAW")];
    let status = read("/proc/self/status").unwrap_or_default();
    let mask = status
        .lines()
        .find_map(|l| l.strip_prefix("CapEff:"))
        .and_then(|t| u64::from_str_radix(t.trim(), 16).ok());
    let Some(mask) = mask else {
        return Finding::skipped("rights", "the capabilities of this process cannot be read");
    };
    let lacks: Vec<&str> = NEEDED.iter().filter(|(bit, _)| mask & (1 << bit) == 0).map(|(_, n)| *n).collect();
    if lacks.is_empty() {
        return Finding::ok("rights", "may open the ports of DHCP and TFTP");
    }
    Finding::error(
        "rights",
        format!("may not serve DHCP and TFTP: lacks {}", lacks.join(" and ")),
        "run with sudo, or once: sudo setcap cap_net_bind_service,cap_net_raw,cap_net_admin+ep PATH/TO/bootstead",
    )
}

/// Nodes run this same file; only a static one runs everywhere.
fn binary() -> Finding {
    let Some(dynamic) = std::fs::read("/proc/self/exe").ok().and_then(|b| needs_interpreter(&b)) else {
        return Finding::skipped("binary", "this program's own file cannot be read");
    };
    if !dynamic {
        return Finding::ok("binary", format!("bootstead {}, static", env!("CARGO_PKG_VERSION")));
    }
    Finding::warning(
        "binary",
        format!(
            "bootstead {} is linked to this machine's C library: it does not run on every node",
            env!("CARGO_PKG_VERSION")
        ),
        "make build   # makes the static one",
    )
}

/// Whether an ELF file (64 bit, little endian) has a PT_INTERP segment; `None`: it is no such file.
fn needs_interpreter(file: &[u8]) -> Option<bool> {
    const PT_INTERP: u32 = 3;
    let word = |at: usize, len: usize| -> Option<u64> {
        let bytes = file.get(at..at.checked_add(len)?)?;
        Some(bytes.iter().rev().fold(0, |n, b| n << 8 | u64::from(*b)))
    };
    if file.get(..6)? != b"\x7fELF\x02\x01" {
        return None;
    }
    let (table, each, count) = (word(32, 8)?, word(54, 2)?, word(56, 2)?);
    for i in 0..count {
        let at = usize::try_from(table.checked_add(i * each)?).ok()?;
        if word(at, 4)? as u32 == PT_INTERP {
            return Some(true);
        }
    }
    Some(false)
}

/// Before this year no clock of a machine that runs this program can be (it was built later).
const YEAR_2025: u64 = 1_735_689_600;

/// Nodes take their time from what this machine says, and certificates and package signatures are dated (#88).
fn clock() -> Vec<Finding> {
    let now = super::super::station::now().0 / 1000;
    let year_ok = u64::try_from(now).is_ok_and(|n| n >= YEAR_2025);
    if !year_ok {
        let shown = super::super::station::now();
        return vec![Finding::error(
            "clock",
            format!("this machine believes it is {shown}"),
            "sudo date -s 'YYYY-MM-DD HH:MM:SS'",
        )];
    }
    let mut all = Vec::new();
    if let Some(rtc) = number("/sys/class/rtc/rtc0/since_epoch") {
        let off = (now - rtc as i64).unsigned_abs();
        if off > 5 {
            all.push(Finding::warning(
                "clock",
                format!("the hardware clock is {} beside the system's", span(off * 1000)),
                "sudo hwclock --systohc --utc",
            ));
        }
    }
    if read("/etc/adjtime").is_some_and(|t| t.lines().nth(2) == Some("LOCAL")) {
        let help = "sudo timedatectl set-local-rtc 0";
        all.push(Finding::warning("clock", "the hardware clock runs in local time, not UTC", help));
    }
    match synchronised() {
        Some(true) => all.push(Finding::ok("clock", "set by a time server")),
        Some(false) => all.push(Finding::warning(
            "clock",
            format!("not set by a time server; it is {} UTC here", super::super::station::now().clock()),
            "compare it with a watch; where there is internet: sudo timedatectl set-ntp true",
        )),
        None if all.is_empty() => {
            all.push(Finding::skipped("clock", "plausible; whether a time server sets it is not known"))
        }
        None => {}
    }
    all
}

/// What systemd knows of the kernel's synchronisation flag.
fn synchronised() -> Option<bool> {
    let out = std::process::Command::new("timedatectl")
        .args(["show", "--property=NTPSynchronized", "--value"])
        .stdin(std::process::Stdio::null())
        .output()
        .ok()?;
    match String::from_utf8_lossy(&out.stdout).trim() {
        "yes" => Some(true),
        "no" => Some(false),
        _ => None,
    }
}

fn memory() -> Finding {
    const NEEDED: u64 = 256 << 20;
    let info = read("/proc/meminfo").unwrap_or_default();
    let free = info
        .lines()
        .find_map(|l| l.strip_prefix("MemAvailable:")?.split_whitespace().next()?.parse::<u64>().ok())
        .map(|kib| kib << 10);
    match free {
        None => Finding::skipped("memory", "/proc/meminfo does not say how much is free"),
        Some(free) if free < NEEDED => Finding::warning(
            "memory",
            format!("only {} of memory are free", size(free)),
            "close some programs",
        ),
        Some(free) => Finding::ok("memory", format!("{} free", size(free))),
    }
}

/// Kernel limits that a boot storm of `nodes` machines runs into (field-pain #92).
fn kernel(nodes: usize) -> Vec<Finding> {
    let mut all = Vec::new();
    // A neighbour entry per node, and as many again for its second interface and its BMC.
    let wanted = (nodes as u64 * 2).max(128);
    match number("/proc/sys/net/ipv4/neigh/default/gc_thresh3") {
        Some(have) if have < wanted => all.push(Finding::warning(
            "kernel",
            format!("the neighbour table holds {have} machines, {nodes} nodes need {wanted}: packets would be lost"),
            format!(
                "sudo sysctl -w net.ipv4.neigh.default.gc_thresh3={} net.ipv4.neigh.default.gc_thresh2={wanted}",
                wanted * 2
            ),
        )),
        Some(have) => all.push(Finding::ok("kernel", format!("neighbour table for {have} machines"))),
        None => {}
    }
    // serve asks for this much per socket; root may exceed the limit, others may not.
    const BUFFER: u64 = 4 << 20;
    if nodes > 64
        && !nix::unistd::geteuid().is_root()
        && let Some(have) = number("/proc/sys/net/core/rmem_max").filter(|have| *have < BUFFER)
    {
        all.push(Finding::warning(
            "kernel",
            format!("socket buffers may have at most {}: {nodes} machines at once overflow that", size(have)),
            format!("sudo sysctl -w net.core.rmem_max={BUFFER}"),
        ));
    }
    let files = read("/proc/self/limits").and_then(|t| {
        t.lines()
            .find_map(|l| l.strip_prefix("Max open files")?.split_whitespace().nth(1)?.parse::<u64>().ok())
    });
    let wanted = (nodes as u64 * 4).max(1024);
    if let Some(have) = files.filter(|have| *have < wanted) {
        all.push(Finding::warning(
            "kernel",
            format!("at most {have} files may be open, {nodes} nodes at once need {wanted}"),
            format!("ulimit -n {wanted}   # in the shell that starts `bootstead serve`"),
        ));
    }
    all
}

/// A laptop that falls asleep leaves every installation hanging.
fn power() -> Option<Finding> {
    let supplies = std::fs::read_dir("/sys/class/power_supply").ok()?;
    let (mut mains, mut battery) = (None, false);
    for supply in supplies.flatten() {
        let at = |name: &str| read(supply.path().join(name).to_str()?);
        match at("type").as_deref() {
            Some("Mains") => mains = Some(mains.unwrap_or(false) || at("online").as_deref() == Some("1")),
            Some("Battery") => battery = battery || Path::new(&supply.path()).join("capacity").exists(),
            _ => {}
        }
    }
    (battery && mains == Some(false)).then(|| {
        Finding::warning(
            "power",
            "this machine runs on its battery",
            "plug it in; keep it awake with: systemd-inhibit --what=sleep:handle-lid-switch bootstead serve",
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_program_s_own_file_is_understood_and_rubbish_is_not() {
        let own = std::fs::read("/proc/self/exe").unwrap();
        assert!(needs_interpreter(&own).is_some());
        assert_eq!(needs_interpreter(b"#!/bin/sh"), None);
        for cut in 0..200 {
            let _ = needs_interpreter(&own[..cut]);
        }
    }

    #[test]
    fn more_nodes_ask_more_of_the_kernel() {
        let many = kernel(1_000_000);
        assert!(
            many.iter().any(|f| f.help.as_ref().is_some_and(|h| h.contains("gc_thresh3=4000000"))),
            "{many:?}"
        );
    }
}
