//! What the store does to the file system, in one place: so that a test can let each step fail, or be the last, or be forgotten by a power cut.

#[cfg(all(test, unix))]
use super::faults::Faults;
use std::fs::{self, File};
use std::io::{self, Write};
use std::path::Path;
#[cfg(all(test, unix))]
use std::sync::Arc;

/// The file system itself, or a test's word on each step.
#[derive(Clone, Debug, Default)]
pub(super) enum Seam {
    #[default]
    Real,
    #[cfg(all(test, unix))]
    Test(Arc<Faults>),
}

/// One of the steps that writes are made of.
#[cfg_attr(not(all(test, unix)), expect(dead_code, reason = "only tests look into these"))]
#[derive(Clone, Copy, Debug)]
pub(super) enum Step<'a> {
    Create(&'a Path),
    Write(&'a Path, &'a [u8]),
    Sync(&'a Path),
    Rename(&'a Path, &'a Path),
    Link(&'a Path, &'a Path),
    Unlink(&'a Path),
    Folder(&'a Path),
    SyncFolder(&'a Path),
    Open,
    List,
}

impl Seam {
    pub(super) fn step<T>(&self, step: Step<'_>, work: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
        match self {
            Self::Real => {
                let _ = step;
                work()
            }
            #[cfg(all(test, unix))]
            Self::Test(faults) => {
                faults.before(step)?;
                let done = work()?;
                faults.after(step);
                Ok(done)
            }
        }
    }

    pub(super) fn write(&self, path: &Path, file: &mut File, bytes: &[u8]) -> io::Result<()> {
        #[cfg(all(test, unix))]
        if let Self::Test(faults) = self
            && let Some(fits) = faults.cut(bytes.len())
        {
            self.step(Step::Write(path, &bytes[..fits]), || file.write_all(&bytes[..fits]))?;
            return Err(faults.after_cut());
        }
        self.step(Step::Write(path, bytes), || file.write_all(bytes))
    }

    pub(super) fn sync(&self, path: &Path, file: &File) -> io::Result<()> {
        self.step(Step::Sync(path), || if self.is_real() { file.sync_all() } else { Ok(()) })
    }

    pub(super) fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(Step::Rename(from, to), || fs::rename(from, to))
    }

    pub(super) fn link(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.step(Step::Link(from, to), || fs::hard_link(from, to))
    }

    pub(super) fn unlink(&self, path: &Path) -> io::Result<()> {
        self.step(Step::Unlink(path), || fs::remove_file(path))
    }

    /// Makes the names in a folder survive a power cut.
    pub(super) fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        // Only Unix can open a folder.
        if cfg!(unix) {
            self.step(Step::SyncFolder(folder), || {
                File::open(folder).and_then(|file| if self.is_real() { file.sync_all() } else { Ok(()) })
            })
        } else {
            Ok(())
        }
    }

    /// A test's disk is a model of one, and waits for no other.
    const fn is_real(&self) -> bool {
        matches!(self, Self::Real)
    }

    /// Which process this is, for the names of its files.
    pub(super) fn process(&self) -> u32 {
        match self {
            Self::Real => std::process::id(),
            // Tests stop in the middle, as if they were dead, and no process has this number.
            #[cfg(all(test, unix))]
            Self::Test(_) => u32::MAX,
        }
    }
}
