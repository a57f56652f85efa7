//! "Did you mean `retry`?"

/// Words people bring from other libraries, and ours for them.
const FOREIGN: &[(&str, &str)] = &[
    ("attempts", "retry"),
    ("backoff", "exponential"),
    ("breaker", "circuit_breaker"),
    ("cached_for", "cache"),
    ("concurrency", "bulkhead"),
    ("concurrency_limit", "bulkhead"),
    ("constant", "fixed"),
    ("deadline", "total_timeout"),
    ("judge", "classify"),
    ("limit", "rate_limit"),
    ("max_attempts", "retry"),
    ("max_retries", "retry"),
    ("max_wait", "wait"),
    ("minimum_calls", "min_calls"),
    ("on_error", "fallback"),
    ("or_else", "fallback"),
    ("policy", "pipeline"),
    ("queue_size", "queue"),
    ("rate_limiter", "rate_limit"),
    ("retry_if", "when"),
    ("slow_calls", "slow"),
    ("times", "retry"),
    ("tries", "retry"),
];

/// The word of `known` that `given` was most likely meant to be.
pub(crate) fn closest(given: &str, known: &[&'static str]) -> Option<&'static str> {
    if let Some((_, ours)) = FOREIGN.iter().find(|(foreign, ours)| *foreign == given && known.contains(ours)) {
        return Some(ours);
    }
    known.iter().filter(|word| is_near(given, word)).map(|word| (distance(given, word), *word)).min().map(|(_, word)| word)
}

/// Whether one may be a slip for the other.
pub(crate) fn is_near(given: &str, word: &str) -> bool {
    distance(given, word) <= (given.len() / 2).clamp(1, 3)
}

/// `unknown option .. ; did you mean ..?`, or the list of what there is.
pub(crate) fn unknown(what: &str, given: &str, known: &[&'static str]) -> String {
    match closest(given, known) {
        Some(word) => format!("unknown {what} `{given}`; did you mean `{word}`?"),
        None => format!("unknown {what} `{given}`; there are {}", list(known)),
    }
}

/// `a`, `b` and `c`.
pub(crate) fn list(words: &[&str]) -> String {
    let mut text = String::new();
    for (i, word) in words.iter().enumerate() {
        let joint = match i {
            0 => "",
            _ if i + 1 == words.len() => " and ",
            _ => ", ",
        };
        text.push_str(&format!("{joint}`{word}`"));
    }
    text
}

/// Edits (insert, delete, replace) from one word to the other.
pub(crate) fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, y) in b.iter().enumerate() {
            let replaced = diagonal + usize::from(x != *y);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_and_nonsense_is_not() {
        let known = ["retry", "attempt_timeout", "rate_limit", "key"];
        assert_eq!(closest("retires", &known), Some("retry"));
        assert_eq!(closest("attempts_timeout", &known), Some("attempt_timeout"));
        assert_eq!(closest("max_retries", &known), Some("retry"));
        assert_eq!(closest("banana", &known), None);
        assert_eq!(unknown("option", "zzzzzz", &["a", "b", "c"]), "unknown option `zzzzzz`; there are `a`, `b` and `c`");
    }
}
