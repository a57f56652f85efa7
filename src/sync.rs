//! The one place where locks and atomics come from, so that the same source runs under loom (`--cfg steadfast_loom`).

#[cfg(steadfast_loom)]
pub(crate) use loom::sync::{Mutex, MutexGuard, atomic};
#[cfg(not(steadfast_loom))]
pub(crate) use std::sync::{Mutex, MutexGuard, atomic};

use atomic::{AtomicU64, Ordering};

/// Locks, and goes on after a panic: every critical section here leaves its data whole at each step.
#[inline]
pub(crate) fn lock<T: ?Sized>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// As many shards as threads are likely to record at once, at most 8: beyond that memory costs more than contention.
#[cfg(not(steadfast_loom))]
pub(crate) const SHARDS: usize = 8;
#[cfg(steadfast_loom)]
pub(crate) const SHARDS: usize = 2;

/// Which shard this thread records in. Threads get theirs in turn, so the first [`SHARDS`] of them never meet.
#[cfg(not(steadfast_loom))]
#[inline]
pub(crate) fn shard() -> usize {
    use std::cell::Cell;
    static NEXT: std::sync::atomic::AtomicUsize = std::sync::atomic::AtomicUsize::new(0);
    thread_local!(static MINE: Cell<usize> = const { Cell::new(usize::MAX) });
    MINE.try_with(|mine| {
        if mine.get() == usize::MAX {
            mine.set(NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS);
        }
        mine.get()
    })
    .unwrap_or(0) // a thread on its way out records with the first
}

#[cfg(steadfast_loom)]
#[inline]
pub(crate) fn shard() -> usize {
    // loom numbers its threads from zero and forgets statics between models.
    0
}

/// A value alone on its cache lines, so that neighbours do not slow each other.
#[derive(Debug, Default)]
#[repr(align(128))]
pub(crate) struct Padded<T>(pub(crate) T);

/// One for each of so many threads, so that they write without meeting; who reads visits all.
#[derive(Debug)]
pub(crate) struct Shards<T>(Box<[Padded<T>]>);

impl<T: Default> Shards<T> {
    /// At least so many: a power of two.
    pub(crate) fn new(count: usize) -> Self {
        Self((0..count.max(1).next_power_of_two()).map(|_| Padded::default()).collect())
    }

    /// This thread's.
    #[inline]
    pub(crate) fn mine(&self) -> &T {
        // A power of two, see `new`: the mask keeps the index in bounds.
        &self.0[shard() & (self.0.len() - 1)].0
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|one| &one.0)
    }
}

/// A counter that many threads add to without waiting for each other.
#[derive(Debug, Default)]
pub(crate) struct Counter {
    shards: [Padded<AtomicU64>; SHARDS],
}

impl Counter {
    #[inline]
    pub(crate) fn add(&self, n: u64) {
        self.shards[shard()].0.fetch_add(n, Ordering::Relaxed);
    }

    pub(crate) fn get(&self) -> u64 {
        self.shards.iter().fold(0, |sum, shard| sum.wrapping_add(shard.0.load(Ordering::Relaxed)))
    }

    #[inline]
    pub(crate) fn reset(&self) {
        self.shards.iter().for_each(|shard| shard.0.store(0, Ordering::Relaxed));
    }
}

#[cfg(all(test, not(steadfast_loom)))]
mod tests {
    use super::*;

    #[test]
    fn a_counter_adds_up_over_threads() {
        let counter = Counter::default();
        std::thread::scope(|scope| (0..4).for_each(|_| drop(scope.spawn(|| (0..100).for_each(|_| counter.add(2))))));
        assert_eq!(counter.get(), 800);
        counter.reset();
        assert_eq!(counter.get(), 0);
    }
}
