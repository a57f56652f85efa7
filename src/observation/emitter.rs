//! Who is told: observers, the stream, `tracing`.

use super::event::Event;
use super::names::clean_arc;
use super::trace;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Counter, Mutex, lock};
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

/// Is told each event of a pipeline, after the fact and outside all locks, on the thread the call runs on.
///
/// Closures `Fn(&str, &Event)` are observers. Keep it short: the call waits meanwhile; slow work belongs behind the [`Events`] stream. A panic in it is
/// caught and counted, and the call goes on. While a panic unwinds, no observer is called.
pub trait Observer: Send + Sync + 'static {
    /// `pipeline` is the name of the pipeline in which `event` happened.
    fn on_event(&self, pipeline: &str, event: &Event);
}

impl<F: Fn(&str, &Event) + Send + Sync + 'static> Observer for F {
    fn on_event(&self, pipeline: &str, event: &Event) {
        self(pipeline, event);
    }
}

/// How many events wait for the slowest reader of a stream, before the oldest are dropped. A minute of a call that fails 17 times a second.
const CAPACITY: usize = 1_024;

/// Tells events of one pipeline.
pub(crate) struct Emitter {
    name: Arc<str>,
    /// Observers and open streams together: zero is idle.
    listeners: Arc<AtomicUsize>,
    observers: Mutex<Arc<[Arc<dyn Observer>]>>,
    stream: OnceLock<broadcast::Sender<Event>>,
    panics: Counter,
}

impl Emitter {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: clean_arc(name),
            listeners: Arc::default(),
            observers: Mutex::new(Arc::from([])),
            stream: OnceLock::new(),
            panics: Counter::default(),
        }
    }

    /// The pipeline's name, escaped.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn add(&self, observer: Arc<dyn Observer>) {
        let mut observers = lock(&self.observers);
        *observers = observers.iter().cloned().chain([observer]).collect();
        self.listeners.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether nobody listens, `tracing` included: then no event needs to be made. Two relaxed loads.
    #[inline]
    pub(crate) fn is_idle(&self) -> bool {
        self.listeners.load(Ordering::Relaxed) == 0 && !trace::is_on()
    }

    /// Tells the event, if anybody listens. Hold no lock here: observers and wakers run inside.
    #[inline]
    pub(crate) fn emit(&self, event: impl FnOnce() -> Event) {
        if !self.is_idle() {
            self.tell(&event(), true);
        }
    }

    /// Tells everybody but the observers, which are user code and have no place in a drop.
    #[inline]
    pub(crate) fn emit_unobserved(&self, event: impl FnOnce() -> Event) {
        if !self.is_idle() {
            self.tell(&event(), false);
        }
    }

    #[cold]
    #[inline(never)]
    fn tell(&self, event: &Event, observed: bool) {
        trace::trace(&self.name, event);
        if self.listeners.load(Ordering::Relaxed) == 0 {
            return;
        }
        // A second panic while one unwinds would abort the process.
        if observed && !std::thread::panicking() {
            let observers = Arc::clone(&lock(&self.observers));
            for observer in observers.iter() {
                if let Err(payload) = catch_unwind(AssertUnwindSafe(|| observer.on_event(&self.name, event))) {
                    self.panics.add(1);
                    // What a panic carries may panic in its own drop.
                    if let Err(worse) = catch_unwind(AssertUnwindSafe(|| drop(payload))) {
                        std::mem::forget(worse);
                    }
                }
            }
        }
        if let Some(stream) = self.stream.get() {
            let _ = stream.send(event.clone()); // an error means that nobody reads any more
        }
    }

    /// A new stream of the events from now on.
    pub(crate) fn subscribe(&self) -> Events {
        let receiver = self.stream.get_or_init(|| broadcast::Sender::new(CAPACITY)).subscribe();
        self.listeners.fetch_add(1, Ordering::Relaxed);
        Events { pipeline: Arc::clone(&self.name), receiver, missed: 0, listeners: Arc::clone(&self.listeners) }
    }

    /// How many times an observer panicked.
    pub(crate) fn observer_panics(&self) -> u64 {
        self.panics.get()
    }
}

impl fmt::Debug for Emitter {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let observers = lock(&self.observers).len();
        f.debug_struct("Emitter")
            .field("name", &self.name)
            .field("observers", &observers)
            .field("panics", &self.observer_panics())
            .finish_non_exhaustive()
    }
}

/// A stream of a pipeline's events, for work that takes its time. It never holds a call up: at most 1,024 events wait, and then the oldest are
/// dropped and counted.
#[must_use = "events wait here until they are read"]
pub struct Events {
    pipeline: Arc<str>,
    receiver: broadcast::Receiver<Event>,
    missed: u64,
    listeners: Arc<AtomicUsize>,
}

impl Events {
    /// The next event; `None` when the pipeline is gone and everything was read.
    ///
    /// # Cancel safety
    /// Dropping the future loses no event.
    pub async fn next(&mut self) -> Option<Event> {
        loop {
            match self.receiver.recv().await {
                Ok(event) => return Some(event),
                Err(RecvError::Lagged(missed)) => self.missed = self.missed.saturating_add(missed),
                Err(RecvError::Closed) => return None,
            }
        }
    }

    /// The next event if there is one now.
    pub fn try_next(&mut self) -> Option<Event> {
        loop {
            match self.receiver.try_recv() {
                Ok(event) => return Some(event),
                Err(TryRecvError::Lagged(missed)) => self.missed = self.missed.saturating_add(missed),
                Err(TryRecvError::Empty | TryRecvError::Closed) => return None,
            }
        }
    }

    /// How many events were dropped because this stream was not read fast enough. Grows when reading goes on.
    #[must_use]
    pub fn missed(&self) -> u64 {
        self.missed
    }

    /// The pipeline whose events these are.
    #[must_use]
    pub fn pipeline(&self) -> &str {
        &self.pipeline
    }
}

impl Drop for Events {
    fn drop(&mut self) {
        self.listeners.fetch_sub(1, Ordering::Relaxed);
    }
}

impl fmt::Debug for Events {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events")
            .field("pipeline", &self.pipeline)
            .field("waiting", &self.receiver.len())
            .field("missed", &self.missed)
            .finish_non_exhaustive()
    }
}
