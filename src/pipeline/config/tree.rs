//! Settings before anybody has judged them: whatever a file says, as it says it.
//!
//! A derive would stop at the first mistake. So everything is read into a [`Tree`] first, which accepts anything, within limits; then
//! it is judged as a whole.

#[cfg(feature = "serde")]
use super::words::shown;
#[cfg(feature = "serde")]
use crate::fault::Fault;

/// A value of a file.
#[derive(Clone, Debug, PartialEq)]
#[cfg_attr(not(feature = "serde"), expect(dead_code, reason = "only files say nothing, and reading them is a feature"))]
pub(crate) enum Tree {
    Nothing,
    Bool(bool),
    Whole(i128),
    Real(f64),
    Text(String),
    List(Vec<Tree>),
    Table(Vec<(String, Tree)>),
    /// What cannot be a setting, and why: too deep, too long; or a function, which cannot be written.
    Bad(String),
}

impl Tree {
    /// An empty table.
    pub(crate) const fn table() -> Self {
        Self::Table(Vec::new())
    }

    /// Adds a field to a table.
    pub(crate) fn put(&mut self, field: &str, value: impl Into<Self>) {
        if let Self::Table(entries) = self {
            entries.push((field.to_owned(), value.into()));
        }
    }

    /// Adds a field, where there is something to add.
    pub(crate) fn put_some(&mut self, field: &str, value: Option<impl Into<Self>>) {
        if let Some(value) = value {
            self.put(field, value);
        }
    }

    /// Every leaf with its path, in order.
    #[inline]
    pub(crate) fn leaves(&self) -> Vec<(String, String)> {
        #[inline]
        fn walk(tree: &Tree, path: &str, leaves: &mut Vec<(String, String)>) {
            match tree {
                Tree::Table(entries) => entries.iter().for_each(|(field, value)| walk(value, &join(path, field), leaves)),
                Tree::Nothing => {}
                leaf => leaves.push((path.to_owned(), leaf.to_string())),
            }
        }
        let mut leaves = Vec::new();
        walk(self, "", &mut leaves);
        leaves
    }
}

/// Keeps of each field that is there twice the first, and says so.
#[cfg(feature = "serde")]
pub(crate) fn once(tree: &mut Tree, path: &str, faults: &mut Vec<Fault>) {
    let Tree::Table(entries) = tree else { return };
    let mut seen = std::collections::HashSet::with_capacity(entries.len());
    entries.retain(|(name, _)| {
        let first = seen.insert(name.clone());
        if !first {
            faults.push(Fault::new(join(path, &shown(name)), "is there twice; leave one out"));
        }
        first
    });
    entries.iter_mut().for_each(|(name, value)| once(value, &join(path, &shown(name)), faults));
}

/// The path of a field.
pub(crate) fn join(path: &str, field: &str) -> String {
    if path.is_empty() { field.to_owned() } else { format!("{path}.{field}") }
}

impl std::fmt::Display for Tree {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Nothing => f.write_str("nothing"),
            Self::Bool(value) => write!(f, "{value}"),
            Self::Whole(value) => write!(f, "{value}"),
            Self::Real(value) => write!(f, "{value}"),
            Self::Text(value) => f.write_str(value),
            Self::List(values) => {
                let values: Vec<_> = values.iter().map(Self::to_string).collect();
                write!(f, "[{}]", values.join(", "))
            }
            Self::Table(_) => f.write_str("a table"),
            Self::Bad(what) => f.write_str(what),
        }
    }
}

macro_rules! into_tree {
    ($($from:ty => |$value:ident| $tree:expr),* $(,)?) => {$(
        impl From<$from> for Tree {
            fn from($value: $from) -> Self {
                $tree
            }
        }
    )*};
}

into_tree! {
    bool => |value| Self::Bool(value),
    u32 => |value| Self::Whole(value.into()),
    u64 => |value| Self::Whole(value.into()),
    usize => |value| Self::Whole(value as i128),
    f64 => |value| Self::Real(value),
    &str => |value| Self::Text(value.to_owned()),
    String => |value| Self::Text(value),
    std::time::Duration => |value| Self::Text(super::text::format_duration(value)),
}
