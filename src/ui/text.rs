//! Owns text for terminals: width, cutting, cleaning, colours. The terminal's own facts are handed in as a [`Style`].

use std::borrow::Cow;

/// What the output can show.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Style {
    /// Columns.
    pub width: usize,
    /// Rows that may be used; none: as many as it takes.
    pub height: Option<usize>,
    pub colour: bool,
    /// Whether characters beyond ASCII show as they should.
    pub unicode: bool,
}

impl Style {
    /// For a pipe or a file: wide, everything, no colours.
    pub fn plain(width: usize) -> Style {
        Style { width, height: None, colour: false, unicode: true }
    }
}

/// Colours by meaning.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Paint {
    Plain,
    Bad,
    Late,
    Moving,
    Good,
    Quiet,
    Held,
    Bold,
}

impl Paint {
    fn code(self) -> &'static str {
        match self {
            Paint::Plain => "",
            Paint::Bad => "\x1b[31m",
            Paint::Late => "\x1b[33m",
            Paint::Moving => "\x1b[36m",
            Paint::Good => "\x1b[32m",
            Paint::Quiet => "\x1b[2m",
            Paint::Held => "\x1b[35m",
            Paint::Bold => "\x1b[1m",
        }
    }
}

impl Style {
    /// `text` in a colour, where there are colours.
    pub fn paint(&self, paint: Paint, text: &str) -> String {
        if self.colour && paint != Paint::Plain && !text.is_empty() {
            format!("{}{text}\x1b[0m", paint.code())
        } else {
            text.to_string()
        }
    }
    /// `unicode`, or `ascii` where only that shows.
    pub fn either(&self, unicode: &'static str, ascii: &'static str) -> &'static str {
        if self.unicode { unicode } else { ascii }
    }
    /// Machines choose texts that end up here: without control characters none of them steers the terminal.
    pub fn clean<'a>(&self, text: &'a str) -> Cow<'a, str> {
        let bad = |c: char| c.is_control() || is_format(c) || (!self.unicode && !c.is_ascii());
        if !text.contains(bad) {
            return Cow::Borrowed(text);
        }
        let mut out = String::with_capacity(text.len());
        for c in text.chars() {
            match c {
                '\t' | '\n' | '\r' => out.push(' '),
                '→' if !self.unicode => out.push('>'),
                c if bad(c) => out.push('?'),
                c => out.push(c),
            }
        }
        Cow::Owned(out)
    }
    /// `text` cleaned and cut to `columns`, with an ellipsis where something was cut off.
    pub fn fit(&self, text: &str, columns: usize) -> String {
        let text = self.clean(text);
        if width(&text) <= columns {
            return text.into_owned();
        }
        let mark = self.either("…", "~");
        let room = columns.saturating_sub(1);
        let (mut out, mut used) = (String::new(), 0);
        for c in text.chars() {
            let w = char_width(c);
            if used + w > room {
                break;
            }
            out.push(c);
            used += w;
        }
        if columns > 0 {
            out.push_str(mark);
        }
        out
    }
    /// The same, filled with blanks up to `columns`.
    pub fn pad(&self, text: &str, columns: usize) -> String {
        let mut out = self.fit(text, columns);
        let used = width(&out);
        out.extend(std::iter::repeat_n(' ', columns.saturating_sub(used)));
        out
    }
    /// The same with the text at the right.
    pub fn right(&self, text: &str, columns: usize) -> String {
        let fitted = self.fit(text, columns);
        format!("{}{fitted}", " ".repeat(columns.saturating_sub(width(&fitted))))
    }
    /// A progress bar of `columns` columns.
    pub fn bar(&self, percent: u8, columns: usize) -> String {
        let full = columns * usize::from(percent.min(100)) / 100;
        let (on, off) = (self.either("█", "#"), self.either("░", "."));
        format!("{}{}", on.repeat(full), off.repeat(columns - full))
    }
    /// `text` in lines of at most `columns` columns, broken at blanks where possible.
    pub fn wrap(&self, text: &str, columns: usize) -> Vec<String> {
        let mut lines = vec![String::new()];
        for word in self.clean(text).split_whitespace() {
            let last = lines.len() - 1;
            let gap = usize::from(!lines[last].is_empty());
            if width(&lines[last]) + gap + width(word) <= columns {
                if gap == 1 {
                    lines[last].push(' ');
                }
                lines[last].push_str(word);
            } else if lines[last].is_empty() {
                lines[last] = self.fit(word, columns);
            } else {
                lines.push(self.fit(word, columns));
            }
        }
        lines
    }
}

/// Characters that change the direction or joining of others; a name with one of them can look like another.
fn is_format(c: char) -> bool {
    matches!(c, '\u{200b}'..='\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}')
}

/// Columns that `text` takes on a terminal.
pub fn width(text: &str) -> usize {
    text.chars().map(char_width).sum()
}

/// East Asian wide characters take two columns (UAX #11); combining marks take none.
fn char_width(c: char) -> usize {
    match c as u32 {
        0x0300..=0x036f => 0,
        0x1100..=0x115f
        | 0x2e80..=0xa4cf
        | 0xac00..=0xd7a3
        | 0xf900..=0xfaff
        | 0xfe30..=0xfe6f
        | 0xff00..=0xff60
        | 0xffe0..=0xffe6
        | 0x1f300..=0x1faff
        | 0x20000..=0x3fffd => 2,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_machine_says_cannot_steer_the_terminal() {
        let s = Style::plain(80);
        assert_eq!(s.clean("a\x1b[2Jb\u{202e}c\nd"), "a?[2Jb?c d");
        assert_eq!(s.fit("abcdef", 4), "abc…");
        assert_eq!(s.pad("银河麒麟", 5), "银河…");
        assert_eq!(width(&s.pad("银河麒麟", 6)), 6);
        assert_eq!(s.bar(50, 4), "██░░");
        assert_eq!(s.fit("abc", 0), "");
    }

    #[test]
    fn wrapping_keeps_words_together() {
        let s = Style::plain(80);
        assert_eq!(s.wrap("one two  three", 8), ["one two", "three"]);
        assert_eq!(s.wrap("", 8), [""]);
    }
}
