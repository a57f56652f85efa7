//! `#[resilient(pipeline = "name")]`: form 19, and what is found under which name, when.
#![cfg(feature = "macros")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

mod support_resilient {
    pub(crate) mod errors;
}

use std::sync::{Arc, LazyLock};
use std::time::Duration;
use steadfast::{Error, Pipeline, PipelineConfig, Registry, RegistryConfig, RejectedKind, Retry, resilient};
use support_resilient::errors::{ApiError, Counter};

static REGISTRY: LazyLock<Registry> = LazyLock::new(|| config().build().expect("valid settings"));

fn settings(retries: u32) -> PipelineConfig {
    PipelineConfig::new().retry(Retry::constant(retries, Duration::ZERO).without_budget())
}

fn config() -> RegistryConfig {
    RegistryConfig::new().pipeline("payments", settings(2)).pipeline("geo", PipelineConfig::new())
}

#[resilient(pipeline = "payments", key = id, priority = High)]
async fn charge(calls: &Counter, id: u64) -> Result<u64, ApiError> {
    calls.fail_until(3)?;
    Ok(id)
}

#[tokio::test(start_paused = true)]
async fn form_19_a_pipeline_by_its_name() {
    let calls = Counter::new();
    let inside = calls.clone();
    assert_eq!(tokio::spawn(async move { charge(&inside, 7).await }).await.unwrap(), Ok(7));
    assert_eq!(calls.count(), 3);
    assert_eq!(REGISTRY.find("payments").unwrap().retry().unwrap().stats().retries(), 2, "of the one that everybody has");
}

#[resilient(pipeline = "payment", fallback = |_| async { Ok(1) })]
async fn misspelt(calls: &Counter) -> Result<u32, ApiError> {
    Ok(calls.next())
}

#[tokio::test(start_paused = true)]
async fn form_19_a_missing_name_is_a_rejection_with_the_known_names() {
    let calls = Counter::new();
    for _ in 0..2 {
        let ApiError::Rejected(rejected) = misspelt(&calls).await.unwrap_err() else { panic!("not a rejection") };
        assert_eq!((rejected.kind(), rejected.attempts()), (RejectedKind::UnknownPipeline, 0));
        assert_eq!(rejected.pipeline(), Some("payment"));
        let text = "payment: not attempted: there is no pipeline of this name; the registry has `geo`, `payments`";
        assert_eq!(rejected.to_string(), text, "and no fallback hides it");
    }
    assert_eq!(calls.count(), 0);
}

struct Shop {
    registry: Registry,
    sold: Vec<u32>,
}

impl Shop {
    #[resilient(pipeline = "shop", registry = self.registry)]
    async fn price(&self, calls: Arc<Counter>) -> Result<u32, ApiError> {
        calls.fail_until(2)?;
        Ok(calls.count())
    }

    #[resilient(pipeline = "shop", registry = self.registry, fallback = Self::give_back)]
    async fn sell(&mut self, n: u32, good: bool) -> Result<usize, ApiError> {
        self.sold.push(n);
        if good { Ok(self.sold.len()) } else { Err(ApiError::Status(503)) }
    }

    async fn give_back(&mut self, _: u32, _: bool, _: Error<ApiError>) -> Result<usize, ApiError> {
        self.sold.clear();
        Ok(0)
    }
}

#[resilient(pipeline = "shop", registry = of)]
async fn of_an_argument(of: &Registry, text: &str) -> anyhow::Result<usize> {
    Ok(text.len())
}

fn empty() -> Registry {
    RegistryConfig::new().build().expect("valid settings")
}

#[resilient(pipeline = "shop", registry = empty())]
async fn of_nobody() -> anyhow::Result<()> {
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn form_19_registries_of_all_kinds() {
    let registry = RegistryConfig::new().pipeline("shop", settings(1)).build().unwrap();
    let mut shop = Shop { registry: registry.clone(), sold: vec![] };
    assert_eq!(shop.price(Counter::new()).await, Ok(2));
    assert_eq!((shop.sell(1, true).await, shop.sell(2, false).await, shop.sold.len()), (Ok(1), Ok(0), 0));
    assert_eq!(tokio::spawn(async move { shop.sell(1, true).await }).await.unwrap(), Ok(1));
    assert_eq!(of_an_argument(&registry, "four").await.unwrap(), 4);
    let error = of_nobody().await.unwrap_err().to_string();
    assert_eq!(error, "shop: not attempted: there is no pipeline of this name; the registry is empty");

    static REGISTRY: LazyLock<Arc<Registry>> = LazyLock::new(|| Arc::new(empty()));
    REGISTRY.insert(Pipeline::builder("near").build().unwrap()).unwrap();
    #[resilient(pipeline = "near")]
    async fn nearest() -> anyhow::Result<u8> {
        Ok(1)
    }
    assert_eq!(nearest().await.unwrap(), 1, "whichever `REGISTRY` the scope knows");
}

#[tokio::test(start_paused = true)]
async fn a_name_follows_every_reload() {
    let registry = RegistryConfig::new().pipeline("shop", settings(1)).build().unwrap();
    let shop = Shop { registry: registry.clone(), sold: vec![] };
    assert_eq!(shop.price(Counter::failing()).await, Err(ApiError::Status(503)));
    let tries = async |shop: &Shop| {
        let calls = Counter::failing();
        let result = shop.price(calls.clone()).await;
        (calls.count() - 1_000_000, result.is_err())
    };
    assert_eq!(tries(&shop).await, (2, true));
    registry.reload(&RegistryConfig::new().pipeline("shop", settings(3))).unwrap();
    assert_eq!(tries(&shop).await, (4, true));
    registry.reload(&RegistryConfig::new()).unwrap();
    assert_eq!(tries(&shop).await, (0, true), "it is gone");
    registry.reload(&RegistryConfig::new().pipeline("shop", settings(2))).unwrap();
    assert_eq!(tries(&shop).await, (3, true), "there is another of its name");
}
