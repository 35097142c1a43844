//! Owns how kickstart lines and our own `echo` lines are cut into words.

use std::collections::BTreeMap;

/// The words of a kickstart line, as Python's shlex cuts it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Words {
    pub words: Vec<String>,
    /// An unquoted `#` cut the line.
    pub cut: bool,
    /// A quotation has no end.
    pub open: bool,
}

/// Cuts a kickstart line.
pub fn kickstart(line: &str) -> Words {
    let mut out = Words { words: Vec::new(), cut: false, open: false };
    let mut word: Option<String> = None;
    let mut chars = line.chars();
    while let Some(c) = chars.next() {
        match c {
            c if c.is_whitespace() => out.words.extend(word.take()),
            '#' => {
                out.cut = true;
                break;
            }
            '\\' => word.get_or_insert_default().extend(chars.next()),
            '"' | '\'' => out.open |= !quoted(&mut chars, c, word.get_or_insert_default()),
            c => word.get_or_insert_default().push(c),
        }
    }
    out.words.extend(word);
    out
}

/// The rest of a quotation; false if it has no end.
fn quoted(chars: &mut std::str::Chars<'_>, quote: char, word: &mut String) -> bool {
    while let Some(c) = chars.next() {
        match c {
            c if c == quote => return true,
            '\\' if quote == '"' => match chars.next() {
                Some(c @ ('"' | '\\')) => word.push(c),
                Some(c) => word.extend(['\\', c]),
                None => return false,
            },
            c => word.push(c),
        }
    }
    false
}

/// One shell word, with variables from `known`; `$(…)` and unknown variables become a made-up value.
///
/// Enough for the lines that our own `%pre` scripts write; it is no shell.
pub fn shell_word(text: &str, known: &BTreeMap<String, String>) -> String {
    let mut out = String::new();
    let mut chars = text.chars().peekable();
    let mut double = false;
    while let Some(c) = chars.next() {
        match c {
            '\'' if !double => out.extend(chars.by_ref().take_while(|c| *c != '\'')),
            '"' => double = !double,
            '\\' => out.extend(chars.next()),
            '$' => match chars.peek() {
                Some('(') => return format!("{out}made-up"),
                Some('{') => {
                    chars.next();
                    let inside: String = chars.by_ref().take_while(|c| *c != '}').collect();
                    let (name, prefix) = inside.split_once('#').unwrap_or((&inside, ""));
                    let value = value(known, name);
                    out.push_str(value.strip_prefix(prefix).unwrap_or(&value));
                }
                _ => {
                    let mut name = String::new();
                    while let Some(c) = chars.next_if(|c| c.is_ascii_alphanumeric() || *c == '_') {
                        name.push(c);
                    }
                    out.push_str(&value(known, &name));
                }
            },
            c if c.is_whitespace() && !double => break,
            c => out.push(c),
        }
    }
    out
}

fn value(known: &BTreeMap<String, String>, name: &str) -> String {
    known.get(name).cloned().unwrap_or_else(|| "sda".to_string())
}

/// `NAME=VALUE` at the start of a shell line.
pub fn assignment(line: &str) -> Option<(&str, &str)> {
    let (name, value) = line.split_once('=')?;
    let plain = |c: char| c.is_ascii_alphanumeric() || c == '_';
    (!name.is_empty() && name.chars().all(plain)).then_some((name, value))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kickstart_lines_are_cut_as_anaconda_cuts_them() {
        let w = kickstart(r#"user --name="o p" --password='a#b' c\ d"#);
        assert_eq!(w.words, ["user", "--name=o p", "--password=a#b", "c d"]);
        assert!(!w.cut && !w.open);
        let w = kickstart("rootpw --plaintext pa#ss");
        assert_eq!((w.words.len(), w.cut), (3, true));
        assert_eq!(w.words[2], "pa");
        assert!(kickstart("a \"b").open);
    }

    #[test]
    fn echo_lines_give_what_the_shell_would_write() {
        let known = BTreeMap::from([("M".to_string(), ",eno1,eno2".to_string())]);
        assert_eq!(
            shell_word(r#""x --a=${M#,} --b="'"c d"'" $OS" > y"#, &known),
            r#"x --a=eno1,eno2 --b="c d" sda"#
        );
        assert_eq!(shell_word("\"$(nic x)\"", &known), "made-up");
        assert_eq!(assignment("A=b"), Some(("A", "b")));
        assert_eq!(assignment("[ a = b ]"), None);
        for text in ["$", "${", "'", "\"", "\\", "${a#"] {
            let _ = shell_word(text, &known);
            let _ = kickstart(text);
        }
    }
}
