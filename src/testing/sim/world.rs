//! A run: the scenario's callers, pipelines and dependency in one runtime with a clock of its own.

use super::Chance;
use super::dependency::Failure;
use super::machine::{Answer, Deliveries, Machine};
use super::report::{Bucket, Report};
use super::scenario::{Operate, Scenario};
use crate::call::{Attempt, Call, Priority};
use crate::chance::Inside;
use crate::fault::ConfigError;
use crate::outcome::Error;
use crate::pipeline::Pipeline;
use crate::sync::{Mutex, lock};
use crate::time::after;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::Notify;
use tokio::time::{Instant, sleep_until};

/// Runs an async function in a time of its own: paused, on this thread, with policies seeded by `seed`. For experiments that a
/// [`Scenario`] does not fit; inside it, `tokio::time` and `tokio::spawn` are the simulation's.
///
/// Two runs do the same, as long as what runs in them takes its chance from [`Chance`], and asks neither the system's clock nor the
/// order of a `HashMap`. It takes a thread of its own, so it may be called from anywhere.
///
/// ```
/// use std::time::Duration;
/// use steadfast::Retry;
/// use steadfast::testing::sim;
///
/// let nap = async || {
///     let begun = tokio::time::Instant::now();
///     for delay in Retry::exponential(5, Duration::from_secs(60)).backoff().delays().take(5) {
///         tokio::time::sleep(delay).await;
///     }
///     begun.elapsed()
/// };
/// assert_eq!(sim::virtually(7, nap), sim::virtually(7, nap)); // minutes, at once, and the same jitter
/// ```
///
/// # Panics
/// As the function does; and where the system has no thread to give.
#[cfg_attr(not(test), expect(clippy::disallowed_methods, reason = "virtual time has a runtime of its own, on a thread of its own"))]
pub fn virtually<T: Send>(seed: u64, experiment: impl AsyncFnOnce() -> T + Send) -> T {
    // A thread of its own: there may be a runtime on this one, which would not let another in.
    let done = std::thread::scope(|scope| {
        let inside = move || {
            let _seeded = Inside::simulation(Chance::new(seed, "policies").bits());
            let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build();
            match runtime {
                Ok(runtime) => runtime.block_on(experiment()),
                Err(error) => panic!("no runtime for the simulation: {error}"),
            }
        };
        scope.spawn(inside).join()
    });
    done.unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// Runs the scenario. The same seed gives the same report, to the last byte.
///
/// It takes no real time beyond that of computing: an hour of a hundred calls a second is a matter of seconds.
///
/// # Errors
/// What building one of the scenario's pipelines said.
///
/// # Panics
/// As [`virtually`]. A panic of an operation of your own ends its call, which is then counted as under way for ever.
pub fn run(scenario: &Scenario, seed: u64) -> Result<Report, ConfigError> {
    virtually(seed, async || {
        let world = World::new(scenario, seed)?;
        world.live(scenario, seed).await;
        Ok(Report { name: scenario.name.clone(), seed, buckets: world.book.close(scenario.lasting) })
    })
}

struct World {
    begun: Instant,
    layers: Vec<Pipeline>,
    machine: Mutex<Machine>,
    /// The machine has something to do before it thought.
    sooner: Notify,
    operation: Option<Operate>,
    book: Book,
}

impl World {
    fn new(scenario: &Scenario, seed: u64) -> Result<Arc<Self>, ConfigError> {
        let layers = scenario.layers.iter().map(|make| make().build()).collect::<Result<_, _>>()?;
        Ok(Arc::new(Self {
            begun: Instant::now(),
            layers,
            machine: Mutex::new(Machine::new(scenario.dependency.clone(), seed)),
            sooner: Notify::new(),
            operation: scenario.operation.as_ref().map(|make| make()),
            book: Book::new(scenario.bucket),
        }))
    }

    fn now(&self) -> Duration {
        self.begun.elapsed()
    }

    async fn until(&self, at: Duration) {
        match after(self.begun, at) {
            Some(at) => sleep_until(at).await,
            None => std::future::pending().await,
        }
    }

    /// Callers come, the dependency works, and the book is kept, until the time is over. What is under way then is dropped.
    async fn live(self: &Arc<Self>, scenario: &Scenario, seed: u64) {
        tokio::spawn(Arc::clone(self).work());
        for (at, calls) in scenario.load.herds() {
            let (world, mut kinds, load) =
                (Arc::clone(self), Chance::new(seed, &format!("priorities of the herd at {at:?}")), scenario.load.clone());
            tokio::spawn(async move {
                world.until(at).await;
                for _ in 0..calls {
                    tokio::spawn(Arc::clone(&world).call(load.priority(&mut kinds)));
                }
            });
        }
        if let Some((number, thinking)) = scenario.load.closed() {
            for client in 0..number {
                let (world, load, thinking, end) = (Arc::clone(self), scenario.load.clone(), thinking.clone(), scenario.lasting);
                let mut chance = Chance::new(seed, &format!("client {client}"));
                tokio::spawn(async move {
                    while world.now() < end {
                        // A tick at least: a client that is refused at once, and calls again at once, would stop the clock.
                        let pause = thinking.draw(&mut chance).max(Duration::from_millis(1));
                        let factor = load.factor(world.now()).max(f64::MIN_POSITIVE);
                        world.until(world.now().saturating_add(super::latency::times(pause, 1.0 / factor))).await;
                        Arc::clone(&world).call(load.priority(&mut chance)).await;
                    }
                });
            }
        } else {
            let (world, load, end) = (Arc::clone(self), scenario.load.clone(), scenario.lasting);
            let (mut gaps, mut kinds) = (Chance::new(seed, "arrivals"), Chance::new(seed, "priorities"));
            tokio::spawn(async move {
                let mut at = Duration::ZERO;
                while let Some(next) = load.next(at, end, &mut gaps) {
                    at = next;
                    world.until(at).await;
                    tokio::spawn(Arc::clone(&world).call(load.priority(&mut kinds)));
                }
            });
        }
        let mut end = Duration::ZERO;
        while end < scenario.lasting {
            end = end.saturating_add(scenario.bucket.max(Duration::from_millis(1))).min(scenario.lasting);
            self.until(end).await;
            self.sample(end);
            if let Some(tell) = &scenario.progress {
                tell(end);
            }
        }
    }

    /// The dependency's own task: wakes when something ends or changes.
    async fn work(self: Arc<Self>) {
        loop {
            let mut out = Deliveries::default();
            let next = {
                let mut machine = lock(&self.machine);
                machine.advance(self.now(), &mut out);
                machine.next()
            };
            out.deliver();
            tokio::select! {
                biased;
                () = self.sooner.notified() => {}
                () = self.until(next.unwrap_or(Duration::MAX)) => {}
            }
        }
    }

    /// One request at the dependency.
    async fn request(self: Arc<Self>) -> Answer {
        let mut out = Deliveries::default();
        let (answer, sooner) = {
            let mut machine = lock(&self.machine);
            let before = machine.next();
            let answer = machine.arrive(self.now(), &mut out);
            (answer, machine.next() != before)
        };
        out.deliver();
        if sooner {
            self.sooner.notify_one();
        }
        answer.await.unwrap_or(Err(Failure::Down))
    }

    /// What the pipeline of this layer calls: the next service, or the dependency.
    fn beyond(self: Arc<Self>, layer: usize, attempt: Attempt) -> Pin<Box<dyn Future<Output = Answer> + Send>> {
        if layer < self.layers.len() {
            // Another process: a task of its own, which does not know who called, nor when that one gives up.
            return Box::pin(async move {
                let service = tokio::spawn(async move {
                    let called = self.layers[layer].call_with(|attempt| Arc::clone(&self).beyond(layer + 1, attempt)).await;
                    called.map_err(|error| match error {
                        Error::Inner(failure) => failure,
                        Error::Rejected(rejected) => Failure::Behind(rejected.kind()),
                    })
                });
                match service.await {
                    Ok(answer) => answer,
                    Err(error) => match error.try_into_panic() {
                        Ok(panic) => std::panic::resume_unwind(panic),
                        Err(_) => Err(Failure::Down),
                    },
                }
            });
        }
        match &self.operation {
            Some(operate) => operate(attempt),
            None => Box::pin(self.request()),
        }
    }

    /// One call of one caller.
    async fn call(self: Arc<Self>, priority: Priority) {
        let begun = self.now();
        self.book.began(begun, priority);
        let (answered, attempts) = match self.layers.first() {
            Some(pipeline) => {
                let called = pipeline.priority(priority).call_with(|attempt| Arc::clone(&self).beyond(1, attempt)).await;
                (called.is_ok(), called.err().and_then(|error| error.attempts()))
            }
            None => {
                let attempt = *Call::now().attempt();
                (Arc::clone(&self).beyond(0, attempt).await.is_ok(), None)
            }
        };
        self.book.ended(begun, self.now(), priority, answered, attempts == Some(0));
    }

    /// What there is to see at the end of a bucket.
    fn sample(&self, end: Duration) {
        let mut out = Deliveries::default();
        let (work, waiting, running) = {
            let mut machine = lock(&self.machine);
            machine.advance(end, &mut out);
            (std::mem::take(&mut machine.work), machine.waiting(), machine.running())
        };
        out.deliver();
        let pipeline = self.layers.first();
        self.book.sampled(end, |bucket| {
            (bucket.requests, bucket.done, bucket.wasted) = (work.received, work.done, work.wasted);
            (bucket.waiting, bucket.running) = (waiting as u64, running as u64);
            if let Some(pipeline) = pipeline {
                see(pipeline, bucket);
            }
        });
    }
}

/// The state of the policies.
fn see(pipeline: &Pipeline, bucket: &mut Bucket) {
    bucket.circuit = pipeline.circuit_breaker().map(|breaker| breaker.state());
    #[expect(clippy::cast_precision_loss, reason = "numbers of calls")]
    let places = |limit: usize, waiting: usize| (Some(limit as f64), Some(waiting as u64));
    match (pipeline.adaptive_limit(), pipeline.bulkhead()) {
        (Some(adaptive), _) => (bucket.limit, bucket.queued) = places(adaptive.limit(), adaptive.waiting()),
        (None, Some(bulkhead)) => (bucket.limit, bucket.queued) = places(bulkhead.limit(), bulkhead.waiting()),
        (None, None) => {}
    }
    bucket.throttled = pipeline.throttle().map(|throttle| throttle.snapshot().probability);
    bucket.budget = pipeline.retry().map(|retry| retry.budget().available()).filter(|tokens| *tokens != u32::MAX);
}

/// The report to be. A call is written in the bucket it began in and in the one it ended in.
struct Book {
    bucket: Duration,
    pages: Mutex<Vec<Bucket>>,
    in_flight: Mutex<u64>,
}

impl Book {
    fn new(bucket: Duration) -> Self {
        Self { bucket: bucket.max(Duration::from_millis(1)), pages: Mutex::new(Vec::new()), in_flight: Mutex::new(0) }
    }

    /// Writes on the page of this moment.
    fn write(&self, at: Duration, write: impl FnOnce(&mut Bucket)) {
        let place = usize::try_from(at.as_nanos() / self.bucket.as_nanos()).unwrap_or(usize::MAX);
        let mut pages = lock(&self.pages);
        while pages.len() <= place {
            let start = self.bucket.saturating_mul(u32::try_from(pages.len()).unwrap_or(u32::MAX));
            pages.push(Bucket { start, ..Bucket::default() });
        }
        write(&mut pages[place]);
    }

    fn began(&self, at: Duration, priority: Priority) {
        *lock(&self.in_flight) += 1;
        self.write(at, |bucket| {
            bucket.offered += 1;
            bucket.offered_by[priority as usize] += 1;
        });
    }

    fn ended(&self, begun: Duration, at: Duration, priority: Priority, answered: bool, untried: bool) {
        *lock(&self.in_flight) -= 1;
        self.write(at, |bucket| {
            if answered {
                bucket.good += 1;
                bucket.latencies.push(u32::try_from(at.saturating_sub(begun).as_micros()).unwrap_or(u32::MAX));
            } else {
                bucket.failed += 1;
                bucket.refused += u64::from(untried);
            }
        });
        if answered {
            self.write(begun, |bucket| {
                bucket.served += 1;
                bucket.served_by[priority as usize] += 1;
            });
        }
    }

    /// Completes the page that is over.
    fn sampled(&self, end: Duration, see: impl FnOnce(&mut Bucket)) {
        let in_flight = *lock(&self.in_flight);
        self.write(end.saturating_sub(Duration::from_nanos(1)), |bucket| {
            bucket.in_flight = in_flight;
            see(bucket);
        });
    }

    fn close(&self, end: Duration) -> Vec<Bucket> {
        let mut pages = std::mem::take(&mut *lock(&self.pages));
        pages.retain(|bucket| bucket.start < end);
        pages.iter_mut().for_each(|bucket| bucket.latencies.sort_unstable());
        pages
    }
}
