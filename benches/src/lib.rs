//! `steadfast` beside its peers, on the path that every call takes: nothing fails, nothing waits, nothing refuses.
//!
//! One list of [`Row`]s, built once outside every timed loop, serves four readers: the criterion targets `overhead` and `contention`;
//! the program `ratios`, which measures all rows interleaved in one process and writes the table of `README.md`; and the program
//! `instructions`, which counts what ours execute, and refuses growth.
//!
//! ```text
//! lib.rs      the operation, the timed loops, Row          peers.rs    each policy alone, as its author intends
//! ours.rs     every row of steadfast                       stacks.rs   three and six policies together
//! window.rs   a breaker written by hand, the reference     threads.rs  two threads, 64 tasks
//! redis.rs    limits in a real Redis, ours and by hand
//! ```

#[cfg(feature = "ours")]
pub mod ours;
#[cfg(feature = "peers")]
pub mod peers;
#[cfg(all(feature = "ours", feature = "peers"))]
pub mod redis;
#[cfg(feature = "peers")]
pub mod stacks;
#[cfg(feature = "peers")]
pub mod threads;
#[cfg(feature = "peers")]
pub mod window;

use std::future::Future;
use std::hint::black_box;
use std::pin::{Pin, pin};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};
use tokio::runtime::{EnterGuard, Runtime};

// What every contender is configured with. Large enough that none ever refuses or waits.
/// Calls a second: one every nanosecond, and a burst of as many.
pub const RATE: u32 = 1_000_000_000;
/// Calls at once.
pub const AT_ONCE: usize = 100_000;
/// Retries after the first attempt.
pub const RETRIES: u32 = 3;
/// Wait before the first retry.
pub const BACKOFF: Duration = Duration::from_millis(100);
/// Time for one attempt.
pub const TIMEOUT: Duration = Duration::from_secs(5);
/// How long a breaker looks back.
pub const WINDOW: Duration = Duration::from_secs(10);
/// Calls a breaker wants to see before it judges.
pub const MIN_CALLS: u32 = 20;
/// How long a breaker stays open: longer than any run.
pub const OPEN: Duration = Duration::from_secs(24 * 60 * 60);
/// The answer of every fallback.
pub const FALLBACK: u64 = 7;

/// Keys that calls are made for in turn, as many as a busy service has tenants.
pub static KEYS: LazyLock<Vec<String>> = LazyLock::new(|| (0..1_000).map(|number| format!("tenant-{number:04}")).collect());

/// Room in a cache for all of them, and more.
pub const ENTRIES: usize = 10_000;
/// Longer than any run.
pub const TTL: Duration = Duration::from_secs(3_600);

/// The keys, one after another.
#[derive(Debug, Default)]
pub struct Keys(usize);

impl Keys {
    /// The next one.
    pub fn next(&mut self) -> &'static String {
        self.0 = if self.0 + 1 == KEYS.len() { 0 } else { self.0 + 1 };
        &KEYS[self.0]
    }
}

/// What an operation may fail with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Failure {
    /// The operation's own.
    Operation,
    /// The attempt took too long.
    TimedOut,
    /// A policy said no.
    Refused,
}

impl std::fmt::Display for Failure {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Failure::Operation => "the operation failed",
            Failure::TimedOut => "the attempt took too long",
            Failure::Refused => "refused",
        })
    }
}

impl std::error::Error for Failure {}

/// What an operation answers.
pub type Answer = Result<u64, Failure>;

/// What [`op`] does next. Read at every call, so the optimiser knows neither that it succeeds nor that it is ready at once, and throws none
/// of a contender's failure and waiting code away; and yet it costs one load. (`black_box` costs 8 ns here: the value goes through memory.)
pub static SCRIPT: AtomicU64 = AtomicU64::new(SUCCEED);
const SUSPEND: u64 = 0;
const FAIL: u64 = 1;
const SUCCEED: u64 = 42;

/// The operation: ready at once, with success.
pub async fn op() -> Answer {
    match SCRIPT.load(Ordering::Relaxed) {
        SUSPEND => {
            Suspend(false).await;
            Ok(SUCCEED)
        }
        FAIL => Err(Failure::Operation),
        value => Ok(value),
    }
}

/// The same, ready at the second poll.
pub async fn slow_op() -> Answer {
    Suspend(SCRIPT.load(Ordering::Relaxed) == SUSPEND).await;
    op().await
}

/// An operation that fails: to open breakers with.
pub async fn failing_op() -> Answer {
    Suspend(true).await;
    Err(Failure::Operation)
}

/// Pending once. It wakes its task first, so that it works under a real executor as well.
#[derive(Debug)]
struct Suspend(bool);

impl Future for Suspend {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if std::mem::replace(&mut self.0, true) {
            return Poll::Ready(());
        }
        cx.waker().wake_by_ref();
        Poll::Pending
    }
}

/// Polls a future to its end with a waker that does nothing: no executor is in the figures.
#[inline]
pub fn drive<F: Future>(future: F) -> F::Output {
    let mut future = pin!(future);
    let mut cx = Context::from_waker(Waker::noop());
    for _ in 0..1000 {
        if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
            return output;
        }
    }
    panic!("waits for something that will not come");
}

/// The runtime whose timer the single-threaded rows use. Nothing runs on it.
pub static TIMER: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_current_thread().enable_time().build().expect("a runtime"));

/// Two workers, for rows with many tasks.
pub static WORKERS: LazyLock<Runtime> =
    LazyLock::new(|| tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().expect("a runtime"));

/// One measurement: who does what, and a loop that does it `n` times and says how long that took.
pub struct Row {
    /// What is done: rows of one group are compared with each other.
    pub group: &'static str,
    /// Who does it.
    pub who: &'static str,
    /// Does it `n` times.
    pub batch: Box<dyn FnMut(u64) -> Duration>,
}

impl std::fmt::Debug for Row {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{} / {}", self.group, self.who)
    }
}

/// One thread, one call after another, each of which must succeed.
pub fn row<T, E>(group: &'static str, who: &'static str, call: impl AsyncFnMut() -> Result<T, E> + 'static) -> Row {
    expecting(true, group, who, call)
}

/// The same for calls that must all be refused.
pub fn refused<T, E>(group: &'static str, who: &'static str, call: impl AsyncFnMut() -> Result<T, E> + 'static) -> Row {
    expecting(false, group, who, call)
}

fn expecting<T, E>(ok: bool, group: &'static str, who: &'static str, mut call: impl AsyncFnMut() -> Result<T, E> + 'static) -> Row {
    let batch = move |n| {
        let _timer = TIMER.enter(); // entered, not run: inside `block_on` tokio would make every 128th acquire yield
        let mut wrong = 0_u64;
        let start = Instant::now();
        for _ in 0..n {
            wrong += u64::from(drive(call()).is_ok() != ok);
        }
        let took = start.elapsed();
        assert_eq!(wrong, 0, "{group} / {who}: calls that did not end as they should");
        took
    };
    Row { group, who, batch: Box::new(batch) }
}

/// Something that is no call, for scale.
pub fn plain(group: &'static str, who: &'static str, mut step: impl FnMut() + 'static) -> Row {
    let batch = move |n| {
        let start = Instant::now();
        (0..n).for_each(|_| step());
        start.elapsed()
    };
    Row { group, who, batch: Box::new(batch) }
}

/// `threads` threads share `n` calls. The time is from the start of the first to the end of the last.
///
/// On a busy machine threads take turns on one core and so never meet, which flatters whoever contends worst. A batch in which the system took
/// a core away from a thread, or in which they overlapped for less than half of the time, is done again, at most [`AGAIN`] times.
pub fn threaded<T, E>(
    threads: usize,
    group: &'static str,
    who: &'static str,
    call: impl AsyncFn() -> Result<T, E> + Sync + 'static,
) -> Row {
    let once = move |n: u64| {
        let each = n.div_ceil(threads as u64);
        let arrived = AtomicUsize::new(0);
        let one = || {
            let _timer = TIMER.enter();
            let taken_before = times_taken_off();
            arrived.fetch_add(1, Ordering::AcqRel);
            while arrived.load(Ordering::Acquire) < threads {
                std::hint::spin_loop();
            }
            let mut wrong = 0_u64;
            let start = Instant::now();
            for _ in 0..each {
                wrong += u64::from(drive(call()).is_err());
            }
            let end = Instant::now();
            assert_eq!(wrong, 0, "{group} / {who}: calls that failed");
            (start, end, times_taken_off() == taken_before)
        };
        let spans: Vec<(Instant, Instant, bool)> = std::thread::scope(|scope| {
            let all: Vec<_> = (0..threads).map(|_| scope.spawn(one)).collect();
            all.into_iter().map(|thread| thread.join().expect("no panic")).collect()
        });
        let (first, last) = bounds(spans.iter().map(|span| span.0));
        let (early, late) = bounds(spans.iter().map(|span| span.1));
        let (took, together) = (late - first, early.saturating_duration_since(last));
        (took, together * 2 >= took && spans.iter().all(|span| span.2))
    };
    let batch = move |n| {
        for _ in 0..AGAIN {
            let (took, undisturbed) = once(n);
            if undisturbed {
                return took;
            }
        }
        DISTURBED.fetch_add(1, Ordering::Relaxed);
        once(n).0
    };
    Row { group, who, batch: Box::new(batch) }
}

/// How often a disturbed batch of several threads is done again.
pub const AGAIN: usize = 8;

/// Batches that were disturbed every time.
pub static DISTURBED: AtomicU64 = AtomicU64::new(0);

/// How often the system took this thread off its core to let others run. (Zero where it does not tell.)
fn times_taken_off() -> u64 {
    let status = std::fs::read_to_string("/proc/thread-self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("nonvoluntary_ctxt_switches:"));
    line.and_then(|count| count.trim().parse().ok()).unwrap_or(0)
}

fn bounds(moments: impl Iterator<Item = Instant> + Clone) -> (Instant, Instant) {
    (moments.clone().min().expect("a thread"), moments.max().expect("a thread"))
}

/// How many tasks [`tasks`] starts.
pub const TASKS: u64 = 64;

/// 64 tasks on two workers share `n` calls, each task one after another. A task lets others go first after every 16 calls.
pub fn tasks<T, E, F, Fut>(group: &'static str, who: &'static str, call: F) -> Row
where
    F: Fn() -> Fut + Clone + Send + 'static,
    Fut: Future<Output = Result<T, E>> + Send,
    T: Send,
    E: Send,
{
    let batch = move |n: u64| {
        let each = n.div_ceil(TASKS);
        WORKERS.block_on(async {
            let start = Instant::now();
            let all: Vec<_> = (0..TASKS)
                .map(|_| {
                    let call = call.clone();
                    WORKERS.spawn(async move {
                        let mut wrong = 0_u64;
                        for i in 0..each {
                            let failed = call().await.is_err();
                            wrong += u64::from(failed);
                            if i % 16 == 15 {
                                Suspend(false).await;
                            }
                        }
                        wrong
                    })
                })
                .collect();
            for task in all {
                assert_eq!(task.await.expect("no panic"), 0, "{group} / {who}: calls that failed");
            }
            start.elapsed()
        })
    };
    Row { group, who, batch: Box::new(batch) }
}

/// Lives as long as the program, so that futures may borrow it.
pub fn leak<T>(value: T) -> &'static T {
    Box::leak(Box::new(value))
}

/// Every row that runs on one thread, for `overhead`.
pub fn overhead() -> Vec<Row> {
    let mut rows = vec![
        row("bare", "operation", op),
        row("bare", "operation, suspends once", slow_op),
        plain("bare", "clock reading (tokio)", || _ = black_box(tokio::time::Instant::now())),
    ];
    let _timer = prepare();
    #[cfg(feature = "ours")]
    rows.extend(ours::overhead());
    #[cfg(feature = "peers")]
    rows.extend(peers::rows().into_iter().chain(stacks::rows()));
    grouped(rows)
}

/// Every row of steadfast that runs on one thread, for `instructions`.
#[cfg(feature = "ours")]
pub fn ours_alone() -> Vec<Row> {
    let _timer = prepare();
    ours::overhead()
}

/// Every row that runs on two threads, for `contention`.
pub fn contention() -> Vec<Row> {
    let mut rows = vec![threaded(2, "2 threads, no policy", "operation", op)];
    let _timer = prepare();
    #[cfg(feature = "ours")]
    rows.extend(ours::contention());
    #[cfg(feature = "peers")]
    rows.extend(threads::rows());
    #[cfg(all(feature = "ours", feature = "peers"))]
    rows.extend(redis::rows());
    grouped(rows)
}

/// Clocks and timers are made under a runtime, and the script of the operation is nothing the optimiser can know.
fn prepare() -> EnterGuard<'static> {
    SCRIPT.store(black_box(SUCCEED), Ordering::Relaxed);
    TIMER.enter()
}

/// Groups in the order of their first row, rows of one group together.
fn grouped(rows: Vec<Row>) -> Vec<Row> {
    let mut groups: Vec<&str> = Vec::new();
    for row in &rows {
        if !groups.contains(&row.group) {
            groups.push(row.group);
        }
    }
    let mut rows = rows;
    rows.sort_by_key(|row| groups.iter().position(|group| *group == row.group));
    rows
}
