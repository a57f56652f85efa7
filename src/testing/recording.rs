//! An observer that remembers.

use crate::observation::{CallEnd, Event, Observer};
use crate::outcome::RejectedKind;
use crate::pipeline::Pipeline;
use crate::sync::{Mutex, lock};
use std::sync::Arc;
use std::time::Duration;

/// Remembers every event of the pipelines it observes, in order. Clones share what was recorded.
///
/// ```
/// use steadfast::testing::{Recording, Script};
/// use steadfast::{CallEnd, Pipeline, Retry};
/// use std::time::Duration;
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), steadfast::ConfigError> {
/// let recording = Recording::new();
/// let api = Pipeline::builder("api").retry(Retry::exponential(3, Duration::from_secs(1))).observer(recording.clone()).build()?;
/// let script = Script::new().fail("busy").ok(1);
/// let _ = api.call(|| script.run()).await;
///
/// assert_eq!(recording.names(), ["attempt_failed", "retrying", "call_finished"]);
/// assert_eq!(recording.ends(), [CallEnd::Success]);
/// assert!(recording.delays()[0] <= Duration::from_secs(1));
/// # Ok(()) }
/// ```
#[derive(Clone, Debug, Default)]
pub struct Recording {
    events: Arc<Mutex<Vec<Event>>>,
}

impl Recording {
    /// Nothing so far. Give a clone to [`observer`](crate::PipelineBuilder::observer).
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Records what happens in a pipeline that is there already (a static, say) from now on.
    #[must_use]
    pub fn of(pipeline: &Pipeline) -> Self {
        let recording = Self::new();
        pipeline.observe(Arc::new(recording.clone()));
        recording
    }

    /// What happened so far.
    #[must_use]
    pub fn events(&self) -> Vec<Event> {
        lock(&self.events).clone()
    }

    /// The [names](Event::name) of what happened so far.
    #[must_use]
    pub fn names(&self) -> Vec<&'static str> {
        lock(&self.events).iter().map(Event::name).collect()
    }

    /// How many events of this name there were.
    #[must_use]
    pub fn count(&self, name: &str) -> usize {
        lock(&self.events).iter().filter(|event| event.name() == name).count()
    }

    /// How each call ended.
    #[must_use]
    pub fn ends(&self) -> Vec<CallEnd> {
        self.pick(|event| if let Event::CallFinished { end, .. } = event { Some(*end) } else { None })
    }

    /// Every refusal of a policy.
    #[must_use]
    pub fn rejections(&self) -> Vec<RejectedKind> {
        self.pick(|event| if let Event::Rejected { kind, .. } = event { Some(*kind) } else { None })
    }

    /// The wait before each retry.
    #[must_use]
    pub fn delays(&self) -> Vec<Duration> {
        self.pick(|event| if let Event::Retrying { delay, .. } = event { Some(*delay) } else { None })
    }

    /// The states that the circuit breaker came to, one after the other: `["open", "half_open", "closed"]`.
    #[must_use]
    pub fn circuit(&self) -> Vec<&'static str> {
        self.pick(|event| if let Event::CircuitChanged { to, .. } = event { Some(*to) } else { None })
    }

    fn pick<T>(&self, pick: impl Fn(&Event) -> Option<T>) -> Vec<T> {
        lock(&self.events).iter().filter_map(pick).collect()
    }

    /// Forgets what happened so far.
    pub fn clear(&self) {
        lock(&self.events).clear();
    }

    /// Fails the test unless exactly these events happened, in this order; and says what did.
    ///
    /// # Panics
    /// When other events happened.
    #[track_caller]
    pub fn assert_names<'a>(&self, expected: impl IntoIterator<Item = &'a str>) {
        let expected: Vec<&str> = expected.into_iter().collect();
        let names = self.names();
        assert!(names == expected, "expected {}\n but these happened:\n{}", expected.join(", "), self.story());
    }

    /// What happened, a line for each event.
    fn story(&self) -> String {
        let lines: Vec<String> = self.events().iter().map(|event| format!("  {}: {event}", event.name())).collect();
        if lines.is_empty() { "  nothing".into() } else { lines.join("\n") }
    }
}

impl Observer for Recording {
    fn on_event(&self, _pipeline: &str, event: &Event) {
        lock(&self.events).push(event.clone());
    }
}
