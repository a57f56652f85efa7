//! What a store fails with: one type for every backend, without keys, values or secrets in it.

use crate::fault::ConfigError;
use crate::outcome::{Rejected, Verdict};
use std::borrow::Cow;
use std::error::Error;
use std::fmt;
use std::sync::Arc;
use std::time::Duration;

/// What kind of trouble a store is in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum StoreErrorKind {
    /// Settings that cannot work, or an address of no store; the detail names each fault.
    InvalidConfig,
    /// A key that no store takes: empty, or not in the form that [`Key`](super::Key) makes.
    InvalidKey,
    /// A value beyond the store's limit for one value. What was stored before is untouched.
    TooLarge,
    /// This store cannot do that; [`capabilities`](super::Store::capabilities) says what it can.
    Unsupported,
    /// The store was closed.
    Closed,
    /// Nobody there: no connection, no directory, no server.
    Unavailable,
    /// No answer in time.
    Timeout,
    /// Somebody else holds what is needed.
    Busy,
    /// A write was sent, and its answer never came: it may have happened.
    OutcomeUnknown,
    /// What was read is not what was written.
    Corrupt,
    /// No room: disk full, out of memory.
    Full,
    /// Not allowed: permissions, credentials.
    Denied,
    /// Only reads are possible here.
    ReadOnly,
    /// Written by a newer version of this crate.
    NewerVersion,
    /// An answer that was not expected: a wrong type, an odd status.
    Protocol,
    /// A value could not be encoded or decoded.
    Codec,
    /// A policy around the store refused or gave up; see [`StoreError::rejected`].
    Rejected,
    /// Anything else, a bug included.
    Other,
}

impl StoreErrorKind {
    const fn describe(self) -> &'static str {
        match self {
            Self::InvalidConfig => "cannot be opened like this",
            Self::InvalidKey => "invalid key",
            Self::TooLarge => "value too large",
            Self::Unsupported => "not supported by this store",
            Self::Closed => "store is closed",
            Self::Unavailable => "unavailable",
            Self::Timeout => "no answer in time",
            Self::Busy => "busy",
            Self::OutcomeUnknown => "a write of unknown outcome",
            Self::Corrupt => "corrupt data",
            Self::Full => "no room left",
            Self::Denied => "access denied",
            Self::ReadOnly => "read-only",
            Self::NewerVersion => "written by a newer version",
            Self::Protocol => "unexpected answer",
            Self::Codec => "value cannot be encoded or decoded",
            Self::Rejected => "rejected by a policy",
            Self::Other => "failed",
        }
    }

    /// As a word for labels and logs: `too_large`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::InvalidConfig => "invalid_config",
            Self::InvalidKey => "invalid_key",
            Self::TooLarge => "too_large",
            Self::Unsupported => "unsupported",
            Self::Closed => "closed",
            Self::Unavailable => "unavailable",
            Self::Timeout => "timeout",
            Self::Busy => "busy",
            Self::OutcomeUnknown => "outcome_unknown",
            Self::Corrupt => "corrupt",
            Self::Full => "full",
            Self::Denied => "denied",
            Self::ReadOnly => "read_only",
            Self::NewerVersion => "newer_version",
            Self::Protocol => "protocol",
            Self::Codec => "codec",
            Self::Rejected => "rejected",
            Self::Other => "other",
        }
    }

    /// Whether the same operation may well work a little later, and does no harm when it happens twice.
    #[must_use]
    pub const fn is_retriable(self) -> bool {
        matches!(self, Self::Unavailable | Self::Timeout | Self::Busy)
    }
}

/// Why a store could not do what it was asked.
///
/// Its text names the store, the [`kind`](Self::kind) and a detail of the store's own making; never a key, a value, an address with
/// credentials, or a token, so it may be logged. The error below it is there for code ([`source`](Error::source)), as far as it is as clean.
#[derive(Clone)]
pub struct StoreError(Box<Inner>);

#[derive(Clone)]
struct Inner {
    kind: StoreErrorKind,
    store: &'static str,
    detail: Cow<'static, str>,
    retriable: bool,
    retry_after: Option<Duration>,
    completed: u64,
    rejected: Option<Rejected>,
    source: Option<Arc<dyn Error + Send + Sync>>,
}

impl StoreError {
    /// An error of `kind`. For those who write stores.
    #[must_use]
    pub fn new(kind: StoreErrorKind) -> Self {
        Self(Box::new(Inner {
            kind,
            store: "",
            detail: Cow::Borrowed(""),
            retriable: kind.is_retriable(),
            retry_after: None,
            completed: 0,
            rejected: None,
            source: None,
        }))
    }

    /// In which store: `memory`, `file`.
    #[must_use]
    pub fn in_store(mut self, store: &'static str) -> Self {
        self.0.store = store;
        self
    }

    /// What happened, in a few words. It is printed: put no key, value or credential in it.
    #[must_use]
    pub fn with_detail(mut self, detail: impl Into<Cow<'static, str>>) -> Self {
        self.0.detail = detail.into();
        self
    }

    /// Whether it is worth trying again, where that is not as usual for its kind.
    #[must_use]
    pub fn with_retriable(mut self, retriable: bool) -> Self {
        self.0.retriable = retriable;
        self
    }

    /// When the backend said to come back.
    #[must_use]
    pub fn with_retry_after(mut self, wait: Duration) -> Self {
        self.0.retry_after = Some(wait);
        self
    }

    /// The error that caused it. Only one whose text is clean of keys and credentials belongs here.
    #[must_use]
    pub fn with_source(mut self, source: impl Error + Send + Sync + 'static) -> Self {
        self.0.source = Some(Arc::new(source));
        self
    }

    /// How many items of a batch were done before it failed.
    #[must_use]
    pub fn with_completed(mut self, items: u64) -> Self {
        self.0.completed = items;
        self
    }

    /// What kind of trouble.
    #[must_use]
    pub fn kind(&self) -> StoreErrorKind {
        self.0.kind
    }

    /// In which store; empty when nobody said.
    #[must_use]
    pub fn store(&self) -> &'static str {
        self.0.store
    }

    /// What happened, in the store's words.
    #[must_use]
    pub fn detail(&self) -> &str {
        &self.0.detail
    }

    /// Whether the same operation may well work a little later. False for a write of unknown outcome: it may have happened.
    #[must_use]
    pub fn is_retriable(&self) -> bool {
        self.0.retriable
    }

    /// When it is worth coming back, where somebody knows.
    #[must_use]
    pub fn retry_after(&self) -> Option<Duration> {
        self.0.retry_after
    }

    /// Of a batch that failed half-way: how many of its items were done. They are the first ones of those given.
    #[must_use]
    pub fn completed(&self) -> u64 {
        self.0.completed
    }

    /// What a policy around the store said ([`guarded`](super::Store::guarded)).
    #[must_use]
    pub fn rejected(&self) -> Option<&Rejected> {
        self.0.rejected.as_ref()
    }

    /// What it says about the store, to breakers and retries: a request that no store would take, an unsupported operation, a value that
    /// does not decode say nothing against it.
    #[must_use]
    pub fn verdict(&self) -> Verdict {
        use StoreErrorKind as Kind;
        match self.kind() {
            _ if self.is_retriable() => Verdict::Transient { retry_after: self.retry_after() },
            Kind::InvalidConfig | Kind::InvalidKey | Kind::TooLarge | Kind::Unsupported | Kind::Closed | Kind::Codec => Verdict::Ignored,
            _ => Verdict::permanent(),
        }
    }

    pub(crate) fn empty_key() -> Self {
        Self::new(StoreErrorKind::InvalidKey).with_detail("the key is empty")
    }

    pub(crate) fn unsupported(store: &'static str, what: &'static str) -> Self {
        Self::new(StoreErrorKind::Unsupported).in_store(store).with_detail(what)
    }

    pub(crate) fn closed(store: &'static str) -> Self {
        Self::new(StoreErrorKind::Closed).in_store(store)
    }

    pub(crate) fn too_large(store: &'static str, size: usize, most: u64) -> Self {
        Self::new(StoreErrorKind::TooLarge).in_store(store).with_detail(format!("{size} bytes where {most} are allowed"))
    }

    /// An error of the operating system, without the path that some carry in their text.
    #[cfg_attr(not(feature = "file"), allow(dead_code, reason = "only stores on disk meet these"))]
    pub(crate) fn io(store: &'static str, error: &std::io::Error) -> Self {
        use std::io::ErrorKind as Io;
        let kind = match error.kind() {
            Io::PermissionDenied => StoreErrorKind::Denied,
            Io::StorageFull | Io::QuotaExceeded | Io::FileTooLarge => StoreErrorKind::Full,
            Io::ReadOnlyFilesystem => StoreErrorKind::ReadOnly,
            Io::TimedOut => StoreErrorKind::Timeout,
            Io::ResourceBusy | Io::WouldBlock | Io::Interrupted => StoreErrorKind::Busy,
            Io::NotFound | Io::NotADirectory | Io::StaleNetworkFileHandle => StoreErrorKind::Unavailable,
            _ => StoreErrorKind::Other,
        };
        let error = Self::new(kind).in_store(store).with_detail(error.kind().to_string());
        // A missing directory is not back by itself a moment later.
        if kind == StoreErrorKind::Unavailable { error.with_retriable(false) } else { error }
    }
}

impl From<Rejected> for StoreError {
    fn from(rejected: Rejected) -> Self {
        let mut error = Self::new(StoreErrorKind::Rejected);
        error.0.retry_after = rejected.retry_after();
        error.0.detail = Cow::Borrowed(rejected.kind().as_str());
        error.0.rejected = Some(rejected);
        error
    }
}

impl From<ConfigError> for StoreError {
    fn from(error: ConfigError) -> Self {
        Self::new(StoreErrorKind::InvalidConfig).with_detail(error.to_string()).with_source(error)
    }
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Inner { kind, store, detail, .. } = &*self.0;
        if !store.is_empty() {
            write!(f, "{store} store: ")?;
        }
        f.write_str(kind.describe())?;
        if detail.is_empty() { Ok(()) } else { write!(f, " ({detail})") }
    }
}

impl fmt::Debug for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut debug = f.debug_struct("StoreError");
        debug.field("kind", &self.0.kind).field("store", &self.0.store).field("detail", &self.0.detail);
        debug.field("retriable", &self.0.retriable).finish_non_exhaustive()
    }
}

/// Equal in all they say; the errors below them are not compared.
impl PartialEq for StoreError {
    fn eq(&self, other: &Self) -> bool {
        let of = |error: &Self| (error.0.kind, error.0.store, error.0.retriable, error.0.retry_after, error.0.completed);
        of(self) == of(other) && self.0.detail == other.0.detail && self.0.rejected == other.0.rejected
    }
}

impl Error for StoreError {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        match (&self.0.rejected, &self.0.source) {
            (Some(rejected), _) => Some(rejected),
            (None, Some(source)) => Some(&**source),
            (None, None) => None,
        }
    }
}
