//! Checks `[site]` and `[access]`.

use super::Check;
use crate::kickstart::lint::zones;
use crate::site::model::{Access, Role};
use crate::site::report::{Tell as _, Where};
use crate::site::wire::Text;
use crate::site::{credentials, naming};
use std::collections::BTreeMap;

/// What `[site]` says.
pub struct Place {
    pub name: String,
    pub domain: String,
    pub timezone: String,
    pub language: String,
    pub keyboard: String,
}

pub fn check(c: &mut Check) -> Option<Place> {
    let site = c.file.site.as_ref()?;
    if let Some(name) = &site.name
        && let Err(why) = naming::label(name)
    {
        c.report
            .error(name, format!("{:?} cannot be the site's name", **name))
            .because(why)
            .so(naming::instead(name));
    }
    if let Some(domain) = &site.domain
        && let Err(why) = naming::domain(domain)
    {
        c.report
            .error(domain, format!("{:?} is not a DNS domain", **domain))
            .because(why)
            .so("write one such as site.example");
    }
    if let Some(zone) = &site.timezone
        && !zones::known(zone)
    {
        let help = match zones::near(zone) {
            Some(near) => format!("did you mean {near:?}?"),
            None => "write one such as Europe/Berlin, Asia/Shanghai or UTC".to_string(),
        };
        c.report.error(zone, format!("{:?} is not the name of a time zone", **zone)).so(help);
    }
    let mut text =
        |value: &Option<Text>, default: &str, fits: fn(&str) -> bool, what: &str, example: &str| {
            if let Some(v) = value
                && !fits(v)
            {
                c.report
                    .error(v, format!("{:?} is not {what}", **v))
                    .so(format!("write one such as {example}"));
            }
            value.as_ref().map_or(default.to_string(), |v| v.to_string())
        };
    Some(Place {
        name: site.name.as_ref()?.to_string(),
        domain: site.domain.as_ref()?.to_string(),
        timezone: site.timezone.as_ref().map_or("UTC".to_string(), |t| t.to_string()),
        language: text(&site.language, "en_US.UTF-8", locale, "a locale", "en_US.UTF-8"),
        keyboard: text(&site.keyboard, "us", keyboard, "a keyboard layout", "us or de"),
    })
}

fn locale(text: &str) -> bool {
    let (language, code) = text.split_once('.').unwrap_or((text, "UTF-8"));
    let mut parts = language.splitn(2, '_');
    let lower = |t: &str| (2..=3).contains(&t.len()) && t.chars().all(|c| c.is_ascii_lowercase());
    let upper = |t: &str| t.len() == 2 && t.chars().all(|c| c.is_ascii_uppercase());
    code == "UTF-8"
        && match (parts.next(), parts.next()) {
            (Some("C"), None) => true,
            (Some(l), Some(country)) => lower(l) && upper(country.split('@').next().unwrap_or_default()),
            _ => false,
        }
}

fn keyboard(text: &str) -> bool {
    !text.is_empty()
        && text.len() <= 32
        && text.chars().all(|c| c.is_ascii_alphanumeric() || "-_".contains(c))
}

pub fn access(c: &mut Check, roles: &BTreeMap<String, Role>) -> Access {
    let Some(table) = c.file.access.as_ref() else {
        nobody(c);
        return Access { user: None, password_hash: None, ssh_keys: Vec::new() };
    };
    if let Some(user) = &table.user {
        user_name(c, user);
    }
    let images = &c.catalog.images;
    let families: Vec<&str> =
        roles.values().filter_map(|r| images.get(&r.image)).map(|i| i.family.as_str()).collect();
    if let Some(hash) = &table.password_hash
        && let Err(why) = credentials::password_hash(hash, &families)
    {
        c.report
            .secret_error(hash, "password_hash is not usable")
            .because(why)
            .so("make one with `openssl passwd -6` and put what it prints in quotes");
    }
    for key in &table.ssh_keys {
        if let Err(why) = credentials::ssh_key(key) {
            c.report
                .secret_error(key, "this is not a public SSH key")
                .because(why)
                .so("copy the whole line of a .pub file, for example ~/.ssh/id_ed25519.pub");
        }
    }
    if table.password_hash.is_none() && table.ssh_keys.is_empty() {
        nobody(c);
    }
    Access {
        user: table.user.as_ref().map(|u| u.to_string()),
        password_hash: table.password_hash.as_ref().map(|h| h.to_string()),
        ssh_keys: table.ssh_keys.iter().map(|k| k.trim().to_string()).collect(),
    }
}

/// A word of advice for later: not while there is something to correct.
fn nobody(c: &mut Check) {
    let site = c.file.site.as_ref().map(Where::from);
    let (at, help) = match &c.file.access {
        Some(table) => (Some(table.into()), "put a public key into `ssh_keys`, or give a `password_hash`"),
        None => (site, "add a table [access] with ssh_keys or password_hash"),
    };
    if c.report.problems.errors() == 0 {
        c.report
            .warning(at.unwrap_or(Where::Toml(0..0)), "nobody can log in to the installed nodes")
            .so(help);
    }
}

fn user_name(c: &mut Check, user: &Text) {
    const TAKEN: &[&str] =
        &["root", "bin", "daemon", "adm", "sync", "mail", "nobody", "admin", "sshd", "sys"];
    let shape = user.len() <= 31
        && user.starts_with(|ch: char| ch.is_ascii_lowercase())
        && user.chars().all(|ch| ch.is_ascii_lowercase() || ch.is_ascii_digit() || "-_".contains(ch));
    if !shape {
        c.report
            .error(user, format!("{:?} cannot be a user's name", **user))
            .so("use lower-case letters, digits, - and _; begin with a letter");
    } else if TAKEN.contains(&user.as_str()) {
        c.report
            .error(user, format!("{:?} is the name of a system account", **user))
            .so("take another name; for root alone leave `user` out");
    }
}
