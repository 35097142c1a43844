//! Owns making a prepared root: Debian packages by mmdebstrap, and the few files that every node of it shares.
//!
//! What makes one written root one node (its name, network, accounts, the role's first-boot half, the call home) comes
//! with the orders: kickstart/fast/orders.j2.

use super::disk_image::{self, Ids};
use super::tool::run;
use super::{Built, Say, pack};
use crate::base::{Arch, Sha256};
use crate::images::{Image, Root};
use crate::problem::Problem;
use crate::system::manifest;
use std::fs;
use std::io::Read as _;
use std::os::unix::fs::{PermissionsExt as _, symlink};
use std::path::Path;

/// What every prepared root has: a kernel, both boot loaders, a network, a way in, a way to call home.
const PACKAGES: [&str; 22] = [
    "linux-image-amd64",
    "initramfs-tools",
    "zstd",
    "systemd-sysv",
    "systemd-resolved",
    "chrony",
    "udev",
    "dbus",
    "openssh-server",
    "sudo",
    "curl",
    "ca-certificates",
    "iproute2",
    "iputils-ping",
    "kmod",
    "e2fsprogs",
    "procps",
    "less",
    "grub2-common",
    "grub-pc-bin",
    "grub-efi-amd64-signed",
    "shim-signed",
];

/// Files put into the root before its packages are configured: path, mode, content.
const OVERLAY: [(&str, u32, &str); 4] = [
    ("etc/systemd/system/ssh.service.d/bootstead.conf", 0o644, include_str!("files/ssh-keys.conf")),
    ("etc/initramfs-tools/hooks/bootstead", 0o755, include_str!("files/initramfs-hook")),
    ("etc/initramfs-tools/conf.d/bootstead", 0o644, "MODULES=list\n"),
    ("etc/default/grub.d/10-console.cfg", 0o644, include_str!("files/default-grub.cfg")),
];

/// Builds `root.json` and `root.img` of `image` into `out`, with `packages` of the site's roles beside its own.
pub fn build(image: &Image, packages: &[String], out: &Path, say: Say<'_>) -> Result<Built, Problem> {
    let root = image.root.as_ref().ok_or_else(|| {
        Problem::input(format!("image {} has no [root], so no prepared root can be built of it", image.name))
            .help("use its installer (lane = \"installer\"), or an image with [root], for example debian12")
    })?;
    if image.arch != Arch::Amd64 {
        return Err(Problem::input(format!(
            "prepared roots are built for amd64 only, not for {}",
            image.arch
        )));
    }
    let root_user = fs::metadata("/proc/self").is_ok_and(|m| std::os::unix::fs::MetadataExt::uid(&m) == 0);
    if !root_user {
        return Err(Problem::environment("building a prepared root needs root").help("run it with sudo"));
    }
    let work = out.join("work");
    let dir = work.join("root");
    make_folder(&work)?;
    let ids = ids()?;

    say(&format!(
        "{} packages of {} by mmdebstrap (one to three minutes)",
        root_packages(root, packages).len(),
        root.suite
    ));
    bootstrap(image, root, packages, &work, &ids)?;
    tidy(&dir, &ids)?;
    let kernel = kernel_release(&dir)?;

    say("making a bootable disk: GPT, GRUB for BIOS, signed GRUB for UEFI, ext4");
    let raw = work.join("disk.raw");
    let about = format!("{} ({}, Linux {kernel})", image.summary, root.suite);
    let layout = disk_image::make(&dir, &raw, &ids, &work)?;
    say("cutting it into pieces");
    let mut manifest = pack::pack(&raw, &out.join(manifest::DATA_FILE))?;
    manifest.image = image.name.clone();
    manifest.about = about.clone();
    manifest.built = super::now();
    manifest.root_partition = layout.root_partition;
    manifest.check().map_err(|e| Problem::fault(format!("the new root's manifest is wrong: {e}")))?;
    let text = serde_json::to_vec(&manifest).map_err(|e| Problem::fault(e.to_string()))?;
    let path = out.join(crate::boot::decide::ROOT_MANIFEST);
    fs::write(&path, text).map_err(|e| Problem::io("write", &path, &e))?;
    fs::remove_dir_all(&work).map_err(|e| Problem::io("remove", &work, &e))?;
    say(&format!(
        "{about}: {} on the disk, {} to send",
        crate::base::time::size(manifest.data_bytes()),
        crate::base::time::size(manifest.stored_size)
    ));
    Ok(Built {
        files: vec![crate::boot::decide::ROOT_MANIFEST.to_string(), manifest::DATA_FILE.to_string()],
        origin: [
            ("root".to_string(), format!("{about}, built {}", manifest.built)),
            (PACKAGES_OF_ROOT.to_string(), root_packages(root, packages).join(" ")),
        ]
        .into(),
    })
}

/// Under this name the manifest says which packages were asked for.
const PACKAGES_OF_ROOT: &str = "root packages";

/// Whether this manifest has a prepared root with just these packages.
pub fn is_current(manifest: &crate::images::Manifest, root: &Root, packages: &[String]) -> bool {
    manifest.files.contains_key(crate::boot::decide::ROOT_MANIFEST)
        && manifest.origin.get(PACKAGES_OF_ROOT) == Some(&root_packages(root, packages).join(" "))
}

fn root_packages(root: &Root, packages: &[String]) -> Vec<String> {
    let own = PACKAGES.iter().map(|p| p.to_string());
    let mut all: Vec<String> =
        own.chain(root.include.iter().cloned()).chain(packages.iter().cloned()).collect();
    all.sort();
    all.dedup();
    all
}

fn bootstrap(image: &Image, root: &Root, packages: &[String], work: &Path, ids: &Ids) -> Result<(), Problem> {
    let overlay = work.join("overlay");
    for (path, mode, content) in OVERLAY {
        put(&overlay, path, mode, content)?;
    }
    put(&overlay, "etc/fstab", 0o644, &fstab(ids))?;
    let exclude = include_str!("files/dpkg.cfg").lines().filter(|l| l.starts_with("path-"));
    let mut arguments = vec![
        "--quiet".to_string(),
        "--variant=minbase".to_string(),
        format!("--architectures={}", image.arch),
        format!("--include={}", root_packages(root, packages).join(",")),
        "--aptopt=Apt::Install-Recommends \"false\"".to_string(),
        "--essential-hook=cp -a overlay/. \"$1\"/".to_string(),
    ];
    // mmdebstrap leaves these in the root's own /etc/dpkg/dpkg.cfg.d, so they hold for updates too.
    arguments.extend(exclude.map(|l| format!("--dpkgopt={l}")));
    arguments.extend([root.suite.clone(), "root".to_string()]);
    arguments.extend(sources(image, root, work)?);
    // In a mount and process namespace of its own: whatever happens to this program, no mount of the root's /proc,
    // /sys or /dev stays behind for a later clean-up to walk into, and no process goes on alone.
    let mut alone: Vec<String> =
        ["--mount", "--pid", "--fork", "--kill-child", "mmdebstrap"].map(str::to_string).into();
    alone.append(&mut arguments);
    run("unshare", "util-linux mmdebstrap", &alone, work)?;
    Ok(())
}

/// apt source lines: the image's mirror if it names one, else those that this machine's apt has for the suite. Empty:
/// mmdebstrap's own default.
fn sources(image: &Image, root: &Root, work: &Path) -> Result<Vec<String>, Problem> {
    const KEYS: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
    let signed = if Path::new(KEYS).exists() { format!("[signed-by={KEYS}] ") } else { String::new() };
    if let Some(url) = image.mirror.as_ref().and_then(|m| m.url.as_ref()) {
        return Ok(vec![format!("deb {signed}{url} {} main", root.suite)]);
    }
    let format = "$(REPO_URI) $(RELEASE) $(COMPONENT) $(ORIGIN)";
    let listed = run("apt-get", "apt", ["indextargets", "Created-By: Packages", "--format", format], work)?;
    Ok(lines_for(&root.suite, &listed, &signed))
}

/// The archive's lines for `suite` and its updates, out of `REPO_URI RELEASE COMPONENT ORIGIN` lines.
fn lines_for(suite: &str, listed: &str, signed: &str) -> Vec<String> {
    let mut lines: Vec<String> = listed
        .lines()
        .filter_map(|l| {
            let words: Vec<&str> = l.split_whitespace().collect();
            let [uri, release, "main", "Debian"] = words.as_slice() else { return None };
            let ours = [suite.to_string(), format!("{suite}-updates"), format!("{suite}-security")];
            ours.iter().any(|s| s == release).then(|| format!("deb {signed}{uri} {release} main"))
        })
        .collect();
    lines.sort();
    lines.dedup();
    // Updates alone are no distribution.
    if lines.iter().any(|l| l.contains(&format!(" {suite} "))) { lines } else { Vec::new() }
}

fn fstab(ids: &Ids) -> String {
    format!(
        "UUID={} / ext4 errors=remount-ro 0 1\nUUID={} /boot/efi vfat umask=0077,nofail 0 2\n",
        ids.root,
        ids.esp_uuid()
    )
}

/// What must not be the same on two nodes goes; what a node needs to start comes.
fn tidy(dir: &Path, ids: &Ids) -> Result<(), Problem> {
    let ssh = dir.join("etc/ssh");
    for name in fs::read_dir(&ssh).map_err(|e| Problem::io("read the folder", &ssh, &e))?.flatten() {
        if name.file_name().to_string_lossy().starts_with("ssh_host_") {
            fs::remove_file(name.path()).map_err(|e| Problem::io("remove", &name.path(), &e))?;
        }
    }
    // Empty, not missing: systemd then makes one at the first boot without asking for a first-boot setup.
    put(dir, "etc/machine-id", 0o444, "")?;
    for gone in ["var/lib/dbus/machine-id", "etc/resolv.conf", "etc/hostname", "var/lib/systemd/random-seed"]
    {
        let _ = fs::remove_file(dir.join(gone));
    }
    let resolv = dir.join("etc/resolv.conf");
    symlink("../run/systemd/resolve/stub-resolv.conf", &resolv)
        .map_err(|e| Problem::io("write", &resolv, &e))?;
    for unit in ["systemd-networkd.service", "systemd-resolved.service", "ssh.service"] {
        enable(dir, "/lib/systemd/system", unit)?;
    }
    // It looks for LVM snapshots of ext4 to clean up at every boot. There is no LVM here: it only costs time, and fails
    // where lvm2 comes later without a volume group.
    mask(dir, "e2scrub_reap.service")?;
    make_folder(&dir.join("boot/efi"))?;
    put(dir, "boot/grub/grub.cfg", 0o644, &ids.fill(include_str!("files/grub.cfg")))?;
    disk_image::copy_grub_modules(dir)
}

/// What `systemctl enable` does for a unit of multi-user.target.
fn enable(dir: &Path, from: &str, unit: &str) -> Result<(), Problem> {
    let folder = dir.join("etc/systemd/system/multi-user.target.wants");
    make_folder(&folder)?;
    let link = folder.join(unit);
    match symlink(format!("{from}/{unit}"), &link) {
        Err(e) if e.kind() != std::io::ErrorKind::AlreadyExists => Err(Problem::io("write", &link, &e)),
        _ => Ok(()),
    }
}

/// What `systemctl mask` does.
fn mask(dir: &Path, unit: &str) -> Result<(), Problem> {
    let folder = dir.join("etc/systemd/system");
    make_folder(&folder)?;
    let link = folder.join(unit);
    let _ = fs::remove_file(&link);
    symlink("/dev/null", &link).map_err(|e| Problem::io("write", &link, &e))
}

fn kernel_release(dir: &Path) -> Result<String, Problem> {
    let link = dir.join("vmlinuz");
    let target = fs::read_link(&link).map_err(|e| Problem::io("read", &link, &e))?;
    let name = target.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
    Ok(name.trim_start_matches("vmlinuz-").to_string())
}

pub(super) fn put(dir: &Path, path: &str, mode: u32, content: &str) -> Result<(), Problem> {
    let path = dir.join(path);
    if let Some(folder) = path.parent() {
        make_folder(folder)?;
    }
    fs::write(&path, content)
        .and_then(|()| fs::set_permissions(&path, fs::Permissions::from_mode(mode)))
        .map_err(|e| Problem::io("write", &path, &e))
}

fn make_folder(path: &Path) -> Result<(), Problem> {
    fs::create_dir_all(path).map_err(|e| Problem::io("make the folder", path, &e))
}

/// New identities for the file systems of this root.
fn ids() -> Result<Ids, Problem> {
    let path = Path::new("/dev/urandom");
    let mut random = [0u8; 32];
    let mut file = fs::File::open(path).map_err(|e| Problem::io("read", path, &e))?;
    file.read_exact(&mut random).map_err(|e| Problem::io("read", path, &e))?;
    Ok(Ids::new(Sha256::of(&random)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_masked_unit_points_to_nothing_whatever_was_there() {
        let dir = std::env::temp_dir().join(format!("bootstead-mask-{}", std::process::id()));
        put(&dir, "etc/systemd/system/x.service", 0o644, "[Unit]\n").unwrap();
        mask(&dir, "x.service").unwrap();
        let link = fs::read_link(dir.join("etc/systemd/system/x.service")).unwrap();
        assert_eq!(link, Path::new("/dev/null"));
        fs::remove_dir_all(&dir).unwrap();
    }

    #[test]
    fn this_machines_apt_sources_are_used_if_they_have_the_suite() {
        let listed = "http://deb/debian/ bookworm main Debian\nhttp://deb/debian/ bookworm-updates main Debian\n\
                      http://sec/ bookworm-security main Debian\nhttp://other/ bookworm main Docker\n\
                      http://deb/debian/ bookworm contrib Debian\n";
        assert_eq!(
            lines_for("bookworm", listed, ""),
            [
                "deb http://deb/debian/ bookworm main",
                "deb http://deb/debian/ bookworm-updates main",
                "deb http://sec/ bookworm-security main"
            ]
        );
        assert!(lines_for("trixie", listed, "").is_empty());
        assert!(lines_for("bookworm", "http://sec/ bookworm-security main Debian\n", "").is_empty());
    }
}
