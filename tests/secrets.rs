//! What is given to a call stays out of everything that is printed; what is named is printed on one line.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fmt::Debug;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use steadfast::{
    AdaptiveLimit, Bulkhead, Call, CircuitBreaker, Coalesce, Error, Event, Fallback, Gate, GateFuture, Hedge, Monitor, Outcome, Pass,
    PerKey, Pipeline, PipelineBuilder, Priority, RateLimiter, Retry, Throttle, TypedPipeline, Verdict,
};

const CANARY: &str = "hunter2";
const HOSTILE: &str = "api\nERROR forged\u{1b}[31m\u{202e}";

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Keeps the call it was asked about, as a careless gate would print it.
#[derive(Clone, Default)]
struct Printer(Arc<Mutex<String>>);
struct Done;
impl Gate for Printer {
    fn admit<'a>(&'a self, call: Call<'a>) -> GateFuture<'a> {
        self.0.lock().unwrap().push_str(&format!("{call:?} {:?}", call.attempt()));
        Box::pin(async { Ok(Box::new(Done) as Box<dyn Pass>) })
    }
    fn name(&self) -> &str {
        HOSTILE
    }
}
impl Pass for Done {
    fn settle(self: Box<Self>, _: Outcome) {}
}

fn all(name: &str) -> PipelineBuilder {
    let breaker = CircuitBreaker::failure_rate(0.5);
    let builder = Pipeline::builder(name);
    #[cfg(feature = "chaos")]
    let builder = builder.chaos(steadfast::chaos::Chaos::seeded(1).latency(0.5, Duration::from_millis(1)));
    builder
        .total_timeout(Duration::from_secs(10))
        .retry(Retry::constant(2, Duration::from_millis(1)))
        .circuit_breaker(breaker.clone())
        .rate_limit(RateLimiter::per_second(100))
        .bulkhead(Bulkhead::new(1).queue(1))
        .throttle(Throttle::new())
        .per_key(PerKey::new(9).rate_limit(RateLimiter::per_second(100)).circuit_breaker(breaker).bulkhead(Bulkhead::new(1)))
        .adaptive_limit(AdaptiveLimit::new())
        .hedge(Hedge::after(Duration::from_millis(100)).idempotent())
        .attempt_timeout(Duration::from_secs(1))
        .monitor(Monitor::new())
        .spans()
        .classify(|_: &String| Verdict::transient())
}

fn judge(_: &Result<(), String>) -> Verdict {
    Verdict::Success
}

fn print(to: &mut String, what: &(impl Debug + ?Sized)) {
    to.push_str(&format!("{what:?}\n{what:#?}\n"));
}

#[tokio::test(start_paused = true)]
async fn h86_keys_values_and_error_texts_are_printed_nowhere() {
    let lines = Lines::default();
    let writer = lines.clone();
    let subscriber =
        tracing_subscriber::fmt().with_max_level(tracing::Level::TRACE).with_ansi(false).with_writer(move || writer.clone()).finish();
    // For all threads: tracing remembers what the first thread that met an event thought of it.
    tracing::subscriber::set_global_default(subscriber).unwrap();
    let (printer, mut printed) = (Printer::default(), String::new());
    let seen = Lines::default();
    let observed = seen.clone();
    let pipeline = all("p")
        .gate(printer.clone())
        .observer(move |name: &str, event: &Event| observed.0.lock().unwrap().extend(format!("{name} {event} {event:?}").bytes()))
        .build()
        .unwrap();
    let mut events = pipeline.events();

    let request = pipeline.key(CANARY).priority(Priority::High).cost(2);
    print(&mut printed, &request);
    print(&mut printed, &request.classify(judge as fn(&Result<(), String>) -> Verdict));
    print(&mut printed, &Call::now().for_key(CANARY));
    assert!(request.call(|| async { Err::<(), _>(format!("password {CANARY}")) }).await.is_err());
    assert_eq!(request.call(|| async { Ok::<_, String>(CANARY) }).await, Ok(CANARY));
    let late = request.call_with(|attempt| async move {
        if attempt.is_retry() {
            std::future::pending::<()>().await;
        }
        Err::<(), _>(format!("password {CANARY}"))
    });
    let Err(Error::<String>::Rejected(rejected)) = late.await else { panic!("timed out") };
    assert!(rejected.to_string().contains(CANARY), "the caller is told in full, and asked for it");
    print(&mut printed, &rejected);
    print(&mut printed, &Error::<String>::Rejected(rejected));

    let group = Coalesce::new().build::<&str, Error<String>>().unwrap();
    print(&mut printed, &request.coalesced(&group));
    let (one, two) = (request.coalesced(&group), request.coalesced(&group));
    let shared = tokio::join!(one.call(|| std::future::ready(Ok(CANARY))), two.call(|| std::future::ready(Ok(CANARY))));
    assert_eq!(shared, (Ok(CANARY), Ok(CANARY)));
    let keys = pipeline.per_key().unwrap();
    print(
        &mut printed,
        &(&group, group.stats(), keys, keys.stats(), keys.snapshot(CANARY), keys.most_rejected(9), keys.try_acquire(CANARY, 1)),
    );
    print(&mut printed, &(pipeline.throttle(), pipeline.adaptive_limit(), pipeline.hedge()));
    let typed: TypedPipeline<String, String> = all("t").fallback(Fallback::value(CANARY.to_owned())).build().unwrap();
    assert_eq!(typed.call(|| async { Err(CANARY.to_owned()) }).await, Ok(CANARY.to_owned()));
    print(&mut printed, &typed);
    print(&mut printed, &all("b").fallback(Fallback::<_, ()>::value(CANARY)));
    print(&mut printed, &pipeline);
    print(&mut printed, &pipeline.stats());
    printed.push_str(&format!("{} {} {}", pipeline, pipeline.stats(), pipeline.explain()));
    print(&mut printed, &pipeline.around(&pipeline));
    print(&mut printed, &(pipeline.circuit_breaker(), pipeline.rate_limiter(), pipeline.bulkhead(), pipeline.retry(), pipeline.monitor()));
    print(&mut printed, &events);
    while let Some(event) = events.try_next() {
        print(&mut printed, &event);
        printed.push_str(&event.to_string());
    }
    let traced = String::from_utf8(lines.0.lock().unwrap().clone()).unwrap();
    let observed = String::from_utf8(seen.0.lock().unwrap().clone()).unwrap();
    assert!(traced.contains("steadfast.call") && observed.contains("call finished"), "they were listening: {traced} {observed}");
    let in_span = |line: &str| line.contains(" steadfast.call{pipeline=") || line.contains("circuit changed");
    // The subscriber hears the other test of this file, too, when both run in one process.
    let mut own = traced.lines().filter(|line| !line.contains("forged"));
    assert!(own.all(in_span), "{traced}");
    let gate = printer.0.lock().unwrap().clone();
    for (where_, text) in [("debug and display", &printed), ("tracing", &traced), ("observers", &observed), ("gates", &gate)] {
        let at = text.find(CANARY).map(|at| text[at.saturating_sub(200)..].chars().take(260).collect::<String>());
        assert_eq!(at, None, "in {where_}");
    }
}

#[test]
fn h85_names_are_printed_on_one_line() {
    let pipeline = all(HOSTILE).gate(Printer::default()).build().unwrap();
    let mut printed = vec![pipeline.to_string(), format!("{pipeline:?}"), format!("{:?}", Pipeline::builder(HOSTILE))];
    pipeline.circuit_breaker().unwrap().isolate();
    let call = std::pin::pin!(pipeline.call(|| async { Ok::<_, String>(()) }));
    let std::task::Poll::Ready(Err(Error::Rejected(rejected))) = call.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()))
    else {
        panic!("rejected")
    };
    printed.extend([rejected.to_string(), format!("{rejected:?}")]);
    let order = pipeline.explain().to_string();
    printed.push(order.lines().next().unwrap().to_owned());
    assert_eq!(order.lines().count(), 4, "{order}");
    let bare = Pipeline::builder(HOSTILE).build().unwrap();
    assert_eq!(bare.stats().to_string().lines().count(), 1);
    let error = Pipeline::builder(HOSTILE).bulkhead(Bulkhead::new(0)).build().unwrap_err().to_string();
    assert_eq!(error.lines().count(), 2, "{error}");
    printed.extend(error.lines().map(str::to_owned));
    for line in printed {
        assert!(line.chars().all(|c| !c.is_control() && c != '\u{202e}'), "{line:?}");
    }
}
