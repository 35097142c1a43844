//! Owns syslog lines: RFC 3164 as installers write it, cleaned for people; and what a line says of the progress. Pure.

/// The longest line that is kept, in characters.
pub const LONGEST: usize = 400;

/// A line as it goes onto the timeline: without priority, time and host name; control characters are blanks.
/// `None` for a line with nothing in it.
pub fn line(raw: &[u8]) -> Option<String> {
    let text = String::from_utf8_lossy(raw);
    let text = text.trim_matches(|c: char| c.is_control() || c.is_whitespace() || c == '\u{feff}');
    let text = after_priority(text);
    let text = after_header(text);
    let mut out: String = text.chars().take(LONGEST).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if text.chars().nth(LONGEST).is_some() {
        out.push('…');
    }
    let out = out.trim().to_string();
    (!out.is_empty()).then_some(out)
}

/// `<PRI>` off.
fn after_priority(text: &str) -> &str {
    let Some(rest) = text.strip_prefix('<') else { return text };
    match rest.split_once('>') {
        Some((pri, rest)) if pri.len() <= 3 && pri.bytes().all(|b| b.is_ascii_digit()) => rest,
        _ => text,
    }
}

/// `Mmm dd hh:mm:ss HOST ` off, where it is there. busybox syslogd sends no host name to a remote host.
fn after_header(text: &str) -> &str {
    const MONTHS: &str = "JanFebMarAprMayJunJulAugSepOctNovDec";
    let stamp = text.is_char_boundary(15).then(|| text.split_at(15));
    let Some((stamp, rest)) = stamp else { return text };
    let b = stamp.as_bytes();
    let month = stamp.get(..3).is_some_and(|m| MONTHS.contains(m));
    if !month || b[3] != b' ' || b[6] != b' ' || b[9] != b':' || b[12] != b':' {
        return text;
    }
    let rest = rest.trim_start();
    // The first word is the host unless it is a tag (`anaconda:`, `kernel:`, `base-installer[123]:`).
    match rest.split_once(' ') {
        Some((word, after)) if !word.ends_with(':') && !word.ends_with(']') => after.trim_start(),
        _ => rest,
    }
}

/// A step of an installation.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Step {
    pub step: String,
    pub percent: Option<u8>,
    /// The installer stands still and waits for a person; nothing may hold this back.
    pub failed: bool,
}

/// d-i's menu in order: the menu item, what it does, how far the whole is when it begins. The shares are those of
/// a Debian 12 installation over a fast network; they are for the eye.
const MENU: &[(&str, &str, u8)] = &[
    ("netcfg", "setting up the network", 2),
    ("network-preseed", "reading its answers", 4),
    ("choose-mirror", "choosing the mirror", 5),
    ("download-installer", "loading installer parts", 6),
    ("user-setup-udeb", "setting up users", 10),
    ("clock-setup", "setting the clock", 11),
    ("disk-detect", "looking for disks", 12),
    ("partman-base", "partitioning", 14),
    ("bootstrap-base", "installing the base system", 18),
    ("apt-setup-udeb", "setting up packages", 50),
    ("pkgsel", "installing packages", 55),
    ("grub-installer", "installing the boot loader", 90),
    ("grub-installer-udeb", "installing the boot loader", 90),
    ("finish-install", "finishing", 95),
];

/// What a (cleaned) line says of the progress, if it is one of those that installers write at each step.
pub fn progress(line: &str) -> Option<Step> {
    debian(line).or_else(|| anaconda(line))
}

fn going(step: impl Into<String>, percent: Option<u8>) -> Step {
    Step { step: step.into(), percent, failed: false }
}

fn debian(line: &str) -> Option<Step> {
    if let Some((tag, rest)) = line.split_once(": ")
        && tag.starts_with("main-menu")
        && let Some((_, rest)) = rest.split_once("Menu item '").or_else(|| rest.split_once("Configuring '"))
    {
        let (item, said) = rest.split_once('\'')?;
        let known = MENU.iter().find(|(name, _, _)| *name == item);
        if said.starts_with(" failed") {
            let step = format!("the installer's step {item} failed: look at its console");
            return Some(Step { step, percent: known.map(|(_, _, percent)| *percent), failed: true });
        }
        let (_, step, percent) = known?;
        return said.contains("selected").then(|| going(*step, Some(*percent)));
    }
    // debootstrap: "I: Unpacking libc6..." by base-installer's log; pkgsel's apt: "Setting up NAME (VERSION) ..."
    let (tag, rest) = line.split_once(": ")?;
    let tag = tag.split('[').next().unwrap_or(tag);
    match tag {
        "debootstrap" => {
            let verb = ["Retrieving", "Validating", "Extracting", "Unpacking", "Configuring"]
                .into_iter()
                .find(|v| rest.contains(v))?;
            let percent = match verb {
                "Retrieving" | "Validating" => 20,
                "Extracting" => 28,
                "Unpacking" => 32,
                _ => 40,
            };
            Some(going(format!("base system: {}", verb.to_lowercase()), Some(percent)))
        }
        "in-target" => {
            let name = rest.strip_prefix("Setting up ")?.split_whitespace().next()?;
            Some(going(format!("setting up {name}"), None))
        }
        "grub-installer" if rest.contains("Installing grub") || rest.contains("grub-install") => {
            Some(going("installing the boot loader", Some(90)))
        }
        _ => None,
    }
}

/// Anaconda 8 and later: `Queue started: NAME (i/n)`, `Task started: NAME (i/n)`, `Installed: NEVRA`.
fn anaconda(line: &str) -> Option<Step> {
    for (mark, whole) in [("Queue started: ", true), ("Task started: ", false)] {
        if let Some((_, rest)) = line.split_once(mark) {
            let (name, count) = rest.rsplit_once(" (")?;
            let (i, n) = count.trim_end_matches(')').split_once('/')?;
            let (i, n): (u32, u32) = (i.parse().ok()?, n.parse().ok()?);
            let percent = (whole && n > 0 && i <= n).then(|| ((i - u32::from(i > 0)) * 100 / n) as u8);
            return Some(going(name, percent));
        }
    }
    let (_, name) = line.split_once("Installed: ")?;
    let name = name.split_whitespace().next()?;
    Some(going(format!("installed {name}"), None))
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn lines_of_real_installers() {
        let l = |s: &str| line(s.as_bytes()).unwrap();
        assert_eq!(
            l("<30>Nov 20 08:00:01 main-menu[287]: INFO: Menu item 'partman-base' selected\n"),
            "main-menu[287]: INFO: Menu item 'partman-base' selected"
        );
        assert_eq!(l("<13>Nov  5 08:00:01 cs-compute-0001 anaconda: packaging: x"), "anaconda: packaging: x");
        assert_eq!(l("plain text"), "plain text");
        assert_eq!(l("<999999>x"), "<999999>x");
        assert_eq!(l("a\u{1b}[31mb\tc"), "a [31mb c");
        assert_eq!(line(b"<13>\r\n"), None);
        assert_eq!(l(&"x".repeat(1000)).chars().count(), LONGEST + 1);
    }

    #[test]
    fn steps_of_real_installers() {
        let p = |s: &str| progress(s).map(|s| (s.step, s.percent));
        let some = |s: &str, n: Option<u8>| Some((s.to_string(), n));
        assert_eq!(
            p("main-menu[287]: INFO: Menu item 'partman-base' selected"),
            some("partitioning", Some(14))
        );
        assert_eq!(
            p("main-menu[287]: INFO: Menu item 'pkgsel' selected"),
            some("installing packages", Some(55))
        );
        assert_eq!(p("main-menu[287]: INFO: Menu item 'unheard-of' selected"), None);
        assert_eq!(
            p("main-menu[287]: INFO: Menu item 'pkgsel' succeeded but requested to be left unconfigured."),
            None
        );
        assert_eq!(
            p("debootstrap: Unpacking libc6:amd64 (2.36-9) ..."),
            some("base system: unpacking", Some(32))
        );
        assert_eq!(
            p("in-target: Setting up openssh-server (1:9.2p1-2) ..."),
            some("setting up openssh-server", None)
        );
        assert_eq!(
            p("anaconda: INFO:anaconda.modules.common.task:Queue started: Installing. (2/4)"),
            some("Installing.", Some(25))
        );
        assert_eq!(
            p("dnf: Installed: bash-5.1.8-9.el9.x86_64"),
            some("installed bash-5.1.8-9.el9.x86_64", None)
        );
        assert_eq!(p("kernel: eth0: link up"), None);
    }

    #[test]
    fn a_failed_item_of_the_installers_menu_is_told() {
        let told =
            |raw: &str| progress(&line(raw.as_bytes()).unwrap()).map(|s| (s.step, s.percent, s.failed));
        let partman = "the installer's step partman-base failed: look at its console".to_string();
        for said in [
            "<12>Sep  1 11:05:48 main-menu[505]: WARNING **: Configuring 'partman-base' failed with error code 1",
            "<12>Sep  1 11:05:48 main-menu[505]: WARNING **: Menu item 'partman-base' failed.",
            "Sep  1 11:05:48 main-menu[505]: (process:12): WARNING **: Menu item 'partman-base' failed.",
        ] {
            assert_eq!(told(said), Some((partman.clone(), Some(14), true)));
        }
        let (step, percent, failed) = told("main-menu[505]: WARNING **: Menu item 'anna' failed.").unwrap();
        assert!(step.contains("step anna failed") && percent.is_none() && failed);
        // others speak of failing, too
        assert_eq!(told("partman: Menu item 'x' failed."), None);
        assert_eq!(
            told("main-menu[505]: INFO: Modifying debconf priority limit from 'critical' to 'medium'"),
            None
        );
    }

    proptest! {
        #[test]
        fn nothing_that_is_sent_panics_or_leaves_control_characters(raw in proptest::collection::vec(any::<u8>(), 0..600)) {
            if let Some(l) = line(&raw) {
                prop_assert!(!l.chars().any(char::is_control) && l.chars().count() <= LONGEST + 1);
                let _ = progress(&l);
            }
        }
        #[test]
        fn odd_texts_do_not_panic(text in "(<13>|Nov 20 08:00:01 |é|main-menu: Menu item '|Configuring '|' failed|Queue started: | \\(|1/0\\)|'| |x){0,8}") {
            if let Some(l) = line(text.as_bytes()) { let _ = progress(&l); }
        }
    }
}
