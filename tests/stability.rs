//! What others write into their dashboards and alerts does not change unnoticed: every name that leaves this crate as text is kept in
//! `tests/api/telemetry.txt`. (Types and functions: `public.txt` beside it, which `./check` compares
//! where cargo-public-api and nightly are installed, and `./check --keep-api` writes anew.)
//!
//! Where the change is meant: `STEADFAST_KEEP=1 cargo test --test stability`, and a line in CHANGELOG.md.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// Every source file but tests and the guide.
fn sources() -> Vec<PathBuf> {
    fn collect(folder: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            let name = path.file_name().unwrap().to_string_lossy().into_owned();
            match path.is_dir() {
                true if !["guide", "tests"].contains(&name.as_str()) => collect(&path, found),
                false if name.ends_with(".rs") && name != "tests.rs" => found.push(path),
                _ => {}
            }
        }
    }
    let mut found = Vec::new();
    collect(&root().join("src"), &mut found);
    found
}

/// From an opening bracket to the one that closes it, those between two quotes not counted; without the two.
fn bracketed(text: &str) -> &str {
    let (mut depth, mut quoted, mut escaped) = (0_usize, false, false);
    for (at, c) in text.char_indices() {
        match c {
            _ if escaped => escaped = false,
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            '(' | '{' | '[' if !quoted => depth += 1,
            ')' | '}' | ']' if !quoted => {
                depth -= 1;
                if depth == 0 {
                    return &text[1..at];
                }
            }
            _ => {}
        }
    }
    panic!("an open bracket: {}", &text[..text.len().min(80)])
}

/// What is between the commas that are in no bracket and no quotes.
fn arguments(text: &str) -> Vec<&str> {
    let (mut depth, mut quoted, mut begin, mut found) = (0_i32, false, 0, Vec::new());
    for (at, c) in text.char_indices() {
        match c {
            '"' => quoted = !quoted,
            '(' | '{' | '[' if !quoted => depth += 1,
            ')' | '}' | ']' if !quoted => depth -= 1,
            ',' if !quoted && depth == 0 => {
                found.push(text[begin..at].trim());
                begin = at + 1;
            }
            _ => {}
        }
    }
    found.push(text[begin..].trim());
    found.retain(|argument| !argument.is_empty());
    found
}

/// Events and spans of `tracing`, each as its name and the names of its fields.
fn traced(source: &str, found: &mut BTreeSet<String>) {
    const MACROS: [&str; 8] = ["event!", "info_span!", "trace!", "debug!", "info!", "warn!", "error!", "at!"];
    for (at, _) in source.match_indices("!(") {
        let before = &source[..=at];
        let Some(name) = MACROS.iter().find(|name| before.ends_with(*name)) else { continue };
        let prefix = before.strip_suffix(*name).unwrap();
        if !(prefix.ends_with("tracing::") || *name == "at!" && prefix.ends_with([' ', '\n'])) {
            continue;
        }
        let mut arguments = arguments(bracketed(&source[at + 1..]));
        if *name == "at!" {
            arguments.remove(0); // the level, or a condition and the other level
            arguments.retain(|argument| !argument.starts_with("else "));
        }
        if arguments.iter().any(|argument| argument.starts_with("$(")) {
            continue; // within `at!` itself
        }
        let quoted = |text: &str| text.split('"').nth(1).map(str::to_owned);
        let first_text = arguments.iter().find(|argument| argument.starts_with('"'));
        let named = arguments.iter().find(|argument| argument.starts_with("name:")).or(first_text);
        let called = named.and_then(|name| quoted(name)).unwrap_or_else(|| panic!("an event without a name: {arguments:?}"));
        assert!(named_well(&called), "`{called}` is no name to search for: give the event a `name:`");
        let is_field = |argument: &&&str| !["\"", "name:", "target:", "tracing::Level"].iter().any(|other| argument.starts_with(other));
        let field = |argument: &&str| argument.split('=').next().unwrap().trim().trim_start_matches(['%', '?']).to_owned();
        let fields: BTreeSet<String> = arguments.iter().filter(is_field).map(field).collect();
        found.insert(format!("tracing {called}: {}", fields.into_iter().collect::<Vec<_>>().join(" ")));
    }
}

fn named_well(name: &str) -> bool {
    !name.is_empty() && name.chars().all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '_' || c == '.')
}

/// The words a type is told as: each literal in a function `as_str`, `name` or `.._name` that returns a `&'static str`.
fn words(file: &str, source: &str, found: &mut BTreeSet<String>) {
    for (at, _) in source.match_indices("fn ") {
        let Some((signature, _)) = source[at..].split_once('{') else { continue };
        let name = signature[3..].split('(').next().unwrap();
        if signature.contains(';')
            || !signature.ends_with("-> &'static str ")
            || !(name == "as_str" || name == "name" || name.ends_with("_name"))
        {
            continue;
        }
        let body = bracketed(&source[at + signature.len()..]);
        let literals: Vec<&str> = body.split('"').skip(1).step_by(2).collect();
        let owner = if signature.contains("self") { owner(&source[..at]) } else { file };
        if !literals.is_empty() {
            found.insert(format!("{owner}::{name}: {}", literals.join(" ")));
        }
    }
}

/// The type or trait whose body is open at the end: `Tiered` of `impl<N, F> Store for Tiered<N, F> {`.
fn owner(source: &str) -> &str {
    let begin = ["\nimpl", "\npub trait "].iter().filter_map(|word| source.rfind(word)).max().unwrap_or(0);
    let head = source[begin..].split('{').next().unwrap();
    let named = head.rsplit_once(" for ").map_or_else(|| head.trim_start_matches("\npub trait "), |(_, name)| name);
    let named = named.trim_start_matches("\nimpl");
    let named = if named.starts_with('<') { named.split_once("> ").map_or(named, |(_, name)| name) } else { named };
    named.split(['<', ':']).next().unwrap().trim()
}

#[test]
fn h134_names_in_events_and_telemetry_are_kept() {
    let mut found = BTreeSet::new();
    for path in sources() {
        let text = fs::read_to_string(&path).unwrap();
        let code: String = text.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect();
        let code = code.split("\n#[cfg(test)]\nmod tests {").next().unwrap();
        traced(code, &mut found);
        words(&path.strip_prefix(root()).unwrap().display().to_string(), code, &mut found);
    }
    assert!(found.len() > 40, "only {}: does this test still read the sources as they are written?", found.len());
    let now: String = found.iter().map(|line| format!("{}\n", line.trim_end())).collect();
    let file = root().join("tests/api/telemetry.txt");
    if std::env::var_os("STEADFAST_KEEP").is_some() {
        fs::write(&file, &now).unwrap();
    }
    let kept = fs::read_to_string(&file).unwrap_or_default();
    let (kept, now): (BTreeSet<&str>, BTreeSet<&str>) = (kept.lines().collect(), now.lines().collect());
    let gone: Vec<_> = kept.difference(&now).collect();
    let new: Vec<_> = now.difference(&kept).collect();
    assert!(
        gone.is_empty() && new.is_empty(),
        "names that others search for have changed. Meant? STEADFAST_KEEP=1 cargo test --test stability, and a line in CHANGELOG.md\n\
         gone: {gone:#?}\nnew: {new:#?}"
    );
}
