//! Rules for a kickstart's storage lines: references, sizes, file systems, and the disk guard.

use super::Found;
use super::kickstart::Command;
use std::collections::BTreeSet;

/// File systems that Anaconda of every dialect can make and we use.
const FILE_SYSTEMS: [&str; 8] = ["xfs", "ext4", "vfat", "efi", "swap", "biosboot", "prepboot", "lvmpv"];

/// Checks all storage lines together.
pub fn check(commands: &[Command], found: &mut Found) {
    references(commands, found);
    let mut mounts = BTreeSet::new();
    for c in commands.iter().filter(|c| ["part", "partition", "logvol"].contains(&c.name.as_str())) {
        let mount = c.plain().first().copied().unwrap_or_default().to_string();
        size(c, found);
        if let Some(fs) = c.option("--fstype").filter(|fs| !FILE_SYSTEMS.contains(fs)) {
            found.add(c.line, "fstype", format!("{fs:?} is no file system that every installer can make"));
        }
        if let Some(disk) = c.option("--ondisk").filter(|d| !kernel_name(d) && !d.starts_with("/dev/")) {
            found.add(c.line, "ondisk", format!("{disk:?} is neither a kernel name nor a path below /dev"));
        }
        if mount.starts_with('/') && !mounts.insert(mount.clone()) {
            found.add(c.line, "mount", format!("{mount} is mounted twice"));
        }
    }
    if !mounts.contains("/") {
        found.add(0, "required", "nothing is mounted at /");
    }
    guard(commands, found);
}

fn kernel_name(disk: &str) -> bool {
    let plain = disk.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit());
    plain && ["sd", "vd", "hd", "xvd", "nvme", "mmcblk", "dasd"].iter().any(|p| disk.starts_with(p))
}

/// Physical volumes and volume groups: each named one is made, each made one is used.
fn references(commands: &[Command], found: &mut Found) {
    let named = |name: &'static str| commands.iter().filter(move |c| c.name == name);
    let pvs: Vec<(usize, String)> = commands
        .iter()
        .filter(|c| ["part", "partition", "raid"].contains(&c.name.as_str()))
        .flat_map(|c| c.plain().into_iter().map(|w| (c.line, w.to_string())).collect::<Vec<_>>())
        .filter(|(_, w)| w.starts_with("pv."))
        .collect();
    let mut used = BTreeSet::new();
    let mut groups = BTreeSet::new();
    for c in named("volgroup") {
        let plain = c.plain();
        let mut words = plain.iter();
        groups.extend(words.next().map(|w| w.to_string()));
        let members: Vec<_> = words.collect();
        if members.is_empty() && !c.has("--useexisting") {
            found.add(c.line, "volgroup", "a volume group needs a physical volume");
        }
        for pv in members {
            used.insert(pv.to_string());
            if !pvs.iter().any(|(_, p)| p == pv) {
                found.add(c.line, "volgroup", format!("no part makes {pv}"));
            }
        }
    }
    for (line, pv) in pvs.iter().filter(|(_, p)| !used.contains(p)) {
        found.add(*line, "pv", format!("no volgroup uses {pv}"));
    }
    for c in named("logvol") {
        match c.option("--vgname") {
            Some(group) if groups.contains(group) => (),
            Some(group) => found.add(c.line, "vgname", format!("no volgroup is called {group}")),
            None => found.add(c.line, "vgname", "a logical volume needs --vgname"),
        }
    }
    let volumes: Vec<_> = named("logvol").filter_map(|c| Some((c.line, c.option("--name")?))).collect();
    for (i, (line, name)) in volumes.iter().enumerate() {
        if volumes[..i].iter().any(|(_, n)| n == name) {
            found.add(*line, "volume", format!("two logical volumes are called {name}"));
        }
    }
}

fn size(c: &Command, found: &mut Found) {
    if ["--useexisting", "--noformat", "--onpart", "--recommended"].iter().any(|o| c.has(o)) {
        return;
    }
    match (c.option("--size"), c.option("--percent")) {
        (Some(_), Some(_)) => found.add(c.line, "size", "both --size and --percent"),
        (None, None) => found.add(c.line, "size", "a size is missing"),
        (Some(n), None) | (None, Some(n)) => {
            if n.parse::<u64>().unwrap_or(0) == 0 {
                found.add(c.line, "size", format!("the size {n:?} is not a number above 0"));
            }
        }
    }
    let max = c.option("--maxsize").and_then(|m| m.parse::<u64>().ok());
    let least = c.option("--size").and_then(|m| m.parse::<u64>().ok());
    if let (Some(max), Some(least)) = (max, least)
        && max < least
    {
        found.add(c.line, "size", format!("the largest size {max} is below the least size {least}"));
    }
}

/// The installer may only see and clear the disk that was chosen.
fn guard(commands: &[Command], found: &mut Found) {
    for c in commands {
        match c.name.as_str() {
            "clearpart" if c.option("--drives").is_none_or(str::is_empty) => {
                found.add(c.line, "guard", "clearpart without --drives clears every disk");
            }
            "zerombr" => {
                found.add(c.line, "guard", "zerombr initialises every disk that it does not understand")
            }
            "autopart" | "reqpart" => {
                found.add(c.line, "guard", format!("{} may use any disk; write the partitions", c.name));
            }
            _ => (),
        }
    }
    let only = commands.iter().any(|c| c.name == "ignoredisk" && c.option("--only-use").is_some());
    if !only {
        found.add(0, "guard", "ignoredisk --only-use is missing: the installer would see data disks");
    }
}

#[cfg(test)]
mod tests {
    use super::super::testing::{commands, plant};
    use super::*;

    const GOOD: &str = "ignoredisk --only-use=sda
clearpart --all --drives=sda
part /boot --fstype=xfs --size=1024 --ondisk=sda
part pv.01 --fstype=lvmpv --size=1 --grow --ondisk=sda
volgroup vg pv.01
logvol / --vgname=vg --name=root --fstype=xfs --size=4096 --grow --maxsize=8192
logvol /var --vgname=vg --name=var --fstype=xfs --size=4096
";

    fn lines(content: &str, found: &mut Found) {
        check(&commands(content), found);
    }

    #[test]
    fn each_rule_finds_its_mistake() {
        for (from, to, rule) in [
            ("volgroup vg pv.01", "volgroup vg pv.02", "volgroup"),
            ("volgroup vg pv.01", "volgroup vg pv.02", "pv"),
            ("volgroup vg pv.01", "volgroup vg", "volgroup"),
            ("--vgname=vg ", "--vgname=gv ", "vgname"),
            ("--vgname=vg ", "", "vgname"),
            ("--name=var", "--name=root", "volume"),
            ("--size=1024", "--size=0", "size"),
            ("--size=1024", "", "size"),
            ("--maxsize=8192", "--maxsize=1", "size"),
            ("--maxsize=8192", "--percent=10", "size"),
            ("--fstype=xfs", "--fstype=btrfs", "fstype"),
            ("--size=1024 --ondisk=sda", "--size=1024 --ondisk=wwn-0x5000", "ondisk"),
            ("logvol /var", "logvol /boot", "mount"),
            ("logvol / ", "logvol /srv ", "required"),
            (" --drives=sda", "", "guard"),
            ("ignoredisk --only-use=sda\n", "", "guard"),
            ("ignoredisk", "zerombr\nignoredisk", "guard"),
            ("ignoredisk", "autopart\nignoredisk", "guard"),
        ] {
            plant(lines, GOOD, from, to, rule);
        }
    }
}
