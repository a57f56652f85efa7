//! Where settings come from and go to: any format that serde knows.

use super::PipelineConfig;
use super::layers::{merged, normal, preset_of};
use super::read::pipeline;
use super::tree::{Tree, once};
use crate::fault::{ConfigError, Fault};
use serde::de::{self, DeserializeSeed, Deserializer, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde::ser::{self, SerializeMap, SerializeSeq, Serializer};
use serde::{Deserialize, Serialize};
use std::cell::Cell;
use std::fmt;

/// A registry's settings are five deep; what is deeper is no setting.
const MOST_DEEP: usize = 8;
/// No setting is longer, and no name of a pipeline should be.
const MOST_BYTES: usize = 256;
/// Ten thousand pipelines with ten settings each.
const MOST_VALUES: usize = 100_000;

impl PipelineConfig {
    /// Reads settings, and tells every fault as a value: what `Deserialize` does, for those who look at the faults one by one.
    ///
    /// ```
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// use steadfast::PipelineConfig;
    ///
    /// let file: toml::Table = "attempt_timeout = 5\nbulkhead = 0\nretries = 3".parse()?;
    /// let error = PipelineConfig::from_source(file).unwrap_err();
    /// let fields: Vec<_> = error.faults().iter().map(|fault| fault.field()).collect();
    /// assert_eq!(fields, ["retries", "attempt_timeout", "bulkhead.limit"]);
    /// # Ok(()) }
    /// ```
    ///
    /// # Errors
    /// Every fault, with its path. What the format itself could not read is one fault of the field `source`.
    pub fn from_source<'de>(source: impl Deserializer<'de>) -> Result<Self, ConfigError> {
        let mut faults = Vec::new();
        let config = Self::judged(read(source)?, &mut faults);
        refused("pipeline", faults)?;
        Ok(config)
    }

    fn judged(mut tree: Tree, faults: &mut Vec<Fault>) -> Self {
        once(&mut tree, "", faults);
        let tree = normal(tree);
        let preset = preset_of(&tree, "", faults);
        pipeline("", merged(preset, tree), false, faults)
    }
}

/// `Ok` without faults.
pub(crate) fn refused(subject: &str, mut faults: Vec<Fault>) -> Result<(), ConfigError> {
    /// Whoever has more has the wrong file.
    const TOLD: usize = 100;
    if faults.len() > TOLD {
        let more = faults.len() - TOLD;
        faults.truncate(TOLD);
        faults.push(Fault::new("..", format!("and {more} more; first mend these")));
    }
    ConfigError::check(subject, faults)
}

/// What the format could read, or its own error.
pub(crate) fn tree<'de, D: Deserializer<'de>>(source: D) -> Result<Tree, D::Error> {
    let left = Cell::new(MOST_VALUES);
    Node { depth: 0, left: &left }.deserialize(source)
}

/// The same, with any error as a fault.
pub(crate) fn read<'de>(source: impl Deserializer<'de>) -> Result<Tree, ConfigError> {
    match tree(source) {
        Ok(tree) => Ok(tree),
        Err(error) => {
            let text: String = error.to_string().chars().take(1_000).collect();
            refused("configuration", vec![Fault::new("source", text)])?;
            Ok(Tree::Nothing)
        }
    }
}

impl<'de> Deserialize<'de> for PipelineConfig {
    fn deserialize<D: Deserializer<'de>>(source: D) -> Result<Self, D::Error> {
        let tree = tree(source)?;
        let mut faults = Vec::new();
        let config = Self::judged(tree, &mut faults);
        refused("pipeline", faults).map_err(de::Error::custom)?;
        Ok(config)
    }
}

impl Serialize for PipelineConfig {
    fn serialize<S: Serializer>(&self, target: S) -> Result<S::Ok, S::Error> {
        self.tree().serialize(target)
    }
}

/// One value, at some depth, of so many that are left.
#[derive(Clone, Copy)]
pub(crate) struct Node<'a> {
    depth: usize,
    left: &'a Cell<usize>,
}

impl Node<'_> {
    fn inner(self) -> Self {
        Self { depth: self.depth + 1, left: self.left }
    }

    /// Why what is inside of this will not be looked at.
    fn refusal(self) -> Option<Tree> {
        if self.depth >= MOST_DEEP {
            return Some(Tree::Bad(format!("is more than {MOST_DEEP} levels deep; no setting is")));
        }
        (self.left.get() == 0).then(|| Tree::Bad(format!("comes after {MOST_VALUES} others; no configuration is so long")))
    }
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Tree;

    fn deserialize<D: Deserializer<'de>>(self, source: D) -> Result<Tree, D::Error> {
        source.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Tree;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("settings of pipelines")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Tree, E> {
        Ok(Tree::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Tree, E> {
        Ok(Tree::Whole(value.into()))
    }

    fn visit_i128<E>(self, value: i128) -> Result<Tree, E> {
        Ok(Tree::Whole(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Tree, E> {
        Ok(Tree::Whole(value.into()))
    }

    fn visit_u128<E>(self, value: u128) -> Result<Tree, E> {
        Ok(Tree::Whole(value.try_into().unwrap_or(i128::MAX)))
    }

    fn visit_f64<E>(self, value: f64) -> Result<Tree, E> {
        Ok(Tree::Real(value))
    }

    fn visit_str<E>(self, value: &str) -> Result<Tree, E> {
        Ok(if value.len() > MOST_BYTES {
            Tree::Bad(format!("a text of {} bytes; no setting is longer than {MOST_BYTES}", value.len()))
        } else {
            Tree::Text(value.to_owned())
        })
    }

    fn visit_bytes<E>(self, value: &[u8]) -> Result<Tree, E> {
        Ok(Tree::Bad(format!("{} bytes where a setting is wanted; write it as text", value.len())))
    }

    fn visit_unit<E>(self) -> Result<Tree, E> {
        Ok(Tree::Nothing)
    }

    fn visit_none<E>(self) -> Result<Tree, E> {
        Ok(Tree::Nothing)
    }

    fn visit_some<D: Deserializer<'de>>(self, source: D) -> Result<Tree, D::Error> {
        source.deserialize_any(self)
    }

    fn visit_newtype_struct<D: Deserializer<'de>>(self, source: D) -> Result<Tree, D::Error> {
        source.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut source: A) -> Result<Tree, A::Error> {
        let mut values = Vec::new();
        loop {
            // To the end in any case: a format may insist on being read whole.
            if let Some(refusal) = self.refusal() {
                while source.next_element::<IgnoredAny>()?.is_some() {}
                return Ok(refusal);
            }
            let Some(value) = source.next_element_seed(self.inner())? else { return Ok(Tree::List(values)) };
            self.left.set(self.left.get().saturating_sub(1));
            values.push(value);
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut source: A) -> Result<Tree, A::Error> {
        let mut entries = Vec::new();
        loop {
            if let Some(refusal) = self.refusal() {
                while source.next_entry::<IgnoredAny, IgnoredAny>()?.is_some() {}
                return Ok(refusal);
            }
            let Some(name) = source.next_key_seed(self.inner())? else { return Ok(Tree::Table(entries)) };
            let value = source.next_value_seed(self.inner())?;
            self.left.set(self.left.get().saturating_sub(1));
            entries.push((name.to_string(), value));
        }
    }
}

impl Serialize for Tree {
    fn serialize<S: Serializer>(&self, target: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Nothing => target.serialize_none(),
            Self::Bool(value) => target.serialize_bool(*value),
            Self::Whole(value) => match (i64::try_from(*value), u64::try_from(*value)) {
                (Ok(value), _) => target.serialize_i64(value),
                (_, Ok(value)) => target.serialize_u64(value),
                _ => target.serialize_i128(*value),
            },
            Self::Real(value) => target.serialize_f64(*value),
            Self::Text(value) => target.serialize_str(value),
            Self::List(values) => {
                let mut list = target.serialize_seq(Some(values.len()))?;
                values.iter().try_for_each(|value| list.serialize_element(value))?;
                list.end()
            }
            Self::Table(entries) => {
                let mut map = target.serialize_map(Some(entries.len()))?;
                entries.iter().try_for_each(|(name, value)| map.serialize_entry(name, value))?;
                map.end()
            }
            Self::Bad(problem) => Err(ser::Error::custom(problem)),
        }
    }
}
