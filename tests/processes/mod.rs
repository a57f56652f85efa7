//! Directories of a test's own, and other processes: this test binary again, in another role.
#![allow(dead_code, reason = "each test file uses a part of it")]
#![allow(clippy::unwrap_used, reason = "a test may panic")]

use std::ffi::OsStr;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

/// Long enough for a busy machine, short enough for a test that hangs to be seen.
const PATIENCE: Duration = Duration::from_secs(120);
const ROLE: &str = "STEADFAST_TEST_ROLE";

/// A directory of a test's own, there and empty, and gone with it.
pub(crate) struct Dir {
    path: PathBuf,
    is_mine: bool,
}

impl Dir {
    pub(crate) fn new(name: &str) -> Self {
        static NUMBER: AtomicU64 = AtomicU64::new(0);
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("steadfast-{name}-{}-{number}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir_all(&path).unwrap();
        Self { path, is_mine: true }
    }

    /// Another process's, which it stays.
    pub(crate) fn of_parent(path: impl Into<PathBuf>) -> Self {
        Self { path: path.into(), is_mine: false }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn join(&self, name: impl AsRef<Path>) -> PathBuf {
        self.path.join(name)
    }

    /// Every file in it, in folders as well.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        fn walk(dir: &Path, found: &mut Vec<PathBuf>) {
            for entry in fs::read_dir(dir).into_iter().flatten().flatten() {
                // What is gone again is no file.
                let Ok(kind) = entry.file_type() else { continue };
                if kind.is_dir() { walk(&entry.path(), found) } else { found.push(entry.path()) }
            }
        }
        let mut found = Vec::new();
        walk(&self.path, &mut found);
        found
    }
}

impl Drop for Dir {
    fn drop(&mut self) {
        if self.is_mine {
            let _ = fs::remove_dir_all(&self.path);
        }
    }
}

/// Another process; killed when the test ends before it.
pub(crate) struct Process(Child);

impl Process {
    /// This test binary again: it runs only `test`, which finds its role and these variables.
    pub(crate) fn start<V: AsRef<OsStr>>(test: &str, role: &str, variables: impl IntoIterator<Item = (&'static str, V)>) -> Self {
        let mut command = Command::new(std::env::current_exe().unwrap());
        command.args([test, "--exact", "--nocapture", "--test-threads=1"]).env(ROLE, role).envs(variables);
        Self(command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::inherit()).spawn().unwrap())
    }

    /// `kill -9`, and until it is dead.
    pub(crate) fn kill(mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }

    /// Waits for a good end, and tells what it has said. Little: it stands still when the pipe is full. Blocks.
    pub(crate) fn said(mut self) -> String {
        let begun = Instant::now();
        let status = loop {
            if let Some(status) = self.0.try_wait().unwrap() {
                break status;
            }
            assert!(begun.elapsed() < PATIENCE, "the other process does not end");
            std::thread::sleep(Duration::from_millis(5));
        };
        let mut said = String::new();
        std::io::Read::read_to_string(self.0.stdout.as_mut().unwrap(), &mut said).unwrap();
        assert!(status.success(), "the other process failed, and said: {said}");
        said
    }

    /// The number it has said as `name=7`.
    pub(crate) fn number(self, name: &str) -> u32 {
        let said = self.said();
        let number = said.split(&format!("{name}=")).nth(1).and_then(|rest| rest.split_whitespace().next()?.parse().ok());
        number.unwrap_or_else(|| panic!("no {name} in: {said}"))
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill(); // dead already, as a rule
        let _ = self.0.wait();
    }
}

/// What this process was started for; `None` in the one that `cargo` has started.
pub(crate) fn role() -> Option<String> {
    std::env::var(ROLE).ok()
}

/// What it was told besides.
pub(crate) fn told(variable: &str) -> String {
    std::env::var(variable).unwrap_or_else(|_| panic!("{variable} was not told"))
}
