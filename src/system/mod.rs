//! The fast lane: this binary as init of a small initrd on a blank machine.
//!
//! In the order of what happens: [`cmdline`] what it was told, [`modules`] drivers, [`net`] the port, [`facts`] and
//! [`disks`] what the machine is, [`signs`] and [`guard`] which disk may be written, [`client`] and [`report`] the
//! talk with the server, [`manifest`] and [`write`] the prepared root, [`gpt`] and [`finish`] what makes it boot.
//! [`host`] holds the calls to the kernel. `docs/fast-lane.md` is the story for people.

pub mod client;
pub mod cmdline;
pub mod disks;
pub mod facts;
pub mod finish;
pub mod gpt;
pub mod guard;
pub mod host;
pub mod manifest;
pub mod modules;
pub mod net;
pub mod report;
pub mod signs;
pub mod write;

use crate::api::{Orders, ReportKind, orders_path};
use crate::base::Sha256;
use cmdline::Told;
use host::say;
use manifest::Manifest;
use report::{Progress, Reporter, body, patiently};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// Whether this process is the init of a blank machine, and not a server that a container runs as pid 1.
pub fn is_init() -> bool {
    std::process::id() == 1 && std::env::args_os().next().is_some_and(|a| a == "/init")
}

/// Init's whole life. Never returns: an init that ends stops the kernel.
pub fn main() -> ! {
    std::panic::set_hook(Box::new(|info| say(&format!("a fault of ours: {info}"))));
    let outcome = std::panic::catch_unwind(life)
        .unwrap_or_else(|_| Err("Bootstead itself failed; please report the lines above".to_string()));
    match outcome {
        Ok(power_off) => host::end(power_off),
        Err(sentence) => {
            say(&sentence);
            say("nothing more happens here; switch the machine off when you have read this");
        }
    }
    loop {
        sleep(Duration::from_secs(3600));
    }
}

/// From power-on to the last report. `Ok(true)`: switch off rather than restart.
fn life() -> Result<bool, String> {
    host::mount_basics().map_err(|e| format!("cannot mount /proc, /sys and /dev: {e}"))?;
    say(&format!("Bootstead {} installs this machine", env!("CARGO_PKG_VERSION")));
    let line = std::fs::read_to_string("/proc/cmdline").unwrap_or_default();
    let told = cmdline::read(&line)?;
    let mut loader = modules::Loader::open().map_err(|e| format!("this system has no modules: {e}"))?;
    drivers(&mut loader);
    let port = net::up(&told, || drivers(&mut loader))?;
    say(&format!("{port} has {}/{}, the server is {}", told.address, told.prefix, told.server));
    let reporter = Reporter {
        client: client::Client { server: told.server, token: told.token.clone() },
        mac: told.mac,
        run: run_number().map_err(|e| format!("cannot read random numbers: {e}"))?,
    };
    match install(&told, &reporter) {
        Ok(()) => Ok(told.then_poweroff),
        Err(Stop::Refused(sentence)) => Err(sentence),
        Err(Stop::Failed(sentence)) => {
            say(&format!("FAILED: {sentence}"));
            reporter.send(ReportKind::Failed, "", &sentence)?;
            Err(sentence)
        }
    }
}

/// Why an installation stopped.
enum Stop {
    /// The server said no: there is nothing to tell it.
    Refused(String),
    /// Something went wrong here: the server must know.
    Failed(String),
}

impl From<String> for Stop {
    fn from(sentence: String) -> Stop {
        Stop::Failed(sentence)
    }
}

/// Loads the drivers of everything that is visible, and the file systems.
fn drivers(loader: &mut modules::Loader) {
    let mut failed = Vec::new();
    loop {
        let (new, problems) = loader.load_for_devices();
        failed.extend(problems);
        if new == 0 {
            break;
        }
    }
    for name in ["efivarfs", "sd_mod", "crc32c", "crc32c_generic", "ext4"] {
        failed.extend(loader.load(name));
    }
    host::mount_efivars();
    for sentence in failed {
        say(&sentence);
    }
}

/// Hardware report, orders, disk, grant, writing, report.
fn install(told: &Told, reporter: &Reporter) -> Result<(), Stop> {
    settle();
    let machine = facts::machine();
    let hardware =
        serde_json::to_string(&machine).map_err(|e| format!("cannot describe the machine: {e}"))?;
    let reply = reporter.send(ReportKind::Hardware, "looking at the machine", &hardware)?;
    refused(reply, "the server did not take the hardware report")?;

    let orders = orders(told, reporter)?;
    say(&format!("this is {}, a {}", orders.node, orders.role));
    let disk = guard::choose(&machine.disks, &orders.disk).map_err(|r| r.to_string())?;
    guard::unclaimed(disk, &orders.erase).map_err(|r| r.to_string())?;
    let (path, manifest) = root(&orders, reporter)?;
    fits(disk, &manifest)?;
    say(&format!("{} goes to {}", manifest.about, disk.describe()));

    let reply = reporter.send(ReportKind::Begin, "asking to write", &disk.describe())?;
    refused(reply, "the server did not grant writing the disk")?;
    let progress = Arc::new(Progress::default());
    let follower = reporter.follow(&progress);
    let source =
        write::Source { client: &reporter.client, path: write::data_path(&path), manifest: &manifest };
    let written =
        write::write(&source, &format!("/dev/{}", disk.name), disk.size, &progress).and_then(|head| {
            progress.step("finishing", 1);
            finish::finish(disk, &manifest, head, &orders.files)
        });
    progress.end();
    let _ = follower.join();
    written?;
    let reply = reporter.send(ReportKind::Installed, "installed", &disk.describe())?;
    refused(reply, "the server did not take the report of the installation")?;
    say("installed; this machine now starts from its disk");
    Ok(())
}

/// An answer other than 2xx is the server's decision: a person reads its words.
fn refused(reply: client::Reply, what: &str) -> Result<(), Stop> {
    if (200..300).contains(&reply.status) {
        return Ok(());
    }
    let status = reply.status;
    let words = report::said(&reply.bytes().unwrap_or_default());
    Err(Stop::Refused(format!("{what}: it answers {status}{words}")))
}

fn orders(told: &Told, reporter: &Reporter) -> Result<Orders, Stop> {
    let what = "get the orders";
    let reply = patiently(what, || reporter.client.get(&orders_path(told.mac), 0))?;
    if reply.status != 200 {
        refused(reply, "the server gave no orders")?;
        return Err(Stop::Refused("the server gave no orders".to_string()));
    }
    let bytes = body(what, reply)?;
    Ok(serde_json::from_slice(&bytes).map_err(|e| format!("the orders cannot be read: {e}"))?)
}

/// The manifest's path on the server, and the manifest.
fn root(orders: &Orders, reporter: &Reporter) -> Result<(String, Manifest), String> {
    let path = match orders.root.strip_prefix("http://") {
        Some(rest) => rest.find('/').map_or("/", |i| &rest[i..]),
        None => orders.root.as_str(),
    };
    let what = format!("get {path}");
    let bytes = body(&what, patiently(&what, || reporter.client.get(path, 0))?)?;
    Ok((path.to_string(), meant(orders, path, &bytes)?))
}

/// The manifest, if it is the one that the orders mean: every digest in it is believed from here on.
fn meant(orders: &Orders, path: &str, bytes: &[u8]) -> Result<Manifest, String> {
    let (is, want) = (Sha256::of(bytes), orders.root_sha256);
    if is != want {
        return Err(format!(
            "{path} is not the prepared root of this node's orders (its digest is {is}, not {want}), and nothing was \
             written; if the root was built anew meanwhile, arm the node again, else look at who is between it and \
             the server"
        ));
    }
    Manifest::read(bytes).map_err(|e| format!("the prepared root's {path} is not usable: {e}"))
}

fn fits(disk: &facts::Disk, manifest: &Manifest) -> Result<(), String> {
    let size = crate::base::time::size;
    if disk.sector != 512 {
        return Err(format!(
            "disk {} has sectors of {} bytes, the prepared root is for 512; use the distribution's own installer (lane = \"installer\")",
            disk.describe(),
            disk.sector
        ));
    }
    if disk.size < manifest.raw_size + (8 << 20) {
        return Err(format!(
            "disk {} is too small: the prepared root needs {}",
            disk.describe(),
            size(manifest.raw_size + (8 << 20))
        ));
    }
    Ok(())
}

/// Waits until no more disks appear: the choice of a disk must see all of them.
///
/// Controllers with their own firmware (SAS, RAID) find their disks seconds after the driver is there.
fn settle() {
    let list = || facts::names("/sys/block");
    let slow = !facts::names("/sys/class/scsi_host").is_empty();
    let still = Duration::from_secs(if slow { 5 } else { 1 });
    let begin = Instant::now();
    let (mut before, mut since) = (list(), Instant::now());
    while since.elapsed() < still && begin.elapsed() < Duration::from_secs(60) {
        sleep(Duration::from_millis(100));
        let now = list();
        if now != before {
            (before, since) = (now, Instant::now());
        }
    }
}

/// 128 random bits: this boot's own number.
fn run_number() -> std::io::Result<String> {
    let mut bytes = [0u8; 16];
    std::io::Read::read_exact(&mut std::fs::File::open("/dev/urandom")?, &mut bytes)?;
    Ok(bytes.iter().map(|b| format!("{b:02x}")).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_manifest_that_is_not_the_orders_own_is_refused_in_one_sentence() {
        let piece = manifest::Piece { at: 0, len: 4096, stored: 9, sha256: Sha256::of(b"x") };
        let good = Manifest {
            format: manifest::FORMAT,
            image: "debian12".into(),
            about: String::new(),
            built: String::new(),
            raw_size: manifest::PIECE,
            stored_size: 9,
            stored_sha256: Sha256::of(b""),
            root_partition: 3,
            pieces: vec![piece],
        };
        let bytes = serde_json::to_vec(&good).unwrap();
        let orders = Orders {
            node: "n1".into(),
            role: "base".into(),
            arming: 1,
            disk: crate::base::DiskRule::default(),
            erase: Vec::new(),
            root: "http://10.0.0.1/images/debian12/root.json".into(),
            root_sha256: Sha256::of(&bytes),
            files: Vec::new(),
        };
        let path = "/images/debian12/root.json";
        assert_eq!(meant(&orders, path, &bytes).unwrap(), good);
        // A manifest that is sound in itself, but names another piece.
        let mut other = good.clone();
        other.pieces[0].sha256 = Sha256::of(b"y");
        let bytes = serde_json::to_vec(&other).unwrap();
        assert!(Manifest::read(&bytes).is_ok());
        let why = meant(&orders, path, &bytes).unwrap_err();
        assert!(why.contains(path) && why.contains("nothing was written") && !why.contains('\n'), "{why}");
        // Orders that name no digest are none: an older server's cannot be followed.
        let mut old = serde_json::to_value(&orders).unwrap();
        old.as_object_mut().unwrap().remove("root_sha256");
        assert!(serde_json::from_value::<Orders>(old).is_err());
    }
}
