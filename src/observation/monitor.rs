//! Counts what happens and how long it takes, under names.
//!
//! In a pipeline (`.monitor(..)`) each call and each attempt is recorded under the pipeline's name; several pipelines may share one monitor, and
//! then print as one table. Alone, it times any future or stretch of code, errors and all. Not for tracing single calls: events and spans do that.
//!
//! Recording takes one lock that no other thread wants and two histogram entries, some tens of nanoseconds, and allocates nothing once the first calls are
//! through. See [`Stats`](crate::Stats) for what is counted and [`Latency`](crate::Latency) for how exactly.
//!
//! ```
//! # #[tokio::main(flavor = "current_thread")] async fn main() {
//! use steadfast::Monitor;
//!
//! let monitor = Monitor::new();
//! let rows = monitor.track("db.query", async { Ok::<_, std::io::Error>(3) }).await; // the result comes through untouched
//!
//! let timer = monitor.timer("render"); // dropped without a word, it counts as abandoned
//! timer.success();
//!
//! println!("{}", monitor.report());
//! # assert_eq!(rows.unwrap(), 3);
//! # assert_eq!(monitor.report().len(), 2);
//! # }
//! ```

use super::names::{clean, clean_arc};
use super::recorder::Recorder;
use super::report::{Report, Snapshot};
use super::stats::CallEnd;
use crate::sorted::Sorted;
use crate::sync::{Mutex, Padded, SHARDS, lock, shard};
use pin_project_lite::pin_project;
use std::collections::HashMap;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;
use tokio::time::Instant;

/// A recorder as one shard knows it: the outer count is that shard's own, so that threads do not meet in it.
type Near = Arc<Arc<Recorder>>;
type NearNames = Padded<Mutex<HashMap<Arc<str>, Near>>>;

struct Inner {
    epoch: Instant,
    max_names: usize,
    names: Mutex<Sorted<Arc<Recorder>>>,
    near: [NearNames; SHARDS],
}

/// A table of named recorders. A cheap handle: clones share the table.
///
/// Names are few and chosen by the programmer; a key or an address is not a name. Past 1,000 of them (see [`with_max_names`](Self::with_max_names)) all
/// further ones are counted together as `other`, and control characters in a name are escaped.
#[derive(Clone)]
pub struct Monitor(Arc<Inner>);

impl Monitor {
    /// Where names past the bound are counted.
    pub const OTHER: &'static str = "other";

    /// An empty one.
    #[must_use]
    #[inline]
    pub fn new() -> Self {
        Self::with_max_names(1_000)
    }

    /// An empty one that keeps at most so many names apart, and counts all further ones as [`OTHER`](Self::OTHER). A name takes some tens of KiB,
    /// and at most 1.1 MiB. **Default**: 1,000.
    #[must_use]
    #[inline]
    pub fn with_max_names(max_names: usize) -> Self {
        Self(Arc::new(Inner {
            epoch: Instant::now(),
            max_names,
            names: Mutex::default(),
            near: std::array::from_fn(|_| Padded(Mutex::default())),
        }))
    }

    /// Times `future` under `name`, from its first poll to its end, and passes its result on. `Err` counts as a failure, a panic as one, and a
    /// future dropped before its end as abandoned. One that was never polled never began, and is not counted.
    ///
    /// # Cancel safety
    /// As cancel safe as `future`.
    pub fn track<F>(&self, name: &str, future: F) -> Track<F> {
        Track { future, recorder: self.near(name), started: None }
    }

    /// Times what comes until the timer is told how it went. Dropped without that, it counts as abandoned, or as panicked where a panic dropped it.
    #[inline]
    pub fn timer(&self, name: &str) -> Timer {
        Timer { recorder: Some(self.near(name)), started: Instant::now() }
    }

    /// What happened under this name; `None` when it was never used, or is one of those counted as [`OTHER`](Self::OTHER).
    #[must_use]
    #[inline]
    pub fn stats(&self, name: &str) -> Option<Snapshot> {
        let recorder = lock(&self.0.names).get(&clean(name)).cloned()?;
        Some(recorder.snapshot(Instant::now()))
    }

    /// What happened under every name, in the order of the alphabet.
    #[must_use]
    #[inline]
    pub fn report(&self) -> Report {
        let now = Instant::now();
        Report { rows: self.recorders().iter().map(|recorder| recorder.snapshot(now)).collect() }
    }

    /// Forgets all calls, and keeps the names.
    #[inline]
    pub fn reset(&self) {
        self.recorders().iter().for_each(|recorder| recorder.reset());
    }

    /// The recorder of `name`, made at the first call. Pipelines ask once, when they are built.
    pub(crate) fn recorder(&self, name: &str) -> Arc<Recorder> {
        self.find(&clean_arc(name))
    }

    #[inline]
    fn recorders(&self) -> Vec<Arc<Recorder>> {
        lock(&self.0.names).iter().map(|(_, recorder)| Arc::clone(recorder)).collect()
    }

    fn find(&self, name: &Arc<str>) -> Arc<Recorder> {
        let mut names = lock(&self.0.names);
        if let Some(known) = names.get(name) {
            return Arc::clone(known);
        }
        let others = usize::from(names.get(Self::OTHER).is_some()); // `other` itself does not count
        let name = if names.len() - others < self.0.max_names { Arc::clone(name) } else { Arc::from(Self::OTHER) };
        if let Some(other) = names.get(&name) {
            return Arc::clone(other);
        }
        let recorder = Arc::new(Recorder::new(Arc::clone(&name), self.0.epoch));
        names.insert(name, Arc::clone(&recorder));
        recorder
    }

    #[inline]
    fn near(&self, name: &str) -> Near {
        let near = &self.0.near[shard()].0;
        if let Some(known) = lock(near).get(name) {
            return Arc::clone(known);
        }
        let key = clean_arc(name);
        let recorder = Arc::new(self.find(&key));
        // Only real names, so that this is bounded as the table is.
        if **recorder.name() == *name {
            return Arc::clone(lock(near).entry(key).or_insert(recorder));
        }
        recorder
    }
}

impl Default for Monitor {
    #[inline]
    fn default() -> Self {
        Self::new()
    }
}

impl fmt::Debug for Monitor {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names = lock(&self.0.names).len();
        f.debug_struct("Monitor").field("names", &names).field("max_names", &self.0.max_names).finish()
    }
}

fn record(recorder: &Recorder, end: CallEnd, started: Instant) {
    let now = Instant::now();
    recorder.record_call(end, 1, now.saturating_duration_since(started), now);
}

pin_project! {
    /// A future that is being timed. See [`Monitor::track`].
    #[must_use = "futures do nothing unless polled"]
    pub struct Track<F> {
        #[pin]
        future: F,
        recorder: Near,
        // From the first poll until the end.
        started: Option<Instant>,
    }

    impl<F> PinnedDrop for Track<F> {
        fn drop(this: Pin<&mut Self>) {
            let this = this.project();
            if let Some(started) = this.started.take() {
                record(this.recorder, CallEnd::Abandoned, started);
            }
        }
    }
}

impl<T, E, F: Future<Output = Result<T, E>>> Future for Track<F> {
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        /// Drops only when the future panics: whoever catches that may drop the rest much later.
        struct Polling<'a>(&'a Recorder, &'a mut Option<Instant>);
        impl Drop for Polling<'_> {
            fn drop(&mut self) {
                if let Some(started) = self.1.take() {
                    record(self.0, CallEnd::Panicked, started);
                }
            }
        }

        let this = self.project();
        this.started.get_or_insert_with(Instant::now);
        let polling = Polling(this.recorder, this.started);
        let poll = this.future.poll(cx);
        let started = polling.1.take();
        drop(polling);
        if poll.is_pending() {
            *this.started = started;
        }
        let result = ready!(poll);
        if let Some(started) = started {
            record(this.recorder, if result.is_ok() { CallEnd::Success } else { CallEnd::Failure }, started);
        }
        Poll::Ready(result)
    }
}

impl<F> fmt::Debug for Track<F> {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Track").field("name", self.recorder.name()).field("started", &self.started.is_some()).finish_non_exhaustive()
    }
}

/// A running timer. See [`Monitor::timer`].
#[must_use = "a timer that is dropped at once counts as abandoned"]
pub struct Timer {
    recorder: Option<Near>,
    started: Instant,
}

impl Timer {
    /// How long it has been running. May be read at any time.
    #[must_use]
    #[inline]
    pub fn elapsed(&self) -> Duration {
        self.started.elapsed()
    }

    /// It went well.
    #[inline]
    pub fn success(self) {
        self.end(CallEnd::Success);
    }

    /// It failed. Errors are timed, too.
    #[inline]
    pub fn failure(self) {
        self.end(CallEnd::Failure);
    }

    #[inline]
    fn end(mut self, end: CallEnd) {
        if let Some(recorder) = self.recorder.take() {
            record(&recorder, end, self.started);
        }
    }
}

impl Drop for Timer {
    #[inline]
    fn drop(&mut self) {
        if let Some(recorder) = self.recorder.take() {
            record(&recorder, if std::thread::panicking() { CallEnd::Panicked } else { CallEnd::Abandoned }, self.started);
        }
    }
}

impl fmt::Debug for Timer {
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = self.recorder.as_ref().map(|recorder| recorder.name());
        f.debug_struct("Timer").field("name", &name).field("elapsed", &self.elapsed()).finish()
    }
}
