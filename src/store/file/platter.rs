//! A disk that loses power: of what was not synced it keeps what it likes, block by block and name by name.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

/// A step that was done, as far as a power cut cares.
#[derive(Clone, Debug)]
pub(super) enum Done {
    Create(PathBuf),
    Write(PathBuf, Vec<u8>),
    Sync(PathBuf),
    Rename(PathBuf, PathBuf),
    Link(PathBuf, PathBuf),
    Unlink(PathBuf),
    Folder(PathBuf),
    SyncFolder(PathBuf),
}

/// Which syncs the disk keeps its word on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Honest {
    pub(super) files: bool,
    pub(super) folders: bool,
}

/// Blocks of a disk: each is written whole or not at all.
const BLOCK: usize = 512;

/// What a disk may have of a file or a name: as it was at the last sync, and as it was after each step since.
type Versions<T> = Vec<T>;

/// Any of them; mostly the last, as disks are not idle.
fn some_version(versions: usize, random: &mut StdRng) -> usize {
    if random.random_bool(0.6) { versions - 1 } else { random.random_range(0..versions) }
}

#[derive(Default)]
pub(super) struct Platter {
    files: Vec<Versions<Vec<u8>>>,
    names: BTreeMap<PathBuf, Versions<Option<usize>>>,
    folders: BTreeSet<PathBuf>,
}

impl Platter {
    pub(super) fn after(log: &[Done], honest: Honest) -> Self {
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
    pub(super) fn restore(&self, from: &Path, to: &Path, random: &mut StdRng) -> io::Result<()> {
        use std::os::unix::fs::DirBuilderExt;
        let folder = |path: &Path| fs::DirBuilder::new().mode(0o700).recursive(true).create(path);
        folder(to)?;
        let kept: Vec<(&Path, usize)> = self
            .names
            .iter()
            .filter_map(|(path, versions)| Some((path.as_path(), versions[some_version(versions.len(), random)]?)))
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
        let pick = |random: &mut StdRng| &versions[some_version(versions.len(), random)];
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

#[test]
fn the_model_of_a_disk_forgets_what_was_not_synced() -> io::Result<()> {
    let (from, to) = (Path::new("/r"), std::env::temp_dir().join(format!("steadfast-model-{:016x}", rand::random::<u64>())));
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
            let _ = fs::remove_dir_all(&to);
            Platter::after(&log, all).restore(from, &to, &mut random)?;
            let there = fs::read(to.join("p")).ok();
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
    fs::remove_dir_all(to)
}
