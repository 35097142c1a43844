//! Owns the calls to the kernel that pid 1 needs: mounts, consoles, block device requests, the end.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::sync::OnceLock;

use nix::mount::MsFlags;

/// Mounts what every program expects: /proc, /sys, /dev, /run; the firmware's variables where there are any.
pub fn mount_basics() -> io::Result<()> {
    let quiet = MsFlags::MS_NOSUID | MsFlags::MS_NOEXEC;
    for (kind, target) in [("proc", "/proc"), ("sysfs", "/sys"), ("devtmpfs", "/dev"), ("tmpfs", "/run")] {
        std::fs::create_dir_all(target)?;
        match nix::mount::mount(Some(kind), target, Some(kind), quiet, None::<&str>) {
            // The kernel may have mounted devtmpfs already.
            Ok(()) | Err(nix::errno::Errno::EBUSY) => {}
            Err(e) => return Err(e.into()),
        }
    }
    Ok(())
}

/// Makes the firmware's variables readable; needs the efivarfs module.
pub fn mount_efivars() {
    let target = "/sys/firmware/efi/efivars";
    if Path::new(target).exists() {
        let _ = nix::mount::mount(Some("efivarfs"), target, Some("efivarfs"), MsFlags::empty(), None::<&str>);
    }
}

pub fn mount(source: &str, target: &str, kind: &str) -> io::Result<()> {
    std::fs::create_dir_all(target)?;
    Ok(nix::mount::mount(Some(source), target, Some(kind), MsFlags::MS_NOATIME, None::<&str>)?)
}

pub fn unmount(target: &str) -> io::Result<()> {
    Ok(nix::mount::umount(target)?)
}

/// Runs `work` with `root` as its root folder, so that no symbolic link of the new system leads out of it.
pub fn inside<T>(root: &str, work: impl FnOnce() -> T) -> io::Result<T> {
    let outside = File::open("/")?;
    nix::unistd::chroot(root)?;
    nix::unistd::chdir("/")?;
    let result = work();
    nix::unistd::fchdir(&outside)?;
    nix::unistd::chroot(".")?;
    Ok(result)
}

/// Prints a line on every console that the kernel uses (screen and serial line alike).
pub fn say(line: &str) {
    static CONSOLES: OnceLock<Vec<String>> = OnceLock::new();
    let consoles = CONSOLES.get_or_init(|| {
        let active = super::facts::text("/sys/class/tty/console/active").unwrap_or_default();
        active.split_ascii_whitespace().map(|c| format!("/dev/{c}")).collect()
    });
    let text = format!("\r\nbootstead: {line}\r\n").replace("\n\r\n", "\n");
    let mut printed = false;
    for console in consoles {
        if let Ok(mut file) = OpenOptions::new().write(true).open(console) {
            printed |= file.write_all(text.as_bytes()).is_ok();
        }
    }
    if !printed {
        let _ = io::stderr().write_all(text.as_bytes());
    }
}

/// Starts the machine again, or switches it off. Returns only where the kernel refuses.
pub fn end(power_off: bool) {
    nix::unistd::sync();
    let how = match power_off {
        true => nix::sys::reboot::RebootMode::RB_POWER_OFF,
        false => nix::sys::reboot::RebootMode::RB_AUTOBOOT,
    };
    let Err(e) = nix::sys::reboot::reboot(how);
    say(&format!("cannot restart this machine ({}); switch it off and on", e.desc()));
}

mod request {
    // <linux/fs.h>
    nix::ioctl_none!(reread_partitions, 0x12, 95);
    nix::ioctl_none!(flush_buffers, 0x12, 97);
    nix::ioctl_write_ptr_bad!(zero_out, nix::request_code_none!(0x12, 127), [u64; 2]);
    // fs/ext4/ext4.h: EXT4_IOC_RESIZE_FS
    nix::ioctl_write_ptr!(ext4_resize, b'f', 16, u64);
}

/// Makes the kernel read the partition table again.
pub fn reread_partitions(disk: &File) -> io::Result<()> {
    // SAFETY: the request has no argument and the file is open.
    unsafe { request::reread_partitions(disk.as_raw_fd()) }?;
    Ok(())
}

/// Drops what the kernel keeps of the disk in memory, after writing it out.
pub fn flush_buffers(disk: &File) -> io::Result<()> {
    // SAFETY: the request has no argument and the file is open.
    unsafe { request::flush_buffers(disk.as_raw_fd()) }?;
    Ok(())
}

/// Makes a stretch of the disk read as zero, by the disk's own means where it has them. Both are multiples of 512.
pub fn zero_out(disk: &File, offset: u64, length: u64) -> io::Result<()> {
    // SAFETY: the kernel reads two u64 from the pointer, which lives until the call returns.
    unsafe { request::zero_out(disk.as_raw_fd(), &[offset, length]) }?;
    Ok(())
}

/// Grows the mounted ext4 file system that `inside` lies on to `blocks` of its own block size.
pub fn ext4_resize(inside: &File, blocks: u64) -> io::Result<()> {
    // SAFETY: the kernel reads one u64 from the pointer, which lives until the call returns.
    unsafe { request::ext4_resize(inside.as_raw_fd(), &blocks) }?;
    Ok(())
}

/// Bytes per block and blocks of the file system at `path`.
pub fn blocks(path: &str) -> io::Result<(u64, u64)> {
    let stat = nix::sys::statvfs::statvfs(path)?;
    Ok((stat.block_size(), stat.blocks()))
}

/// Opens a disk for writing, alone: fails where anything else (a mount, LVM, RAID) has it.
pub fn open_disk(path: &str) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    OpenOptions::new().read(true).write(true).custom_flags(libc::O_EXCL | libc::O_CLOEXEC).open(path)
}

/// Opens a disk for reading past the kernel's memory: what comes back was on the disk.
pub fn open_direct(path: &str) -> io::Result<File> {
    use std::os::unix::fs::OpenOptionsExt as _;
    OpenOptions::new().read(true).custom_flags(libc::O_DIRECT | libc::O_CLOEXEC).open(path)
}
