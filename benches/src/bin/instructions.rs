//! Counts the instructions of a call on each hot path, under callgrind, and holds them against `instructions.txt`. Counts do not depend on
//! how busy the machine is: what grows here has grown.
//!
//! ```text
//! alias count='cargo run --release --no-default-features --features ours --bin instructions --'    # compiles no peer
//! count                     prints what it counts beside what is kept; exit code 1 when a path grew by more than 5 %
//! count --keep "REASON"     keeps what it counts. The reason goes into the file; it may be left out when nothing grew
//! ```
//! Needs valgrind. Another rustc makes other code: what the file says holds for the one it names.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::hint::black_box;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode};
use std::time::Duration;
use steadfast_benches::Row;

/// How many calls are counted, after as many that are not. With more of them a bucket of a window would turn under callgrind.
const CALLS: u64 = 2_000;
/// By how much a path may grow without a word.
const MAY_GROW: f64 = 1.05;
/// What the program is called with by itself, under callgrind.
const UNDER_CALLGRIND: &str = "--under-callgrind";

/// Callgrind counts what happens in here ..
#[inline(never)]
fn counted_batch(row: &mut Row) -> Duration {
    (row.batch)(CALLS)
}

/// .. and writes a file each time this is left. (It does not do both for one function.)
#[inline(never)]
fn written_batch(row: &mut Row) -> Duration {
    black_box(counted_batch(row))
}

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let result = match &*args.iter().map(String::as_str).collect::<Vec<_>>() {
        [UNDER_CALLGRIND] => {
            run();
            return ExitCode::SUCCESS;
        }
        [] => count().and_then(|now| compare(&now)),
        ["--keep"] => count().and_then(|now| keep(&now, None)),
        ["--keep", reason] => count().and_then(|now| keep(&now, Some(reason))),
        _ => Err("usage: instructions [--keep [REASON]]".to_owned()),
    };
    result.map_or_else(
        |error| {
            eprintln!("{error}");
            ExitCode::FAILURE
        },
        |()| ExitCode::SUCCESS,
    )
}

fn run() {
    for mut row in steadfast_benches::ours_alone() {
        (row.batch)(CALLS); // the first calls make what later ones find
        written_batch(&mut row);
        println!("{}, {}", row.group, row.who);
    }
}

/// Instructions a call, by path.
type Counts = BTreeMap<String, u64>;

fn count() -> Result<Counts, String> {
    let out = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("target/callgrind");
    let failed = |error: std::io::Error| format!("{}: {error}", out.display());
    if out.exists() {
        std::fs::remove_dir_all(&out).map_err(failed)?;
    }
    std::fs::create_dir_all(&out).map_err(failed)?;
    let program = std::env::current_exe().map_err(failed)?;
    let run = Command::new("valgrind")
        .args(["--tool=callgrind", "--toggle-collect=*counted_batch*", "--dump-after=*written_batch*"])
        .arg(format!("--callgrind-out-file={}", out.join("part").display()))
        .arg(program)
        .arg(UNDER_CALLGRIND)
        .output()
        .map_err(|error| format!("valgrind: {error}"))?;
    if !run.status.success() {
        return Err(format!("under valgrind: {}\n{}", run.status, String::from_utf8_lossy(&run.stderr)));
    }
    let paths = String::from_utf8_lossy(&run.stdout);
    let one = |(at, path): (usize, &str)| Ok((path.to_owned(), total(&out.join(format!("part.{}", at + 1)))?.div_ceil(CALLS)));
    paths.lines().enumerate().map(one).collect()
}

/// The line `totals: 123` of what callgrind wrote.
fn total(file: &Path) -> Result<u64, String> {
    let text = std::fs::read_to_string(file).map_err(|error| format!("{}: {error}", file.display()))?;
    let total = text.lines().find_map(|line| line.strip_prefix("totals: ")?.trim().parse().ok());
    total.filter(|total| *total > 0).ok_or_else(|| format!("{} counts nothing", file.display()))
}

fn kept() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("instructions.txt")
}

/// What the file says: its paths with their counts, and its reasons.
fn read() -> Result<(Counts, Vec<String>), String> {
    let text = std::fs::read_to_string(kept()).map_err(|error| format!("{}: {error}", kept().display()))?;
    let mut counts = Counts::new();
    for line in text.lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
        let entry = line.rsplit_once(' ').and_then(|(path, count)| Some((path.trim_end().to_owned(), count.parse().ok()?)));
        let (path, count) = entry.ok_or_else(|| format!("instructions.txt: `{line}` is no path with a count"))?;
        counts.insert(path, count);
    }
    Ok((counts, text.lines().filter_map(|line| line.strip_prefix("#   ")).map(str::to_owned).collect()))
}

fn grew(before: u64, now: u64) -> bool {
    now as f64 > before as f64 * MAY_GROW
}

fn compare(now: &Counts) -> Result<(), String> {
    let (before, _) = read()?;
    let mut wrong = Vec::new();
    for (path, now) in now {
        match before.get(path) {
            Some(before) => {
                let change = (*now as f64 / *before as f64 - 1.0) * 100.0;
                println!("{path:<60} {now:>6}   kept {before:>6}   {change:+6.1} %");
                if grew(*before, *now) {
                    wrong.push(format!("{path}: {before} -> {now}, {change:+.1} %"));
                }
            }
            None => wrong.push(format!("{path}: {now}, and nothing is kept of it")),
        }
    }
    wrong.extend(before.keys().filter(|path| !now.contains_key(*path)).map(|path| format!("{path}: kept, and no longer counted")));
    if before.iter().any(|(path, before)| now.get(path).is_some_and(|now| grew(*now, *before))) {
        println!("some path became cheaper by more than 5 %: `--keep` makes sure that it stays so");
    }
    if wrong.is_empty() {
        return Ok(());
    }
    Err(format!(
        "more instructions a call than benches/instructions.txt keeps:\n  {}\nMake it cheaper, or say why it may cost more:\n  \
         (cd benches && cargo run --release --no-default-features --features ours --bin instructions -- --keep \"REASON\")",
        wrong.join("\n  ")
    ))
}

fn keep(now: &Counts, reason: Option<&str>) -> Result<(), String> {
    let (before, mut reasons) = if kept().exists() { read()? } else { Default::default() };
    let of_more = |(path, now): (&String, &u64)| {
        let before = before.get(path)?;
        grew(*before, *now).then(|| format!("{path} {before} -> {now}"))
    };
    let more: Vec<String> = now.iter().filter_map(of_more).collect();
    match reason.map(str::trim).filter(|reason| !reason.is_empty()) {
        Some(reason) if more.is_empty() => reasons.push(reason.to_owned()),
        Some(reason) => reasons.push(format!("{reason} ({})", more.join("; "))),
        None if more.is_empty() => {}
        None => return Err(format!("--keep \"REASON\": these grew\n  {}", more.join("\n  "))),
    }
    let mut text = format!(
        "# Instructions a call, counted by callgrind: written by `instructions --keep`, never by hand. `./check` refuses growth over 5 %.\n\
         # {}\n# Why it grew, or is counted otherwise, the latest last:\n",
        compiler()?
    );
    reasons.iter().for_each(|reason| _ = writeln!(text, "#   {reason}"));
    now.iter().for_each(|(path, count)| _ = writeln!(text, "{path:<60} {count:>6}"));
    std::fs::write(kept(), text).map_err(|error| format!("{}: {error}", kept().display()))
}

/// The compiler that made this program, and for what: one line. `./check` looks for it in the file.
fn compiler() -> Result<String, String> {
    let version = Command::new("rustc").arg("--version").output().map_err(|error| format!("rustc: {error}"))?;
    let version = String::from_utf8_lossy(&version.stdout).trim().to_owned();
    Ok(format!("{version}, {} {}", std::env::consts::ARCH, std::env::consts::OS))
}
