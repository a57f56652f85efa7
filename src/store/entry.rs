//! What is stored, and until when.

use bytes::Bytes;
use std::collections::BTreeMap;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A moment of the wall clock, in milliseconds since 1970: what is shared between processes has no other clock.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(u64);

/// Later than this is never: SQLite, Redis and JSON keep 53 to 63 bits.
const LAST: u64 = 1 << 52;

impl Timestamp {
    /// Now, by the system's clock. 1970 for a clock before that.
    #[must_use]
    pub fn now() -> Self {
        Self::from(SystemTime::now())
    }

    /// So many milliseconds after 1970 began.
    #[must_use]
    pub const fn from_millis(millis: u64) -> Self {
        Self(millis)
    }

    /// Milliseconds since 1970 began.
    #[must_use]
    pub const fn as_millis(self) -> u64 {
        self.0
    }

    /// So much later, a part of a millisecond counted as a whole one; `None` where that is later than clocks can tell, which means never.
    #[must_use]
    pub fn after(self, wait: Duration) -> Option<Self> {
        let whole = wait.as_nanos().div_ceil(1_000_000);
        let then = u128::from(self.0).saturating_add(whole);
        u64::try_from(then).ok().filter(|then| *then <= LAST).map(Self)
    }

    /// The time from `earlier` until this; zero when it was not earlier.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_millis(self.0.saturating_sub(earlier.0))
    }
}

impl From<SystemTime> for Timestamp {
    fn from(time: SystemTime) -> Self {
        let since = time.duration_since(UNIX_EPOCH).unwrap_or_default();
        Self(u64::try_from(since.as_millis()).unwrap_or(LAST).min(LAST))
    }
}

/// How long a value is good for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Ttl {
    /// Until it is deleted, or evicted.
    #[default]
    Never,
    /// So long from now on, a part of a millisecond counted as a whole one. Zero stores nothing, and removes what was there.
    After(Duration),
}

impl Ttl {
    /// When it ends if it begins at `now`; `None` for never.
    #[must_use]
    pub fn expires_at(self, now: Timestamp) -> Option<Timestamp> {
        match self {
            Self::Never => None,
            Self::After(ttl) => now.after(ttl),
        }
    }

    /// Whether nothing is to be kept.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        matches!(self, Self::After(Duration::ZERO))
    }
}

impl From<Duration> for Ttl {
    fn from(ttl: Duration) -> Self {
        Self::After(ttl)
    }
}

impl From<Option<Duration>> for Ttl {
    fn from(ttl: Option<Duration>) -> Self {
        ttl.map_or(Self::Never, Self::After)
    }
}

/// What a value is about, as pairs of words: an endpoint, a type of user, a version. It travels with the value; nothing looks into it.
pub type Metadata = BTreeMap<String, String>;

/// How a value is to be stored.
///
/// ```
/// use steadfast::store::SetOptions;
/// use std::time::Duration;
/// let options = SetOptions::new().ttl(Duration::from_secs(60)).metadata("endpoint", "/users").tag("org:7").if_absent();
/// # let _ = options;
/// ```
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct SetOptions {
    /// How long the value is good for. **Default**: until deleted or evicted.
    pub ttl: Ttl,
    /// What it is about. **Default**: nothing.
    pub metadata: Option<Metadata>,
    /// By which it can be deleted together with others. **Default**: none.
    pub tags: Vec<String>,
    /// Only where nothing live is stored yet. **Default**: false.
    pub if_absent: bool,
}

impl SetOptions {
    /// For ever, without metadata and tags, whatever is there.
    #[must_use]
    pub const fn new() -> Self {
        Self { ttl: Ttl::Never, metadata: None, tags: Vec::new(), if_absent: false }
    }

    /// How long the value is good for: a `Duration` or a [`Ttl`]. **Default**: until deleted or evicted.
    #[must_use]
    pub fn ttl(mut self, ttl: impl Into<Ttl>) -> Self {
        self.ttl = ttl.into();
        self
    }

    /// One more word about the value. **Default**: none.
    #[must_use]
    pub fn metadata(mut self, name: impl Into<String>, value: impl Into<String>) -> Self {
        self.metadata.get_or_insert_default().insert(name.into(), value.into());
        self
    }

    /// One more tag, to delete it by ([`delete_tagged`](super::Store::delete_tagged)). **Default**: none.
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> Self {
        self.tags.push(tag.into());
        self
    }

    /// Stores only where nothing live is stored yet; else [`set`](super::Store::set) answers `false`. **Default**: overwrites.
    #[must_use]
    pub const fn if_absent(mut self) -> Self {
        self.if_absent = true;
        self
    }
}

impl From<Duration> for SetOptions {
    fn from(ttl: Duration) -> Self {
        Self::new().ttl(ttl)
    }
}

/// A value as a store gives it back.
#[derive(Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Entry {
    /// The bytes that were stored.
    pub value: Bytes,
    /// When, by the clock of who stored it.
    pub created_at: Timestamp,
    /// From when on it is gone; `None` for never. It is live while `now < expires_at`.
    pub expires_at: Option<Timestamp>,
    /// When it was read, by the clock that `expires_at` is told by.
    pub read_at: Timestamp,
    /// Bytes of the value.
    pub size: u64,
    /// What was stored along with it.
    pub metadata: Option<Metadata>,
}

impl Entry {
    /// An entry created and read at `now`. For those who write stores.
    #[must_use]
    pub fn new(value: Bytes, ttl: Ttl, now: Timestamp) -> Self {
        let size = value.len() as u64;
        Self { value, created_at: now, expires_at: ttl.expires_at(now), read_at: now, size, metadata: None }
    }

    /// The same, created then.
    #[must_use]
    pub fn with_created_at(mut self, created_at: Timestamp) -> Self {
        self.created_at = created_at;
        self
    }

    /// The same, gone from then on; `None` for never.
    #[must_use]
    pub fn with_expires_at(mut self, expires_at: Option<Timestamp>) -> Self {
        self.expires_at = expires_at;
        self
    }

    /// The same, read then.
    #[must_use]
    pub fn with_read_at(mut self, read_at: Timestamp) -> Self {
        self.read_at = read_at;
        self
    }

    /// The same, with these words about it.
    #[must_use]
    pub fn with_metadata(mut self, metadata: Option<Metadata>) -> Self {
        self.metadata = metadata;
        self
    }

    /// Whether its time is over at `now`: at `expires_at` itself it is.
    #[must_use]
    pub fn is_expired(&self, now: Timestamp) -> bool {
        self.expires_at.is_some_and(|end| now >= end)
    }

    /// The time left at `now`: zero when it is over, `None` when there is no end.
    #[must_use]
    pub fn ttl_remaining(&self, now: Timestamp) -> Option<Duration> {
        self.expires_at.map(|end| end.since(now))
    }

    /// The time that was left when it was read, by the store's own clock: what a cache in front of the store may keep it for.
    #[must_use]
    pub fn ttl(&self) -> Ttl {
        self.ttl_remaining(self.read_at).into()
    }
}

impl fmt::Debug for Entry {
    // The value may be anything, a password too, and `{:?}` ends up in logs.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry")
            .field("size", &self.size)
            .field("created_at", &self.created_at)
            .field("expires_at", &self.expires_at)
            .field("metadata", &self.metadata.as_ref().map(BTreeMap::len))
            .finish_non_exhaustive()
    }
}

/// How far two clocks may be apart before an entry that comes from the future is one of a clock gone wrong.
#[cfg(feature = "file")]
const SKEW: Duration = Duration::from_secs(60);

/// Whether an entry of a clock shared with others is over. Besides the plain rule: one stamped well after now was written by a clock that
/// has been put back since, and who knows how long its time would last.
#[cfg(feature = "file")]
pub(super) fn is_over(created_at: Timestamp, expires_at: Option<Timestamp>, now: Timestamp) -> bool {
    expires_at.is_some_and(|end| now >= end || created_at.since(now) > SKEW)
}

/// The clock of a store that others share: the system's, or a test's.
#[cfg(any(feature = "file", feature = "sqlite"))]
#[derive(Clone, Debug, Default)]
pub(super) enum WallClock {
    #[default]
    System,
    #[cfg(test)]
    Test(std::sync::Arc<std::sync::atomic::AtomicU64>),
}

#[cfg(any(feature = "file", feature = "sqlite"))]
impl WallClock {
    pub(super) fn now(&self) -> Timestamp {
        match self {
            Self::System => Timestamp::now(),
            #[cfg(test)]
            Self::Test(millis) => Timestamp(millis.load(std::sync::atomic::Ordering::SeqCst)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: Duration = Duration::from_millis(1);

    #[test]
    fn b27_never_does_not_overflow() {
        let now = Timestamp::now();
        assert_eq!(now.after(Duration::MAX), None);
        assert_eq!(Timestamp(u64::MAX).after(MS), None);
        assert_eq!(Ttl::After(Duration::MAX).expires_at(now), None);
        assert_eq!(Timestamp(5).since(Timestamp(9)), Duration::ZERO);
        assert_eq!(Timestamp::from(UNIX_EPOCH), Timestamp(0));
    }

    #[test]
    fn b28_a_part_of_a_millisecond_is_a_whole_one() {
        assert_eq!(Timestamp(0).after(Duration::from_nanos(1)), Some(Timestamp(1)));
        assert_eq!(Timestamp(0).after(MS), Some(Timestamp(1)));
        assert_eq!(Timestamp(0).after(MS + Duration::from_nanos(1)), Some(Timestamp(2)));
    }

    #[test]
    fn b29_live_until_it_is_over() {
        let entry = Entry::new(Bytes::new(), Ttl::After(10 * MS), Timestamp(100));
        assert!(!entry.is_expired(Timestamp(109)) && entry.is_expired(Timestamp(110)));
        assert_eq!(entry.ttl_remaining(Timestamp(109)), Some(MS));
        assert_eq!(entry.ttl_remaining(Timestamp(200)), Some(Duration::ZERO));
        assert_eq!(Entry::new(Bytes::new(), Ttl::Never, Timestamp(0)).ttl_remaining(Timestamp(9)), None);
        assert_eq!(entry.ttl(), Ttl::After(10 * MS));
    }

    #[test]
    fn h86_debug_does_not_tell_the_value() {
        let entry = Entry::new(Bytes::from_static(b"hunter2"), Ttl::Never, Timestamp(0));
        assert!(!format!("{entry:?}").contains("hunter2"));
    }

    #[cfg(feature = "file")]
    #[test]
    fn h42_what_comes_from_the_future_is_over() {
        let (now, month) = (Timestamp(1 << 40), Duration::from_secs(30 * 24 * 3600));
        let (hour, minute) = (Duration::from_secs(3600), Duration::from_secs(60));
        let stamped = |at: Option<Timestamp>| (at.unwrap_or_default(), at.and_then(|at| at.after(hour)));
        let (created, ends) = stamped(now.after(month));
        assert!(is_over(created, ends, now));
        let (created, ends) = stamped(now.after(minute));
        assert!(!is_over(created, ends, now), "two machines are never quite together");
        assert!(!is_over(now, None, Timestamp(0)), "what has no end has no clock");
    }
}
