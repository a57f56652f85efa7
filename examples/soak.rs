//! Ten million calls through every policy, a third of them failing, a tenth of them dropped halfway; then the books are audited: every permit,
//! place and token back, every counter adding up, memory flat. In paused time and on one thread, so a seed always gives the same run; and then
//! once more, with a twentieth of the calls, on two real threads in real time, where no two runs are the same and the books must be.
//!
//! `cargo run --release --example soak`, or with numbers of your own: `-- CALLS SEED`; `-- 2000000 1 --threads 4` is the second half alone,
//! and with `--without-memory` what the process holds is not looked at: under valgrind most of it is valgrind's.

use lexopt::ValueExt;
use std::collections::BTreeMap;
use std::future::Future;
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::Duration;
use steadfast::{Bulkhead, CircuitBreaker, Error, Monitor, Pipeline, RateLimiter, RejectedKind, Retry, Verdict};
use tokio::runtime::Builder;
use tokio::time::Instant;

const TASKS: u64 = 200;
const PLACES: usize = 50;
const BURST: u32 = 2_000;

#[derive(Clone, Copy, Debug)]
enum Fault {
    MayPass,
    Lasting,
    Mine,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{self:?}")
    }
}

impl std::error::Error for Fault {}

/// Sixty-four bits that depend on all of these and look like none of them (splitmix64, Steele et al. 2014): no state, so tasks share nothing.
fn dice(parts: [u64; 4]) -> u64 {
    parts.into_iter().fold(0x9e37_79b9_7f4a_7c15, |mixed: u64, part| {
        let mut z = (mixed ^ part).wrapping_add(0x9e37_79b9_7f4a_7c15);
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    })
}

/// A dependency that answers at once, or after a turn or a while, or never; that fails in three calls of ten, and in all of them for 50 ms of
/// every second.
async fn dependency(dice: u64, began: Instant) -> Result<u64, Fault> {
    match dice % 1_000 {
        0..2 => std::future::pending().await,
        2..50 => tokio::time::sleep(Duration::from_micros(dice >> 32 & 0x3fff)).await,
        50..200 => tokio::task::yield_now().await,
        _ => {}
    }
    match dice / 1_000 % 100 {
        _ if began.elapsed().subsec_millis() >= 950 => Err(Fault::MayPass),
        0..20 => Err(Fault::MayPass),
        20..25 => Err(Fault::Lasting),
        25..30 => Err(Fault::Mine),
        _ => Ok(dice),
    }
}

/// Drops `call` when it has been polled so often and is still not done.
struct Patience<F>(Option<F>, u64);

impl<F: Future + Unpin> Future for Patience<F> {
    type Output = Option<F::Output>;

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        let Self(call, polls) = &mut *self;
        let Some(under_way) = call else { return Poll::Ready(None) };
        if *polls == 0 {
            *call = None;
            return Poll::Ready(None);
        }
        *polls -= 1;
        Pin::new(under_way).poll(cx).map(Some)
    }
}

/// How the calls of a task ended, as their caller saw it, and a digest of every answer.
#[derive(Default)]
struct Seen {
    ends: BTreeMap<&'static str, u64>,
    digest: u64,
}

async fn task(pipeline: Pipeline, seed: u64, task: u64, calls: u64, began: Instant) -> Seen {
    let mut seen = Seen::default();
    for call in 0..calls {
        let chance = dice([seed, task, call, 0]);
        let patience = if chance.is_multiple_of(10) { chance / 10 % 4 } else { u64::MAX };
        let running = pin!(pipeline.call_with(|attempt| dependency(dice([seed, task, call, attempt.number().into()]), began)));
        let end = match Patience(Some(running), patience).await {
            None if patience == 0 => "never begun",
            None => "dropped",
            Some(Ok(answer)) => {
                seen.digest ^= answer;
                "success"
            }
            Some(Err(Error::Inner(fault))) => {
                seen.digest = seen.digest.rotate_left(1) ^ fault as u64;
                "failure"
            }
            Some(Err(Error::Rejected(rejected))) => {
                tokio::time::sleep(Duration::from_millis(2)).await;
                rejected.kind().as_str()
            }
        };
        *seen.ends.entry(end).or_default() += 1;
    }
    seen
}

/// Seconds of processor time so far, where the system tells.
fn cpu_seconds() -> Option<f64> {
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // Behind the name, which may hold anything, user and system time are the 12th and 13th, in hundredths.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut next = || fields.next()?.parse::<u32>().ok();
    Some(f64::from(next()? + next()?) / 100.0)
}

/// Pages of this process in memory, where the system tells.
fn resident_kib() -> Option<u64> {
    let pages = std::fs::read_to_string("/proc/self/statm").ok()?;
    Some(pages.split(' ').nth(1)?.parse::<u64>().ok()? * 4)
}

async fn soak(calls: u64, seed: u64, memory: bool) -> Result<u64, Box<dyn std::error::Error>> {
    let pipeline = Pipeline::builder("soak")
        .total_timeout(Duration::from_secs(2))
        .retry(Retry::exponential(3, Duration::from_millis(2)).seed(seed))
        .circuit_breaker(
            CircuitBreaker::failure_rate(0.8)
                .min_calls(10)
                .window(Duration::from_millis(100))
                .open_for(Duration::from_millis(20))
                .open_jitter(0.0),
        )
        .rate_limit(RateLimiter::per_second(85_000).burst(BURST).max_wait(Duration::from_millis(5)).queue(50))
        .bulkhead(Bulkhead::new(PLACES).queue(140).max_wait(Duration::from_millis(500)))
        .attempt_timeout(Duration::from_millis(40))
        .monitor(Monitor::new())
        .classify(|fault: &Fault| match fault {
            Fault::MayPass => Verdict::transient(),
            Fault::Lasting => Verdict::permanent(),
            Fault::Mine => Verdict::Ignored,
        })
        .build()?;
    let (each, began) = (calls.div_ceil(TASKS), Instant::now());
    let mut ends = BTreeMap::new();
    let (mut digest, mut before) = (0, None);
    // Ten shifts, with a look at the memory after the first.
    for shift in 0..10 {
        let tasks: Vec<_> = (0..TASKS)
            .map(|n| tokio::spawn(task(pipeline.clone(), seed ^ shift, n, each / 10 + u64::from(shift < each % 10), began)))
            .collect();
        for joined in tasks {
            let seen = joined.await?;
            seen.ends.into_iter().for_each(|(end, n)| *ends.entry(end).or_insert(0) += n);
            digest = dice([digest, seen.digest, 0, 0]);
        }
        if shift == 0 {
            before = resident_kib().filter(|_| memory);
        }
    }
    let after = resident_kib();

    println!("{}", pipeline.stats());
    println!("as the callers saw it: {ends:?}");
    let mut wrong: Vec<String> = Vec::new();
    let mut audit = |what: &str, is: u64, must_be: u64| {
        if is != must_be {
            wrong.push(format!("{what}: {is}, and it must be {must_be}"));
        }
    };
    let snapshot = pipeline.stats().calls.ok_or("there is a monitor")?;
    let books = snapshot.all_time();
    let of = |end: &str| ends.get(end).copied().unwrap_or(0);
    audit("calls made", ends.values().sum(), each * TASKS);
    audit("calls in the books", books.calls(), each * TASKS - of("never begun"));
    audit(
        "sum of the books",
        books.successes() + books.failures() + books.rejections() + books.abandoned() + books.panics(),
        books.calls(),
    );
    audit("successes", books.successes(), of("success"));
    audit("failures", books.failures(), of("failure"));
    audit("abandoned", books.abandoned(), of("dropped"));
    let apart = ["success", "failure", "dropped", "never begun"];
    let kinds = [
        RejectedKind::Timeout,
        RejectedKind::DeadlineExceeded,
        RejectedKind::CircuitOpen,
        RejectedKind::RateLimited,
        RejectedKind::BulkheadFull,
    ];
    kinds.into_iter().for_each(|kind| audit(kind.as_str(), books.rejected_by(kind), of(kind.as_str())));
    let others = ends.keys().find(|end| !apart.contains(end) && !kinds.iter().any(|kind| kind.as_str() == **end));
    audit("ends of other kinds", others.is_some().into(), 0);
    let (bulkhead, limiter) = (pipeline.bulkhead().ok_or("bulkhead")?, pipeline.rate_limiter().ok_or("limiter")?);
    audit("places free", bulkhead.available() as u64, PLACES as u64);
    audit("waiting for a place", bulkhead.waiting() as u64, 0);
    audit("waiting for a unit", limiter.waiting() as u64, 0);
    tokio::time::sleep(Duration::from_millis(200)).await;
    audit("units free", limiter.available().into(), BURST.into());
    audit("attempts of the breaker's next call", pipeline.call(|| async { Ok::<u64, Fault>(1) }).await?, 1);
    audit("tasks alive", tokio::runtime::Handle::current().metrics().num_alive_tasks() as u64, 0);
    if let (Some(before), Some(after)) = (before, after) {
        println!("memory: {before} KiB after the first tenth, {after} KiB at the end (resident)");
        audit("resident beyond 16 MiB", after >> 14, 0);
        audit("MiB grown", after.saturating_sub(before) >> 12 << 2, 0);
    }
    if wrong.is_empty() { Ok(digest) } else { Err(wrong.join("\n").into()) }
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let (mut numbers, mut threads, mut memory) = (Vec::new(), None, true);
    let mut arguments = lexopt::Parser::from_env();
    while let Some(argument) = arguments.next()? {
        match argument {
            lexopt::Arg::Long("threads") => threads = Some(arguments.value()?.parse::<usize>()?.max(1)),
            lexopt::Arg::Long("without-memory") => memory = false,
            lexopt::Arg::Value(number) => numbers.push(number.parse::<u64>()?),
            other => return Err(other.unexpected().into()),
        }
    }
    let number = |place: usize, or| numbers.get(place).copied().unwrap_or(or);
    let (calls, seed) = (number(0, 10_000_000), number(1, 42));
    if threads.is_none() {
        let began = std::time::Instant::now();
        let digest = Builder::new_current_thread().enable_time().start_paused(true).build()?.block_on(soak(calls, seed, memory))?;
        print!("seed {seed}, digest {digest:016x}, {:.1} s", began.elapsed().as_secs_f64());
        println!("{}\n", cpu_seconds().map_or_else(String::new, |cpu| format!(", {cpu:.1} s of processor time")));
    }
    let (calls, workers) = (if threads.is_some() { calls } else { calls / 20 }, threads.unwrap_or(2));
    let began = std::time::Instant::now();
    Builder::new_multi_thread().worker_threads(workers).enable_time().build()?.block_on(soak(calls, seed, memory))?;
    println!("seed {seed}, on {workers} threads in real time, {:.1} s", began.elapsed().as_secs_f64());
    Ok(())
}
