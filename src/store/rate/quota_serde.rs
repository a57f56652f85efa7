//! Quotas in files of settings.

use super::{Algorithm, Quota};
use serde::de::{self, Deserialize, Deserializer, MapAccess, Visitor};
use serde::ser::{Serialize, Serializer};
use std::fmt;

/// As text: `"100/min, burst 20"`.
///
/// ```
/// # #[cfg(feature = "serde")] fn main() -> Result<(), Box<dyn std::error::Error>> {
/// use steadfast::store::rate::{Algorithm, Quota};
///
/// #[derive(Debug, serde::Serialize, serde::Deserialize)]
/// struct Settings {
///     search: Quota,
///     export: Quota,
/// }
///
/// let text = r#"
///     search = "100/min, burst 20"
///     export = { rate = "10/30s", algorithm = "sliding_log" }
/// "#;
/// let settings: Settings = toml::from_str(text)?;
/// assert_eq!(settings.search, Quota::per_minute(100).burst(20));
/// assert_eq!(settings.export.counted_by(), Algorithm::SlidingLog);
/// assert_eq!(toml::to_string(&settings)?, "search = \"100/min, burst 20\"\nexport = \"10/30s, sliding_log\"\n");
/// assert!(toml::from_str::<Settings>(r#"search = "0/min""#).unwrap_err().to_string().contains("limit: 0 is too small"));
/// # Ok(()) }
/// # #[cfg(not(feature = "serde"))] fn main() {}
/// ```
impl Serialize for Quota {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

/// From text as [`FromStr`](std::str::FromStr) reads it, or from `rate`, `burst` and `algorithm` one by one. What could not
/// [work](Quota::validate) is an error.
impl<'de> Deserialize<'de> for Quota {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let quota = deserializer.deserialize_any(Written)?;
        quota.validate().map_err(de::Error::custom)?;
        Ok(quota)
    }
}

const NAMES: &[&str] = &["gcra", "sliding_log", "sliding_counter", "token_bucket", "fixed_window"];
const FIELDS: &[&str] = &["rate", "burst", "algorithm"];

struct Written;

impl<'de> Visitor<'de> for Written {
    type Value = Quota;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a quota: `100/min`, `100/min, burst 20` or `5000 monthly`, or its `rate`, `burst` and `algorithm`")
    }

    fn visit_str<E: de::Error>(self, text: &str) -> Result<Quota, E> {
        text.parse().map_err(E::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Quota, A::Error> {
        let (mut rate, mut burst, mut algorithm) = (None::<String>, None::<u32>, None::<String>);
        while let Some(field) = map.next_key::<String>()? {
            let twice = match field.as_str() {
                "rate" => rate.replace(map.next_value()?).is_some(),
                "burst" => burst.replace(map.next_value()?).is_some(),
                "algorithm" => algorithm.replace(map.next_value()?).is_some(),
                other => return Err(de::Error::unknown_field(other, FIELDS)),
            };
            if twice {
                return Err(de::Error::custom(format_args!("`{field}` is there twice")));
            }
        }
        let mut quota: Quota = rate.ok_or_else(|| de::Error::missing_field("rate"))?.parse().map_err(de::Error::custom)?;
        if let Some(name) = algorithm {
            let named = Algorithm::named(&name);
            quota = quota.algorithm(named.ok_or_else(|| de::Error::unknown_variant(&name, NAMES))?);
        }
        Ok(burst.map_or(quota, |burst| quota.burst(burst)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Quota, String> {
        serde_json::from_str(json).map_err(|error| error.to_string())
    }

    #[test]
    fn what_is_written_is_read_again() {
        for quota in [
            Quota::per_minute(100),
            Quota::per_second(9).burst(3).algorithm(Algorithm::TokenBucket),
            Quota::per(10, std::time::Duration::from_secs(90)).algorithm(Algorithm::SlidingLog),
            Quota::monthly(5_000),
        ] {
            let text = serde_json::to_string(&quota).unwrap_or_default();
            assert_eq!(read(&text), Ok(quota), "{text}");
        }
        assert_eq!(read(r#"{"rate": "9/s", "burst": 3, "algorithm": "gcra"}"#), Ok(Quota::per_second(9).burst(3)));
        assert_eq!(read(r#"{"rate": "9 daily"}"#), Ok(Quota::daily(9)));
        assert_eq!(read(r#"{"rate": "9/s, burst 3", "burst": 4}"#), Ok(Quota::per_second(9).burst(4)));
    }

    #[test]
    fn what_cannot_work_is_named() {
        for (json, says) in [
            ("7", "a quota: `100/min`"),
            (r#""many""#, "`many`"),
            (r#""0/s""#, "limit: 0 is too small"),
            (r#""9 daily, burst 3""#, "burst: 3 has no meaning"),
            (r#"{"burst": 3}"#, "missing field `rate`"),
            (r#"{"rate": "9/s", "bust": 3}"#, "unknown field `bust`, expected one of `rate`, `burst`, `algorithm`"),
            (r#"{"rate": "9/s", "algorithm": "leaky"}"#, "unknown variant `leaky`, expected one of `gcra`"),
            (r#"{"rate": "9/s", "rate": "8/s"}"#, "`rate` is there twice"),
            (r#"{"rate": "9/s", "burst": -3}"#, "-3"),
        ] {
            let error = read(json).err().unwrap_or_default();
            assert!(error.contains(says), "{json}: {error}");
        }
    }
}
