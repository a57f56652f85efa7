//! The options of one call mean the same wherever they are said: on a pipeline, on one with a fallback, on one around another.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::cell::Cell;
use std::sync::{Arc, Mutex};
use std::time::Duration;
use steadfast::{
    Call, Error, Fallback, Gate, GateFuture, Outcome, Pass, Pipeline, PipelineBuilder, Priority, RateLimiter, RejectedKind, Retry,
    TypedPipeline, Verdict,
};
use tokio::time::Instant;

const SECOND: Duration = Duration::from_secs(1);

/// Writes down what it hears of each attempt, and lets all of them through.
#[derive(Clone, Default)]
struct Hears(Arc<Mutex<Vec<Heard>>>);

/// Key, priority, cost, time left.
type Heard = (Option<String>, Priority, u32, Option<Duration>);

struct Free;

impl Pass for Free {
    fn settle(self: Box<Self>, _: Outcome) {}
}

impl Gate for Hears {
    fn admit<'a>(&'a self, call: Call<'a>) -> GateFuture<'a> {
        let left = call.attempt().remaining();
        self.0.lock().unwrap().push((call.key().map(str::to_owned), call.priority_level(), call.cost_units(), left));
        Box::pin(async { Ok(Box::new(Free) as Box<dyn Pass>) })
    }
}

impl Hears {
    fn all(&self) -> Vec<Heard> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

fn retrying(hears: &Hears) -> PipelineBuilder {
    Pipeline::builder("p").retry(Retry::constant(2, Duration::ZERO).without_budget()).gate(hears.clone())
}

fn typed(hears: &Hears) -> TypedPipeline<u32, String> {
    retrying(hears).fallback(Fallback::value(7)).build().unwrap()
}

#[tokio::test(start_paused = true)]
async fn h128_a_typed_pipeline_takes_every_option_of_a_call() {
    let hears = Hears::default();
    let typed = typed(&hears);
    let answer = typed.key("acme").priority(Priority::High).cost(3).within(SECOND).call(|| async { Ok(1) }).await;
    assert_eq!((answer, hears.all()), (Ok(1), vec![(Some("acme".into()), Priority::High, 3, Some(SECOND))]));

    let began = Instant::now();
    assert_eq!(typed.deadline(began + SECOND).call(std::future::pending).await, Ok(7));
    assert_eq!((began.elapsed(), hears.all().len()), (SECOND, 1), "the fallback answers at the deadline");

    let attempts = Cell::new(0);
    let fails = || async {
        attempts.set(attempts.get() + 1);
        Err(String::from("down"))
    };
    assert_eq!((typed.idempotent(true).call(fails).await, attempts.take()), (Ok(7), 3));
    assert_eq!((typed.once().call(fails).await, attempts.take()), (Ok(7), 1));
    let request = typed.classify(|result| if result.is_err() { Verdict::Permanent } else { Verdict::Success });
    assert_eq!((request.call(fails).await, attempts.take()), (Ok(7), 1));
    let third = typed.cost(1).call_with(|attempt| async move { if attempt.number() < 3 { Err("again".into()) } else { Ok(3) } }).await;
    assert_eq!(third, Ok(3));
}

#[tokio::test(start_paused = true)]
async fn options_of_nested_pipelines_reach_both() {
    let (outside, inside) = (Hears::default(), Hears::default());
    let outer = retrying(&outside).build().unwrap();
    let inner = Pipeline::builder("inner").gate(inside.clone()).build().unwrap();
    let request = outer.around(&inner).key("acme").priority(Priority::Low).cost(2).within(SECOND);
    assert_eq!(request.call(|| async { Ok::<_, String>(1) }).await, Ok(1));
    let heard = vec![(Some("acme".into()), Priority::Low, 2, Some(SECOND))];
    assert_eq!((outside.all(), inside.all()), (heard.clone(), heard));

    let attempts = Cell::new(0);
    let fails = || async {
        attempts.set(attempts.get() + 1);
        Err::<u32, _>(String::from("down"))
    };
    assert_eq!((outer.around(&inner).call(fails).await, attempts.take()), (Err(Error::Inner("down".into())), 3));
    assert_eq!((outer.around(&inner).once().call(fails).await, attempts.take()), (Err(Error::Inner("down".into())), 1));
    assert_eq!((inner.around(&outer).once().call(fails).await, attempts.take()), (Err(Error::Inner("down".into())), 1), "whoever retries");
    let permanent = |result: &Result<u32, String>| if result.is_err() { Verdict::Permanent } else { Verdict::Success };
    assert_eq!((outer.around(&inner).classify(permanent).call(fails).await, attempts.take()), (Err(Error::Inner("down".into())), 1));

    let hang = || async {
        attempts.set(attempts.get() + 1);
        std::future::pending::<Result<u32, String>>().await
    };
    let late = outer.around(&inner).deadline(Instant::now() + SECOND).call(hang).await;
    assert_eq!((late.unwrap_err().kind(), attempts.take()), (Some(RejectedKind::DeadlineExceeded), 1));
    let impatient = retrying(&outside).attempt_timeout(SECOND).build().unwrap();
    assert_eq!(impatient.around(&inner).idempotent(false).call(hang).await.unwrap_err().kind(), Some(RejectedKind::Timeout));
    assert_eq!(attempts.take(), 1);
}

#[tokio::test(start_paused = true)]
async fn costs_are_paid_where_there_is_a_rate_limit() {
    let limiter = RateLimiter::per_hour(1).burst(5).build().unwrap();
    let limited = Pipeline::builder("limited").rate_limit(limiter).build().unwrap();
    let free = Pipeline::builder("free").build().unwrap();
    let call = |cost| free.around(&limited).cost(cost).call(|| async { Ok::<_, String>(()) });
    assert!(call(4).await.is_ok());
    assert_eq!(call(2).await.unwrap_err().kind(), Some(RejectedKind::RateLimited));
    assert!(call(1).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_value_instead_is_told_with_and_without_options() {
    let pipeline = Pipeline::builder("p").build().unwrap();
    let mut events = pipeline.events();
    assert_eq!(pipeline.call_or(|| async { Err::<u32, _>("down") }, 7).await, 7);
    assert_eq!(pipeline.key("acme").call_or(|| async { Err::<u32, _>("down") }, 8).await, 8);
    assert_eq!(pipeline.once().call_or(|| async { Ok::<_, String>(1) }, 8).await, 1);
    drop(pipeline);
    let mut fallbacks = 0;
    while let Some(event) = events.next().await {
        fallbacks += u32::from(event.name() == "fallback_used");
    }
    assert_eq!(fallbacks, 2);
}
