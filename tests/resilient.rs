//! `#[resilient]`: every form of function it goes on, run, and spawned to prove that it is `Send` where it should be.
#![cfg(feature = "macros")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support_resilient {
    pub(crate) mod errors;
}

use async_trait::async_trait;
use std::error::Error as StdError;
use std::future::Future;
use std::io;
use std::pin::Pin;
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;
use steadfast::{Error, Pipeline, RejectedKind, Retry, Verdict, resilient};
use support_resilient::errors::{ApiError, Big, Counter};
use tokio::time::{Instant, sleep};

static PAYMENTS: LazyLock<Pipeline> = LazyLock::new(|| retrying("payments", 3));

fn retrying(name: &str, retries: u32) -> Pipeline {
    Pipeline::builder(name).retry(Retry::exponential(retries, Duration::from_millis(10)).without_budget()).build().expect("valid")
}

/// Spawns it, which only a `Send` future can be.
async fn spawned<T: Send + 'static>(future: impl Future<Output = T> + Send + 'static) -> T {
    tokio::spawn(future).await.expect("no panic")
}

// ---------------------------------------------------------------------------------------------------------------- 1

#[resilient(retry(3), attempt_timeout = 2s)]
async fn tag(calls: Arc<Counter>, url: String, tags: &[&str]) -> Result<String, ApiError> {
    calls.fail_until(3)?;
    let mut url = url;
    url.push_str(&tags.concat());
    Ok(url)
}

#[tokio::test(start_paused = true)]
async fn form_01_owned_and_borrowed_arguments_and_question_marks() {
    let calls = Counter::new();
    let tagged = spawned({
        let calls = calls.clone();
        async move { tag(calls, "u".into(), &["a", "b"]).await }
    });
    assert_eq!(tagged.await, Ok("uab".into()));
    assert_eq!(calls.count(), 3);
}

#[resilient(retry(3), attempt_timeout = 2s)]
async fn hang(calls: &Counter) -> Result<(), ApiError> {
    calls.next();
    std::future::pending().await
}

#[tokio::test(start_paused = true)]
async fn form_01_an_attempt_timeout_is_a_rejection_of_the_function_s_own_error_type() {
    let calls = Counter::new();
    let ApiError::Rejected(rejected) = hang(&calls).await.unwrap_err() else { panic!("not a rejection") };
    assert_eq!((rejected.kind(), rejected.attempts(), calls.count()), (RejectedKind::Timeout, 4, 4));
    assert_eq!(rejected.pipeline(), Some("resilient::hang"), "module path and function");
}

// ---------------------------------------------------------------------------------------------------------------- 2

#[resilient(pipeline = PAYMENTS, key = "{tenant}/{id}", priority = High)]
async fn charge(calls: &Counter, tenant: &str, id: u64) -> anyhow::Result<u64> {
    calls.fail_until(2)?;
    Ok(id + tenant.len() as u64)
}

#[tokio::test(start_paused = true)]
async fn form_02_a_shared_static_and_anyhow() {
    let calls = Counter::new();
    let inside = calls.clone();
    assert_eq!(spawned(async move { charge(&inside, "acme", 3).await }).await.expect("charged"), 7);
    assert_eq!(calls.count(), 2);
    let error = charge(&Counter::failing(), "acme", 3).await.unwrap_err();
    assert_eq!(error.downcast::<ApiError>().expect("its own error"), ApiError::Status(503));
}

fn by_value() -> Pipeline {
    PAYMENTS.clone()
}

fn by_reference(of: &Arc<Pipeline>) -> &Pipeline {
    of
}

#[resilient(pipeline = by_value())]
async fn from_a_value(calls: &Counter, log: &mut Vec<u32>) -> anyhow::Result<usize> {
    log.push(calls.next());
    if log.len() < 2 { anyhow::bail!("again") } else { Ok(log.len()) }
}

#[resilient(pipeline = by_reference(place))]
async fn from_an_argument(calls: &Counter, place: &Arc<Pipeline>) -> Result<u32, ApiError> {
    calls.fail_until(2)?;
    Ok(calls.count())
}

#[resilient(pipeline = if calls.count() == 0 { place.clone() } else { PAYMENTS.clone() })]
async fn from_an_expression(calls: &Counter, place: Pipeline) -> Result<u32, ApiError> {
    calls.fail_until(2)?;
    Ok(place.name().len() as u32)
}

#[tokio::test(start_paused = true)]
async fn form_02_places_of_all_kinds() {
    assert_eq!(from_a_value(&Counter::new(), &mut vec![]).await.expect("second attempt"), 2);
    let place = Arc::new(by_value());
    assert_eq!(from_an_argument(&Counter::new(), &place).await, Ok(2));
    let calls = Counter::new();
    assert_eq!(spawned(async move { from_an_expression(&calls, by_value()).await }).await, Ok(8));
}

// ------------------------------------------------------------------------------------------------------------ 3 to 6

#[derive(Clone, Debug, PartialEq)]
struct UserId(u64);

impl std::fmt::Display for UserId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "user {}", self.0)
    }
}

struct Client<T> {
    value: T,
    pipeline: Pipeline,
    calls: Counter,
    total: u32,
}

impl<T> Client<T> {
    fn new(value: T) -> Self {
        Self { value, pipeline: retrying("client", 3), calls: Counter::default(), total: 0 }
    }
}

impl<T: Clone + Send + Sync> Client<T> {
    #[resilient(pipeline = self.pipeline, key = user_id)]
    async fn get<'a>(&'a self, user_id: UserId, extra: &'a str) -> Result<(&'a T, String), ApiError> {
        self.calls.fail_until(2)?;
        Ok((&self.value, format!("{user_id}{extra}")))
    }

    #[resilient(retry(5))]
    async fn bump(&mut self, by: u32) -> Result<u32, ApiError> {
        self.total += by;
        sleep(Duration::from_millis(1)).await;
        self.calls.fail_until(3)?;
        Ok(self.total)
    }

    #[resilient(pipeline = self.pipeline)]
    async fn bump_by_place(&mut self, by: u32) -> Result<u32, ApiError> {
        self.total += by;
        self.calls.fail_until(3)?;
        Ok(self.total)
    }

    #[resilient(retry(3))]
    async fn consume(self: Arc<Self>, mut v: Vec<u8>) -> Result<usize, ApiError>
    where
        T: 'static,
    {
        v.push(1);
        self.calls.fail_until(4)?;
        Ok(v.len() + format!("{}", self.calls.count()).len())
    }

    #[resilient(pipeline = self.pipeline, fallback = Self::plan_b)]
    async fn price(&self, id: UserId) -> Result<u64, ApiError> {
        self.calls.next();
        Err(ApiError::Status(500 + id.0 as u16))
    }

    async fn plan_b(&self, id: UserId, error: Error<ApiError>) -> Result<u64, ApiError> {
        assert_eq!(error, Error::Inner(ApiError::Status(500 + id.0 as u16)));
        if id.0 == 9 { Err(ApiError::Status(9)) } else { Ok(id.0 * 100 + u64::from(self.calls.count())) }
    }
}

#[tokio::test(start_paused = true)]
async fn form_03_generics_lifetimes_and_a_result_that_borrows_from_self() {
    let client = Client::new(String::from("v"));
    let (value, text) = client.get(UserId(7), "!").await.expect("got");
    assert_eq!((value.as_str(), text.as_str()), ("v", "user 7!"));
    assert_eq!(client.calls.count(), 2);
    let client = Arc::new(client);
    assert_eq!(spawned(async move { client.get(UserId(8), "").await.map(|(value, _)| value.clone()) }).await, Ok("v".into()));
}

#[tokio::test(start_paused = true)]
async fn form_04_mut_self_is_the_same_value_in_every_attempt() {
    let mut client = Client::new(());
    assert_eq!(client.bump(2).await, Ok(6));
    assert_eq!(client.total, 6);
    assert_eq!(spawned(async move { client.bump(1).await }).await, Ok(7));
    let mut client = Client::new(());
    assert_eq!(client.bump_by_place(2).await, Ok(6));
}

#[tokio::test(start_paused = true)]
async fn form_05_an_owned_self_and_a_mutable_argument() {
    let client = Arc::new(Client::new(1_u8));
    assert_eq!(spawned(client.clone().consume(vec![0; 3])).await, Ok(5), "a fresh copy of the vector each time");
    assert_eq!(client.calls.count(), 4);
}

#[tokio::test(start_paused = true)]
async fn form_06_a_method_as_fallback_gets_the_same_arguments() {
    let client = Arc::new(Client::new(1_u8));
    assert_eq!(client.price(UserId(3)).await, Ok(304));
    assert_eq!(client.price(UserId(9)).await, Err(ApiError::Status(9)), "the fallback's own error");
    assert_eq!(spawned(async move { client.price(UserId(1)).await }).await, Ok(112));
}

// ---------------------------------------------------------------------------------------------------------------- 7

#[resilient(retry(3))]
async fn put<K: AsRef<str> + Clone + Send + Sync>(
    calls: &Counter,
    k: K,
    v: impl Into<String> + Clone + Send + Sync,
) -> Result<String, ApiError> {
    calls.fail_until(2)?;
    Ok(k.as_ref().to_owned() + &v.into())
}

#[tokio::test(start_paused = true)]
async fn form_07_generics_and_impl_trait() {
    let calls = Counter::new();
    assert_eq!(put(&calls, "k", "v").await, Ok("kv".into()));
    let calls = calls.clone();
    assert_eq!(spawned(async move { put(&calls, String::from("k"), 'v').await }).await, Ok("kv".into()));
}

// ----------------------------------------------------------------------------------------------------------- 8 to 10

trait Store {
    async fn load(&self, k: &str) -> Result<u32, ApiError>;

    #[resilient(retry(3))]
    async fn twice(&self, k: String) -> Result<u32, ApiError> {
        Ok(self.load(&k).await? * 2)
    }
}

impl Store for Client<String> {
    #[resilient(retry(3))]
    async fn load(&self, k: &str) -> Result<u32, ApiError> {
        self.calls.fail_until(3)?;
        Ok(k.len() as u32)
    }
}

/// Neither `Send` nor `Sync`.
struct Local(std::rc::Rc<std::cell::Cell<u32>>);

impl Store for Local {
    async fn load(&self, _: &str) -> Result<u32, ApiError> {
        self.0.set(self.0.get() + 1);
        if self.0.get() < 3 { Err(ApiError::Status(503)) } else { Ok(self.0.get()) }
    }
}

#[tokio::test(start_paused = true)]
async fn form_08_a_default_body_in_a_trait() {
    let store = Local(std::rc::Rc::default());
    assert_eq!(store.twice("k".into()).await, Ok(6));
}

#[tokio::test(start_paused = true)]
async fn form_09_an_async_fn_in_a_trait_impl() {
    let client = Client::new(String::new());
    assert_eq!(client.load("four").await, Ok(4));
    assert_eq!(client.calls.count(), 3);
    assert_eq!(spawned(async move { client.load("12345").await }).await, Ok(5));
}

#[async_trait]
trait Dyn: Send + Sync {
    async fn go(&self, s: String) -> Result<String, ApiError>;
    async fn add(&mut self, n: u32) -> Result<u32, ApiError>;
    #[resilient(retry(2))]
    async fn by_default(&self, s: &str) -> Result<String, ApiError> {
        self.go(s.to_owned()).await
    }
}

#[async_trait]
impl Dyn for Client<String> {
    #[resilient(retry(3), key = s)]
    async fn go(&self, s: String) -> Result<String, ApiError> {
        self.calls.fail_until(3)?;
        sleep(Duration::from_millis(1)).await;
        Ok(s + &self.value)
    }

    #[resilient(retry(3))]
    async fn add(&mut self, n: u32) -> Result<u32, ApiError> {
        self.total += n;
        self.calls.fail_until(3)?;
        Ok(self.total)
    }
}

#[tokio::test(start_paused = true)]
async fn form_10_async_trait() {
    let client: Arc<dyn Dyn> = Arc::new(Client::new(String::from("!")));
    let shared = client.clone();
    assert_eq!(spawned(async move { shared.go("s".into()).await }).await, Ok("s!".into()));
    assert_eq!(client.by_default("d").await, Ok("d!".into()));
    let mut own: Box<dyn Dyn> = Box::new(Client::new(String::new()));
    assert_eq!(spawned(async move { own.add(2).await }).await, Ok(6));
}

// --------------------------------------------------------------------------------------------------------------- 11

#[resilient(retry(3))]
fn desugared(calls: Arc<Counter>, s: String) -> impl Future<Output = Result<String, ApiError>> + Send {
    async move {
        calls.fail_until(3)?;
        Ok(s)
    }
}

#[resilient(retry(3))]
fn boxed<'a>(calls: &'a Counter, s: &'a str) -> Pin<Box<dyn Future<Output = Result<&'a str, ApiError>> + Send + 'a>> {
    if s.is_empty() {
        return Box::pin(async { Err(ApiError::Status(400)) });
    }
    Box::pin(async move {
        calls.fail_until(3)?;
        Ok(s)
    })
}

#[resilient(retry(3))]
fn lent<'a>(log: &'a mut Vec<u32>, calls: &'a Counter) -> impl Future<Output = Result<usize, ApiError>> + use<'a> {
    async move {
        log.push(calls.count());
        calls.fail_until(3)?;
        Ok(log.len())
    }
}

#[resilient(timeout = 1s)]
fn once_desugared(big: Big) -> impl Future<Output = Result<u32, ApiError>> + Send {
    async move { Ok(big.0) }
}

#[tokio::test(start_paused = true)]
async fn form_11_functions_that_return_futures() {
    let calls = Counter::new();
    assert_eq!(spawned(desugared(calls.clone(), "s".into())).await, Ok("s".into()));
    assert_eq!(calls.count(), 3);
    let calls = Counter::new();
    assert_eq!(boxed(&calls, "s").await, Ok("s"));
    assert_eq!(boxed(&calls, "").await, Err(ApiError::Status(400)));
    let counter = Counter::new();
    assert_eq!(spawned(async move { boxed(&counter, "s").await.map(str::to_owned) }).await, Ok("s".to_owned()));
    let mut log = vec![];
    assert_eq!(lent(&mut log, &Counter::new()).await, Ok(3));
    assert_eq!(log, [0, 1, 2]);
    assert_eq!(spawned(once_desugared(Big(4))).await, Ok(4));
}

// --------------------------------------------------------------------------------------------------------- 12 and 13

#[resilient(retry(1), err = std::io::Error)]
async fn raw(calls: &Counter, x: u8) -> Result<u8, steadfast::Error<std::io::Error>> {
    if calls.next() < 2 {
        return Err(io::ErrorKind::ConnectionReset.into());
    }
    Ok("x".len() as u8 + x)
}

#[tokio::test(start_paused = true)]
async fn form_12_the_caller_sees_the_typed_wrapper() {
    let calls = Counter::new();
    assert_eq!(raw(&calls, 1).await.expect("second attempt"), 2);
    let inside = Counter::new();
    inside.set(u32::MAX - 5);
    assert!(spawned(async move { raw(&inside, 1).await }).await.is_ok());
}

#[resilient(attempt_timeout = 5ms, map_err = |e| match e {
    Error::Inner(e) => e,
    Error::Rejected(r) => io::Error::new(io::ErrorKind::TimedOut, r),
})]
async fn ping(fail: bool) -> std::io::Result<()> {
    if fail {
        return Err(io::ErrorKind::NotFound.into());
    }
    std::future::pending().await
}

#[resilient(retry(1), err = io::Error, map_err = to_api)]
async fn both() -> Result<u8, ApiError> {
    Err(io::ErrorKind::NotFound.into())
}

fn to_api(error: Error<io::Error>) -> ApiError {
    ApiError::Status(if error.inner().is_some() { 404 } else { 504 })
}

#[tokio::test(start_paused = true)]
async fn form_13_a_foreign_error_type_mapped_by_hand() {
    assert_eq!(spawned(ping(true)).await.unwrap_err().kind(), io::ErrorKind::NotFound);
    assert_eq!(ping(false).await.unwrap_err().kind(), io::ErrorKind::TimedOut);
    assert_eq!(both().await, Err(ApiError::Status(404)), "`err` and `map_err` together");
}

// --------------------------------------------------------------------------------------------------------- 14 and 15

#[resilient(retry(3), share(big), fallback = |_e| async { Ok(0) })]
async fn odd((a, b): (u32, u32), mut n: u32, log: &mut Vec<u32>, big: Big, fail: bool) -> Result<usize, ApiError> {
    n += 1;
    log.push(a + b + n + big.0);
    if fail {
        return Err(ApiError::Status(503));
    }
    Ok(log.len())
}

#[resilient(
    retry(2),
    key = "{x}{y}{first}{named}",
    priority = if *first > 0 { High } else { Low },
    fallback = beside,
    share(keep)
)]
async fn patterns(
    Point { x, y }: Point,
    &first: &u32,
    (named, _): (String, u8),
    _: u8,
    [mut head, ..]: [u32; 3],
    keep: Big,
) -> Result<String, ApiError> {
    head += 1;
    Err(ApiError::Text(format!("{x} {y} {first} {named} {head} {}", keep.0)))
}

async fn beside(
    point: Point,
    _: &u32,
    pair: (String, u8),
    unseen: u8,
    array: [u32; 3],
    keep: &Big,
    error: Error<ApiError>,
) -> Result<String, ApiError> {
    Ok(format!("{error}; {} {} {unseen} {} {}", point.x, pair.1, array[2], keep.0))
}

#[derive(Clone)]
struct Point {
    x: u8,
    y: u8,
}

#[tokio::test(start_paused = true)]
async fn form_14_patterns_mut_lent_and_shared_arguments() {
    let mut log = vec![];
    assert_eq!(odd((1, 2), 3, &mut log, Big(10), false).await, Ok(1));
    assert_eq!(odd((1, 2), 3, &mut log, Big(10), true).await, Ok(0));
    assert_eq!(log, [17; 5], "each attempt has its own `n`");
    assert_eq!(spawned(async move { odd((0, 0), 0, &mut log, Big(0), false).await }).await, Ok(6));
    let all = patterns(Point { x: 1, y: 2 }, &3, ("n".into(), 4), 5, [6, 7, 8], Big(9)).await;
    assert_eq!(all, Ok("1 2 3 n 7 9; 1 4 5 8 9".into()));
}

#[resilient(timeout = 1s)]
async fn once(big: Big) -> Result<usize, ApiError> {
    let moved = big;
    Ok(moved.0 as usize)
}

#[resilient(timeout = 1s)]
async fn once_borrowed<'a>(log: &'a mut Vec<u32>, (a, mut b): (u32, u32)) -> Result<&'a mut u32, ApiError> {
    b += a;
    log.push(b);
    log.last_mut().ok_or(ApiError::Status(1))
}

#[resilient(circuit_breaker(50%), key = big.0)]
async fn once_hangs(big: Big, slow: bool) -> Result<usize, ApiError> {
    if slow {
        sleep(Duration::from_secs(3)).await;
    }
    Ok(big.0 as usize)
}

struct Job(String);

impl Job {
    #[resilient(timeout = 1s, map_err = |_| String::from("late"))]
    async fn run(mut self, slow: bool) -> Result<String, String> {
        self.0.push('!');
        if slow {
            sleep(Duration::from_secs(3)).await;
        }
        Ok(self.0)
    }
}

#[tokio::test(start_paused = true)]
async fn form_15_one_attempt_moves_its_arguments() {
    assert_eq!(spawned(once(Big(3))).await, Ok(3));
    let mut log = vec![];
    *once_borrowed(&mut log, (1, 2)).await.expect("borrowed") += 10;
    assert_eq!(log, [13]);
    assert_eq!(once_hangs(Big(1), false).await, Ok(1));
    assert_eq!(Job("a".into()).run(false).await, Ok("a!".into()));
    let began = Instant::now();
    assert_eq!(spawned(Job("a".into()).run(true)).await, Err("late".into()));
    assert_eq!(began.elapsed(), Duration::from_secs(1));
}

#[resilient(retry(2, fixed(1ms)), attempt_timeout = 5ms, key = log.len(), fallback = rescue)]
async fn lent_again(log: &mut Vec<u32>, text: String, hang: bool) -> Result<String, ApiError> {
    log.push(1);
    if hang {
        std::future::pending::<()>().await;
    }
    Ok(text)
}

async fn rescue(log: &mut Vec<u32>, text: String, hang: bool, error: Error<ApiError>) -> Result<String, ApiError> {
    assert!(hang && error.is_timeout());
    log.push(2);
    if log.len() > 4 { Err(ApiError::Text(text)) } else { Ok(text) }
}

struct Ledger(Vec<u32>);

impl Ledger {
    #[resilient(retry(1), fallback = Self::undo)]
    async fn add(&mut self, n: u32) -> Result<usize, ApiError> {
        self.0.push(n);
        Err(ApiError::Status(503))
    }

    async fn undo(&mut self, _: u32, _: Error<ApiError>) -> Result<usize, ApiError> {
        self.0.pop();
        Ok(self.0.len())
    }
}

#[tokio::test(start_paused = true)]
async fn form_14_what_is_lent_comes_back_when_an_attempt_is_dropped() {
    let mut log = vec![];
    assert_eq!(lent_again(&mut log, "t".into(), true).await, Ok("t".into()));
    assert_eq!(log, [1, 1, 1, 2]);
    assert_eq!(lent_again(&mut log, "t".into(), true).await, Err(ApiError::Text("t".into())));
    assert_eq!(spawned(async move { lent_again(&mut log, "t".into(), false).await }).await, Ok("t".into()));
    let mut ledger = Ledger(vec![]);
    assert_eq!(ledger.add(7).await, Ok(1));
}

#[resilient(retry(3))]
async fn panics(calls: &Counter, log: &mut Vec<u32>) -> Result<(), ApiError> {
    log.push(calls.next());
    panic!("as it pleases");
}

#[tokio::test(start_paused = true)]
async fn a_panic_unwinds_and_a_drop_gives_back_what_was_lent() {
    let calls = Counter::new();
    let inside = calls.clone();
    assert!(tokio::spawn(async move { panics(&inside, &mut vec![]).await }).await.unwrap_err().is_panic());
    assert_eq!(calls.count(), 1, "not tried again");
    let mut log = vec![];
    tokio::time::timeout(Duration::from_millis(1), lent_again(&mut log, "t".into(), true)).await.unwrap_err();
    assert_eq!(log, [1]);
}

#[resilient(retry(3))]
async fn outer(calls: &Counter) -> Result<(), ApiError> {
    inner(calls).await
}

#[resilient(retry(3))]
async fn inner(calls: &Counter) -> Result<(), ApiError> {
    Err(ApiError::Status(calls.next() as u16))
}

#[tokio::test(start_paused = true)]
async fn retries_do_not_multiply_when_resilient_functions_nest() {
    let calls = Counter::new();
    assert_eq!(outer(&calls).await, Err(ApiError::Status(4)));
}

// --------------------------------------------------------------------------------------------------------------- 16

#[resilient(retry(2))]
async fn parse(s: &str) -> Result<u32, Box<dyn StdError + Send + Sync>> {
    Ok(s.parse::<u32>()?)
}

#[resilient(retry(2))]
async fn many(n: u32) -> Result<impl Iterator<Item = u32> + use<>, ApiError> {
    Ok(0..n)
}

#[tokio::test(start_paused = true)]
async fn form_16_boxed_errors_and_results_without_a_name() {
    assert_eq!(parse("7").await.expect("a number"), 7);
    assert_eq!(spawned(parse("x")).await.unwrap_err().to_string(), "invalid digit found in string");
    assert_eq!(many(4).await.expect("numbers").sum::<u32>(), 6);
}

// --------------------------------------------------------------------------------------------------------- 18 and 20

fn is_transient(error: &anyhow::Error) -> bool {
    !error.to_string().contains("400")
}

#[resilient(
    retry(3, exponential(100ms..5s), jitter = full, when = is_transient, budget = 20%),
    circuit_breaker(50%, window = 10s, min_calls = 20, open_for = 30s),
    rate_limit(100/s, burst = 20, wait = 250ms), bulkhead(50, queue = 100), attempt_timeout = 1.5s, total_timeout = 1m,
    key = "{tenant}:{id}", priority = if vip { High } else { Normal },
)]
async fn full(calls: Arc<Counter>, tenant: &str, id: u64, vip: bool) -> anyhow::Result<u64> {
    match calls.next() {
        1 => Err(ApiError::Status(503).into()),
        2 if tenant == "bad" => Err(ApiError::Status(400).into()),
        _ => Ok(id + u64::from(vip)),
    }
}

#[tokio::test(start_paused = true)]
async fn form_18_every_policy_at_once() {
    let calls = Counter::new();
    assert_eq!(full(calls.clone(), "good", 4, true).await.expect("second attempt"), 5);
    assert_eq!(calls.count(), 2);
    let calls = Counter::new();
    let inside = calls.clone();
    let error = spawned(async move { full(inside, "bad", 4, false).await }).await.unwrap_err();
    assert_eq!((error.to_string().as_str(), calls.count()), ("status 400", 2), "`when` ends it");
}

#[resilient(preset = http, retry(5, fixed(1ms)), name = "geo.lookup")]
async fn lookup(calls: &Counter) -> Result<u32, ApiError> {
    match calls.next() {
        n @ 1..6 => Err(ApiError::Status(n as u16)),
        6 => Ok(6),
        _ => std::future::pending().await,
    }
}

#[tokio::test(start_paused = true)]
async fn form_20_a_preset_with_one_item_overridden() {
    let calls = Counter::new();
    let began = Instant::now();
    let inside = calls.clone();
    assert_eq!(spawned(async move { lookup(&inside).await }).await, Ok(6));
    assert!(began.elapsed() < Duration::from_millis(20), "five retries, from 1 ms");
    let ApiError::Rejected(rejected) = lookup(&calls).await.unwrap_err() else { panic!("not a rejection") };
    assert_eq!(rejected.pipeline(), Some("geo.lookup"));
    assert_eq!(began.elapsed().as_secs(), 10, "the preset's total timeout");
}

// --------------------------------------------------------------------------------------------------- what else it says

fn verdict(error: &ApiError) -> Verdict {
    match error {
        ApiError::Status(503) => Verdict::transient(),
        ApiError::Status(429) => Verdict::retry_after(Duration::from_secs(5)),
        _ => Verdict::permanent(),
    }
}

#[resilient(retry(3), classify = verdict)]
async fn judged(calls: &Counter, statuses: &[u16]) -> Result<u32, ApiError> {
    let n = calls.next();
    statuses.get(n as usize - 1).map_or(Ok(n), |status| Err(ApiError::Status(*status)))
}

#[resilient(retry(3), classify = |e| if e.as_str() == "again" { Verdict::transient() } else { Verdict::permanent() }, fallback = |e| async move {
    e.into_inner().map(|e| e.len()).ok_or_else(String::new)
}, map_err = |e| e.to_string())]
async fn judged_by_closure(seen: &Mutex<Vec<String>>, next: &[&str]) -> Result<usize, String> {
    let mut seen = seen.lock().expect("lock");
    let text = next[seen.len()].to_owned();
    seen.push(text.clone());
    Err(text)
}

#[tokio::test(start_paused = true)]
async fn classify_judges_with_the_server_s_wishes() {
    let (calls, began) = (Counter::new(), Instant::now());
    assert_eq!(judged(&calls, &[429]).await, Ok(2));
    assert_eq!(began.elapsed().as_secs(), 5);
    assert_eq!(judged(&Counter::new(), &[503, 400]).await, Err(ApiError::Status(400)));
    let seen = Mutex::new(vec![]);
    assert_eq!(judged_by_closure(&seen, &["again", "again", "enough", "x"]).await, Ok(6));
    assert_eq!(seen.lock().expect("lock").len(), 3);
}

#[resilient(retry(3, when = |e: &ApiError| *e != ApiError::Status(*last)), name = "captures")]
async fn when_sees_arguments(calls: &Counter, last: &u16) -> Result<(), ApiError> {
    Err(ApiError::Status(calls.next() as u16))
}

#[tokio::test(start_paused = true)]
async fn when_may_speak_of_the_arguments() {
    let calls = Counter::new();
    assert_eq!(when_sees_arguments(&calls, &2).await, Err(ApiError::Status(2)));
    assert_eq!(calls.count(), 2);
}

const NO_TIME_AT_ALL: Duration = Duration::ZERO;

#[resilient(circuit_breaker(50%, open_for = NO_TIME_AT_ALL), fallback = |_| async { Ok(1) })]
async fn misconfigured() -> Result<u32, ApiError> {
    Ok(0)
}

#[tokio::test(start_paused = true)]
async fn a_pipeline_that_cannot_be_built_rejects_every_call_and_says_why() {
    for _ in 0..2 {
        let ApiError::Rejected(rejected) = misconfigured().await.unwrap_err() else { panic!("not a rejection") };
        let text = rejected.to_string();
        assert!(text.starts_with("resilient::misconfigured: not attempted: its pipeline cannot be built"), "{text}");
        assert!(text.contains("circuit_breaker.open_for"), "{text}");
    }
}

struct Gated {
    limit: Duration,
}

impl Gated {
    const LIMIT: Duration = Duration::from_millis(7);

    #[resilient(attempt_timeout = Self::LIMIT, total_timeout = config::TOTAL, retry(config::RETRIES, exponential(config::BASE..5s), factor = 1.5))]
    async fn constants(&self) -> Result<(), ApiError> {
        sleep(self.limit).await;
        Ok(())
    }
}

mod config {
    use std::time::Duration;
    pub(crate) const TOTAL: Duration = Duration::from_secs(60);
    pub(crate) const BASE: Duration = Duration::from_millis(1);
    pub(crate) const RETRIES: u32 = 2;
}

#[tokio::test(start_paused = true)]
async fn constants_may_stand_for_every_number() {
    let gated = Gated { limit: Duration::from_secs(9) };
    let ApiError::Rejected(rejected) = gated.constants().await.unwrap_err() else { panic!("not a rejection") };
    assert_eq!((rejected.kind(), rejected.attempts()), (RejectedKind::Timeout, 3));
}

#[resilient(retry(2))]
async fn keeps_its_call_local<T: Clone>(value: T, calls: &AtomicU32) -> Result<T, ApiError> {
    if calls.fetch_add(1, Ordering::Relaxed) == 0 { Err(ApiError::Status(503)) } else { Ok(value) }
}

#[tokio::test(start_paused = true)]
async fn arguments_need_not_be_send() {
    let value = std::rc::Rc::new(5);
    assert_eq!(keeps_its_call_local(value, &AtomicU32::new(0)).await, Ok(std::rc::Rc::new(5)));
}

macro_rules! service {
    ($name:ident, $delay:literal, $retries:expr, $body:expr) => {
        #[resilient(retry($retries, fixed($delay)))]
        async fn $name(calls: &Counter) -> Result<u32, ApiError> {
            calls.fail_until(2)?;
            Ok($body)
        }
    };
}

service!(made_by_a_macro, 5ms, 2, 40 + 2);

#[tokio::test(start_paused = true)]
async fn it_works_on_functions_made_by_macros() {
    let began = Instant::now();
    assert_eq!(made_by_a_macro(&Counter::new()).await, Ok(42));
    assert!(began.elapsed() <= Duration::from_millis(6));
}
