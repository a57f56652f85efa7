//! List G, the part about places that are held.

use super::{Case, key, told};
use crate::store::Key;
use crate::store::rate::{AnySemaphoreStore, Holder, SemaphoreStore, Taken};
use crate::store::{StoreError, StoreErrorKind};
use crate::testing::conformance::{CaseEnd, Findings, Time};
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;

type MakeStore = dyn Fn() -> Pin<Box<dyn Future<Output = AnySemaphoreStore> + Send>> + Send + Sync;
type CaseFuture = Pin<Box<dyn Future<Output = Case> + Send>>;

/// A suite for stores of places; made by [`semaphores`].
#[derive(Clone)]
#[must_use = "nothing happens until `run`"]
pub struct Semaphores {
    make: Arc<MakeStore>,
    time: Time,
    only: String,
}

/// Begins a suite for the stores behind semaphores and locks. `make` makes a new, empty one for each case.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() {
/// use steadfast::store::rate::MemorySemaphoreStore;
/// use steadfast::testing::rate_conformance;
///
/// let suite = rate_conformance::semaphores(|| async { MemorySemaphoreStore::new() }); // yours
/// # let suite = suite.only("G79a");
/// suite.run().await.assert();
/// # }
/// ```
pub fn semaphores<S, Fut>(make: impl Fn() -> Fut + Send + Sync + 'static) -> Semaphores
where
    S: SemaphoreStore,
    Fut: Future<Output = S> + Send + 'static,
{
    let make = Arc::new(move || -> Pin<Box<dyn Future<Output = AnySemaphoreStore> + Send>> {
        let made = make();
        Box::pin(async move { AnySemaphoreStore::new(made.await) })
    });
    Semaphores { make, time: Time::Real, only: String::new() }
}

macro_rules! cases {
    ($($number:literal $title:literal $case:path,)*) => {
        const CASES: &[(&str, &str, fn(Lab) -> CaseFuture)] = &[$(($number, $title, |lab| Box::pin($case(lab)))),*];
    };
}

cases! {
    "G79a" "32 tasks at once: never above the maximum" at_once,
    "G79b" "a place ends with its time, and not before" ends,
    "G79c" "who renews keeps it, who comes late does not" renews,
    "G79d" "nobody lets go of the place of another" foreign,
    "G79e" "fences rise, also when nobody has held a place for a while" fences,
    "G79f" "a holder that asks again has one place, not two" again,
    "G79g" "another maximum throws nobody out" maximum,
    "G79h" "keys are their own" keys,
    "H90" "closed is closed" closed,
}

impl Semaphores {
    /// Which time the store goes by. **Default**: [`Time::Real`].
    pub const fn time(mut self, time: Time) -> Self {
        self.time = time;
        self
    }

    /// Only this case. **Default**: all.
    pub fn only(mut self, number: impl Into<String>) -> Self {
        self.only = number.into();
        self
    }

    /// Runs every case, one after the other. A case that panics or, in real time, takes longer than a minute has failed.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn run(&self) -> Findings {
        let mut findings = Findings { subject: "a semaphore store".into(), cases: Vec::new() };
        for (number, title, case) in CASES.iter().filter(|(number, ..)| self.only.is_empty() || *number == self.only) {
            let store = (self.make)().await;
            findings.subject = format!("the {} semaphore store", store.name());
            let mut task = tokio::spawn(case(Lab { store, time: self.time }));
            let watchdog = if self.time == Time::Virtual { Duration::MAX } else { Duration::from_secs(60) };
            let end = match tokio::time::timeout(watchdog, &mut task).await {
                Ok(Ok(Ok(()))) => CaseEnd::Passed,
                Ok(Ok(Err(why))) => CaseEnd::Failed(why),
                Ok(Err(panicked)) => CaseEnd::Failed(format!("it panicked: {panicked}")),
                Err(_) => {
                    task.abort();
                    CaseEnd::Failed("not done within a minute".into())
                }
            };
            findings.cases.push((number, title, end));
        }
        findings
    }
}

impl fmt::Debug for Semaphores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Semaphores").field("time", &self.time).field("only", &self.only).finish_non_exhaustive()
    }
}

struct Lab {
    store: AnySemaphoreStore,
    time: Time,
}

/// `ensure!(what, "should be {}", so)`: the case has failed otherwise.
macro_rules! ensure {
    ($holds:expr, $($why:tt)+) => {
        if !$holds {
            return Err(format!($($why)+));
        }
    };
}

const LONG: Duration = Duration::from_secs(60);

impl Lab {
    /// Its fence, if it was had.
    async fn take(&self, key: &Key, holder: Holder, max: u32, ttl: Duration) -> Result<Option<u64>, String> {
        Ok(match self.store.take(key, holder, max, ttl).await.map_err(told)? {
            Taken::Held { fence } => Some(fence),
            Taken::Full { retry_after } => {
                ensure!(retry_after.is_none_or(|wait| wait <= LONG), "come back in {retry_after:?}, where all end within a minute");
                None
            }
        })
    }

    async fn had(&self, key: &Key, holder: Holder, max: u32, ttl: Duration) -> Result<u64, String> {
        self.take(key, holder, max, ttl).await?.ok_or_else(|| format!("no place where there are {max}"))
    }

    /// Long enough to be seen held, short enough to be waited for.
    const fn short(&self) -> Duration {
        Duration::from_millis(400)
    }

    /// How late a clock on the wall may be.
    const fn slack(&self) -> Duration {
        Duration::from_millis(if matches!(self.time, Time::Virtual) { 0 } else { 60 })
    }
}

async fn at_once(lab: Lab) -> Case {
    let k = key("k")?;
    let inside = Arc::new(std::sync::atomic::AtomicU32::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for _ in 0..32 {
        let (store, k, inside) = (lab.store.clone(), k.clone(), Arc::clone(&inside));
        tasks.spawn(async move {
            use std::sync::atomic::Ordering::SeqCst;
            let mut most = 0;
            for _ in 0..8 {
                let holder = Holder::random();
                if let Taken::Held { .. } = store.take(&k, holder, 3, LONG).await? {
                    most = most.max(inside.fetch_add(1, SeqCst) + 1);
                    tokio::task::yield_now().await;
                    inside.fetch_sub(1, SeqCst);
                    store.release(&k, holder).await?;
                }
            }
            Ok::<_, StoreError>(most)
        });
    }
    let mut most = 0;
    while let Some(ended) = tasks.join_next().await {
        most = most.max(ended.map_err(|panicked| format!("a task panicked: {panicked}"))?.map_err(told)?);
    }
    ensure!((1..=3).contains(&most), "{most} held one of 3 places at once");
    let left = lab.store.holders(&k).await.map_err(told)?;
    ensure!(left == 0, "{left} are held after all let go");
    Ok(())
}

async fn ends(lab: Lab) -> Case {
    let (k, ttl) = (key("k")?, lab.short());
    lab.had(&k, Holder::random(), 1, ttl).await?;
    ensure!(lab.take(&k, Holder::random(), 1, ttl).await?.is_none(), "two in one place");
    sleep(ttl / 2).await;
    ensure!(lab.take(&k, Holder::random(), 1, ttl).await?.is_none(), "two in one place, half of the time later");
    sleep(ttl / 2 + lab.slack()).await;
    let held = lab.store.holders(&k).await.map_err(told)?;
    ensure!(held == 0, "{held} hold it after its time");
    lab.had(&k, Holder::random(), 1, ttl).await.map(drop)
}

async fn renews(lab: Lab) -> Case {
    let (k, ttl, holder) = (key("k")?, lab.short(), Holder::random());
    lab.had(&k, holder, 1, ttl).await?;
    for _ in 0..4 {
        sleep(ttl / 2).await;
        ensure!(lab.store.renew(&k, holder, ttl).await.map_err(told)?, "a renewal in time was refused");
    }
    ensure!(lab.take(&k, Holder::random(), 1, ttl).await?.is_none(), "two in one place, which was renewed");
    sleep(ttl + lab.slack()).await;
    ensure!(!lab.store.renew(&k, holder, ttl).await.map_err(told)?, "a renewal that was late was granted");
    ensure!(!lab.store.release(&k, holder).await.map_err(told)?, "what had ended was let go of");
    lab.had(&k, Holder::random(), 1, ttl).await.map(drop)
}

async fn foreign(lab: Lab) -> Case {
    let (k, holder, other) = (key("k")?, Holder::random(), Holder::random());
    lab.had(&k, holder, 1, LONG).await?;
    ensure!(!lab.store.release(&k, other).await.map_err(told)?, "another let go of it");
    ensure!(!lab.store.renew(&k, other, LONG).await.map_err(told)?, "another renewed it");
    ensure!(lab.take(&k, other, 1, LONG).await?.is_none(), "two in one place");
    ensure!(lab.store.release(&k, holder).await.map_err(told)?, "its holder could not let go of it");
    ensure!(!lab.store.release(&k, holder).await.map_err(told)?, "it was let go of twice");
    lab.had(&k, other, 1, LONG).await.map(drop)
}

async fn fences(lab: Lab) -> Case {
    let (k, mut last) = (key("k")?, 0);
    for round in 0..20 {
        let holder = Holder::random();
        let fence = lab.had(&k, holder, 1, lab.short()).await?;
        ensure!(fence > last, "fence {fence} after {last}, in round {round}");
        last = fence;
        if round == 10 {
            sleep(lab.short() + lab.slack()).await;
        } else {
            lab.store.release(&k, holder).await.map_err(told)?;
        }
    }
    Ok(())
}

async fn again(lab: Lab) -> Case {
    let (k, holder) = (key("k")?, Holder::random());
    let first = lab.had(&k, holder, 2, LONG).await?;
    let second = lab.had(&k, holder, 2, LONG).await?;
    ensure!(second > first, "fence {second} after {first}");
    let held = lab.store.holders(&k).await.map_err(told)?;
    ensure!(held == 1, "one holder has {held} places");
    lab.had(&k, Holder::random(), 2, LONG).await.map(drop)
}

async fn maximum(lab: Lab) -> Case {
    let (k, holders) = (key("k")?, [(); 3].map(|()| Holder::random()));
    for holder in holders {
        lab.had(&k, holder, 3, LONG).await?;
    }
    ensure!(lab.take(&k, Holder::random(), 1, LONG).await?.is_none(), "a fourth where there is one place");
    for holder in holders {
        ensure!(lab.store.renew(&k, holder, LONG).await.map_err(told)?, "somebody was thrown out");
    }
    lab.had(&k, Holder::random(), 4, LONG).await.map(drop)
}

async fn keys(lab: Lab) -> Case {
    let long = "x".repeat(1 << 20);
    for raw in ["a", "A", "a b", "a%20b", "{a}", "}{", "a:b", "*", "a\0b", "é", &long] {
        lab.had(&key(raw)?, Holder::random(), 1, LONG).await?;
    }
    Ok(())
}

async fn closed(lab: Lab) -> Case {
    let (k, holder) = (key("k")?, Holder::random());
    lab.had(&k, holder, 1, LONG).await?;
    lab.store.close().await.map_err(told)?;
    lab.store.close().await.map_err(told)?;
    let kind = |error: StoreError| error.kind();
    ensure!(lab.store.take(&k, holder, 1, LONG).await.map_err(kind) == Err(StoreErrorKind::Closed), "take after close");
    ensure!(lab.store.renew(&k, holder, LONG).await.map_err(kind) == Err(StoreErrorKind::Closed), "renew after close");
    ensure!(lab.store.release(&k, holder).await.map_err(kind) == Err(StoreErrorKind::Closed), "release after close");
    ensure!(lab.store.holders(&k).await.map_err(kind) == Err(StoreErrorKind::Closed), "holders after close");
    Ok(())
}
