//! `#[resilient(cache(..))]`: the answers of a function are kept.
#![cfg(all(feature = "macros", feature = "cache"))]

mod support_resilient {
    pub(crate) mod errors;
}

use std::fmt::Debug;
use std::sync::{Arc, LazyLock};
use std::time::Duration;
use steadfast::{
    Cache, Caching, CircuitBreaker, Error, Pipeline, PipelineConfig, Registry, RegistryConfig, Rejected, RejectedKind, Verdict, resilient,
};
use support_resilient::errors::{ApiError, Counter};
use tokio::time::advance;

const SECOND: Duration = Duration::from_secs(1);

#[resilient(cache(ttl = 10s, stale_if_error = 1h, capacity = 100), retry(1, fixed(1ms)), key = "{tenant}/{id}")]
async fn quote(tenant: &str, id: u64, calls: &Counter, fails: bool) -> Result<String, ApiError> {
    let call = calls.next();
    if fails { Err(ApiError::Status(503)) } else { Ok(format!("{tenant} {id}: {call}")) }
}

#[tokio::test(start_paused = true)]
async fn form_cache_keeps_and_outlives_an_outage() {
    let calls = Counter::default();
    let text = |text: &str| text.to_owned();
    assert_eq!(quote("a", 1, &calls, false).await.ok(), Some(text("a 1: 1")));
    assert_eq!(quote("a", 1, &calls, true).await.ok(), Some(text("a 1: 1")), "a hit");
    assert_eq!(quote("b", 1, &calls, false).await.ok(), Some(text("b 1: 2")), "another key");
    advance(10 * SECOND).await;
    assert_eq!(quote("a", 1, &calls, true).await.ok(), Some(text("a 1: 1")), "the last good one");
    assert_eq!(calls.count(), 4, "after a retry");
    advance(3_600 * SECOND).await;
    assert!(quote("a", 1, &calls, true).await.is_err());
    assert_eq!(quote("a", 1, &calls, false).await.ok(), Some(text("a 1: 7")));
}

#[tokio::test(start_paused = true)]
async fn h112_functions_with_the_same_key_do_not_meet() {
    #[resilient(cache(ttl = 1m), key = id)]
    async fn one(id: u8) -> anyhow::Result<u8> {
        Ok(id + 1)
    }
    #[resilient(cache(ttl = 1m), key = id)]
    async fn two(id: u8) -> anyhow::Result<u8> {
        Ok(id + 2)
    }
    // Nor do the instances of a generic one, whatever they answer.
    trait Kind {
        const NAME: &str;
    }
    struct Cat;
    struct Dog;
    impl Kind for Cat {
        const NAME: &str = "cat";
    }
    impl Kind for Dog {
        const NAME: &str = "dog";
    }
    #[resilient(cache(ttl = 1m), key = id)]
    async fn name_of<K: Kind, const N: usize>(id: u8) -> anyhow::Result<String> {
        Ok(K::NAME.repeat(N))
    }
    for _ in 0..2 {
        let names = (name_of::<Cat, 1>(1).await.ok(), name_of::<Dog, 1>(1).await.ok(), name_of::<Dog, 2>(1).await.ok());
        assert_eq!(names, (Some("cat".to_owned()), Some("dog".to_owned()), Some("dogdog".to_owned())));
    }
    // Also where the type is `Self`, or in the arguments.
    trait Named: Kind + Sync {
        #[resilient(cache(ttl = 1m), key = "same")]
        async fn name(&self) -> anyhow::Result<&'static str> {
            Ok(Self::NAME)
        }
    }
    impl Named for Cat {}
    impl Named for Dog {}
    #[resilient(cache(ttl = 1m), key = "same")]
    async fn of(kind: impl Named) -> anyhow::Result<&'static str> {
        kind.name().await
    }
    for _ in 0..2 {
        assert_eq!((Cat.name().await.ok(), Dog.name().await.ok()), (Some("cat"), Some("dog")));
        assert_eq!((of(Cat).await.ok(), of(Dog).await.ok()), (Some("cat"), Some("dog")));
    }
    // Nor do its types.
    #[resilient(cache(ttl = 1m), key = "same")]
    async fn any<T: Clone + Debug + Send + Sync + 'static>(value: T) -> anyhow::Result<T> {
        Ok(value)
    }
    assert_eq!((one(1).await.ok(), two(1).await.ok(), one(1).await.ok()), (Some(2), Some(3), Some(2)));
    assert_eq!(
        (any(1_u8).await.ok(), any("x").await.ok(), any(2_u8).await.ok(), any("y").await.ok()),
        (Some(1), Some("x"), Some(1), Some("x"))
    );
    assert_eq!((any(7_i64).await.ok(), any(8_i64).await.ok()), (Some(7), Some(7)));
}

struct Client {
    calls: Counter,
}

impl Client {
    #[resilient(
        cache(ttl = SECOND, stale_if_error = 10 * SECOND), key = name, attempt_timeout = 1s,
        classify = |e: &ApiError| if matches!(e, ApiError::Status(404)) { Verdict::Ignored } else { Verdict::transient() },
        fallback = |_| async { Ok(Arc::from("nobody")) },
    )]
    async fn user(&self, name: &str, status: u16) -> Result<Arc<str>, ApiError> {
        self.calls.next();
        if status == 200 { Ok(Arc::from(name)) } else { Err(ApiError::Status(status)) }
    }

    #[resilient(cache(ttl = 1s), key = name, err = std::io::Error)]
    async fn raw(&self, name: String) -> Result<usize, Error<std::io::Error>> {
        Ok(self.calls.next() as usize + name.len())
    }
}

#[tokio::test(start_paused = true)]
async fn with_a_judge_and_a_fallback() {
    let client = Client { calls: Counter::default() };
    assert_eq!(client.user("ann", 503).await.ok().as_deref(), Some("nobody"));
    assert_eq!(client.user("ann", 200).await.ok().as_deref(), Some("ann"), "a fallback is not kept");
    advance(SECOND).await;
    assert_eq!(client.user("ann", 503).await.ok().as_deref(), Some("ann"));
    advance(40 * SECOND).await;
    assert_eq!(client.user("ann", 404).await.ok().as_deref(), Some("nobody"));
    assert_eq!(client.calls.count(), 4);
    assert_eq!((client.raw("x".to_owned()).await.ok(), client.raw("x".to_owned()).await.ok()), (Some(6), Some(6)));
}

#[tokio::test(start_paused = true)]
async fn many_callers_are_one_call_and_can_be_spawned() {
    static CALLS: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
    #[resilient(cache(ttl = 1m), key = "the only one")]
    async fn slow() -> Result<u32, ApiError> {
        tokio::time::sleep(SECOND).await;
        Ok(CALLS.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
    }
    let tasks: Vec<_> = (0..64).map(|_| tokio::spawn(slow())).collect();
    for task in tasks {
        assert_eq!(task.await.ok().and_then(Result::ok), Some(0));
    }
    assert_eq!(CALLS.load(std::sync::atomic::Ordering::Relaxed), 1);
}

static QUOTES: LazyLock<Cache<String, u32>> =
    LazyLock::new(|| Cache::new(100).ttl(10 * SECOND).stale_if_error(60 * SECOND).build().expect("valid"));

static REGISTRY: LazyLock<Registry> =
    LazyLock::new(|| RegistryConfig::new().pipeline("payments", PipelineConfig::new()).build().expect("valid"));

#[resilient(pipeline = "payments", cached = QUOTES, key = id)]
async fn price(id: u64, calls: &Counter, fails: bool) -> Result<u32, ApiError> {
    let call = calls.next();
    if fails { Err(ApiError::Status(503)) } else { Ok(call + u32::from(id == 0)) }
}

#[resilient(pipeline = "payments", cache(ttl = 10s), key = id)]
async fn own_price(id: u64, calls: &Counter) -> Result<u32, ApiError> {
    Ok(calls.next() + u32::from(id == 0))
}

#[resilient(retry(1, fixed(1ms)), cached = QUOTES, key = "of {id}", fallback = |_| async { Ok(0) })]
async fn or_nothing(id: u64, calls: &Counter) -> Result<u32, ApiError> {
    calls.fail_until(100)?;
    Ok(id as u32)
}

#[tokio::test(start_paused = true)]
async fn form_19_by_name_and_cached_in_a_place() {
    let calls = Counter::default();
    assert_eq!((price(7, &calls, false).await.ok(), price(7, &calls, false).await.ok()), (Some(1), Some(1)));
    assert_eq!(QUOTES.get("7"), Some(1), "it can be looked at");
    advance(10 * SECOND).await;
    assert_eq!((price(7, &calls, true).await.ok(), calls.count()), (Some(1), 2), "the last good one");
    QUOTES.remove("7");
    assert!(price(7, &calls, true).await.is_err());
    assert_eq!((own_price(7, &calls).await.ok(), own_price(7, &calls).await.ok()), (Some(4), Some(4)), "one of its own");
    QUOTES.insert("of 1", 11);
    assert_eq!((or_nothing(1, &calls).await.ok(), or_nothing(2, &calls).await.ok()), (Some(11), Some(0)));
}

struct Shop {
    prices: Cache<String, Arc<str>>,
    pipeline: Pipeline,
    sold: u32,
}

impl Shop {
    #[resilient(pipeline = self.pipeline, cached = self.prices, key = what, classify = |_: &ApiError| Verdict::Permanent)]
    async fn sell(&mut self, what: &str) -> Result<Arc<str>, ApiError> {
        self.sold += 1;
        Ok(Arc::from(format!("{what} {}", self.sold)))
    }
}

#[tokio::test(start_paused = true)]
async fn a_cache_in_what_is_lent() {
    let (prices, pipeline) = (Cache::new(10).build().expect("valid"), Pipeline::builder("shop").build().expect("valid"));
    let mut shop = Shop { prices, pipeline, sold: 0 };
    assert_eq!(shop.sell("tea").await.ok().as_deref(), Some("tea 1"));
    assert_eq!((shop.sell("tea").await.ok().as_deref(), shop.sold), (Some("tea 1"), 1));
    shop.prices.clear();
    assert_eq!(shop.sell("tea").await.ok().as_deref(), Some("tea 2"));
}

/// `cached`: the pipeline says how.
mod by_pipeline {
    use super::*;

    fn registry(caching: impl Into<Option<Caching>>) -> Registry {
        RegistryConfig::new().pipeline("payments", PipelineConfig::new().caching(caching)).build().expect("valid settings")
    }

    fn minutes(ttl: u64) -> Caching {
        Caching::new(100).ttl(Duration::from_secs(60 * ttl))
    }

    static REGISTRY: LazyLock<Registry> = LazyLock::new(|| registry(minutes(1)));

    #[resilient(pipeline = "payments", cached, key = id)]
    async fn charge(id: u64, calls: &Counter) -> Result<String, ApiError> {
        Ok(format!("{id}: {}", calls.next()))
    }

    #[resilient(pipeline = "payments", cached, key = id)]
    async fn refund(id: u64, calls: &Counter) -> Result<String, ApiError> {
        Ok(format!("{id} back: {}", calls.next()))
    }

    #[tokio::test(start_paused = true)]
    async fn form_19_by_name_and_cached_as_its_pipeline_says() {
        let calls = Counter::new();
        let said = |text: &str| Ok(text.to_owned());
        for _ in 0..2 {
            assert_eq!(charge(7, &calls).await, said("7: 1"));
            assert_eq!(refund(7, &calls).await, said("7 back: 2"), "h112: functions with the same key do not meet");
        }
        advance(60 * SECOND).await;
        let inside = calls.clone();
        assert_eq!(tokio::spawn(async move { charge(7, &inside).await }).await.ok(), Some(said("7: 3")), "its ttl is over");
        assert_eq!(charge(8, &calls).await, said("8: 4"));
        assert_eq!(
            REGISTRY.find("payments").map(|found| found.to_string()),
            Ok("payments: cache (of `cached` functions) > operation".to_owned())
        );
    }

    fn rejection<T: Debug>(result: Result<T, ApiError>) -> Rejected {
        match result {
            Err(ApiError::Rejected(rejected)) => rejected,
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test(start_paused = true)]
    async fn form_19_a_missing_name_is_a_rejection_with_the_known_names() {
        #[resilient(pipeline = "payment", cached, key = id, fallback = |_| async { Ok(0) })]
        async fn misspelt(id: u64) -> Result<u64, ApiError> {
            Ok(id)
        }
        let rejected = rejection(misspelt(1).await);
        assert_eq!(rejected.kind(), RejectedKind::UnknownPipeline);
        assert_eq!(rejected.to_string(), "payment: not attempted: there is no pipeline of this name; the registry has `payments`");
    }

    #[tokio::test(start_paused = true)]
    async fn a_pipeline_that_does_not_say_how_is_a_rejection_with_the_cure() {
        static REGISTRY: LazyLock<Registry> = LazyLock::new(|| registry(None));
        #[resilient(pipeline = "payments", cached, key = id, fallback = |_| async { Ok(0) })]
        async fn nowhere(id: u64, calls: &Counter) -> Result<u32, ApiError> {
            Ok(calls.next() + u32::from(id == 0))
        }
        let calls = Counter::default();
        for _ in 0..2 {
            let rejected = rejection(nowhere(1, &calls).await);
            assert_eq!(
                (rejected.kind(), rejected.attempts(), rejected.pipeline()),
                (RejectedKind::Custom("no cache settings"), 0, Some("payments"))
            );
            let text = rejected.to_string();
            assert!(
                text.starts_with("payments: not attempted: no cache settings; `resilient_cache::by_pipeline::nowhere` is `cached`"),
                "{text}"
            );
            assert!(text.contains(".caching(Caching::new(") && text.contains("`[pipelines.payments.cache]`"), "{text}");
        }
        assert_eq!(calls.count(), 0, "and no fallback hides it");
    }

    #[tokio::test(start_paused = true)]
    async fn the_last_good_answer_is_given_while_the_circuit_is_open() {
        static PRICES: LazyLock<Pipeline> = LazyLock::new(|| {
            let caching = minutes(1).stale_if_error(Duration::from_secs(3_600)).retry_stale_every(SECOND);
            let breaker = CircuitBreaker::consecutive_failures(1).open_for(Duration::from_secs(600));
            Pipeline::builder("prices").circuit_breaker(breaker).caching(caching).build().expect("valid settings")
        });
        #[resilient(pipeline = PRICES, cached, key = what, fallback = |_| async { Ok(Arc::from("nobody knows")) })]
        async fn price(what: &str, calls: &Counter, fails: bool) -> Result<Arc<str>, ApiError> {
            let call = calls.next();
            if fails { Err(ApiError::Status(503)) } else { Ok(Arc::from(format!("{what} {call}"))) }
        }
        let calls = Counter::default();
        let price = async |what, fails| price(what, &calls, fails).await.ok().as_deref().map(str::to_owned);
        assert_eq!(price("tea", false).await.as_deref(), Some("tea 1"));
        advance(60 * SECOND).await;
        assert_eq!(price("tea", true).await.as_deref(), Some("tea 1"), "the call failed");
        advance(5 * SECOND).await;
        assert_eq!(price("tea", false).await.as_deref(), Some("tea 1"), "the breaker refuses");
        assert_eq!(calls.count(), 2);
        assert_eq!(price("milk", false).await.as_deref(), Some("nobody knows"), "a fallback only where there is none");
    }

    struct Client<T> {
        pipeline: Pipeline,
        answer: T,
    }

    impl<T: Clone + Send + Sync + 'static> Client<T> {
        fn new(answer: T) -> Self {
            Self { pipeline: Pipeline::builder("client").caching(minutes(1)).build().expect("valid settings"), answer }
        }

        #[resilient(pipeline = self.pipeline, cached, key = "same", classify = |_: &ApiError| Verdict::Permanent)]
        async fn get(&self) -> Result<T, ApiError> {
            Ok(self.answer.clone())
        }

        #[resilient(pipeline = self.pipeline, cached, key = "same")]
        async fn put(&mut self, answer: T) -> Result<T, ApiError> {
            self.answer = answer;
            Ok(self.answer.clone())
        }
    }

    #[tokio::test(start_paused = true)]
    async fn h112_pipelines_types_and_instances_have_their_own() {
        let (one, mut two, text) = (Client::new(1_u8), Client::new(2_u8), Client::new("x"));
        assert_eq!((one.get().await, two.get().await, text.get().await), (Ok(1), Ok(2), Ok("x")));
        let same = Client { pipeline: one.pipeline.clone(), answer: 3_u8 };
        assert_eq!(same.get().await, Ok(1), "it is the same pipeline");
        let other = Client { pipeline: one.pipeline.clone(), answer: 4_i64 };
        assert_eq!((other.get().await, one.get().await), (Ok(4), Ok(1)), "answers of another type");
        assert_eq!((two.put(5).await, two.put(6).await, two.answer), (Ok(5), Ok(5), 5), "another function, which lends");

        trait Kind {
            const NAME: &str;
        }
        impl Kind for u8 {
            const NAME: &str = "small";
        }
        impl Kind for u64 {
            const NAME: &str = "large";
        }
        #[resilient(pipeline = pipeline, cached, key = "same")]
        async fn size<K: Kind>(pipeline: &Pipeline) -> anyhow::Result<&'static str> {
            Ok(K::NAME)
        }
        for _ in 0..2 {
            assert_eq!((size::<u8>(&one.pipeline).await.ok(), size::<u64>(&one.pipeline).await.ok()), (Some("small"), Some("large")));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_kept_goes_with_its_pipeline() {
        let client = Client::new(Arc::new(1));
        let answer = Arc::downgrade(&client.answer);
        assert!(client.get().await.is_ok());
        let Client { pipeline, answer: ours } = client;
        drop(ours);
        assert!(answer.upgrade().is_some(), "it is kept");
        drop(pipeline);
        assert!(answer.upgrade().is_none());
    }

    #[resilient(pipeline = "payments", registry = of, cached, key = id)]
    async fn of(of: &Registry, id: u64, calls: &Counter) -> Result<u32, ApiError> {
        Ok(calls.next() + u32::from(id == 0))
    }

    #[tokio::test(start_paused = true)]
    async fn two_registries_do_not_meet() {
        let (calls, one, two) = (Counter::default(), registry(minutes(1)), registry(minutes(1)));
        for _ in 0..2 {
            assert_eq!((of(&one, 1, &calls).await, of(&two, 1, &calls).await), (Ok(1), Ok(2)));
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_reload_reaches_the_caches_that_are_there() {
        let (calls, registry) = (Counter::default(), registry(minutes(10)));
        let reload = |caching: Option<Caching>| {
            let config = RegistryConfig::new().pipeline("payments", PipelineConfig::new().caching(caching));
            registry.reload(&config).expect("valid settings").to_string()
        };
        assert_eq!(of(&registry, 1, &calls).await, Ok(1));
        assert_eq!(
            reload(Some(minutes(1).stale_if_error(SECOND))),
            "payments: cache.ttl: 10m -> 1m\npayments: cache.stale_if_error: 0s -> 1s"
        );
        assert_eq!((of(&registry, 1, &calls).await, of(&registry, 2, &calls).await), (Ok(1), Ok(2)), "what is there stays");
        advance(60 * SECOND).await;
        assert_eq!((of(&registry, 1, &calls).await, of(&registry, 2, &calls).await), (Ok(1), Ok(3)), "with the ttl it came with");

        assert!(reload(Some(Caching::new(1))).contains("cache.capacity: 100 -> 1"));
        let fresh = Counter::default();
        for id in [1, 2, 3] {
            assert!(of(&registry, id, &fresh).await.is_ok());
        }
        assert!(fresh.count() >= 2, "there is room for one");

        assert!(reload(None).contains("cache.capacity: 1 -> none"));
        assert_eq!(rejection(of(&registry, 1, &calls).await).kind(), RejectedKind::Custom("no cache settings"));
        assert!(reload(Some(minutes(1))).contains("cache.capacity: none -> 100"));
        let anew = Counter::default();
        for id in [1, 2, 3] {
            assert!(of(&registry, id, &anew).await.is_ok());
        }
        assert_eq!(anew.count(), 3, "all of it is gone");
        assert_eq!(reload(Some(minutes(1))), "nothing changed");
        for id in [1, 2, 3] {
            assert!(of(&registry, id, &anew).await.is_ok());
        }
        assert_eq!(anew.count(), 3);
    }

    #[tokio::test(start_paused = true)]
    async fn what_leaves_at_a_reload_is_dropped_under_no_lock() {
        static SHOP: LazyLock<Registry> = LazyLock::new(|| registry(minutes(1)));
        fn reload(caching: impl Into<Option<Caching>>) -> String {
            let config = RegistryConfig::new().pipeline("payments", PipelineConfig::new().caching(caching));
            SHOP.reload(&config).map_or_else(|error| error.to_string(), |changes| changes.to_string())
        }
        static DROPS: LazyLock<Counter> = LazyLock::new(Counter::default);
        struct Reloads;
        impl Drop for Reloads {
            fn drop(&mut self) {
                // Whoever held a lock of registry or pipeline now would wait for itself.
                reload(Caching::new(7 + DROPS.next() as usize));
            }
        }
        #[resilient(pipeline = "payments", registry = SHOP, cached, key = id)]
        async fn of(id: u64) -> Result<Arc<Reloads>, ApiError> {
            let _ = id;
            Ok(Arc::new(Reloads))
        }
        for id in 0..4 {
            assert!(of(id).await.is_ok());
        }
        assert_eq!(DROPS.count(), 0);
        assert!(reload(None).contains("cache.capacity: 100 -> none"));
        assert_eq!(DROPS.count(), 4);
        let now = SHOP.find("payments").map(|shop| shop.config());
        assert_eq!(now, Ok(PipelineConfig::new().caching(Caching::new(11))), "the last one");
    }

    #[test]
    fn faults_come_with_the_others_and_doubts_are_told() {
        let error = Pipeline::builder("").caching(Caching::new(0).ttl(Duration::ZERO)).build().expect_err("faulty");
        let fields: Vec<_> = error.faults().iter().map(|fault| fault.field()).collect();
        assert_eq!(fields, ["name", "cache.capacity", "cache.ttl"]);
        let pipeline = Pipeline::builder("p").caching(Caching::new(1).stale_if_error(SECOND)).build().expect("valid settings");
        assert_eq!(pipeline.warnings().iter().map(|warning| warning.field()).collect::<Vec<_>>(), ["cache.stale_if_error"]);
        assert!(pipeline.reconfigure(&pipeline.config().caching(Caching::new(0))).is_err());
        assert_eq!(pipeline.config(), PipelineConfig::new().caching(Caching::new(1).stale_if_error(SECOND)));
    }

    #[cfg(feature = "serde")]
    #[tokio::test(start_paused = true)]
    async fn form_19_from_a_file() {
        let file = r#"
            [defaults.cache]
            ttl = "5m"
            [pipelines.payments.cache]
            capacity = 10_000
            stale_if_error = "1h"
        "#;
        let registry = toml::from_str::<RegistryConfig>(file).expect("valid settings").build().expect("valid settings");
        let calls = Counter::default();
        assert_eq!(of(&registry, 1, &calls).await, Ok(1));
        advance(299 * SECOND).await;
        assert_eq!(of(&registry, 1, &calls).await, Ok(1));
        advance(SECOND).await;
        assert_eq!(of(&registry, 1, &calls).await, Ok(2));
    }
}
