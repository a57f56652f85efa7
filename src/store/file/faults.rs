//! A disk in the hands of a test: a step fails, or is the last one of the process, or the power goes after it.

use super::platter::{Done, Honest, Platter};
use super::seam::Step;
use super::*;
use crate::sync::{Mutex, lock};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::sync::atomic::AtomicU64;

/// What happens at a step.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    /// This one fails.
    Once(i32),
    /// This one fails, and all after it.
    FromNowOn(i32),
    /// Half of what is to be written is.
    Short,
    /// The process is killed: neither this one nor any other happens.
    Killed,
    /// The same, in the middle of what is to be written.
    KilledWriting,
}

#[derive(Debug, Default)]
pub(super) struct Faults {
    plan: Mutex<Plan>,
    log: Mutex<Vec<Done>>,
}

#[derive(Debug, Default)]
struct Plan {
    steps: u64,
    fault: Option<(u64, Fault)>,
    killed: bool,
    /// Whether the step to come was to be cut, and was.
    cut: bool,
}

fn dead() -> io::Error {
    io::Error::other("this process is dead")
}

impl Faults {
    fn at(step: u64, fault: Fault) -> Arc<Self> {
        let faults = Self::default();
        lock(&faults.plan).fault = Some((step, fault));
        Arc::new(faults)
    }

    fn steps(&self) -> u64 {
        lock(&self.plan).steps
    }

    pub(super) fn before(&self, _: Step<'_>) -> io::Result<()> {
        let mut plan = lock(&self.plan);
        if std::mem::take(&mut plan.cut) {
            return Ok(()); // counted before
        }
        if plan.killed {
            return Err(dead());
        }
        let step = plan.steps;
        plan.steps += 1;
        match plan.fault {
            Some((at, Fault::Once(code))) if at == step => Err(io::Error::from_raw_os_error(code)),
            Some((at, Fault::FromNowOn(code))) if at <= step => Err(io::Error::from_raw_os_error(code)),
            Some((at, Fault::Killed)) if at == step => {
                plan.killed = true;
                Err(dead())
            }
            _ => Ok(()),
        }
    }

    /// How many of so many bytes are written.
    pub(super) fn cut(&self, length: usize) -> Option<usize> {
        let mut plan = lock(&self.plan);
        match plan.fault {
            Some((at, Fault::Short | Fault::KilledWriting)) if at == plan.steps && !plan.killed => {
                plan.steps += 1;
                plan.cut = true;
                Some(length / 2)
            }
            _ => None,
        }
    }

    pub(super) fn after_cut(&self) -> io::Error {
        let mut plan = lock(&self.plan);
        plan.killed = matches!(plan.fault, Some((_, Fault::KilledWriting)));
        if plan.killed { dead() } else { io::Error::from_raw_os_error(libc::ENOSPC) }
    }

    pub(super) fn after(&self, step: Step<'_>) {
        let done = match step {
            Step::Create(path) => Done::Create(path.into()),
            Step::Write(path, bytes) => Done::Write(path.into(), bytes.into()),
            Step::Sync(path) => Done::Sync(path.into()),
            Step::Rename(from, to) => Done::Rename(from.into(), to.into()),
            Step::Link(from, to) => Done::Link(from.into(), to.into()),
            Step::Unlink(path) => Done::Unlink(path.into()),
            Step::Folder(path) => Done::Folder(path.into()),
            Step::SyncFolder(path) => Done::SyncFolder(path.into()),
            Step::Open | Step::List => return,
        };
        lock(&self.log).push(done);
    }
}

// ------------------------------------------------------------------ the power goes

/// A directory, gone with the test.
struct Yard(PathBuf);

impl Yard {
    fn new(name: &str) -> Self {
        Self(std::env::temp_dir().join(format!("steadfast-{name}-{:016x}", rand::random::<u64>())))
    }

    fn open(&self, seam: Seam, durable: bool) -> Result<Disk, StoreError> {
        // Of an hour that does not pass.
        let clock = WallClock::Test(Arc::new(AtomicU64::new(1 << 40)));
        Disk::open(FileStoreBuilder { seam, clock, durable, ..FileStore::builder(&self.0) })
    }

    fn temporaries(&self) -> usize {
        fs::read_dir(self.0.join("tmp")).map_or(0, Iterator::count)
    }
}

impl Drop for Yard {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

const KEYS: [&str; 3] = ["a", "b", "c"];

fn key(raw: &str) -> Key {
    Key::from_text(raw.into())
}

/// One that tells whether it is whole, of about three blocks.
fn value(number: usize) -> Bytes {
    let length = [0, 1, 400, 512, 1_500, 2_000][number % 6];
    std::iter::once(number as u8).chain((0..length).map(|at| (at * 7 + number) as u8)).collect::<Vec<_>>().into()
}

type State = BTreeMap<&'static str, Option<Bytes>>;

/// What was answered for when so many steps were done.
type Answered = Vec<(usize, State)>;

/// Sets, overwrites and deletes, and what each has answered for.
fn a_day(disk: &Disk, faults: &Faults, random: &mut StdRng) -> Result<Answered, StoreError> {
    let mut state: State = KEYS.iter().map(|name| (*name, None)).collect();
    let mut answered = vec![(lock(&faults.log).len(), state.clone())];
    for number in 0..40 {
        let name = KEYS[random.random_range(0..KEYS.len())];
        let live = state[name].is_some();
        match random.random_range(0..10) {
            0 | 1 => {
                assert_eq!(disk.delete(&key(name))?, live);
                state.insert(name, None);
            }
            2 => {
                let stored = disk.set(&key(name), &value(number), SetOptions::new().if_absent())?;
                assert_eq!(stored, !live);
                if stored {
                    state.insert(name, Some(value(number)));
                }
            }
            3 => {
                assert!(!disk.set(&key(name), &value(number), SetOptions::new().ttl(Duration::ZERO))?);
                state.insert(name, None);
            }
            4 if random.random_bool(0.2) => {
                disk.clear()?;
                state.values_mut().for_each(|value| *value = None);
            }
            _ => {
                assert!(disk.set(&key(name), &value(number), SetOptions::new())?);
                state.insert(name, Some(value(number)));
            }
        }
        answered.push((lock(&faults.log).len(), state.clone()));
    }
    Ok(answered)
}

/// So many times the power goes on one day, each time as if it were the only one.
const CUTS: u64 = 10;

#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    new: u32,
    old: u32,
    miss: u32,
    corrupt: u64,
}

fn power_cuts(honest: Honest, durable: bool, days: u64) -> Result<Seen, StoreError> {
    let mut seen = Seen::default();
    for day in 0..days {
        let mut random = StdRng::seed_from_u64(day);
        let (before, faults) = (Yard::new("power"), Arc::new(Faults::default()));
        let answered = a_day(&before.open(Seam::Test(Arc::clone(&faults)), durable)?, &faults, &mut random)?;
        let log = lock(&faults.log).clone();
        let root = fs::canonicalize(&before.0).map_err(|error| path::failed(&error))?;
        for _ in 0..CUTS {
            let cut = random.random_range(answered[0].0..=log.len());
            let after = Yard::new("power");
            Platter::after(&log[..cut], honest).restore(&root, &after.0, &mut random).map_err(|error| path::failed(&error))?;
            let tell = format!("day {day}, {honest:?}, durable: {durable}, after {cut} of {} steps", log.len());
            look(&after, &answered, cut, durable.then_some(honest), &mut seen, &tell)?;
        }
    }
    Ok(seen)
}

/// What is there when the power is back.
fn look(after: &Yard, answered: &Answered, cut: usize, synced: Option<Honest>, seen: &mut Seen, tell: &str) -> Result<(), StoreError> {
    let last = answered.iter().rposition(|(steps, _)| *steps <= cut).unwrap_or(0);
    // The one under way may have come as far as that, too.
    let under_way = &answered[(last + 1).min(answered.len() - 1)].1;
    let disk = after.open(Seam::Real, false)?;
    for name in KEYS {
        let found = disk.get(&key(name))?.map(|entry| entry.value);
        let mut ever = answered[..=last].iter().map(|(_, state)| &state[name]).chain([&under_way[name]]);
        assert!(found.is_none() || ever.any(|value| *value == found), "{tell}: `{name}` has {found:?}, which was never stored");
        if synced == Some(Honest { files: true, folders: true }) {
            let allowed = [&answered[last].1[name], &under_way[name]];
            assert!(allowed.contains(&&found), "{tell}: `{name}` has {found:?} instead of {allowed:?}");
        }
        match found {
            None => seen.miss += 1,
            found if found == answered[last].1[name] => seen.new += 1,
            _ => seen.old += 1,
        }
        // And life goes on.
        assert!(disk.set(&key(name), &value(99), SetOptions::new())?);
        assert_eq!(disk.get(&key(name))?.map(|entry| entry.value), Some(value(99)));
    }
    seen.corrupt += disk.stats().corrupt;
    assert_eq!(disk.stats().current_entries, Some(3), "{tell}");
    Ok(())
}

/// 200 power cuts in each mode (500 in the release check: set `STEADFAST_POWER_CUTS`).
#[test]
fn h116_a_power_cut_leaves_whole_values_or_none() -> Result<(), StoreError> {
    let cuts: u64 = std::env::var("STEADFAST_POWER_CUTS").ok().and_then(|cuts| cuts.parse().ok()).unwrap_or(200);
    // Who is not durable syncs nothing, so no disk can break its word.
    for (files, folders, durable) in
        [(true, true, true), (true, false, true), (false, true, true), (false, false, true), (true, true, false)]
    {
        let seen = power_cuts(Honest { files, folders }, durable, cuts.div_ceil(CUTS))?;
        println!("durable: {durable}, files synced: {files}, folders synced: {folders}: {seen:?}");
        // Else the test would see no torn value if there were one.
        assert!(seen.new > 0 && seen.miss > 0 && (seen.corrupt > 0 || (files && durable)), "{seen:?}");
    }
    Ok(())
}

// ------------------------------------------------------------------ a step fails, or is the last

#[derive(Clone, Copy, Debug)]
enum Work {
    Set,
    SetIfAbsent,
    SetFirst,
    Delete,
}

impl Work {
    const ALL: [Self; 4] = [Self::Set, Self::SetIfAbsent, Self::SetFirst, Self::Delete];

    fn is_over_what_is_there(self) -> bool {
        matches!(self, Self::Set | Self::Delete)
    }

    fn do_it(self, disk: &Disk) -> Result<bool, StoreError> {
        match self {
            Self::Set | Self::SetFirst => disk.set(&key("k"), &value(4), SetOptions::new()),
            Self::SetIfAbsent => disk.set(&key("k"), &value(4), SetOptions::new().if_absent()),
            Self::Delete => disk.delete(&key("k")),
        }
    }

    fn result(self) -> Option<Bytes> {
        if matches!(self, Self::Delete) { None } else { Some(value(4)) }
    }
}

/// Does the work with a fault at each of its steps; `check` gets what it said, and the directory.
fn at_each_step(fault: Fault, check: impl Fn(Work, u64, Result<bool, StoreError>, &Yard, &Disk)) -> Result<u64, StoreError> {
    let mut most = 0;
    for work in Work::ALL {
        for step in 0.. {
            let yard = Yard::new("step");
            let old = yard.open(Seam::Real, true)?;
            if work.is_over_what_is_there() {
                old.set(&key("k"), &value(2), SetOptions::new())?;
            }
            drop(old);
            // As many steps as opening takes go by first.
            let opening = Faults::at(u64::MAX, fault);
            drop(yard.open(Seam::Test(Arc::clone(&opening)), true)?);
            let faults = Faults::at(opening.steps() + step, fault);
            let disk = yard.open(Seam::Test(Arc::clone(&faults)), true)?;
            let said = work.do_it(&disk);
            if faults.steps() <= opening.steps() + step {
                break; // it has fewer steps
            }
            check(work, step, said, &yard, &disk);
            most = most.max(step + 1);
        }
    }
    Ok(most)
}

fn is_old_or_new(work: Work, found: &Option<Bytes>) -> bool {
    *found == work.result() || *found == work.is_over_what_is_there().then(|| value(2))
}

#[test]
fn h84_killed_at_any_step_of_a_write_it_leaves_the_old_or_the_new() -> Result<(), StoreError> {
    for fault in [Fault::Killed, Fault::KilledWriting] {
        let steps = at_each_step(fault, |work, step, _, yard, dead| {
            assert!(dead.get(&key("k")).is_err() || fault == Fault::KilledWriting, "the dead do nothing");
            let disk = yard.open(Seam::Real, true).expect("another process");
            let found = disk.get(&key("k")).expect("a readable directory").map(|entry| entry.value);
            assert!(is_old_or_new(work, &found), "{work:?}, killed at step {step}: {found:?}");
            assert_eq!((yard.temporaries(), disk.stats().corrupt), (0, 0), "{work:?}, step {step}: h117, swept");
            assert_eq!(disk.stats().current_entries, Some(u64::from(found.is_some())));
            assert!(disk.set(&key("k"), &value(9), SetOptions::new()).is_ok_and(|stored| stored));
        })?;
        assert!(steps >= 5, "{steps} steps");
    }
    Ok(())
}

#[test]
fn h118_whatever_fails_is_an_error_with_a_kind_and_loses_nothing() -> Result<(), StoreError> {
    use StoreErrorKind::{Denied, Full, Other, ReadOnly};
    for (code, kind) in [
        (libc::ENOSPC, Full),
        (libc::EDQUOT, Full),
        (libc::EROFS, ReadOnly),
        (libc::EACCES, Denied),
        (libc::EMFILE, Other),
        (libc::EIO, Other),
    ] {
        for fault in [Fault::Once(code), Fault::FromNowOn(code), Fault::Short] {
            at_each_step(fault, |work, step, said, yard, disk| {
                let tell = format!("{work:?}, {fault:?} at step {step}");
                match said {
                    Ok(_) => {} // of a step that nothing depends on
                    Err(error) => assert_eq!(error.kind(), if fault == Fault::Short { Full } else { kind }, "{tell}"),
                }
                // The same process, if the disk works again, and another one in any case.
                let again = yard.open(Seam::Real, true).expect("another process");
                let found = again.get(&key("k")).expect("a readable directory").map(|entry| entry.value);
                assert!(is_old_or_new(work, &found), "{tell}: {found:?}");
                assert_eq!((yard.temporaries(), again.stats().corrupt), (0, 0), "{tell}");
                if !matches!(fault, Fault::FromNowOn(_)) {
                    assert_eq!(disk.get(&key("k")).expect("it works again").map(|entry| entry.value), found, "{tell}");
                    assert!(disk.set(&key("k"), &value(9), SetOptions::new()).is_ok_and(|stored| stored), "{tell}");
                    assert_eq!(disk.stats().current_entries, Some(1), "{tell}: the books");
                }
            })?;
        }
    }
    Ok(())
}
