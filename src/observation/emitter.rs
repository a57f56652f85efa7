//! Who is told: observers, the stream, `tracing`.

use super::event::Event;
use super::names::clean_arc;
use super::trace;
use crate::guarded::guarded;
use crate::sync::atomic::{AtomicUsize, Ordering};
use crate::sync::{Counter, Mutex, lock};
use std::fmt;
use std::sync::{Arc, OnceLock};
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::{RecvError, TryRecvError};

/// Is told each event of a pipeline, after the fact and outside all locks, on the thread the call runs on.
///
/// Closures `Fn(&str, &Event)` are observers. Keep it short: the call waits meanwhile; slow work belongs behind the [`Events`] stream. A panic in it is
/// caught and counted, and the call goes on. While a panic unwinds, or a call is dropped, no observer is called: the [`Events`] stream and
/// `tracing` are told.
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
    #[cfg(test)]
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    pub(crate) fn add(&self, observer: Arc<dyn Observer>) {
        let mut observers = lock(&self.observers);
        let mut all = observers.to_vec();
        all.push(observer);
        *observers = all.into();
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
                if guarded(|| observer.on_event(&self.name, event)).is_none() {
                    self.panics.add(1);
                }
            }
        }
        if let Some(stream) = self.stream.get() {
            let _ = stream.send(event.clone()); // an error means that nobody reads any more
        }
    }

    /// A new stream of the events from now on.
    #[inline]
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
    #[inline]
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
    #[inline]
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
    #[inline]
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Events")
            .field("pipeline", &self.pipeline)
            .field("waiting", &self.receiver.len())
            .field("missed", &self.missed)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observation::CallEnd;
    use crate::outcome::{Outcome, RejectedKind};
    use std::panic::{AssertUnwindSafe, catch_unwind};
    use std::sync::Mutex as StdMutex;
    use std::time::Duration;

    type Seen = Arc<StdMutex<Vec<String>>>;

    fn retry_stopped(attempts: u32) -> Event {
        Event::RetryStopped { attempts, reason: "budget" }
    }

    fn recording() -> (Seen, Arc<dyn Observer>) {
        let seen = Seen::default();
        let theirs = Arc::clone(&seen);
        (
            seen,
            Arc::new(move |pipeline: &str, event: &Event| {
                theirs.lock().unwrap_or_else(|e| e.into_inner()).push(format!("{pipeline} {event}"))
            }),
        )
    }

    fn listeners(emitter: &Emitter) -> usize {
        emitter.listeners.load(Ordering::Relaxed)
    }

    #[tokio::test(start_paused = true)]
    async fn observers_and_streams_are_told_in_order() {
        let emitter = Emitter::new("quotes");
        assert_eq!(listeners(&emitter), 0);
        emitter.emit(|| retry_stopped(0)); // before anybody listens
        let (seen, observer) = recording();
        emitter.add(observer);
        let mut events = emitter.subscribe();
        assert_eq!(listeners(&emitter), 2);
        emitter.emit(|| retry_stopped(1));
        emitter.emit(|| Event::Rejected { kind: RejectedKind::CircuitOpen, retry_after: None });
        assert_eq!(*lock_std(&seen), ["quotes no more retries after 1 (budget)", "quotes rejected: circuit_open"]);
        assert_eq!(events.next().await, Some(retry_stopped(1)));
        assert_eq!(events.try_next().map(|event| event.name()), Some("rejected"));
        assert_eq!(events.try_next(), None);
        assert_eq!((events.pipeline(), events.missed()), ("quotes", 0));
        drop(events);
        assert_eq!(listeners(&emitter), 1, "a closed stream costs nothing any more");
        let mut last = emitter.subscribe();
        emitter.emit(|| retry_stopped(2));
        drop(emitter);
        assert_eq!(last.next().await, Some(retry_stopped(2)));
        assert_eq!(last.next().await, None);
    }

    fn lock_std(seen: &Seen) -> std::sync::MutexGuard<'_, Vec<String>> {
        seen.lock().unwrap_or_else(|e| e.into_inner())
    }

    #[tokio::test(start_paused = true)]
    async fn h91_a_slow_reader_misses_the_oldest_and_is_told() {
        let emitter = Emitter::new("quotes");
        let (mut slow, mut quick) = (emitter.subscribe(), emitter.subscribe());
        let sent = 1_524_u32;
        for i in 0..sent {
            emitter.emit(|| retry_stopped(i));
            assert_eq!(quick.next().await, Some(retry_stopped(i)));
        }
        assert_eq!(slow.next().await, Some(retry_stopped(500)), "the oldest are gone");
        assert_eq!((slow.missed(), quick.missed()), (500, 0));
        let mut read = 1;
        while slow.try_next().is_some() {
            read += 1;
        }
        assert_eq!(read + slow.missed(), u64::from(sent));
    }

    #[tokio::test(start_paused = true)]
    async fn h91_a_waiting_reader_is_woken_and_a_cancelled_wait_loses_nothing() {
        let emitter = Arc::new(Emitter::new("quotes"));
        let mut events = emitter.subscribe();
        assert!(tokio::time::timeout(Duration::from_secs(1), events.next()).await.is_err());
        let reader = tokio::spawn(async move { events.next().await });
        tokio::task::yield_now().await;
        emitter.emit(|| retry_stopped(9));
        assert_eq!(reader.await.ok().flatten(), Some(retry_stopped(9)));
    }

    /// Panics again when what it carries is dropped.
    struct Bomb;
    impl Drop for Bomb {
        fn drop(&mut self) {
            if !std::thread::panicking() {
                std::panic::panic_any("and again");
            }
        }
    }

    #[test]
    fn h14_an_observer_that_panics_is_counted_and_the_others_are_told() {
        let emitter = Emitter::new("quotes");
        let (seen, observer) = recording();
        emitter.add(Arc::new(|_: &str, _: &Event| panic!("observer")));
        emitter.add(Arc::new(|_: &str, _: &Event| std::panic::panic_any(Bomb)));
        emitter.add(observer);
        emitter.emit(|| retry_stopped(1));
        assert_eq!((emitter.observer_panics(), lock_std(&seen).len()), (2, 1));
    }

    #[test]
    fn h14_no_observer_runs_while_a_panic_unwinds() {
        struct Late<'a>(&'a Emitter);
        impl Drop for Late<'_> {
            fn drop(&mut self) {
                self.0.emit(|| Event::CallFinished { end: CallEnd::Panicked, attempts: 1, elapsed: Duration::ZERO });
            }
        }
        let emitter = Emitter::new("quotes");
        let (seen, observer) = recording();
        emitter.add(Arc::new(|_: &str, _: &Event| panic!("observer")));
        emitter.add(observer);
        let mut events = emitter.subscribe();
        let unwound = catch_unwind(AssertUnwindSafe(|| {
            let _late = Late(&emitter);
            panic!("operation");
        }));
        assert!(unwound.is_err());
        assert_eq!((emitter.observer_panics(), lock_std(&seen).len()), (0, 0));
        assert_eq!(events.try_next().map(|event| event.name()), Some("call_finished"), "the stream runs no user code, and is told");
    }

    #[test]
    fn an_observer_may_use_the_emitter_it_observes() {
        let emitter = Arc::new(Emitter::new("quotes"));
        let inner = Arc::downgrade(&emitter);
        let (seen, observer) = recording();
        emitter.add(Arc::new(move |_: &str, event: &Event| {
            if let (Some(emitter), Event::RetryStopped { .. }) = (inner.upgrade(), event) {
                emitter.add(Arc::clone(&observer));
                emitter.emit(|| Event::Waited { policy: "bulkhead", waited: Duration::ZERO });
            }
        }));
        emitter.emit(|| retry_stopped(1));
        assert_eq!(*lock_std(&seen), ["quotes waited 0 ns for bulkhead"]);
    }

    #[derive(Clone, Default)]
    struct Lines(Arc<StdMutex<Vec<u8>>>);
    impl std::io::Write for Lines {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().unwrap_or_else(|e| e.into_inner()).extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn traced(level: tracing::Level, emit: impl FnOnce(&Emitter)) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let subscriber =
            tracing_subscriber::fmt().with_max_level(level).with_ansi(false).without_time().with_writer(move || writer.clone()).finish();
        tracing::subscriber::with_default(subscriber, || {
            let emitter = Emitter::new("quo\ntes");
            let _in_call = trace::call_span(emitter.name(), Some("ten\u{1b}ant")).entered();
            emit(&emitter);
        });
        String::from_utf8_lossy(&lines.0.lock().unwrap_or_else(|e| e.into_inner())).into_owned()
    }

    #[test]
    fn h85_traced_with_static_names_numbers_and_an_escaped_pipeline() {
        let elapsed = Duration::from_micros(1_500);
        let story = |emitter: &Emitter| {
            emitter.emit(|| Event::AttemptFailed { attempt: 1, outcome: Outcome::TimedOut, elapsed });
            emitter.emit(|| Event::Retrying { attempt: 1, delay: elapsed, cause: Outcome::TimedOut });
            emitter.emit(|| Event::CircuitChanged { from: "closed", to: "open", generation: 1 });
            emitter.emit(|| Event::Rejected { kind: RejectedKind::CircuitOpen, retry_after: None });
            emitter.emit(|| Event::CallFinished { end: CallEnd::Success, attempts: 2, elapsed });
        };
        let text = traced(tracing::Level::INFO, story);
        let lines: Vec<_> = text.lines().collect();
        assert_eq!(lines.len(), 3, "{text}");
        assert!(lines[0].trim_start().starts_with("WARN steadfast.call"), "{text}");
        assert!(
            lines[0].contains(r#"steadfast: attempt failed pipeline="quo\\ntes" attempt=1 outcome="timed_out" elapsed_ms=1.5"#),
            "{text}"
        );
        assert!(lines[0].contains(r#"key="ten\\u{1b}ant""#), "{text}");
        assert!(lines[1].contains("INFO") && lines[1].contains("delay_ms=1.5"), "{text}");
        assert!(lines[2].contains("ERROR") && lines[2].contains(r#"from="closed" to="open" generation=1"#), "{text}");
        let all = traced(tracing::Level::TRACE, story);
        assert_eq!(all.lines().count(), 5, "{all}");
        assert!(all.contains("TRACE") && all.contains(r#"end="success""#) && all.contains("DEBUG"), "{all}");
    }

    /// The levels are written beside each callsite, for that is how `tracing` wants them.
    #[test]
    fn r10_every_event_is_traced_at_the_level_of_its_severity() {
        let (elapsed, outcome) = (Duration::from_millis(1), Outcome::TimedOut);
        let finished = |end| Event::CallFinished { end, attempts: 1, elapsed };
        let events = [
            Event::AttemptFailed { attempt: 1, outcome, elapsed },
            Event::Retrying { attempt: 1, delay: elapsed, cause: outcome },
            Event::Hedged { leg: 1, after: elapsed },
            retry_stopped(1),
            Event::Rejected { kind: RejectedKind::CircuitOpen, retry_after: Some(elapsed) },
            Event::Waited { policy: "bulkhead", waited: elapsed },
            Event::CircuitChanged { from: "closed", to: "open", generation: 1 },
            Event::CircuitChanged { from: "open", to: "half_open", generation: 2 },
            Event::FallbackUsed { cause: CallEnd::Failure },
            finished(CallEnd::Failure),
            finished(CallEnd::Rejected(RejectedKind::Timeout)),
            finished(CallEnd::Panicked),
            finished(CallEnd::Abandoned),
        ];
        for event in events {
            let text = traced(tracing::Level::TRACE, |emitter| emitter.emit(|| event.clone()));
            let level = format!("{:?}", event.severity()).to_uppercase();
            assert_eq!(text.split_whitespace().next(), Some(&*level), "{text}");
        }
    }
}
