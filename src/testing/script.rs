//! Operations that do what they are told.

use crate::sync::atomic::{AtomicU64, Ordering};
use crate::sync::{Mutex, lock};
use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// What one run of the operation does.
enum Step<T, E> {
    Answer(Result<T, E>),
    Hang,
    Panic(String),
}

struct Timed<T, E> {
    step: Step<T, E>,
    takes: Duration,
}

/// What every run after the last step does.
struct Rest<T, E> {
    answer: Box<dyn Fn() -> Step<T, E> + Send + Sync>,
    takes: Duration,
}

/// One run of the operation, as it was seen.
#[derive(Clone, Copy)]
struct Run {
    started: Instant,
    ended: bool,
    /// Dropped before it answered.
    dropped: bool,
}

struct Stage<T, E> {
    steps: VecDeque<Timed<T, E>>,
    given: usize,
    rest: Option<Rest<T, E>>,
    runs: Vec<Run>,
    most_at_once: usize,
}

/// An operation that fails and succeeds as you say, and remembers how it was called. Clones share the script.
///
/// Steps are used up in the order they were given, one a run. Past the last one [`then_ok`](Self::then_ok) or
/// [`then_fail`](Self::then_fail) holds; without either, a further run panics, because the test did not expect it.
///
/// ```
/// use std::time::Duration;
/// use steadfast::testing::Script;
/// use steadfast::{Pipeline, Retry};
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), steadfast::ConfigError> {
/// let api = Pipeline::builder("api")
///     .retry(Retry::constant(3, Duration::from_secs(1)).jitter(steadfast::Jitter::None))
///     .attempt_timeout(Duration::from_secs(5))
///     .build()?;
///
/// let script = Script::new().fail("reset by peer").hang().ok("done").taking(Duration::from_millis(100));
/// assert_eq!(api.call(|| script.run()).await, Ok("done"));
/// assert_eq!(script.calls(), 3);
/// assert_eq!(script.dropped(), 1); // the one that hung was given up
/// assert_eq!(script.gaps(), [Duration::from_secs(1), Duration::from_secs(6)]);
/// # Ok(()) }
/// ```
pub struct Script<T, E> {
    stage: Arc<Mutex<Stage<T, E>>>,
}

impl<T, E> Script<T, E> {
    /// No steps yet.
    #[must_use]
    pub fn new() -> Self {
        let stage = Stage { steps: VecDeque::new(), given: 0, rest: None, runs: Vec::new(), most_at_once: 0 };
        Self { stage: Arc::new(Mutex::new(stage)) }
    }

    /// The next run answers with this.
    #[must_use]
    pub fn ok(self, value: T) -> Self {
        self.step(Step::Answer(Ok(value)))
    }

    /// The next run fails with this.
    #[must_use]
    pub fn fail(self, error: E) -> Self {
        self.step(Step::Answer(Err(error)))
    }

    /// The next so many runs fail with this.
    #[must_use]
    pub fn fail_times(self, times: usize, error: E) -> Self
    where
        E: Clone,
    {
        (0..times).fold(self, |script, _| script.fail(error.clone()))
    }

    /// The next run never ends: only a timeout or its caller can.
    #[must_use]
    pub fn hang(self) -> Self {
        self.step(Step::Hang)
    }

    /// The next run panics with this.
    #[must_use]
    pub fn panic(self, message: impl Into<String>) -> Self {
        self.step(Step::Panic(message.into()))
    }

    /// The step said last takes so long before it answers. **Default**: it is ready at once.
    #[must_use]
    pub fn taking(self, time: Duration) -> Self {
        {
            let mut stage = lock(&self.stage);
            let Stage { rest, steps, .. } = &mut *stage;
            if let Some(rest) = rest {
                rest.takes = time;
            } else if let Some(last) = steps.back_mut() {
                last.takes = time;
            }
        }
        self
    }

    /// Every further run answers with this.
    #[must_use]
    pub fn then_ok(self, value: T) -> Self
    where
        T: Clone + Send + Sync + 'static,
    {
        self.rest(move || Step::Answer(Ok(value.clone())))
    }

    /// Every further run fails with this.
    #[must_use]
    pub fn then_fail(self, error: E) -> Self
    where
        E: Clone + Send + Sync + 'static,
    {
        self.rest(move || Step::Answer(Err(error.clone())))
    }

    fn step(self, step: Step<T, E>) -> Self {
        {
            let mut stage = lock(&self.stage);
            stage.given += 1;
            stage.steps.push_back(Timed { step, takes: Duration::ZERO });
        }
        self
    }

    fn rest(self, answer: impl Fn() -> Step<T, E> + Send + Sync + 'static) -> Self {
        lock(&self.stage).rest = Some(Rest { answer: Box::new(answer), takes: Duration::ZERO });
        self
    }

    /// Runs the next step. It begins with the first poll, as any future does.
    ///
    /// # Panics
    /// Where the script says so, and past its end.
    pub fn run(&self) -> impl Future<Output = Result<T, E>> + use<T, E> {
        let stage = Arc::clone(&self.stage);
        async move {
            let (step, takes, ended) = begin(&stage);
            if !takes.is_zero() {
                sleep(takes).await;
            }
            match step {
                Step::Answer(answer) => {
                    ended.end(false);
                    answer
                }
                Step::Hang => std::future::pending().await,
                Step::Panic(message) => {
                    ended.end(false);
                    std::panic::panic_any(message)
                }
            }
        }
    }

    /// How many times it was run.
    #[must_use]
    pub fn calls(&self) -> usize {
        lock(&self.stage).runs.len()
    }

    /// How many runs were dropped before they ended: timed out, or given up by the caller.
    #[must_use]
    pub fn dropped(&self) -> usize {
        lock(&self.stage).runs.iter().filter(|run| run.dropped).count()
    }

    /// How many runs are under way now.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        lock(&self.stage).in_flight()
    }

    /// The most that were under way at once.
    #[must_use]
    pub fn most_at_once(&self) -> usize {
        lock(&self.stage).most_at_once
    }

    /// When each run began.
    #[must_use]
    pub fn started(&self) -> Vec<Instant> {
        lock(&self.stage).runs.iter().map(|run| run.started).collect()
    }

    /// The time from the beginning of each run to that of the next.
    #[must_use]
    pub fn gaps(&self) -> Vec<Duration> {
        self.started().windows(2).map(|pair| pair[1].saturating_duration_since(pair[0])).collect()
    }

    /// How many steps were not run.
    #[must_use]
    pub fn left(&self) -> usize {
        lock(&self.stage).steps.len()
    }
}

impl<T, E> Stage<T, E> {
    fn in_flight(&self) -> usize {
        self.runs.iter().filter(|run| !run.ended).count()
    }
}

/// Takes the next step off the script, and notes that a run began.
fn begin<T, E>(shared: &Arc<Mutex<Stage<T, E>>>) -> (Step<T, E>, Duration, Ended<T, E>) {
    let mut stage = lock(shared);
    let next = stage.steps.pop_front();
    let (step, takes) = match (next, &stage.rest) {
        (Some(timed), _) => (timed.step, timed.takes),
        (None, Some(rest)) => ((rest.answer)(), rest.takes),
        (None, None) => {
            let given = stage.given;
            let message = format!("the script has {given} steps, and this is run {}; end it with `then_ok` or `then_fail`", given + 1);
            (Step::Panic(message), Duration::ZERO)
        }
    };
    stage.runs.push(Run { started: Instant::now(), ended: false, dropped: false });
    stage.most_at_once = stage.most_at_once.max(stage.in_flight());
    let number = stage.runs.len() - 1;
    drop(stage);
    (step, takes, Ended { stage: Arc::clone(shared), number })
}

/// Notes how a run ended: dropped, unless it says otherwise before.
struct Ended<T, E> {
    stage: Arc<Mutex<Stage<T, E>>>,
    number: usize,
}

impl<T, E> Ended<T, E> {
    fn end(&self, dropped: bool) {
        if let Some(run) = lock(&self.stage).runs.get_mut(self.number).filter(|run| !run.ended) {
            (run.ended, run.dropped) = (true, dropped);
        }
    }
}

impl<T, E> Drop for Ended<T, E> {
    fn drop(&mut self) {
        self.end(true);
    }
}

impl<T, E> Clone for Script<T, E> {
    fn clone(&self) -> Self {
        Self { stage: Arc::clone(&self.stage) }
    }
}

impl<T, E> Default for Script<T, E> {
    fn default() -> Self {
        Self::new()
    }
}

impl<T, E> fmt::Debug for Script<T, E> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Script").field("calls", &self.calls()).field("left", &self.left()).finish_non_exhaustive()
    }
}

/// Your own operation, except that it fails at these runs: 1 is the first, counted over all calls.
///
/// ```
/// use steadfast::testing::fail_at;
/// use steadfast::{Pipeline, Retry};
/// use std::time::Duration;
///
/// async fn fetch(id: u32) -> Result<u32, String> {
///     Ok(id) // the real thing, against a test server
/// }
///
/// # #[tokio::main(flavor = "current_thread", start_paused = true)] async fn main() -> Result<(), steadfast::ConfigError> {
/// let api = Pipeline::builder("api").retry(Retry::exponential(3, Duration::from_millis(100))).build()?;
/// let flaky = fail_at([1, 2, 4], |run| format!("run {run} fails"), || fetch(7));
/// assert_eq!(api.call(&flaky).await, Ok(7)); // runs 1, 2 and 3
/// assert_eq!(api.call(&flaky).await, Ok(7)); // runs 4 and 5
/// # Ok(()) }
/// ```
pub fn fail_at<T, E, Fut>(
    runs: impl IntoIterator<Item = u64>,
    error: impl Fn(u64) -> E,
    operation: impl Fn() -> Fut,
) -> impl Fn() -> FailAt<Fut, E>
where
    Fut: Future<Output = Result<T, E>>,
{
    let runs: HashSet<u64> = runs.into_iter().collect();
    let count = AtomicU64::new(0);
    move || {
        let run = count.fetch_add(1, Ordering::Relaxed) + 1;
        let error = runs.contains(&run).then(|| error(run));
        FailAt { operation: error.is_none().then(&operation), error }
    }
}

pin_project_lite::pin_project! {
    /// One run of an operation under [`fail_at`].
    #[derive(Debug)]
    #[must_use = "futures do nothing unless polled"]
    pub struct FailAt<Fut, E> {
        #[pin]
        operation: Option<Fut>,
        error: Option<E>,
    }
}

impl<T, E, Fut: Future<Output = Result<T, E>>> Future for FailAt<Fut, E> {
    type Output = Result<T, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let this = self.project();
        match (this.operation.as_pin_mut(), this.error.take()) {
            (Some(operation), _) => operation.poll(cx),
            (None, Some(error)) => Poll::Ready(Err(error)),
            (None, None) => Poll::Pending, // polled after its end
        }
    }
}
