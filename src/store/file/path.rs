//! The directory, its folders, and the names in it.

use super::NAME;
use super::seam::{Seam, Step};
use crate::store::{Key, StoreError, StoreErrorKind};
use crate::sync::{Mutex, lock};
use std::collections::HashSet;
use std::fs::{self, File, Metadata, OpenOptions};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, SystemTime};

const SUFFIX: &str = ".v1";
const TEMP: &str = "tmp";
/// A file in `tmp/` older than this belongs to nobody any more, whoever made it.
const ORPHANED: Duration = Duration::from_secs(60 * 60);

pub(super) fn failed(error: &io::Error) -> StoreError {
    StoreError::io(NAME, error)
}

/// Which file it is, so that nobody removes another one of the same name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Identity(u64, u64);

impl Identity {
    #[cfg(unix)]
    pub(super) fn of(metadata: &Metadata) -> Self {
        use std::os::unix::fs::MetadataExt;
        Self(metadata.dev(), metadata.ino())
    }
    /// Elsewhere, as good as there is without opening it again.
    #[cfg(not(unix))]
    pub(super) fn of(metadata: &Metadata) -> Self {
        let made = metadata.modified().ok().and_then(|at| at.duration_since(SystemTime::UNIX_EPOCH).ok()).unwrap_or_default();
        Self(metadata.len(), made.as_nanos() as u64)
    }
}

/// Where things are.
#[derive(Debug)]
pub(super) struct Layout {
    root: PathBuf,
    pub(super) seam: Seam,
    /// Whether what is done survives a power cut.
    durable: bool,
    /// Folders whose own names survive a power cut.
    settled: Mutex<HashSet<PathBuf>>,
    /// How the names of this process's temporary files begin: its process namespace and id.
    own: String,
    numbers: AtomicU64,
}

#[cfg(unix)]
fn private_dir(path: &Path, recursive: bool) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().mode(0o700).recursive(recursive).create(path)
}

#[cfg(not(unix))]
fn private_dir(path: &Path, recursive: bool) -> io::Result<()> {
    fs::DirBuilder::new().recursive(recursive).create(path)
}

/// Makes the folder, with all those above it. Durably, as far as we may look into the one above the first that is new.
fn root_dir(dir: &Path, durable: bool) -> io::Result<()> {
    let new = dir.ancestors().take_while(|folder| durable && !folder.exists());
    let above: Vec<&Path> = new.filter_map(Path::parent).collect();
    private_dir(dir, true)?;
    for folder in above {
        let path = if folder.as_os_str().is_empty() { Path::new(".") } else { folder };
        let _ = Seam::Real.sync_folder(path); // a folder of somebody else's, perhaps
    }
    Ok(())
}

/// Opens a new file for writing. `create_new` follows no link.
fn create(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create_new(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::mode(&mut options, 0o600);
    options.open(path)
}

/// Opens a file for reading: no link, and no pipe that would keep the thread waiting for a writer.
pub(super) fn open(path: &Path) -> io::Result<(File, Metadata)> {
    let mut options = OpenOptions::new();
    options.read(true);
    #[cfg(unix)]
    std::os::unix::fs::OpenOptionsExt::custom_flags(&mut options, libc::O_NOFOLLOW | libc::O_NONBLOCK);
    let file = options.open(path)?;
    let metadata = file.metadata()?;
    Ok((file, metadata))
}

/// Where pids are unique, as Linux names it; elsewhere nobody knows, and only age tells.
fn namespace() -> Option<String> {
    let link = fs::read_link("/proc/self/ns/pid").ok()?;
    Some(link.to_string_lossy().chars().filter(char::is_ascii_digit).collect())
}

impl Layout {
    /// Makes what is not there, and makes sure that it is nobody else's.
    pub(super) fn open(dir: &Path, durable: bool, seam: Seam) -> Result<Self, StoreError> {
        root_dir(dir, durable).map_err(|error| failed(&error))?;
        let root = fs::canonicalize(dir).map_err(|error| failed(&error))?;
        let own = format!("{}-{}", namespace().unwrap_or_else(|| "0".into()), seam.process());
        let layout = Self { root, seam, durable, settled: Mutex::default(), own, numbers: AtomicU64::new(0) };
        layout.folder(&layout.temp_dir()).map_err(|error| failed(&error))?;
        layout.check_owner()?;
        layout.sweep();
        Ok(layout)
    }

    #[cfg(unix)]
    fn check_owner(&self) -> Result<(), StoreError> {
        use std::os::unix::fs::MetadataExt;
        let denied = |why| Err(StoreError::new(StoreErrorKind::Denied).in_store(NAME).with_detail(why));
        // Whoever we are, a file that we make is ours.
        let (ours, root) = match self.temporary().and_then(|temp| Ok((temp.file.metadata()?, fs::metadata(&self.root)?))) {
            Ok(both) => both,
            Err(error) => return Err(failed(&error)),
        };
        if root.uid() != ours.uid() {
            return denied("the directory belongs to another user");
        }
        if root.mode() & 0o022 != 0 {
            return denied("others may write to the directory; chmod 700 would do");
        }
        Ok(())
    }

    #[cfg(not(unix))]
    fn check_owner(&self) -> Result<(), StoreError> {
        self.temporary().map(drop).map_err(|error| failed(&error))
    }

    /// Makes a folder in the root, if it is not there.
    fn folder(&self, path: &Path) -> io::Result<()> {
        match self.seam.step(Step::Folder(path), || private_dir(path, false)) {
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                // A link to elsewhere is no folder of ours.
                if fs::symlink_metadata(path)?.is_dir() { Ok(()) } else { Err(io::ErrorKind::NotADirectory.into()) }
            }
            made => {
                lock(&self.settled).remove(path);
                made
            }
        }
    }

    fn temp_dir(&self) -> PathBuf {
        self.root.join(TEMP)
    }

    /// Where the value of a key is, whether or not there is one.
    pub(super) fn path(&self, key: &Key) -> PathBuf {
        let digest = key.digest();
        let (shard, name) = digest.split_at(2);
        self.root.join(shard).join([name, SUFFIX].concat())
    }

    /// A name in `tmp/` that nobody else uses.
    fn temp_path(&self) -> PathBuf {
        let number = self.numbers.fetch_add(1, Ordering::Relaxed);
        self.temp_dir().join(format!("{}-{number}-{:08x}", self.own, rand::random::<u32>()))
    }

    pub(super) fn temporary(&self) -> io::Result<Temporary> {
        let path = self.temp_path();
        let create = || self.seam.step(Step::Create(&path), || create(&path));
        let file = match create() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.folder(&self.temp_dir())?;
                create()?
            }
            created => created?,
        };
        Ok(Temporary { path, file, seam: self.seam.clone() })
    }

    /// Moves a temporary file into place, over what is there.
    pub(super) fn publish(&self, temp: &Temporary, to: &Path) -> io::Result<()> {
        self.in_folder(to, || self.seam.rename(&temp.path, to))
    }

    /// Puts a temporary file into place, if nothing is there.
    pub(super) fn publish_new(&self, temp: &Temporary, to: &Path) -> io::Result<()> {
        self.in_folder(to, || self.seam.link(&temp.path, to))
    }

    /// Does it, and once more with the folder made if that was what was missing.
    fn in_folder(&self, path: &Path, work: impl Fn() -> io::Result<()>) -> io::Result<()> {
        match work() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                self.folder(path.parent().unwrap_or(&self.root))?;
                work()
            }
            done => done,
        }
    }

    /// Takes away what is at `path`, and nothing that came there since: its length, if it was `identity`. Of several who try, one does it.
    pub(super) fn remove(&self, path: &Path, identity: Option<Identity>) -> io::Result<Option<u64>> {
        let away = self.temp_path();
        match self.seam.rename(path, &away) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            moved => moved?,
        }
        let taken = fs::symlink_metadata(&away)?;
        if identity.is_some_and(|identity| identity != Identity::of(&taken)) {
            // Another one: back to its place, unless a third is there by now.
            match self.seam.link(&away, path) {
                Err(error) if error.kind() != io::ErrorKind::AlreadyExists => self.seam.rename(&away, path)?,
                _ => self.seam.unlink(&away)?,
            }
            return Ok(None);
        }
        // It is gone from its place; what cannot be removed now is swept some time.
        let _ = if taken.is_dir() { fs::remove_dir_all(&away) } else { self.seam.unlink(&away) };
        Ok(Some(taken.len()))
    }

    /// Every folder of values.
    pub(super) fn shards(&self) -> io::Result<Vec<PathBuf>> {
        let mut shards = Vec::new();
        for entry in self.seam.step(Step::List, || fs::read_dir(&self.root))? {
            let entry = entry?;
            let name = entry.file_name();
            let is_shard = name.len() == 2 && is_hex(name.as_encoded_bytes());
            if is_shard && entry.file_type()?.is_dir() {
                shards.push(entry.path());
            }
        }
        Ok(shards)
    }

    /// Every file of values in one folder. A folder that is gone has none.
    pub(super) fn files(&self, shard: &Path) -> io::Result<Vec<PathBuf>> {
        let mut files = Vec::new();
        let entries = match self.seam.step(Step::List, || fs::read_dir(shard)) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(files),
            entries => entries?,
        };
        for entry in entries {
            let entry = entry?;
            let name = entry.file_name();
            let is_value = name.as_encoded_bytes().strip_suffix(SUFFIX.as_bytes()).is_some_and(|hex| hex.len() == 62 && is_hex(hex));
            if is_value {
                files.push(entry.path());
            }
        }
        Ok(files)
    }

    /// Syncs the folder of `path`, so that what became of a name in it survives a power cut; if that was asked for.
    pub(super) fn settle(&self, path: &Path) -> io::Result<()> {
        if !self.durable {
            return Ok(());
        }
        let folder = path.parent().unwrap_or(&self.root);
        match self.seam.sync_folder(folder) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()), // gone, with all names in it
            synced => synced?,
        }
        // The folder is itself a name, which somebody may have made just now, in another process, even.
        if !lock(&self.settled).contains(folder) {
            self.seam.sync_folder(&self.root)?;
            lock(&self.settled).insert(folder.to_owned());
        }
        Ok(())
    }

    /// Removes what writers left who were killed: those of processes that are no more, and whatever is older than an hour.
    fn sweep(&self) {
        let Ok(entries) = fs::read_dir(self.temp_dir()) else { return };
        for entry in entries.flatten() {
            let old = entry
                .metadata()
                .and_then(|metadata| metadata.modified())
                .is_ok_and(|at| SystemTime::now().duration_since(at).is_ok_and(|age| age > ORPHANED));
            if old || self.is_of_the_dead(&entry.file_name().to_string_lossy()) {
                let _ = fs::remove_file(entry.path()); // somebody else may be sweeping, too
            }
        }
    }

    fn is_of_the_dead(&self, name: &str) -> bool {
        let mut parts = name.split('-');
        let (Some(space), Some(pid)) = (parts.next(), parts.next().and_then(|pid| pid.parse::<u32>().ok())) else { return false };
        // In another container the same number is another process.
        namespace().as_deref() == Some(space) && !Path::new("/proc").join(pid.to_string()).exists()
    }
}

fn is_hex(bytes: &[u8]) -> bool {
    bytes.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// A file being written. Dropped, it is gone; what was renamed or linked from it stays.
#[derive(Debug)]
pub(super) struct Temporary {
    path: PathBuf,
    file: File,
    seam: Seam,
}

impl Temporary {
    pub(super) fn write(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.seam.write(&self.path, &mut self.file, bytes)
    }

    pub(super) fn sync(&self) -> io::Result<()> {
        self.seam.sync(&self.path, &self.file)
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }
}

impl Drop for Temporary {
    fn drop(&mut self) {
        let _ = self.seam.unlink(&self.path); // mostly renamed by now
    }
}
