//! Owns the iPXE scripts: install, boot the own disk, wait; a refusal speaks at the machine's console.
//!
//! Written for the command set of iPXE of 2019 (Debian 12's build): no params, no https, no iflinkwait.

use crate::base::{Arch, Firmware};
use std::fmt::Write as _;

/// What an installing script needs to know.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Kernel {
    /// Full URLs.
    pub kernel: String,
    pub initrds: Vec<String>,
    /// The kernel's command line without `initrd=` words.
    pub cmdline: String,
}

/// How long a refused or waiting machine waits before it asks again, in seconds.
pub const WAIT_SECS: u32 = 20;
/// How often a waiting machine asks a server that does not answer, five seconds apart: a restart, a cable, a full disk
/// must not throw it out of its wait (field-pain #54); after half an hour it goes on.
const UNHEARD: u32 = 360;

/// Set by a script that ends on purpose, so that `autoexec` does not take its end for a server that gave no answer.
const LEAVING: &str = "leaving";

/// The lines with which a script gives the machine to its firmware's next boot device. With an error: a UEFI boot
/// manager goes on only after a boot option that failed; after one that returned EFI_SUCCESS it shows its menu (EDK2,
/// BdsEntry.c; seen with OVMF, where `exit 0` ended in the setup screen).
fn next_device() -> String {
    format!("set {LEAVING} yes\nexit 1\n")
}

/// The script that a machine runs to find its own script: works whatever DHCP told it (field-pain #8, #61).
pub fn autoexec(server_url: &str) -> String {
    format!(
        "#!ipxe\n\
         # Bootstead: asks for this machine's own script; retries for three minutes (spanning tree, field-pain #27)\n\
         set tries:int32 0\n\
         :again\n\
         isset ${{netX/ip}} || dhcp || goto wait\n\
         chain --autofree {server_url}/boot.ipxe?mac=${{netX/mac:hexhyp}}&platform=${{platform}}&arch=${{buildarch}} || goto wait\n\
         exit\n\
         :wait\n\
         isset ${{{LEAVING}}} && exit 1 ||\n\
         inc tries\n\
         iseq ${{tries}} 36 && goto give_up ||\n\
         echo Bootstead: no answer from {server_url} yet (error ${{errno}}), trying again in 5 seconds\n\
         sleep 5\n\
         goto again\n\
         :give_up\n\
         echo Bootstead: gave up asking {server_url}; going on to the next boot device\n\
         sleep 5\n\
         exit 1\n"
    )
}

/// The script that starts an installer or the fast lane's system.
///
/// `title` is one line for the screen. Every initrd is named on the command line: UEFI iPXE needs it (#57).
pub fn install(title: &str, k: &Kernel) -> String {
    let mut out = format!("#!ipxe\necho {}\n:again\nimgfree ||\n", screen(title));
    let mut words = String::new();
    for (i, _) in k.initrds.iter().enumerate() {
        let _ = write!(words, " initrd=initrd{i}");
    }
    let _ = writeln!(out, "kernel --name kernel {} {}{words} || goto failed", k.kernel, k.cmdline);
    for (i, url) in k.initrds.iter().enumerate() {
        let _ = writeln!(out, "initrd --name initrd{i} {url} || goto failed");
    }
    out.push_str(
        "boot || goto failed\n\
         :failed\n\
         echo Bootstead: loading failed (error ${errno}); trying again in 10 seconds\n\
         sleep 10\n\
         goto again\n",
    );
    out
}

/// The script that sends a machine to its own disk.
///
/// The ladder of field-pain #59 and #60. BIOS: the first disk by number, then `exit`. UEFI: the installed system's own
/// loader by its file name, in `vendors` (directories below \\EFI, for example `debian`), shim before GRUB; then
/// an end that lets firmware go on in its own boot order. iPXE of 2025 finds the file on any local disk (shown
/// with OVMF; iPXE of 2019 fails the command and goes on). There never without a file name, and never \\EFI\\BOOT: either
/// could start an installer stick. BIOS knows no file names: a stick may be the first disk (docs/what-goes-wrong.md).
pub fn local_disk(title: &str, firmware: Firmware, arch: Arch, vendors: &[String]) -> String {
    let mut out = format!("#!ipxe\necho {}\n", screen(title));
    match firmware {
        Firmware::Bios => out.push_str("sanboot --no-describe --drive 0x80 ||\nexit\n"),
        Firmware::Uefi => {
            let suffix = match arch {
                Arch::Amd64 => "x64",
                Arch::Arm64 => "aa64",
            };
            for vendor in vendors {
                for file in ["shim", "grub"] {
                    let _ = writeln!(
                        out,
                        "sanboot --no-describe --drive 0 --filename \\EFI\\{vendor}\\{file}{suffix}.efi ||"
                    );
                }
            }
            out.push_str(&next_device());
        }
    }
    out
}

/// The script of a machine that gets nothing now: says who refused, why and what to type, and asks again.
///
/// `next` is the number of the next try, which the server sees and answers with the own disk in the end.
pub fn wait(lines: &[String], server_url: &str, next: u32) -> String {
    let mut out = String::from("#!ipxe\n");
    for line in lines {
        let _ = writeln!(out, "echo {}", screen(line));
    }
    let _ = write!(
        out,
        "set unheard:int32 0\n\
         echo Bootstead: asking again in {WAIT_SECS} seconds; Ctrl-C goes on to the next boot device\n\
         sleep {WAIT_SECS} || goto leave\n\
         :ask\n\
         chain --replace --autofree {server_url}/boot.ipxe?mac=${{netX/mac:hexhyp}}&platform=${{platform}}&arch=${{buildarch}}&try={next} || goto unheard\n\
         :unheard\n\
         inc unheard\n\
         iseq ${{unheard}} {UNHEARD} && goto leave ||\n\
         echo Bootstead: no answer from {server_url} (error ${{errno}}), trying again in 5 seconds\n\
         sleep 5 || goto leave\n\
         goto ask\n\
         :leave\n\
         {}",
        next_device()
    );
    out
}

/// Text for iPXE's `echo`: printable ASCII, no expansion, no operators.
fn screen(text: &str) -> String {
    text.chars()
        .map(|c| match c {
            '$' => 'S',
            '|' => '/',
            '&' => '+',
            '#' => 'N',
            '→' => '>',
            c if c.is_ascii_graphic() || c == ' ' => c,
            _ => '?',
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_for_the_screen_cannot_become_a_command() {
        let s = wait(&["a && shell || ${net0/mac}\nexit".to_string()], "http://10.0.0.1", 1);
        let line = s.lines().nth(1).unwrap();
        assert_eq!(line, "echo a ++ shell // S{net0/mac}?exit");
    }

    #[test]
    fn the_own_disk_is_named_by_its_loader_under_uefi_and_by_number_under_bios() {
        let uefi = local_disk("t", Firmware::Uefi, Arch::Amd64, &["debian".to_string()]);
        assert_eq!(
            uefi,
            "#!ipxe\necho t\n\
             sanboot --no-describe --drive 0 --filename \\EFI\\debian\\shimx64.efi ||\n\
             sanboot --no-describe --drive 0 --filename \\EFI\\debian\\grubx64.efi ||\n\
             set leaving yes\nexit 1\n"
        );
        let bios = local_disk("t", Firmware::Bios, Arch::Amd64, &[]);
        assert!(bios.contains("--drive 0x80 ||\nexit"));
    }

    #[test]
    fn every_initrd_is_named_on_the_command_line() {
        let k = Kernel {
            kernel: "http://s/k".into(),
            initrds: vec!["http://s/a".into(), "http://s/b".into()],
            cmdline: "auto=true".into(),
        };
        let s = install("t", &k);
        assert!(s.contains("kernel --name kernel http://s/k auto=true initrd=initrd0 initrd=initrd1"));
        assert!(s.contains("initrd --name initrd1 http://s/b"));
    }
}
