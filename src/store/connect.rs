//! A store by its address, as configuration files have it.

use super::{AnyStore, StoreError};
use crate::fault::{ConfigError, Fault};

/// What an address asks for: `scheme:rest?name=value&..`.
struct Address<'a> {
    rest: &'a str,
    options: Vec<(&'a str, &'a str)>,
    faults: Vec<Fault>,
}

impl<'a> Address<'a> {
    fn new(address: &'a str) -> Self {
        let (rest, query) = address.split_once('?').unwrap_or((address, ""));
        let options = query.split('&').filter(|pair| !pair.is_empty()).map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect();
        Self { rest, options, faults: Vec::new() }
    }

    /// An option that is a whole number.
    fn number(&mut self, name: &'static str) -> Option<u64> {
        let (_, text) = self.options.extract_if(.., |(known, _)| *known == name).last()?;
        let number = text.parse().ok();
        if number.is_none() {
            self.faults.push(Fault::new(name, "is not a whole number"));
        }
        number
    }

    #[cfg_attr(not(feature = "sqlite"), allow(dead_code, reason = "only some stores have names in their options"))]
    fn text(&mut self, name: &str) -> Option<&'a str> {
        self.options.extract_if(.., |(known, _)| *known == name).last().map(|(_, text)| text)
    }

    #[cfg_attr(not(any(feature = "file", feature = "sqlite")), allow(dead_code, reason = "only these have a path"))]
    fn path(&mut self) -> &'a str {
        // `file:///var/cache` is `file:/var/cache`.
        let path = self.rest.strip_prefix("//").unwrap_or(self.rest);
        if path.is_empty() {
            self.faults.push(Fault::new("address", "has no path; it is like file:/var/cache/app"));
        }
        path
    }

    /// What nobody has asked for is a mistake.
    fn check(mut self) -> Result<(), StoreError> {
        self.faults.extend(self.options.iter().map(|(name, _)| Fault::new(*name, "is no option of this store")));
        Ok(ConfigError::check("store", self.faults)?)
    }
}

/// The store at an address: for what is configured and not written down in code.
///
/// | address | store | options | feature |
/// |---|---|---|---|
/// | `memory:` | [`MemoryStore`](super::MemoryStore) | `max_size_bytes`, `max_entries`, `max_value_bytes` | |
/// | `file:/var/cache/app` | `FileStore` | the same, `durable` | `file` |
/// | `sqlite:/var/cache/app.db` | `SqliteStore` | `max_entries`, `max_value_bytes`, `table`, `durable`, `busy_timeout_ms` | `sqlite` |
/// | `https://user:password@host/v1` | `HttpStore` | | `http-store` |
/// | `redis://user:password@host:6379/0` | `RedisStore` | those of the address itself | `redis` (`rediss://`: `redis-tls`) |
///
/// Options come after a `?`, as in `memory:?max_entries=1000`.
///
/// ```
/// # #[tokio::main(flavor = "current_thread")] async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use steadfast::store::{Store, connect};
/// let store = connect("memory:?max_size_bytes=1000000").await?.namespace("sessions");
/// store.probe().await?;
/// # Ok(()) }
/// ```
///
/// # Errors
/// [`InvalidConfig`](super::StoreErrorKind::InvalidConfig) for an address that is none, an option that is none, or a store whose feature is off, without
/// quoting the address; or what the store says when it is opened.
pub async fn connect(address: &str) -> Result<AnyStore, StoreError> {
    let refused = |problem: String| -> StoreError {
        match ConfigError::check("store", vec![Fault::new("address", problem)]) {
            Err(error) => error.into(),
            Ok(()) => StoreError::new(super::StoreErrorKind::InvalidConfig),
        }
    };
    let Some((scheme, rest)) = address.split_once(':') else {
        return Err(refused("has no scheme; it is like memory:, file:/path, sqlite:/path, https://host".into()));
    };
    let needs = |feature: &str| refused(format!("is of a store behind the feature `{feature}`, which is off"));
    match scheme {
        "memory" => memory(Address::new(rest)),
        #[cfg(feature = "file")]
        "file" => file(Address::new(rest)).await,
        #[cfg(not(feature = "file"))]
        "file" => Err(needs("file")),
        #[cfg(feature = "sqlite")]
        "sqlite" => sqlite(Address::new(rest)).await,
        #[cfg(not(feature = "sqlite"))]
        "sqlite" => Err(needs("sqlite")),
        #[cfg(feature = "http-store")]
        "http" | "https" => Ok(AnyStore::new(super::HttpStore::builder(address).build()?)),
        #[cfg(not(feature = "http-store"))]
        "http" | "https" => Err(needs("http-store")),
        #[cfg(feature = "redis")]
        "redis" | "rediss" => Ok(AnyStore::new(super::RedisStore::connect(address).await?)),
        #[cfg(not(feature = "redis"))]
        "redis" | "rediss" => Err(needs("redis")),
        _ => {
            let _ = needs;
            Err(refused("is of no store there is; there are memory:, file:, sqlite:, redis:, rediss:, http: and https:".into()))
        }
    }
}

fn memory(mut address: Address<'_>) -> Result<AnyStore, StoreError> {
    let mut builder = super::MemoryStore::builder();
    if let Some(bytes) = address.number("max_size_bytes") {
        builder = builder.max_size_bytes(bytes);
    }
    if let Some(entries) = address.number("max_entries") {
        builder = builder.max_entries(entries);
    }
    if let Some(bytes) = address.number("max_value_bytes") {
        builder = builder.max_value_bytes(bytes);
    }
    if !address.rest.is_empty() {
        address.faults.push(Fault::new("address", "goes on after memory:, where there is nothing to name"));
    }
    address.check()?;
    Ok(AnyStore::new(builder.build()?))
}

#[cfg(feature = "file")]
async fn file(mut address: Address<'_>) -> Result<AnyStore, StoreError> {
    let mut builder = super::FileStore::builder(address.path());
    if let Some(bytes) = address.number("max_size_bytes") {
        builder = builder.max_size_bytes(bytes);
    }
    if let Some(entries) = address.number("max_entries") {
        builder = builder.max_entries(entries);
    }
    if let Some(bytes) = address.number("max_value_bytes") {
        builder = builder.max_value_bytes(bytes);
    }
    builder = builder.durable(flag(&mut address, "durable"));
    address.check()?;
    Ok(AnyStore::new(builder.open().await?))
}

#[cfg(feature = "sqlite")]
async fn sqlite(mut address: Address<'_>) -> Result<AnyStore, StoreError> {
    let mut builder = super::SqliteStore::builder(address.path());
    if let Some(entries) = address.number("max_entries") {
        builder = builder.max_entries(entries);
    }
    if let Some(bytes) = address.number("max_value_bytes") {
        builder = builder.max_value_bytes(bytes);
    }
    if let Some(table) = address.text("table") {
        builder = builder.table(table);
    }
    if let Some(millis) = address.number("busy_timeout_ms") {
        builder = builder.busy_timeout(std::time::Duration::from_millis(millis));
    }
    builder = builder.durable(flag(&mut address, "durable"));
    address.check()?;
    Ok(AnyStore::new(builder.open().await?))
}

/// `durable`, `durable=true`, `durable=false`.
#[cfg(any(feature = "file", feature = "sqlite"))]
fn flag(address: &mut Address<'_>, name: &'static str) -> bool {
    match address.text(name) {
        None | Some("false") => false,
        Some("" | "true") => true,
        Some(_) => {
            address.faults.push(Fault::new(name, "is neither true nor false"));
            false
        }
    }
}
