//! Owns the board as a text table, for any terminal, best in 80 to 200 columns: what needs a person first, the rest folded
//! if need be; on a small screen some nodes before all that stands around them.

use super::board::{Board, NodeRow, Phase, RoleTotals};
use super::text::{Paint, Style, width};
use crate::base::time::{size, span};
use std::collections::BTreeMap;

/// The whole board as lines of at most `style.width` columns and, if `style.height` is given, that many lines.
///
/// The first `skip` nodes are left out: a person has scrolled past them.
pub fn table(board: &Board, style: &Style, skip: usize) -> Vec<String> {
    let Around { mut head, foot } = Around::of(board, style);
    let mut rows = board.by_interest();
    rows.drain(..skip.min(rows.len().saturating_sub(1)));
    let columns = Columns::for_rows(&rows, style.width);
    let room = style.height.map(|h| h.saturating_sub(head.len() + foot.len() + 1));
    head.push(columns.header(style));
    let full: Vec<Vec<String>> = rows.iter().map(|r| columns.lines(board, r, style)).collect();
    match room {
        Some(room) if rows.len() > room => {
            let shown = room.saturating_sub(1);
            head.extend(full[..shown].iter().map(|lines| lines[0].clone()));
            head.push(folded(&rows[shown..], style));
        }
        // Long reasons go on below their row only where no row has to give way for them.
        Some(room) if full.iter().map(Vec::len).sum::<usize>() > room => {
            head.extend(full.iter().map(|lines| lines[0].clone()));
        }
        _ => head.extend(full.into_iter().flatten()),
    }
    if board.nodes.is_empty() {
        head.push(style.paint(Paint::Quiet, &style.fit("the site file names no nodes yet", style.width)));
    }
    head.extend(foot);
    if let Some(height) = style.height {
        head.truncate(height);
    }
    head
}

/// How many nodes are scrolled past when the last one stands at the foot of the screen.
pub fn last_page(board: &Board, style: &Style) -> usize {
    let Around { head, foot } = Around::of(board, style);
    let room = style.height.map_or(usize::MAX, |h| h.saturating_sub(head.len() + foot.len() + 1));
    board.nodes.len().saturating_sub(room.max(1))
}

/// What stands above and below the nodes.
struct Around {
    head: Vec<String>,
    foot: Vec<String>,
}

impl Around {
    /// As much as leaves the nodes a third of the screen, and four rows at least.
    fn of(board: &Board, style: &Style) -> Around {
        let Some(height) = style.height else { return Around::cut(board, style, 0) };
        let nodes = (height / 3).max(4).min(board.nodes.len().max(1));
        let fits = |a: &Around| a.head.len() + a.foot.len() + 1 + nodes <= height;
        let fitting = (0..3).map(|cuts| Around::cut(board, style, cuts)).find(fits);
        fitting.unwrap_or_else(|| Around::cut(board, style, 3))
    }

    /// 0: all of it. 1: no totals of roles. 2: unknown machines are counted only, the server has one line. 3: the
    /// headline is one line, alarms are two, and that is all.
    fn cut(board: &Board, style: &Style, cuts: usize) -> Around {
        let mut head = headline(board, style, cuts);
        head.extend(alarms(board, style, cuts));
        if cuts == 0 && board.roles.len() > 1 && board.nodes.len() > 8 {
            head.push(String::new());
            head.extend(board.roles.iter().map(|r| role_line(board, r, style)));
        }
        if cuts < 3 {
            head.push(String::new());
        }
        Around { head, foot: discovered(board, style, cuts) }
    }
}

fn headline(board: &Board, style: &Style, cuts: usize) -> Vec<String> {
    let dot = style.either(" · ", " - ");
    let nodes = board.nodes.len();
    let mut parts = vec![
        (Paint::Bold, style.fit(&board.site, 24)),
        (Paint::Plain, format!("{nodes} node{}", if nodes == 1 { "" } else { "s" })),
    ];
    let phases = Phase::ALL.iter().filter(|p| board.count(**p) > 0);
    parts.extend(phases.map(|p| (paint(*p, false), format!("{} {}", board.count(*p), p.name()))));
    let late = board.nodes.iter().filter(|n| n.overdue.is_some()).count();
    if late > 0 {
        parts.push((Paint::Late, format!("{late} overdue")));
    }
    let mut lines = flow(&parts, dot, style);
    if cuts >= 3 {
        lines.truncate(1);
        return lines;
    }
    let text = match &board.serving {
        None => "no server runs on this state folder: this is what its journal says".to_string(),
        Some(s) => format!(
            "serving {}{} for {}{dot}DHCP {}, {} answered, {} ignored{dot}TFTP {}{dot}HTTP {} ({} now){dot}{} sent",
            s.url,
            if s.interfaces.is_empty() { String::new() } else { format!(" on {}", s.interfaces.join(", ")) },
            span(board.now.since(s.since)),
            s.dhcp,
            s.counters.dhcp_answered,
            s.counters.dhcp_ignored,
            s.counters.tftp_transfers,
            s.counters.http_requests,
            s.counters.http_active,
            size(s.counters.bytes_sent),
        ),
    };
    let texts = if cuts >= 2 { vec![style.fit(&text, style.width)] } else { style.wrap(&text, style.width) };
    lines.extend(texts.iter().map(|l| style.paint(Paint::Quiet, l)));
    lines
}

/// Coloured parts one after the other, in as many lines as it takes.
fn flow(parts: &[(Paint, String)], between: &str, style: &Style) -> Vec<String> {
    let mut lines = vec![String::new()];
    let mut used = 0;
    for (paint, text) in parts {
        if used > 0 && used + width(between) + width(text) > style.width {
            lines.push(String::new());
            used = 0;
        }
        let last = lines.len() - 1;
        if used > 0 {
            lines[last].push_str(between);
            used += width(between);
        }
        let text = style.fit(text, style.width);
        lines[last].push_str(&style.paint(*paint, &text));
        used += width(&text);
    }
    lines
}

/// How long a rival that fell silent is still shown as an alarm, in milliseconds.
const RIVAL_MILLIS: u64 = 10 * 60 * 1000;

/// How many alarms a screen has that is too small for all of them.
const ALARMS_SHOWN: usize = 2;

/// What is wrong with the server or the network itself.
fn alarms(board: &Board, style: &Style, cuts: usize) -> Vec<String> {
    let mut texts: Vec<String> = board.serving.iter().flat_map(|s| s.trouble.clone()).collect();
    for r in board.rivals.iter().filter(|r| !r.tolerated && board.now.since(r.last_heard) < RIVAL_MILLIS) {
        texts.push(format!(
            "another DHCP server, {}, answers on {} (heard {} ago): {}",
            r.address,
            r.interface,
            span(board.now.since(r.last_heard)),
            r.offer
        ));
    }
    let n = texts.len();
    if cuts >= 3 && n > ALARMS_SHOWN {
        texts.truncate(ALARMS_SHOWN - 1);
        texts.push(format!("and {} more alarms", n + 1 - ALARMS_SHOWN));
    }
    let lines = texts.iter().map(|t| format!("! {t}")).flat_map(|text| match cuts {
        0..=2 => style.wrap(&text, style.width),
        _ => vec![style.fit(&text, style.width)],
    });
    lines.map(|l| style.paint(Paint::Bad, &l)).collect()
}

fn role_line(board: &Board, r: &RoleTotals, style: &Style) -> String {
    // "  387 of 497  " without the bar.
    const COUNT: usize = 2 + 4 + 4 + 4 + 1;
    let name_width = board.roles.iter().map(|r| width(&r.role)).max().unwrap_or(0).min(20);
    let name_width = name_width.min(style.width.saturating_sub(COUNT));
    let done: usize = Phase::ALL.iter().filter(|p| p.is_done()).filter_map(|p| r.states.get(p.name())).sum();
    let percent = (done * 100 / r.nodes.max(1)) as u8;
    let mut line = style.pad(&r.role, name_width);
    let mut used = name_width + COUNT;
    let bar = style.width.saturating_sub(used + 2).min(16);
    if bar >= 4 {
        line.push_str(&format!("  {}", style.paint(Paint::Good, &style.bar(percent, bar))));
        used += 2 + bar;
    }
    line.push_str(&format!("  {:>4} of {:<4} ", done, r.nodes));
    for p in Phase::ALL.iter().filter(|p| !p.is_done()) {
        let Some(n) = r.states.get(p.name()) else { continue };
        let text = format!(" {n} {}", p.name());
        if used + text.len() > style.width {
            break;
        }
        used += text.len();
        line.push_str(&style.paint(paint(*p, false), &text));
    }
    line.trim_end().to_string()
}

/// A shorter note says nothing.
const NOTE: usize = 12;
/// "100%".
const PERCENT: usize = 4;
/// In fewer columns only the sign of a state is shown.
const STATE: usize = 6;

/// Column widths of the node table; 0: not shown.
struct Columns {
    name: usize,
    role: usize,
    state: usize,
    since: usize,
    progress: usize,
    seen: usize,
    address: usize,
    mac: usize,
    note: usize,
}

impl Columns {
    fn for_rows(rows: &[&NodeRow], total: usize) -> Columns {
        let longest = |f: &dyn Fn(&NodeRow) -> usize, least: usize, most: usize| {
            rows.iter().map(|r| f(r)).max().unwrap_or(0).clamp(least, most)
        };
        let moving = rows.iter().any(|r| r.progress.as_ref().is_some_and(|p| p.percent.is_some()));
        let mut c = Columns {
            name: longest(&|r| width(&r.name), 4, if total < 100 { 16 } else { 24 }),
            role: 0,
            state: longest(&|r| 2 + r.phase.name().len(), 12, 13),
            since: 6,
            progress: if moving { 13 } else { 0 },
            seen: 6,
            address: 0,
            mac: 0,
            note: 0,
        };
        c.narrow(total);
        // A further column is shown where it leaves the note enough room for a sentence.
        let mut left = total.saturating_sub(c.taken());
        let mut grow = |column: &mut usize, by: usize, keep: usize| {
            if left >= by + keep {
                *column += by;
                left -= by;
            }
        };
        let role = longest(&|r| width(&r.role), 4, 14);
        grow(&mut c.role, role + 2, 40);
        grow(&mut c.address, 17, 48);
        if moving {
            grow(&mut c.progress, 8, 48);
        }
        grow(&mut c.mac, 19, 56);
        c.role = c.role.saturating_sub(2);
        c.address = c.address.saturating_sub(2);
        c.mac = c.mac.saturating_sub(2);
        c.note = if left >= NOTE { left } else { 0 };
        c
    }

    /// Takes columns away until a note of a few words has room; where it has none even then, none is shown, and what it
    /// leaves is for how far the node is and for how long. A name and a sign of its state always stay.
    fn narrow(&mut self, total: usize) {
        let (since, moving) = (self.since, self.progress > 0);
        let cuts: [fn(&mut Columns); 4] =
            [|c| c.seen = 0, |c| c.progress = c.progress.min(PERCENT), |c| c.since = 0, |c| c.progress = 0];
        for cut in cuts {
            if self.taken() + NOTE <= total {
                return;
            }
            cut(self);
        }
        self.name = self.name.min(total.saturating_sub(3)).max(1);
        self.state = self.state.min(total.saturating_sub(self.name + 2)).max(1);
        if self.taken() + NOTE <= total {
            return;
        }
        // The last column needs no gap after it.
        let mut left = total.saturating_sub(self.name + 2 + self.state);
        for (column, by) in [(&mut self.progress, if moving { PERCENT } else { 0 }), (&mut self.since, since)]
        {
            if by > 0 && left >= 2 + by {
                *column = by;
                left -= 2 + by;
            }
        }
    }

    /// What the columns before the note take, with their gaps.
    fn taken(&self) -> usize {
        self.all().iter().map(|w| if *w > 0 { w + 2 } else { 0 }).sum()
    }

    fn all(&self) -> [usize; 8] {
        [self.name, self.role, self.state, self.since, self.progress, self.seen, self.address, self.mac]
    }

    fn header(&self, style: &Style) -> String {
        let titles = ["NODE", "ROLE", "  STATE", "   FOR", "PROGRESS", "  SEEN", "ADDRESS", "MAC"]
            .into_iter()
            .zip(self.all());
        let mut line = String::new();
        for (title, w) in titles.filter(|(_, w)| *w > 0) {
            // Where a title does not fit, the cells speak for themselves.
            line.push_str(&style.pad(if width(title) <= w { title } else { "" }, w));
            line.push_str("  ");
        }
        if self.note > 0 {
            line.push_str("WHAT");
        }
        style.paint(Paint::Quiet, line.trim_end())
    }

    /// The node's row, and below it the rest of a reason that a person must read.
    fn lines(&self, board: &Board, r: &NodeRow, style: &Style) -> Vec<String> {
        let mut lines = vec![self.row(board, r, style)];
        let note = r.note(board.now);
        if r.needs_a_look() && width(&note) > self.note {
            let sign = style.either("└ ", "' ");
            let parts = style.wrap(&note, style.width.saturating_sub(6));
            for (i, part) in parts.iter().enumerate() {
                let lead = if i == 0 { sign } else { "  " };
                lines.push(style.paint(hue(r), &format!("    {lead}{part}")));
            }
        }
        lines
    }

    fn row(&self, board: &Board, r: &NodeRow, style: &Style) -> String {
        let mut line = String::new();
        let mut cell = |w: usize, paint: Paint, text: String| {
            if w > 0 {
                line.push_str(&style.paint(paint, &text));
                line.push_str("  ");
            }
        };
        let ago = |t: Option<crate::base::Timestamp>| t.map(|t| span(board.now.since(t))).unwrap_or_default();
        let mark = if r.step_failed() { ("✗", "x") } else { mark(r.phase, r.overdue.is_some()) };
        let mark = style.either(mark.0, mark.1);
        let state = if self.state < STATE { mark.to_string() } else { format!("{mark} {}", r.phase.name()) };
        let hue = hue(r);
        let quiet = if r.phase == Phase::Expected { Paint::Quiet } else { Paint::Plain };
        cell(self.name, quiet, style.pad(&r.name, self.name));
        cell(self.role, quiet, style.pad(&r.role, self.role));
        cell(self.state, hue, style.pad(&state, self.state));
        cell(self.since, quiet, style.right(&ago(r.since), self.since));
        cell(self.progress, hue, style.pad(&progress(r, style, self.progress), self.progress));
        cell(self.seen, quiet, style.right(&ago(r.last_seen), self.seen));
        let address = r.address.map(|a| a.to_string()).unwrap_or_default();
        cell(self.address, quiet, style.pad(&address, self.address));
        cell(self.mac, quiet, style.pad(&r.mac.to_string(), self.mac));
        let note = if r.overdue.is_some() { Paint::Late } else { quiet };
        line.push_str(&style.paint(note, &style.fit(&r.note(board.now), self.note)));
        line.trim_end().to_string()
    }
}

fn progress(r: &NodeRow, style: &Style, columns: usize) -> String {
    match r.progress.as_ref().and_then(|p| p.percent) {
        Some(p) if columns <= PERCENT => format!("{p:>3}%"),
        Some(p) if matches!(r.phase, Phase::Installing | Phase::Configuring) => {
            format!("{} {p:>3}%", style.bar(p, columns.saturating_sub(5)))
        }
        Some(p) => format!("at {p}%"),
        None => String::new(),
    }
}

fn folded(rows: &[&NodeRow], style: &Style) -> String {
    let mut by_phase: BTreeMap<Phase, usize> = BTreeMap::new();
    for r in rows {
        *by_phase.entry(r.phase).or_insert(0) += 1;
    }
    let parts: Vec<String> = by_phase.iter().map(|(p, n)| format!("{n} {}", p.name())).collect();
    let mut text = format!("{} and {} more: {}", style.either("…", "..."), rows.len(), parts.join(", "));
    let hint = " (`bootstead status --all` lists them)";
    if width(&text) + hint.len() <= style.width {
        text.push_str(hint);
    }
    style.paint(Paint::Quiet, &style.fit(&text, style.width))
}

/// How many unknown machines are listed; the others are counted.
const DISCOVERED_SHOWN: usize = 5;

fn discovered(board: &Board, style: &Style, cuts: usize) -> Vec<String> {
    if board.discovered.is_empty() || cuts >= 3 {
        return Vec::new();
    }
    let n = board.discovered.len();
    let title = format!(
        "{n} machine{} not in the site file; `bootstead node assign MAC ROLE` takes one in",
        if n == 1 { "" } else { "s" }
    );
    let title = style.paint(Paint::Bold, &style.fit(&title, style.width));
    if cuts >= 2 {
        return vec![title];
    }
    let mut lines = vec![String::new(), title];
    for d in board.discovered.iter().take(DISCOVERED_SHOWN) {
        let mut parts = vec![d.mac.to_string()];
        parts.extend(d.address.map(|a| a.to_string()));
        parts.push(format!("heard {} ago", span(board.now.since(d.last_seen))));
        parts.extend(d.firmware.clone());
        parts.extend(d.like.as_ref().map(|n| format!("almost {n}'s address")));
        parts.extend(d.phase.map(|p| format!("was {}", p.name())));
        parts.extend(d.last.clone());
        lines.push(style.fit(&format!("  {}", parts.join("  ")), style.width));
    }
    if n > DISCOVERED_SHOWN {
        lines.push(style.paint(Paint::Quiet, &format!("  and {} more", n - DISCOVERED_SHOWN)));
    }
    lines
}

/// The colour of a node's row.
fn hue(r: &NodeRow) -> Paint {
    if r.step_failed() { Paint::Bad } else { paint(r.phase, r.overdue.is_some()) }
}

/// The colour of a phase.
pub fn paint(phase: Phase, overdue: bool) -> Paint {
    match phase {
        Phase::Failed => Paint::Bad,
        _ if overdue => Paint::Late,
        Phase::Installing | Phase::Booting | Phase::Armed | Phase::Finishing | Phase::Configuring => {
            Paint::Moving
        }
        Phase::Held => Paint::Held,
        Phase::Expected => Paint::Quiet,
        Phase::Installed | Phase::Joined | Phase::Ready => Paint::Good,
    }
}

/// A sign before the state, so that it can be told apart without colours.
fn mark(phase: Phase, overdue: bool) -> (&'static str, &'static str) {
    match phase {
        Phase::Failed => ("✗", "x"),
        _ if overdue => ("!", "!"),
        Phase::Installing | Phase::Configuring => ("▶", ">"),
        Phase::Booting | Phase::Armed => ("○", "o"),
        Phase::Finishing => ("◐", "~"),
        Phase::Held => ("■", "="),
        Phase::Expected => ("·", "."),
        Phase::Installed | Phase::Ready => ("✓", "+"),
        Phase::Joined => ("◇", "+"),
    }
}

/// What changed between two boards, one line each, for outputs that are no terminal.
///
/// Progress is told at every new step and every tenth percent, so that a log stays readable.
pub fn changes(before: Option<&Board>, now: &Board, style: &Style) -> Vec<String> {
    let mut lines = Vec::new();
    let old: BTreeMap<&str, &NodeRow> =
        before.iter().flat_map(|b| &b.nodes).map(|n| (n.name.as_str(), n)).collect();
    let name_width = now.nodes.iter().map(|n| width(&n.name)).max().unwrap_or(0).min(24);
    for n in &now.nodes {
        let was = old.get(n.name.as_str());
        let told = |r: &NodeRow| {
            // Steps of the plan are many and have an output of their own (`apply`, `steps --watch`).
            let words = |p: &super::board::Step| {
                if r.phase == Phase::Configuring { String::new() } else { p.step.clone() }
            };
            let step = r.progress.as_ref().map(|p| (words(p), p.percent.unwrap_or(0) / 10));
            (r.phase, step, r.overdue.is_some(), r.refused.clone(), r.why.clone())
        };
        if was.is_some_and(|w| told(w) == told(n)) || (was.is_none() && n.phase == Phase::Expected) {
            continue;
        }
        let mut state = n.phase.name().to_string();
        if let Some(p) = n.progress.as_ref().and_then(|p| p.percent) {
            state = format!("{state} {p}%");
        }
        let text = format!(
            "{}  {}  {:<16}  {}",
            now.now.clock(),
            style.pad(&n.name, name_width),
            state,
            n.note(now.now)
        );
        lines.push(style.paint(hue(n), text.trim_end()));
    }
    let known = before.map_or(&[][..], |b| &b.discovered);
    for d in now.discovered.iter().filter(|d| known.iter().all(|k| k.mac != d.mac)) {
        lines.push(format!("{}  {}  discovered: not in the site file", now.now.clock(), d.mac));
    }
    lines
}
