//! Runs the cases, each on a store of its own.

use super::report::{CaseEnd, Findings};
use super::{capacity, keys, patterns, robust, time, values};
use crate::store::{AnyStore, Capabilities, Key, SetOptions, Store, StoreError};
use bytes::Bytes;
use std::fmt;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

/// What a case needs of the store it runs on. `None` where it does not matter.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Setup {
    /// At most so many entries.
    pub max_entries: Option<u64>,
    /// At most so many bytes.
    pub max_size_bytes: Option<u64>,
    /// At most so many bytes in one value; more is an error.
    pub max_value_bytes: Option<u64>,
}

/// Which time the store goes by.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Time {
    /// The clock on the wall: cases wait, and allow for a store that is late.
    #[default]
    Real,
    /// `tokio::time`, in a test with a paused clock: cases jump, and check to the millisecond.
    Virtual,
}

type MakeStore = dyn Fn(Setup) -> Pin<Box<dyn Future<Output = Option<AnyStore>> + Send>> + Send + Sync;

/// A suite for stores; made by [`stores`].
#[derive(Clone)]
#[must_use = "nothing happens until `run`"]
pub struct Stores {
    make: Arc<MakeStore>,
    time: Time,
    only: String,
    without: Vec<(&'static str, &'static str)>,
}

/// Begins a suite for stores. `make` makes a new, empty one for each case, or `None` where it cannot meet the [`Setup`]; that case is skipped.
pub fn stores<S, Fut>(make: impl Fn(Setup) -> Fut + Send + Sync + 'static) -> Stores
where
    S: Store,
    Fut: Future<Output = Option<S>> + Send + 'static,
{
    let make = Arc::new(move |setup| -> Pin<Box<dyn Future<Output = Option<AnyStore>> + Send>> {
        let made = make(setup);
        Box::pin(async move { made.await.map(Store::into_any) })
    });
    Stores { make, time: Time::Real, only: String::new(), without: Vec::new() }
}

macro_rules! cases {
    ($($number:literal $title:literal $case:path,)*) => {
        const CASES: &[(&str, &str, fn(Lab) -> CaseFuture)] = &[$(($number, $title, |lab| Box::pin($case(lab)))),*];
    };
}

cases! {
    "A1" "a missing key is no error, and a miss" values::a1,
    "A2" "what is set is got, byte for byte" values::a2,
    "A3" "a value ends when its time to live does" time::a3,
    "A4" "delete of a live key tells so" values::a4,
    "A5" "delete of a missing key is no error" values::a5,
    "A6" "set, delete, set" values::a6,
    "A7" "an overwrite replaces value, ttl, metadata and tags" values::a7,
    "A8" "exists counts nothing" values::a8,
    "A9" "empty and odd values are hits" values::a9,
    "A10" "a big value, and one too big" values::a10,
    "A11" "an empty key is an error with a kind" keys::a11,
    "A12" "long keys do not collide" keys::a12,
    "A13" "Unicode keys are themselves" keys::a13,
    "A14" "all one-byte keys are distinct" keys::a14,
    "A15" "upper and lower case are distinct" keys::a15,
    "A16" "hostile keys are keys" keys::a16,
    "A17" "braces are characters" keys::a17,
    "A18" "values that are no text" values::a18,
    "A19" "namespaces leave each other alone" keys::a19,
    "A20" "clear tells how much was live" values::a20,
    "A21" "batches: missing ones, twice the same, none, 10,000" values::a21,
    "A22" "a batch that fails half-way says how far it came" values::a22,
    "A23" "an overwrite at capacity evicts nothing" capacity::a23,
    "A24" "if_absent has one winner of 64" values::a24,
    "B25" "without a ttl, for ever" time::b25,
    "B26" "a ttl of zero stores nothing and removes the old" time::b26,
    "B27" "the longest ttl there is" time::b27,
    "B28" "a ttl below a millisecond is one" time::b28,
    "B29" "live before its end, dead at its end, in every method" time::b29,
    "B30" "ten set at once, ten get" values::b30,
    "B33" "what is over is freed without being asked for" time::b33,
    "C36" "entries equal a model after every operation" capacity::c36,
    "C37" "overwriting with less and more leaves the books right" capacity::c37,
    "C38" "heavier than the store: not stored, the old one gone" capacity::c38,
    "C40" "a store of one entry holds one" capacity::c40,
    "C41" "what was used last stays" capacity::c41,
    "C46" "a reset zeroes the counters and keeps the entries" capacity::c46,
    "F64" "patterns mean what they say" patterns::f64,
    "F64a" "tags delete what they tag" patterns::tags,
    "F65" "keys of 20,000 entries" patterns::f65,
    "F65a" "a walk through the keys while others write" patterns::walk,
    "H90" "closed is closed" robust::h90,
    "H92" "any future may be dropped at any point" robust::h92,
    "H95" "a probe leaves no trace" robust::h95,
}

impl Stores {
    /// Which time the store goes by. **Default**: [`Time::Real`].
    pub const fn time(mut self, time: Time) -> Self {
        self.time = time;
        self
    }

    /// Only this list or this case: `"A"`, `"B29"`. **Default**: all.
    pub fn only(mut self, number: impl Into<String>) -> Self {
        self.only = number.into();
        self
    }

    /// All but this case, and why. **Default**: all.
    pub fn without(mut self, number: &'static str, why: &'static str) -> Self {
        self.without.push((number, why));
        self
    }

    /// Runs every case, one after the other. A case that panics or, in real time, takes longer than five minutes has failed.
    ///
    /// # Panics
    /// Outside a tokio runtime.
    pub async fn run(&self) -> Findings {
        let mut findings = Findings { subject: "a store".into(), cases: Vec::new() };
        for (number, title, case) in CASES.iter().filter(|(number, ..)| self.is_asked_for(number)) {
            let end = match self.without.iter().find(|(without, _)| without == number) {
                Some((_, why)) => CaseEnd::Skipped((*why).into()),
                None => self.run_case(*case, &mut findings.subject).await,
            };
            findings.cases.push((number, title, end));
        }
        findings
    }

    fn is_asked_for(&self, number: &str) -> bool {
        number == self.only || (self.only.len() <= 1 && number.starts_with(&self.only))
    }

    async fn run_case(&self, case: fn(Lab) -> CaseFuture, subject: &mut String) -> CaseEnd {
        let lab = Lab { make: Arc::clone(&self.make), time: self.time, name: Arc::default() };
        let name = Arc::clone(&lab.name);
        // A task of its own, so that its panic is its own.
        let mut task = tokio::spawn(async move { case(lab).await });
        let joined = match self.time {
            Time::Virtual => Some((&mut task).await),
            Time::Real => tokio::time::timeout(Duration::from_secs(300), &mut task).await.ok(),
        };
        if let Some(name) = name.get() {
            *subject = format!("the {name} store");
        }
        match joined {
            Some(Ok(Ok(()))) => CaseEnd::Passed,
            Some(Ok(Err(Stop::Failed(why)))) => CaseEnd::Failed(why),
            Some(Ok(Err(Stop::Skipped(why)))) => CaseEnd::Skipped(why.into()),
            Some(Err(panicked)) => CaseEnd::Failed(format!("it panicked: {panicked}")),
            None => {
                task.abort();
                CaseEnd::Failed("not done within five minutes".into())
            }
        }
    }
}

impl fmt::Debug for Stores {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Stores").field("time", &self.time).field("only", &self.only).finish_non_exhaustive()
    }
}

pub(super) type Case = Result<(), Stop>;
type CaseFuture = Pin<Box<dyn Future<Output = Case> + Send>>;

/// Why a case stops.
pub(super) enum Stop {
    Failed(String),
    Skipped(&'static str),
}

impl From<StoreError> for Stop {
    fn from(error: StoreError) -> Self {
        Self::Failed(format!("an error where none belongs: {error}"))
    }
}

/// `ensure!(what, "should be {}", so)`: the case has failed otherwise.
macro_rules! ensure {
    ($holds:expr, $($why:tt)+) => {
        if !$holds {
            return Err($crate::testing::conformance::lab::Stop::Failed(format!($($why)+)));
        }
    };
}
pub(super) use ensure;

/// `ensure_eq!(seen, expected, "what it is")`.
macro_rules! ensure_eq {
    ($seen:expr, $expected:expr, $($what:tt)+) => {
        match (&$seen, &$expected) {
            (seen, expected) => ensure!(seen == expected, "{}: {seen:?} instead of {expected:?}", format_args!($($what)+)),
        }
    };
}
pub(super) use ensure_eq;

/// What a case works with.
pub(super) struct Lab {
    make: Arc<MakeStore>,
    time: Time,
    name: Arc<std::sync::OnceLock<&'static str>>,
}

impl Lab {
    pub(super) async fn store(&self) -> Result<AnyStore, Stop> {
        self.store_with(Setup::default()).await
    }

    pub(super) async fn store_with(&self, setup: Setup) -> Result<AnyStore, Stop> {
        let store = (self.make)(setup).await.ok_or(Stop::Skipped("no store for this setup"))?;
        self.name.get_or_init(|| store.name());
        Ok(store)
    }

    /// A store that can do this.
    pub(super) async fn able(&self, can: fn(&Capabilities) -> bool, what: &'static str) -> Result<AnyStore, Stop> {
        let store = self.store().await?;
        if can(&store.capabilities()) { Ok(store) } else { Err(Stop::Skipped(what)) }
    }

    pub(super) fn is_virtual(&self) -> bool {
        self.time == Time::Virtual
    }

    /// Long enough to be seen alive, short enough to be waited for.
    pub(super) fn short(&self) -> Duration {
        if self.is_virtual() { Duration::from_secs(1) } else { Duration::from_millis(700) }
    }

    /// Waits until what was to live `ttl` from before this call is certainly over; to the millisecond where time is virtual.
    pub(super) async fn outlive(&self, ttl: Duration) {
        let late = if self.is_virtual() { Duration::ZERO } else { Duration::from_millis(50) };
        tokio::time::sleep(ttl + late).await;
    }
}

pub(super) fn key(raw: impl AsRef<[u8]>) -> Result<Key, Stop> {
    Ok(Key::new(raw)?)
}

pub(super) async fn value(store: &AnyStore, key: &Key) -> Result<Option<Bytes>, Stop> {
    Ok(store.get(key).await?.map(|entry| entry.value))
}

pub(super) async fn put(store: &AnyStore, key: &Key, value: impl Into<Bytes>) -> Case {
    let value = value.into();
    let size = value.len();
    ensure!(store.set(key, value, SetOptions::new()).await?, "a set of {size} bytes stored nothing");
    Ok(())
}
