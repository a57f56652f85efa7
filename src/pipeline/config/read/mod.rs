//! From a [`Tree`] to a configuration: every fault with its full path, all at once.

use super::PipelineConfig;
use super::layers::is_off;
use super::text::{parse_duration, parse_share, quoted};
use super::tree::{Tree, join};
use super::words::{shown, suggest};
use crate::fault::{Fault, gather};
use crate::pipeline::policies::Settings;
use std::time::Duration;

/// Reads each field with the reader named beside it, and sets it where the file says something.
macro_rules! set {
    ($config:ident from $section:ident: $($field:ident: $read:ident),* $(,)?) => {$(
        if let Some(value) = $section.$read(stringify!($field)) {
            $config = $config.$field(value);
        }
    )*};
}

mod adaptive_limit;
mod bulkhead;
#[cfg(feature = "cache")]
mod cache;
mod circuit_breaker;
mod hedge;
mod per_key;
mod queue;
pub(crate) mod rate_limit;
mod retry;
mod throttle;

/// Every policy has a file of its name here, with the names of its fields and how they are read.
macro_rules! policies {
    ($($policy:ident),* $(,)?) => {
        const PIPELINE: &[&str] = &["preset", "total_timeout", "attempt_timeout", $(stringify!($policy),)* "cache", "monitor"];

        fn policies(section: &mut Section<'_>, partial: bool) -> Settings {
            Settings {
                $($policy: section.section(stringify!($policy), $policy::FIELDS, |section| $policy::read(section, partial)),)*
            }
        }
    };
}

policies!(retry, hedge, circuit_breaker, throttle, per_key, rate_limit, bulkhead, adaptive_limit);

/// One table on its way to a configuration. Fields are taken out as they are read.
pub(super) struct Section<'f> {
    path: String,
    entries: Vec<(String, Tree)>,
    pub(super) faults: &'f mut Vec<Fault>,
}

/// What a file says of a field.
enum Said<T> {
    Nothing,
    Off,
    Value(T),
}

impl<'f> Section<'f> {
    /// Fields that are not `known` are faults.
    fn open(path: String, tree: Tree, known: &[&str], faults: &'f mut Vec<Fault>) -> Option<Self> {
        let entries = match tree {
            Tree::Table(entries) => entries,
            Tree::Bad(problem) => {
                faults.push(Fault::new(path, problem));
                return None;
            }
            other => {
                let what = if path.is_empty() { "the configuration" } else { "this" };
                let fields = known.join("`, `");
                faults.push(Fault::new(path, format!("{} where {what} is a table; its fields are `{fields}`", kind(&other))));
                return None;
            }
        };
        let mut section = Self { path, entries: Vec::with_capacity(entries.len()), faults };
        for (name, value) in entries {
            if !known.contains(&name.as_str()) {
                section.fault(&shown(&name), format!("unknown field; {}", suggest(&name, known)));
            } else {
                section.entries.push((name, value));
            }
        }
        Some(section)
    }

    pub(super) fn fault(&mut self, field: &str, problem: String) {
        let path = join(&self.path, field);
        self.faults.push(Fault::new(path, problem));
    }

    /// What a policy found in settings that could be read.
    pub(super) fn judge(&mut self, found: Vec<Fault>) {
        gather(self.faults, &self.path, found);
    }

    fn said(&mut self, field: &str) -> Said<Tree> {
        let Some(place) = self.entries.iter().position(|(name, _)| name == field) else { return Said::Nothing };
        match self.entries.remove(place).1 {
            Tree::Nothing => Said::Nothing,
            value if is_off(&value) => Said::Off,
            value => Said::Value(value),
        }
    }

    pub(super) fn read<T>(&mut self, field: &str, read: impl FnOnce(&Tree) -> Result<T, String>) -> Option<T> {
        match self.said(field) {
            Said::Value(Tree::Bad(problem)) => {
                self.fault(field, problem);
                None
            }
            Said::Value(value) => match read(&value) {
                Ok(value) => Some(value),
                Err(problem) => {
                    self.fault(field, problem);
                    None
                }
            },
            Said::Nothing | Said::Off => None,
        }
    }

    pub(super) fn duration(&mut self, field: &str) -> Option<Duration> {
        self.read(field, duration)
    }

    pub(super) fn share(&mut self, field: &str) -> Option<f64> {
        self.read(field, |value| match value {
            Tree::Text(text) => parse_share(text).map_err(|error| error.to_string()),
            number => real(number).map_err(|()| format!("{} where a share is wanted; write \"50%\" or 0.5", kind(number))),
        })
    }

    pub(super) fn number(&mut self, field: &str) -> Option<f64> {
        self.read(field, |value| {
            let text = if let Tree::Text(text) = value { text.trim().parse().ok() } else { None };
            text.or(real(value).ok()).ok_or_else(|| format!("{} where a number is wanted", kind(value)))
        })
    }

    fn count<T: TryFrom<i128>>(&mut self, field: &str, most: u128) -> Option<T> {
        self.read(field, |value| count(value, most))
    }

    pub(super) fn count_u32(&mut self, field: &str) -> Option<u32> {
        self.count(field, u32::MAX.into())
    }

    pub(super) fn count_u64(&mut self, field: &str) -> Option<u64> {
        self.count(field, u64::MAX.into())
    }

    pub(super) fn count_usize(&mut self, field: &str) -> Option<usize> {
        self.count(field, usize::MAX as u128)
    }

    /// A yes or no. `false` is a value here, not a field switched off.
    pub(super) fn flag(&mut self, field: &str) -> Option<bool> {
        match self.said(field) {
            Said::Nothing => None,
            Said::Off => Some(false),
            Said::Value(Tree::Bool(yes)) => Some(yes),
            Said::Value(Tree::Text(text)) if text == "true" => Some(true),
            Said::Value(other) => {
                self.fault(field, format!("{} where `true` or `false` is wanted", kind(&other)));
                None
            }
        }
    }

    /// A section inside this one; `None` where there is none, or none that could be read.
    pub(super) fn section<T>(&mut self, field: &str, known: &[&str], read: impl FnOnce(&mut Section<'_>) -> Option<T>) -> Option<T> {
        match self.said(field) {
            Said::Value(Tree::Bool(_)) => {
                self.fault(field, format!("`true` says too little; write a table of `{}`", known.join("`, `")));
                None
            }
            Said::Value(tree) => {
                let mut section = Section::open(join(&self.path, field), tree, known, self.faults)?;
                read(&mut section)
            }
            Said::Nothing | Said::Off => None,
        }
    }
}

/// Reads the settings of one pipeline; `partial` settings are for others to complete, so nothing is missing from them.
pub(crate) fn pipeline(path: &str, tree: Tree, partial: bool, faults: &mut Vec<Fault>) -> PipelineConfig {
    let mut config = PipelineConfig::default();
    let Some(mut section) = Section::open(path.to_owned(), tree, PIPELINE, faults) else { return config };
    let _ = section.said("preset");
    config.total_timeout = section.duration("total_timeout");
    config.attempt_timeout = section.duration("attempt_timeout");
    config.policies = policies(&mut section, partial);
    #[cfg(feature = "cache")]
    {
        config.caching = section.section("cache", cache::FIELDS, |section| cache::read(section, partial));
    }
    #[cfg(not(feature = "cache"))]
    if matches!(section.said("cache"), Said::Value(_)) {
        section.fault("cache", "needs the feature `cache` of steadfast; turn it on in Cargo.toml, or leave this out".into());
    }
    config.monitor = section.flag("monitor").unwrap_or(false);
    if !partial {
        let found = config.time_faults();
        if path.is_empty() {
            section.faults.extend(found);
        } else {
            section.judge(found);
        }
    }
    config
}

// ---- values ----

fn duration(value: &Tree) -> Result<Duration, String> {
    match value {
        Tree::Text(text) => parse_duration(text).map_err(|error| error.to_string()),
        Tree::Whole(n) => Err(format!("{n} has no unit; write \"{n}s\" or \"{n}ms\"")),
        Tree::Real(n) => Err(format!("{n} has no unit; write \"{n}s\" or \"{n}ms\"")),
        other => Err(format!("{} where a duration is wanted; write \"250ms\", \"2s\" or \"1m\"", kind(other))),
    }
}

fn real(value: &Tree) -> Result<f64, ()> {
    match value {
        Tree::Real(value) => Ok(*value),
        #[expect(clippy::cast_precision_loss, reason = "no setting is a number where the last of 53 bits matters")]
        Tree::Whole(value) => Ok(*value as f64),
        _ => Err(()),
    }
}

fn count<T: TryFrom<i128>>(value: &Tree, most: u128) -> Result<T, String> {
    let number = match value {
        Tree::Whole(number) => *number,
        // What comes from the environment is all text.
        Tree::Text(text) => match text.trim().replace('_', "").parse() {
            Ok(number) if text.len() <= 40 => number,
            _ => return Err(format!("{} where a whole number is wanted", kind(value))),
        },
        other => return Err(format!("{} where a whole number is wanted", kind(other))),
    };
    if number < 0 {
        return Err(format!("{number} is negative; it must be at least 0"));
    }
    T::try_from(number).map_err(|_| format!("{number} is too large; it must be at most {most}"))
}

/// The one of a few words that a text is.
pub(super) fn one_of<T: Copy>(choices: &[(&str, T)], value: &Tree) -> Result<T, String> {
    let names: Vec<&str> = choices.iter().map(|(name, _)| *name).collect();
    match value {
        Tree::Text(text) => match choices.iter().find(|(name, _)| name == text) {
            Some((_, choice)) => Ok(*choice),
            None => Err(format!("{} is none of those there are; {}", quoted(text), suggest(text, &names))),
        },
        other => Err(format!("{} where one of `{}` is wanted", kind(other), names.join("`, `"))),
    }
}

/// A value as a message tells it.
fn kind(value: &Tree) -> String {
    match value {
        Tree::Nothing => "nothing".into(),
        Tree::Bool(value) => format!("`{value}`"),
        Tree::Whole(value) => value.to_string(),
        Tree::Real(value) => value.to_string(),
        Tree::Text(text) => format!("the text {}", quoted(text)),
        Tree::List(_) => "a list".into(),
        Tree::Table(_) => "a table".into(),
        Tree::Bad(problem) => problem.clone(),
    }
}
