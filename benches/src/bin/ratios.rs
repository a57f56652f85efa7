//! Measures every row interleaved in one process and prints what the README shows.
//!
//! ```text
//! cargo run --release --bin ratios                     everything, under a minute
//! cargo run --release --bin ratios -- breaker          only groups with that word in their name
//! cargo run --release --bin ratios -- --write          everything, into README.md between its two markers
//! ```
//! Rows take turns in batches of about a tenth of a millisecond, so that noise hits all alike. One thread: the smallest batch counts, for
//! noise only adds. Several threads: the median counts, for the smallest may be one where the threads happened not to meet.
//! Exit code 1 when a target is missed, so that a script can ask.

use std::fmt::Write as _;
use std::process::ExitCode;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};
use steadfast_benches::{DISTURBED, Row};

/// What issue 2 asks for: `ours` divided by `peer` at most `at_most`; or, with [`Rule::Nanos`], `ours` minus `peer`.
struct Target {
    what: &'static str,
    ours: (&'static str, &'static str),
    peer: (&'static str, &'static str),
    rule: Rule,
}

enum Rule {
    /// Time at most this share of the peer's.
    Time(f64),
    /// Throughput at least this many times the peer's.
    Throughput(f64),
    /// At most so many nanoseconds more.
    Nanos(f64),
}
use Rule::{Nanos, Throughput, Time};

const OURS: &str = "steadfast";

/// A target within one group, ours against one of the peers.
const fn against(group: &'static str, peer: &'static str, what: &'static str, rule: Rule) -> Target {
    Target { what, ours: (group, OURS), peer: (group, peer), rule }
}

const TARGETS: &[Target] = &[
    against("stack of six", "by hand", "stack of six / assembled by hand", Time(0.75)),
    against("stack of six", "seatbelt + 2 by hand", "stack of six / seatbelt with two layers added", Time(0.5)),
    against("retry + breaker + timeout", "seatbelt", "retry + breaker + timeout / seatbelt", Time(0.35)),
    against("breaker, closed", "window by hand", "closed breaker / 10-bucket window by hand", Time(1.2)),
    against("breaker, closed", "seatbelt", "closed breaker / seatbelt", Time(0.25)),
    against("breaker, open", "failsafe", "open breaker / failsafe", Time(0.5)),
    against("cache hit", "quick_cache", "cache hit / quick_cache's own", Time(1.15)),
    against("cache hit, with a ttl", "moka", "cache hit with a ttl / moka's", Time(1.0)),
    against("keyed check", "governor (check_key)", "keyed check / governor keyed", Time(1.2)),
    Target { what: "monitor on - monitor off", ours: ("monitor", "on"), peer: ("monitor", "off"), rule: Nanos(40.0) },
    against("2 threads, closed breaker", "recloser", "2 threads on a closed breaker / recloser", Throughput(3.0)),
    against("64 tasks, stack of six", "by hand", "64 tasks through six / by hand", Throughput(1.0)),
    Target {
        what: "limit in Redis, leased by 100 / each decision asked",
        ours: ("limit in Redis, 64 tasks", "steadfast, leased by 100"),
        peer: ("limit in Redis, 64 tasks", OURS),
        rule: Throughput(10.0),
    },
    Target {
        what: "monitor: 2 threads / 1 thread",
        ours: ("threads, monitor", "2 threads"),
        peer: ("threads, monitor", "1 thread"),
        rule: Throughput(1.5),
    },
];

/// A row with what was measured of it.
struct Measured {
    row: Row,
    calls: u64,
    single: bool,
    samples: Vec<f64>,
}

impl Measured {
    /// Chooses how many calls a batch has, so that one takes about `length`.
    fn new(mut row: Row, single: bool, length: Duration) -> Self {
        let mut calls = 64;
        loop {
            let took = (row.batch)(calls);
            if took >= length / 4 || calls >= 1 << 24 {
                let per_call = took.as_nanos().max(1) as f64 / calls as f64;
                let calls = (length.as_nanos() as f64 / per_call).max(64.0) as u64;
                return Self { row, calls, single, samples: Vec::new() };
            }
            calls *= 2;
        }
    }

    fn sample(&mut self) {
        let before = DISTURBED.load(Relaxed);
        let took = (self.row.batch)(self.calls);
        if DISTURBED.load(Relaxed) != before {
            return; // better none than this one
        }
        self.samples.push(took.as_nanos() as f64 / self.calls as f64);
    }

    /// Nanoseconds a call.
    fn nanos(&self) -> f64 {
        let mut sorted = self.samples.clone();
        sorted.sort_by(f64::total_cmp);
        let at = if self.single { 0 } else { sorted.len() / 2 };
        sorted.get(at).copied().unwrap_or(f64::NAN)
    }
}

/// Turns until there are enough, or the budget is spent. Every other turn goes backwards, so that no row always follows the same one.
fn take_turns(rows: &mut [Measured], enough: usize, budget: Duration) -> usize {
    let start = Instant::now();
    let mut turns = 0;
    while !rows.is_empty() && turns < enough && (turns < 20 || start.elapsed() < budget) {
        if turns % 2 == 0 {
            rows.iter_mut().for_each(Measured::sample);
        } else {
            rows.iter_mut().rev().for_each(Measured::sample);
        }
        turns += 1;
    }
    turns
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let write = args.iter().any(|arg| arg == "--write");
    let words: Vec<&String> = args.iter().filter(|arg| !arg.starts_with("--")).collect();
    if write && !words.is_empty() {
        eprintln!("--write takes every row or none: leave out the words");
        return ExitCode::from(2);
    }
    let wanted = |row: &Row| words.is_empty() || words.iter().any(|word| row.group.contains(word.as_str()));

    let mut single: Vec<Measured> = steadfast_benches::overhead()
        .into_iter()
        .filter(|row| wanted(row))
        .map(|row| Measured::new(row, true, Duration::from_micros(100)))
        .collect();
    let turns = take_turns(&mut single, 2000, Duration::from_secs(20));
    let mut several: Vec<Measured> = steadfast_benches::contention()
        .into_iter()
        .filter(|row| wanted(row))
        .map(|row| Measured::new(row, false, Duration::from_millis(3)))
        .collect();
    let turns_several = take_turns(&mut several, 200, Duration::from_secs(20));

    let mut rows = single;
    rows.append(&mut several);
    let (report, missed) = report(&rows, turns, turns_several);
    print!("{report}");
    if write && let Err(error) = write_readme(&report) {
        eprintln!("README.md: {error}");
        return ExitCode::from(2);
    }
    if missed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn find(rows: &[Measured], (group, who): (&str, &str)) -> Option<f64> {
    rows.iter().find(|m| m.row.group == group && m.row.who == who).map(Measured::nanos)
}

/// Both tables, and whether a target was missed.
fn report(rows: &[Measured], turns: usize, turns_several: usize) -> (String, bool) {
    let mut missed = false;
    let mut out = String::new();
    let _ = writeln!(out, "{}\n", machine());
    let _ = writeln!(out, "{turns} turns of one thread (smallest), {turns_several} of several (median), nanoseconds a call.\n");
    let disturbed = DISTURBED.load(Relaxed);
    if disturbed > 0 {
        let _ = writeln!(out, "The machine was busy: {disturbed} batches of several threads were disturbed, and left out.\n");
    }
    out.push_str("| what / beside | ours | peer | result | target | |\n|---|---:|---:|---:|---:|---|\n");
    for Target { what, ours, peer, rule } in TARGETS {
        let (ours, peer) = (find(rows, *ours), find(rows, *peer));
        if ours.is_none() && peer.is_none() {
            continue;
        }
        let (ours, peer) = (ours.unwrap_or(f64::NAN), peer.unwrap_or(f64::NAN));
        let (result, target, ok) = match *rule {
            Time(limit) => (format!("{:.2} x time", ours / peer), format!("<= {limit}"), ours / peer <= limit),
            Throughput(limit) => (format!("{:.2} x throughput", peer / ours), format!(">= {limit}"), peer / ours >= limit),
            Nanos(limit) => (format!("{:+.1} ns", ours - peer), format!("<= {limit} ns"), ours - peer <= limit),
        };
        let verdict = match ok {
            true => "ok",
            false if ours.is_nan() || peer.is_nan() => "not measured",
            false => {
                missed = true;
                "**miss**"
            }
        };
        let result = result.replace("NaN", "?");
        let _ = writeln!(out, "| {what} | {} | {} | {result} | {target} | {verdict} |", number(ours), number(peer));
    }
    out.push_str("\n| group | who | ns | beside ours |\n|---|---|---:|---:|\n");
    let mut last = "";
    for measured in rows {
        let (group, who, nanos) = (measured.row.group, measured.row.who, measured.nanos());
        let beside = match find(rows, (group, OURS)) {
            Some(ours) if who != OURS => format!("{:.2}", nanos / ours),
            _ => String::new(),
        };
        let _ = writeln!(out, "| {} | {who} | {} | {beside} |", if group == last { "" } else { group }, number(nanos));
        last = group;
    }
    (out, missed)
}

fn number(nanos: f64) -> String {
    if nanos.is_nan() { "?".to_owned() } else { format!("{nanos:.1}") }
}

/// What it ran on.
fn machine() -> String {
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let cpu = cpu.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": ")).map_or("unknown processor", |(_, name)| name);
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    let rustc = std::process::Command::new("rustc").arg("--version").output();
    let rustc = rustc.map_or_else(|_| "rustc".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
    format!("{cpu}, {cores} cores, {} {}, {rustc}, plain `--release`.", std::env::consts::OS, std::env::consts::ARCH)
}

/// Replaces what stands between the two markers of README.md.
fn write_readme(report: &str) -> std::io::Result<()> {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/README.md");
    let text = std::fs::read_to_string(path)?;
    let (begin, end) = ("<!-- ratios: begin -->\n", "<!-- ratios: end -->");
    let missing = || std::io::Error::other("its markers are gone");
    let (before, rest) = text.split_once(begin).ok_or_else(missing)?;
    let (_, after) = rest.split_once(end).ok_or_else(missing)?;
    std::fs::write(path, format!("{before}{begin}{report}{end}{after}"))
}
