//! How answers are kept, whatever they are answers to.

#[cfg(feature = "macros")]
use super::Cache;
use super::CacheConfig;
use super::config::{Times, setters_of_times};
use crate::fault::Fault;
#[cfg(feature = "macros")]
use std::sync::Arc;
use std::time::Duration;

/// How a pipeline keeps answers: the settings of a cache, without the types of what is in it.
///
/// A [`Pipeline`](crate::Pipeline) answers calls of any type, so it holds no cache but this: *how* to keep them. Each function under
/// `#[resilient(pipeline = .., cached, key = ..)]` has a cache of its own in the pipeline, made at its first call with these settings; functions never see each
/// other's answers. Given to [`PipelineBuilder::caching`](crate::PipelineBuilder::caching), to [`PipelineConfig::caching`](crate::PipelineConfig::caching), or in a
/// file as `[pipelines.payments.cache]`.
///
/// ```
/// # #[cfg(feature = "macros")] mod page {
/// use std::sync::LazyLock;
/// use std::time::Duration;
/// use steadfast::{Caching, Pipeline, resilient};
///
/// static RATES: LazyLock<Pipeline> = LazyLock::new(|| {
///     let caching = Caching::new(10_000).ttl(Duration::from_secs(300)).stale_if_error(Duration::from_secs(3_600));
///     Pipeline::http("rates").caching(caching).build().expect("valid settings")
/// });
///
/// #[resilient(pipeline = RATES, cached, key = currency)]
/// async fn rate(currency: &str) -> anyhow::Result<f64> {
///     Ok(currency.len() as f64)
/// }
/// # #[tokio::main(flavor = "current_thread")] pub async fn main() { assert_eq!(rate("EUR").await.unwrap(), 3.0); }
/// # }
/// # #[cfg(feature = "macros")] use page::main;
/// # #[cfg(not(feature = "macros"))] fn main() {}
/// ```
#[derive(Clone, Debug, PartialEq)]
#[must_use = "settings do nothing until they are given to a pipeline"]
pub struct Caching {
    pub(crate) capacity: u64,
    pub(crate) times: Times,
}

impl Caching {
    /// Room for so many answers, in each of the caches that are made of this.
    pub const fn new(entries: usize) -> Self {
        Self { capacity: entries as u64, times: Times::DEFAULT }
    }

    setters_of_times!();

    /// The settings of a cache of your own that keeps its entries like this.
    ///
    /// ```
    /// # fn main() -> Result<(), steadfast::ConfigError> {
    /// use std::time::Duration;
    /// use steadfast::{Cache, Caching};
    ///
    /// let caching = Caching::new(10).ttl(Duration::from_secs(60));
    /// let prices: Cache<String, u32> = caching.cache().name("prices").build()?;
    /// # let _ = prices; Ok(()) }
    /// ```
    pub fn cache<K, T>(&self) -> CacheConfig<K, T> {
        let mut config = CacheConfig::new(self.capacity, None);
        config.times = self.times;
        config
    }

    /// Everything that cannot work.
    pub(crate) fn faults(&self) -> Vec<Fault> {
        self.times.faults(self.capacity)
    }

    /// What works, but hardly as meant: something about old answers, of which there will be none.
    pub(crate) fn never_old(&self) -> Option<&'static str> {
        let Times { ttl, stale_if_error, stale_while_revalidate, refresh_ahead, .. } = self.times;
        let fields = [
            ("cache.stale_if_error", !stale_if_error.is_zero()),
            ("cache.stale_while_revalidate", !stale_while_revalidate.is_zero()),
            ("cache.refresh_ahead", refresh_ahead.is_some()),
        ];
        fields.into_iter().find(|(_, said)| *said && ttl == Duration::MAX).map(|(field, _)| field)
    }
}

#[cfg(feature = "macros")]
impl Caching {
    /// A cache of these settings, which were checked.
    pub(crate) fn build<K, T>(&self, name: &Arc<str>) -> Cache<K, T> {
        Cache::of(self.cache().name(Arc::clone(name)))
    }
}

#[cfg(feature = "macros")]
impl<K, T> Cache<K, T> {
    /// Goes on as `caching` says, which was checked; or, as nothing says how, without what is in it.
    pub(crate) fn go_on(&self, caching: Option<&Caching>) {
        match caching {
            Some(Caching { capacity, times }) => {
                let same = {
                    let settings = super::lock(&self.inner.settings);
                    settings.capacity == *capacity && settings.times == *times
                };
                if !same {
                    self.inner.go_on_with(*capacity, *times);
                }
            }
            None => drop(self.clear()),
        }
    }
}
