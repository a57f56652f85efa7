//! Layers of settings: a preset, the defaults of a file, a pipeline's own; the later has the last word, field by field.

use super::read::one_of;
use super::tree::{Tree, join};
use crate::fault::Fault;
use crate::pipeline::{Pipeline, PipelineBuilder};
use std::collections::HashMap;

/// What a section means when it is a single value: `bulkhead = 50`.
const SHORTHANDS: &[(&str, &str)] =
    &[("retry", "retries"), ("circuit_breaker", "failure_rate"), ("rate_limit", "rate"), ("bulkhead", "limit"), ("hedge", "after")];

/// Sections that mean something without a setting in them: `throttle = true`.
const ALL_DEFAULTS: &[&str] = &["throttle", "adaptive_limit"];

type Preset = fn(String) -> PipelineBuilder;
const PRESETS: &[(&str, Preset)] = &[
    ("http", Pipeline::http),
    ("database", Pipeline::database),
    ("interactive", Pipeline::interactive),
    ("background", Pipeline::background),
    ("standard", Pipeline::standard),
];

/// Sections given as one value, written out.
pub(crate) fn normal(mut tree: Tree) -> Tree {
    let expand = |value: &mut Tree, field: &str| {
        if matches!(value, Tree::Whole(_) | Tree::Real(_) | Tree::Text(_)) && !is_off(value) {
            let scalar = std::mem::replace(value, Tree::table());
            value.put(field, scalar);
        }
    };
    if let Tree::Table(entries) = &mut tree {
        for (name, value) in entries {
            if ALL_DEFAULTS.contains(&name.as_str()) && *value == Tree::Bool(true) {
                *value = Tree::table();
            }
            if let Some((_, field)) = SHORTHANDS.iter().find(|(section, _)| section == name) {
                expand(value, field);
            }
            if name == "per_key" {
                *value = normal(std::mem::replace(value, Tree::Nothing));
            }
            if let ("retry" | "hedge", Tree::Table(fields)) = (name.as_str(), value) {
                for (_, budget) in fields.iter_mut().filter(|(field, _)| field == "budget") {
                    if matches!(budget, Tree::Text(text) if text == "unlimited") {
                        *budget = Tree::Bool(false);
                    }
                    expand(budget, "share");
                }
            }
        }
    }
    tree
}

/// What holds when `upper` has the last word and `lower` speaks where it is silent.
pub(crate) fn merged(lower: Tree, upper: Tree) -> Tree {
    match (lower, upper) {
        (lower, Tree::Nothing) => lower,
        (Tree::Table(mut below), Tree::Table(above)) => {
            yield_to(&mut below, &above);
            let places: HashMap<String, usize> = below.iter().enumerate().map(|(place, (field, _))| (field.clone(), place)).collect();
            for (field, value) in above {
                match places.get(&field).and_then(|place| below.get_mut(*place)) {
                    Some((_, known)) => *known = merged(std::mem::replace(known, Tree::Nothing), value),
                    None => below.push((field, value)),
                }
            }
            Tree::Table(below)
        }
        (_, upper) => upper,
    }
}

/// Fields that exclude each other: whoever names one has done with the others of the layer below.
fn yield_to(below: &mut Vec<(String, Tree)>, above: &[(String, Tree)]) {
    const EXCLUDED: &[(&str, &[&str])] = &[
        ("window", &["count_window"]),
        ("count_window", &["window"]),
        ("sliding_window", &["burst"]),
        ("backoff", &["delay", "factor", "max_delay", "jitter"]),
        ("algorithm", &["max", "min_samples", "tolerance", "backoff_ratio", "alpha", "beta", "smoothing", "queue_size"]),
    ];
    for (field, others) in EXCLUDED {
        if above.iter().any(|(name, value)| name == field && !is_off(value) && *value != Tree::Nothing) {
            below.retain(|(name, _)| !others.contains(&name.as_str()));
        }
    }
}

/// Whether the field at this path was said in this tree.
pub(crate) fn says(tree: &Tree, path: &str) -> bool {
    let (head, rest) = path.split_once('.').unwrap_or((path, ""));
    match tree {
        Tree::Table(entries) => entries.iter().any(|(name, value)| name == head && (rest.is_empty() || says(value, rest))),
        _ => false,
    }
}

pub(super) fn is_off(tree: &Tree) -> bool {
    matches!(tree, Tree::Bool(false)) || matches!(tree, Tree::Text(text) if text == "false")
}

/// The preset that a tree names, as a tree.
pub(crate) fn preset_of(tree: &Tree, path: &str, faults: &mut Vec<Fault>) -> Tree {
    let Tree::Table(entries) = tree else { return Tree::table() };
    match entries.iter().find(|(name, _)| name == "preset").map(|(_, value)| value) {
        None | Some(Tree::Nothing | Tree::Bool(false)) => Tree::table(),
        Some(value) => match one_of(PRESETS, value) {
            Ok(preset) => preset(String::new()).config().tree(),
            Err(problem) => {
                faults.push(Fault::new(join(path, "preset"), problem));
                Tree::table()
            }
        },
    }
}
