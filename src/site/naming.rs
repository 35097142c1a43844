//! Owns names: what a host name may be, and a role's naming rule (`cs-compute-{n:04}`).

/// Why `text` is no host name (one label, RFC 1123 §2.1), if it is none.
pub fn label(text: &str) -> Result<(), String> {
    let reason = match text {
        "" => "it is empty".to_string(),
        t if t.len() > 63 => format!("it has {} characters, a host name has at most 63", t.len()),
        t if t.starts_with('-') || t.ends_with('-') => "it begins or ends with a hyphen".to_string(),
        t => match t.chars().find(|c| !matches!(c, 'a'..='z' | '0'..='9' | '-')) {
            None => return Ok(()),
            Some('_') => "DNS does not allow an underscore in a host name".to_string(),
            Some('.') => "it is the short name, without the domain".to_string(),
            Some(c) if c.is_ascii_uppercase() => "host names are written in lower case here".to_string(),
            Some(c) => format!("{c:?} is neither a letter a to z, a digit, nor a hyphen"),
        },
    };
    Err(reason)
}

/// What to write in place of a `text` that is no host name.
pub fn instead(text: &str) -> String {
    let good = |c: char| -> Option<String> {
        let spelled = match c.to_lowercase().next()? {
            c @ ('a'..='z' | '0'..='9') => return Some(c.to_string()),
            'ä' => "ae",
            'ö' => "oe",
            'ü' => "ue",
            'ß' => "ss",
            // Without the letter it would be another name.
            c if c.is_alphanumeric() => return None,
            _ => "-",
        };
        Some(spelled.to_string())
    };
    let near = text.chars().map(good).collect::<Option<String>>().unwrap_or_default();
    let near: String = near.chars().take(63).collect();
    match near.trim_matches('-') {
        "" => "use 1 to 63 of the letters a to z, digits, and hyphens between them".to_string(),
        near => format!("write for example {near:?}: letters a to z, digits, and hyphens between them"),
    }
}

/// Why `text` is no DNS domain, if it is none.
pub fn domain(text: &str) -> Result<(), String> {
    if text.len() > 200 {
        return Err("it is too long".to_string());
    }
    text.split('.').try_for_each(|part| match part {
        "" => Err("it has an empty part".to_string()),
        part => label(part),
    })
}

/// A role's naming rule, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Naming {
    before: String,
    after: String,
    /// Least number of digits; none: the rule has no number in it.
    width: Option<usize>,
}

impl Naming {
    /// Reads `cs-{n}`, `cs-{n:03}-x`, or a plain name.
    pub fn parse(text: &str) -> Result<Naming, String> {
        let naming = match text.split_once('{') {
            None => Naming { before: text.to_string(), after: String::new(), width: None },
            Some((before, rest)) => {
                let (inside, after) = rest.split_once('}').ok_or("a { without its }")?;
                let width = match inside.strip_prefix('n') {
                    Some("") => 1,
                    Some(w) => w
                        .strip_prefix(":0")
                        .and_then(|d| d.parse().ok())
                        .filter(|w| (1..=9).contains(w))
                        .ok_or_else(|| format!("{{{inside}}} is not understood; write {{n}} or {{n:02}}"))?,
                    None => return Err(format!("{{{inside}}} is not understood; only {{n}} is known here")),
                };
                Naming { before: before.to_string(), after: after.to_string(), width: Some(width) }
            }
        };
        if naming.after.contains(['{', '}']) || naming.before.contains('}') {
            return Err("only one {n} is possible".to_string());
        }
        label(&naming.name(1))?;
        Ok(naming)
    }
    pub fn numbered(&self) -> bool {
        self.width.is_some()
    }
    /// The name of node number `n`.
    pub fn name(&self, n: u32) -> String {
        match self.width {
            Some(width) => format!("{}{n:0width$}{}", self.before, self.after),
            None => self.before.clone(),
        }
    }
    /// The number of the node with this name, if this rule gives it that name.
    pub fn number(&self, name: &str) -> Option<u32> {
        self.width?;
        let digits = name.strip_prefix(&self.before)?.strip_suffix(&self.after)?;
        let n: u32 = digits.parse().ok()?;
        (n > 0 && self.name(n) == name).then_some(n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn another_name_is_proposed_only_where_every_letter_has_a_spelling() {
        assert!(instead("Büro_01").contains("\"buero-01\""));
        assert!(instead("дом1").starts_with("use 1 to 63"));
    }

    #[test]
    fn names_and_numbers_go_both_ways() {
        let n = Naming::parse("cs-compute-{n:04}").unwrap();
        assert_eq!(n.name(7), "cs-compute-0007");
        assert_eq!(n.number("cs-compute-0007"), Some(7));
        assert_eq!(n.number("cs-compute-7"), None);
        assert_eq!(n.name(12345), "cs-compute-12345");
        for bad in ["cs_{n}", "{n}-{n}", "{n", "x{m}", "{n:2}", "Big{n}", "-{n}", ""] {
            assert!(Naming::parse(bad).is_err(), "{bad}");
        }
    }
}
