//! A disk in the hands of a test: a step fails, or is the last one of the process, or the power goes, and of what was not synced the disk keeps what it likes.

use super::seam::Step;
use super::*;
use crate::sync::{Mutex, lock};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
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

/// A step that was done, as far as a power cut cares.
#[derive(Clone, Debug)]
enum Done {
    Create(PathBuf),
    Write(PathBuf, Vec<u8>),
    Sync(PathBuf),
    Rename(PathBuf, PathBuf),
    Link(PathBuf, PathBuf),
    Unlink(PathBuf),
    Folder(PathBuf),
    SyncFolder(PathBuf),
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

/// Which syncs the disk keeps its word on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Honest {
    files: bool,
    folders: bool,
}

/// Blocks of a disk: each is written whole or not at all.
const BLOCK: usize = 512;

/// What a disk may have of a file or a name: as it was at the last sync, and as it was after each step since.
type Versions<T> = Vec<T>;

#[derive(Default)]
struct Platter {
    files: Vec<Versions<Vec<u8>>>,
    names: BTreeMap<PathBuf, Versions<Option<usize>>>,
    folders: BTreeSet<PathBuf>,
}

impl Platter {
    fn after(log: &[Done], honest: Honest) -> Self {
        let mut platter = Self::default();
        for done in log {
            platter.take(done, honest);
        }
        platter
    }

    fn file(&self, path: &Path) -> Option<usize> {
        self.names.get(path).and_then(|versions| *versions.last()?)
    }

    fn name(&mut self, path: &Path, file: Option<usize>) {
        self.names.entry(path.into()).or_insert_with(|| vec![None]).push(file);
    }

    fn take(&mut self, done: &Done, honest: Honest) {
        match done {
            Done::Create(path) | Done::Folder(path) => {
                if matches!(done, Done::Folder(_)) {
                    self.folders.insert(path.clone());
                }
                self.files.push(vec![Vec::new()]);
                self.name(path, Some(self.files.len() - 1));
            }
            Done::Write(path, bytes) => {
                if let Some(versions) = self.file(path).map(|file| &mut self.files[file]) {
                    let so_far = versions.last().cloned().unwrap_or_default();
                    versions.push([so_far.as_slice(), bytes].concat());
                }
            }
            Done::Sync(path) if honest.files => {
                if let Some(versions) = self.file(path).map(|file| &mut self.files[file]) {
                    versions.drain(..versions.len() - 1);
                }
            }
            Done::SyncFolder(folder) if honest.folders => {
                for (_, versions) in self.names.iter_mut().filter(|(path, _)| path.parent() == Some(folder)) {
                    versions.drain(..versions.len() - 1);
                }
            }
            Done::Sync(_) | Done::SyncFolder(_) => {}
            Done::Rename(from, to) => {
                let file = self.file(from);
                self.name(to, file);
                self.name(from, None);
            }
            Done::Link(from, to) => {
                let file = self.file(from);
                self.name(to, file);
            }
            Done::Unlink(path) => self.name(path, None),
        }
    }

    /// What is there when the power is back, in a directory of its own.
    fn restore(&self, from: &Path, to: &Path, random: &mut StdRng) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        let folder = |path: &Path| fs::DirBuilder::new().mode(0o700).recursive(true).create(path);
        folder(to)?;
        let kept: Vec<(&Path, usize)> = self
            .names
            .iter()
            .filter_map(|(path, versions)| Some((path.as_path(), versions[random.random_range(0..versions.len())]?)))
            .collect();
        for &(path, file) in &kept {
            let target = to.join(path.strip_prefix(from).unwrap_or(path));
            if self.folders.contains(path) {
                folder(&target)?;
            } else if path.parent() == Some(from) || kept.iter().any(|(folder, _)| Some(*folder) == path.parent()) {
                fs::write(target, self.bytes(file, random))?;
            }
        }
        Ok(())
    }

    fn bytes(&self, file: usize, random: &mut StdRng) -> Vec<u8> {
        let versions = &self.files[file];
        let pick = |random: &mut StdRng| &versions[random.random_range(0..versions.len())];
        let length = pick(random).len();
        let mut bytes = vec![0; length];
        for (number, block) in bytes.chunks_mut(BLOCK).enumerate() {
            let version = pick(random);
            let there = version.get(number * BLOCK..).unwrap_or_default();
            let whole = there.len().min(block.len());
            block[..whole].copy_from_slice(&there[..whole]);
            // What was never written shows zeros, or what somebody else once had there.
            if whole < block.len() && random.random_bool(0.3) {
                random.fill(&mut block[whole..]);
            }
        }
        bytes
    }
}

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

#[derive(Debug, Default, PartialEq, Eq)]
struct Seen {
    new: u32,
    old: u32,
    miss: u32,
    corrupt: u64,
}

fn power_cuts(honest: Honest, durable: bool, seeds: u64) -> Result<Seen, StoreError> {
    let mut seen = Seen::default();
    for seed in 0..seeds {
        let mut random = StdRng::seed_from_u64(seed);
        let (before, after) = (Yard::new("power"), Yard::new("power"));
        let faults = Arc::new(Faults::default());
        let answered = a_day(&before.open(Seam::Test(Arc::clone(&faults)), durable)?, &faults, &mut random)?;
        let log = lock(&faults.log).clone();
        let cut = random.random_range(answered[0].0..=log.len());
        let root = fs::canonicalize(&before.0).map_err(|error| path::failed(&error))?;
        Platter::after(&log[..cut], honest).restore(&root, &after.0, &mut random).map_err(|error| path::failed(&error))?;

        let last = answered.iter().rposition(|(steps, _)| *steps <= cut).unwrap_or(0);
        // The one under way may have come as far as that, too.
        let under_way = &answered[(last + 1).min(answered.len() - 1)].1;
        let disk = after.open(Seam::Real, durable)?;
        for name in KEYS {
            let found = disk.get(&key(name))?.map(|entry| entry.value);
            let tell = || format!("seed {seed}, {honest:?}, durable: {durable}, `{name}` after {cut} of {} steps", log.len());
            let ever = answered[..=last].iter().map(|(_, state)| &state[name]).chain([&under_way[name]]);
            assert!(found.is_none() || ever.clone().any(|value| *value == found), "{}: {found:?} was never stored", tell());
            if durable && honest.files && honest.folders {
                let allowed = [&answered[last].1[name], &under_way[name]];
                assert!(allowed.contains(&&found), "{}: {found:?} instead of {allowed:?}", tell());
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
        assert_eq!(disk.stats().current_entries, Some(3));
    }
    Ok(seen)
}

/// 60 power cuts in each mode (500 in the release check: set `STEADFAST_POWER_CUTS`).
#[test]
fn h116_a_power_cut_leaves_whole_values_or_none() -> Result<(), StoreError> {
    let seeds = std::env::var("STEADFAST_POWER_CUTS").ok().and_then(|cuts| cuts.parse().ok()).unwrap_or(60);
    for (files, folders) in [(true, true), (true, false), (false, true), (false, false)] {
        for durable in [true, false] {
            let seen = power_cuts(Honest { files, folders }, durable, seeds)?;
            println!("files synced: {}, folders synced: {}: {seen:?}", files && durable, folders && durable);
            // Else the test would see no torn value if there were one.
            assert!(seen.new > 0 && seen.miss > 0 && (seen.corrupt > 0 || (files && durable)), "{seen:?}");
        }
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

#[test]
fn the_model_of_a_disk_forgets_what_was_not_synced() -> io::Result<()> {
    let (from, to) = (Path::new("/r"), Yard::new("model"));
    let (temp, place) = (from.join("t"), from.join("p"));
    let write = [Done::Create(temp.clone()), Done::Write(temp.clone(), vec![7; 2_000])];
    let publish = Done::Rename(temp.clone(), place.clone());
    let (whole, all) = (vec![7; 2_000], Honest { files: true, folders: true });
    let mut seen = BTreeSet::new();
    for (synced, settled) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut log = write.to_vec();
        log.extend(synced.then(|| Done::Sync(temp.clone())));
        log.push(publish.clone());
        log.extend(settled.then(|| Done::SyncFolder(from.into())));
        for seed in 0..40 {
            let mut random = StdRng::seed_from_u64(seed);
            let _ = fs::remove_dir_all(&to.0);
            Platter::after(&log, all).restore(from, &to.0, &mut random)?;
            let there = fs::read(to.0.join("p")).ok();
            seen.insert((synced, settled, there.is_some(), there.as_ref() == Some(&whole)));
        }
    }
    let expected = [
        (false, false, false, false),
        (false, false, true, false),
        (false, true, true, false),
        (true, false, false, false),
        (true, false, true, true),
        (true, true, true, true),
    ];
    assert!(expected.iter().all(|way| seen.contains(way)), "{seen:?}");
    assert!(!seen.contains(&(true, false, true, false)) && !seen.contains(&(true, true, false, false)), "{seen:?}");
    Ok(())
}
