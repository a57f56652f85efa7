//! Who of this process is first at a key.

use crate::store::Key;
use crate::sync::{Mutex, lock};
use std::collections::HashMap;
use std::sync::Arc;
use tokio::sync::{Mutex as Line, OwnedMutexGuard};

/// A line at each key, in the order of coming, as tokio's mutex has it. A key without one has no line.
#[derive(Clone, Default)]
pub(super) struct Lines(Arc<Mutex<HashMap<Key, Arc<Line<()>>>>>);

/// The turn at a key. Dropped, the next has it.
pub(super) struct Turn {
    lines: Lines,
    key: Key,
    guard: Option<OwnedMutexGuard<()>>,
}

impl Lines {
    fn line(&self, key: &Key) -> Arc<Line<()>> {
        Arc::clone(lock(&self.0).entry(key.clone()).or_default())
    }

    /// The turn, if nobody has it.
    pub(super) fn try_enter(&self, key: &Key) -> Option<Turn> {
        let guard = self.line(key).try_lock_owned();
        let turn = Turn { lines: self.clone(), key: key.clone(), guard: guard.ok() };
        turn.guard.is_some().then_some(turn)
    }

    /// The turn, after all who came before.
    pub(super) async fn enter(&self, key: &Key) -> Turn {
        // Made before the wait, so that one who gives up leaves nothing.
        let mut turn = Turn { lines: self.clone(), key: key.clone(), guard: None };
        turn.guard = Some(self.line(key).lock_owned().await);
        turn
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        drop(self.guard.take());
        let mut lines = lock(&self.lines.0);
        // Only the table has it: nobody is in line, and nobody can come while the table is locked.
        if lines.get(&self.key).is_some_and(|line| Arc::strong_count(line) == 1) {
            lines.remove(&self.key);
        }
    }
}
