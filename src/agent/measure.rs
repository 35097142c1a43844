//! Owns the measuring during a drill: several things asked some times a second, and when each did not answer.

use super::host::Host;
use super::probe::{Patience, probe};
use crate::steps::{Measure, Measured, Outage, Probe, Series, Target};
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// An address that nobody answers for must not hold up the next attempt: this is how exact the return is known.
const HASTE: Patience = Patience {
    connect: Duration::from_millis(500),
    answer: Duration::from_secs(3),
    script: Duration::from_secs(20),
};
/// Between the beginnings of two attempts.
const EVERY: Duration = Duration::from_millis(200);
/// Scripts cost the node something.
const EVERY_SCRIPT: Duration = Duration::from_millis(500);
/// More outages than this are counted, not listed: the report must fit into a step's output.
const LISTED: usize = 20;

struct Seen {
    series: Series,
    good: u64,
    /// When it was last not answering; none: never.
    bad: Option<u64>,
    out: bool,
}

impl Seen {
    /// Takes one attempt in that ended at `at`.
    fn take(&mut self, at: u64, result: Result<(), String>) {
        self.series.asked += 1;
        match result {
            Ok(()) => {
                if std::mem::take(&mut self.out)
                    && let Some(last) = self.series.outages.last_mut()
                {
                    last.until.get_or_insert(at);
                }
                self.good = at;
            }
            Err(why) => {
                self.series.failed += 1;
                self.bad = Some(at);
                if !std::mem::replace(&mut self.out, true) && self.series.outages.len() < LISTED {
                    let why = why.chars().take(200).collect();
                    self.series.outages.push(Outage { from: self.good, until: None, why });
                }
            }
        }
    }
}

/// Asks until there is nothing more to see, at most for `m.most` seconds.
pub fn measure(host: &Host, m: &Measure) -> Measured {
    let start = Instant::now();
    let at = || start.elapsed().as_millis() as u64;
    let stop = AtomicBool::new(false);
    let new = |t: &Target| {
        let series = Series { id: t.id.clone(), title: t.title.clone(), ..Series::default() };
        Mutex::new(Seen { series, good: 0, bad: None, out: false })
    };
    let seen: Vec<Mutex<Seen>> = m.targets.iter().map(new).collect();
    let over = |s: &Mutex<Seen>, now: u64| {
        let s = s.lock().unwrap_or_else(|e| e.into_inner());
        s.series.asked > 0 && s.bad.is_none_or(|bad| now - bad.min(now) >= u64::from(m.quiet) * 1000)
    };
    std::thread::scope(|threads| {
        for (target, seen) in m.targets.iter().zip(&seen) {
            let stop = &stop;
            threads.spawn(move || {
                let every = if matches!(target.check, Probe::Run { .. }) { EVERY_SCRIPT } else { EVERY };
                while !stop.load(Ordering::Relaxed) {
                    let begun = Instant::now();
                    let result = probe(host, &target.check, HASTE).map_err(|f| f.why);
                    seen.lock().unwrap_or_else(|e| e.into_inner()).take(at(), result);
                    std::thread::sleep(every.saturating_sub(begun.elapsed()));
                }
            });
        }
        loop {
            std::thread::sleep(Duration::from_millis(100));
            let now = at();
            let all = now >= u64::from(m.least) * 1000 && seen.iter().all(|s| over(s, now));
            if all || now >= u64::from(m.most) * 1000 {
                break;
            }
        }
        stop.store(true, Ordering::Relaxed);
    });
    let targets = seen.into_iter().map(|s| s.into_inner().unwrap_or_else(|e| e.into_inner()).series);
    Measured { millis: at(), targets: targets.collect() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_outage_is_from_the_last_good_answer_to_the_next() {
        let series = Series::default();
        let mut seen = Seen { series, good: 0, bad: None, out: false };
        let bad = || Err("refused".to_string());
        for (at, result) in
            [(100, Ok(())), (300, bad()), (500, bad()), (700, Ok(())), (900, Ok(())), (1100, bad())]
        {
            seen.take(at, result);
        }
        let spans: Vec<_> = seen.series.outages.iter().map(|o| (o.from, o.until)).collect();
        assert_eq!(spans, [(100, Some(700)), (900, None)]);
        assert_eq!((seen.series.asked, seen.series.failed), (6, 3));
    }

    #[test]
    fn more_outages_than_are_listed_are_counted_and_leave_the_last_one_alone() {
        let mut seen = Seen { series: Series::default(), good: 0, bad: None, out: false };
        for n in 0..30 {
            seen.take(n * 10, Err("refused".to_string()));
            seen.take(n * 10 + 5, Ok(()));
        }
        assert_eq!((seen.series.outages.len(), seen.series.failed), (LISTED, 30));
        assert_eq!(seen.series.outages[LISTED - 1].until, Some(195));
    }
}
