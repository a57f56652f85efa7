//! Names that a file or a caller got wrong: how to show them, and which was meant.

#[cfg(feature = "serde")]
use super::text::quoted;

/// A field's name, of whatever a file has.
#[cfg(feature = "serde")]
pub(crate) fn shown(name: &str) -> String {
    let plain = name.len() <= 40 && !name.is_empty() && name.chars().all(|c| c.is_alphanumeric() || matches!(c, '_' | '-'));
    if plain { name.to_owned() } else { quoted(name) }
}

/// The nearest of the known names, or all of them.
#[inline]
pub(crate) fn suggest(name: &str, known: &[&str]) -> String {
    let nearest = known.iter().map(|known| (distance(name, known), known)).min();
    match nearest {
        Some((edits, near)) if edits.saturating_mul(2) < near.len().max(name.len()) => format!("did you mean `{near}`?"),
        _ => format!("there are `{}`", known.join("`, `")),
    }
}

/// How many letters to insert, drop, replace or swap with their neighbour (the optimal string alignment distance).
#[inline]
fn distance(a: &str, b: &str) -> usize {
    if a.len() > 40 {
        return usize::MAX;
    }
    let (a, b): (Vec<char>, Vec<char>) = (a.to_lowercase().chars().collect(), b.chars().collect());
    let mut rows = vec![vec![0; b.len() + 1]; a.len() + 1];
    for i in 0..=a.len() {
        for j in 0..=b.len() {
            rows[i][j] = if i == 0 || j == 0 {
                i + j
            } else {
                let replaced = rows[i - 1][j - 1] + usize::from(a[i - 1] != b[j - 1]);
                let edited = replaced.min(rows[i - 1][j] + 1).min(rows[i][j - 1] + 1);
                let swapped = i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1];
                if swapped { edited.min(rows[i - 2][j - 2] + 1) } else { edited }
            };
        }
    }
    rows[a.len()][b.len()]
}
