//! How a store or a cache has been doing.

use std::fmt;

/// Counters since the start (or since they were reset), and how full it is now.
///
/// Where nobody can tell a gauge without asking a server, it is `None`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct CacheStats {
    /// Gets that found a live value.
    pub hits: u64,
    /// Gets that found none.
    pub misses: u64,
    /// Values stored.
    pub sets: u64,
    /// Live values deleted by name, pattern or tag.
    pub deletes: u64,
    /// Live values that had to make room for others.
    pub evicted_size: u64,
    /// Values removed because their time was over.
    pub expired: u64,
    /// Operations that failed, as far as the store itself knows of them.
    pub errors: u64,
    /// Entries that turned out not to be what was written, each a miss.
    pub corrupt: u64,
    /// Entries now.
    pub current_entries: Option<u64>,
    /// Bytes now, as the store charges them.
    pub current_size_bytes: Option<u64>,
    /// At most so many entries.
    pub max_entries: Option<u64>,
    /// At most so many bytes.
    pub max_size_bytes: Option<u64>,
    /// What only this kind of store can tell, by name.
    pub extra: Vec<(&'static str, u64)>,
}

impl CacheStats {
    /// Values removed to make room, and those whose time was over. Neither deleted nor overwritten ones count.
    #[must_use]
    pub const fn evictions(&self) -> u64 {
        self.evicted_size.saturating_add(self.expired)
    }

    /// The share of gets that found a value, between 0 and 1; 0 before the first.
    #[must_use]
    pub fn hit_rate(&self) -> f64 {
        share(self.hits, self.hits.saturating_add(self.misses))
    }

    /// How full it is, between 0 and 1: by bytes where those are limited, else by entries; 0 without a limit.
    #[must_use]
    pub fn utilization(&self) -> f64 {
        let bytes = self.current_size_bytes.zip(self.max_size_bytes);
        bytes.or(self.current_entries.zip(self.max_entries)).map_or(0.0, |(now, most)| share(now, most))
    }

    /// What only this kind of store can tell.
    #[must_use]
    pub fn extra(&self, name: &str) -> Option<u64> {
        self.extra.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }
}

#[expect(clippy::cast_precision_loss, reason = "a share needs no 53 bits")]
fn share(part: u64, whole: u64) -> f64 {
    if whole == 0 { 0.0 } else { part as f64 / whole as f64 }
}

impl fmt::Display for CacheStats {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let rate = self.hit_rate() * 100.0;
        write!(f, "{} hits, {} misses ({rate:.1} %), {} sets, {} deletes, ", self.hits, self.misses, self.sets, self.deletes)?;
        write!(f, "{} evicted, {} expired", self.evicted_size, self.expired)?;
        let gauge = |f: &mut fmt::Formatter<'_>, now: Option<u64>, most: Option<u64>, unit: &str| match (now, most) {
            (None, _) => Ok(()),
            (Some(now), None) => write!(f, ", {now} {unit}"),
            (Some(now), Some(most)) => write!(f, ", {now} of {most} {unit}"),
        };
        gauge(f, self.current_entries, self.max_entries, "entries")?;
        gauge(f, self.current_size_bytes, self.max_size_bytes, "bytes")
    }
}

#[cfg(feature = "serde")]
impl serde::Serialize for CacheStats {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeMap;
        let mut map = serializer.serialize_map(None)?;
        for (name, count) in [
            ("hits", self.hits),
            ("misses", self.misses),
            ("sets", self.sets),
            ("deletes", self.deletes),
            ("evictions", self.evictions()),
            ("evicted_size", self.evicted_size),
            ("expired", self.expired),
            ("errors", self.errors),
            ("corrupt", self.corrupt),
        ] {
            map.serialize_entry(name, &count)?;
        }
        for (name, gauge) in [
            ("current_entries", self.current_entries),
            ("current_size_bytes", self.current_size_bytes),
            ("max_entries", self.max_entries),
            ("max_size_bytes", self.max_size_bytes),
        ] {
            map.serialize_entry(name, &gauge)?;
        }
        map.serialize_entry("hit_rate", &self.hit_rate())?;
        map.serialize_entry("utilization", &self.utilization())?;
        self.extra.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
        map.end()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn c46_rates_of_nothing_are_zero_and_gauges_stay() {
        let mut stats = CacheStats { hits: 0, ..CacheStats::default() };
        assert_eq!((stats.hit_rate(), stats.utilization()), (0.0, 0.0));
        stats = CacheStats { hits: 3, misses: 1, current_size_bytes: Some(50), max_size_bytes: Some(200), ..stats };
        assert_eq!((stats.hit_rate(), stats.utilization()), (0.75, 0.25));
        assert_eq!(stats.to_string(), "3 hits, 1 misses (75.0 %), 0 sets, 0 deletes, 0 evicted, 0 expired, 50 of 200 bytes");
    }
}
