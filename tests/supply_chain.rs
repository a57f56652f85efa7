//! What comes with this crate: nothing unsafe of its own, and no package of an unknown source, of a licence that asks for more than a notice,
//! or too many. `cargo deny` says the same in `./check --deep`, and more; this is what can be said in a second, wherever cargo is.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use serde_json::Value;
use std::collections::BTreeSet;
use std::fs;
use std::path::Path;
use std::process::Command;

const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";
/// The licences of what users compile or we test with: all ask for a notice at most. As in `.ci/deny.toml`.
const LICENCES: [&str; 8] = ["Apache-2.0", "BSD-2-Clause", "BSD-3-Clause", "BSL-1.0", "ISC", "MIT", "Unicode-3.0", "Zlib"];
/// Packages that a build with default features compiles, besides the two of this workspace. The aim was 25; 19 of these come with governor,
/// which does not build without `std`, and whose `no_std` would change its types for everyone else who uses it.
const PACKAGES: usize = 37;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

fn read(path: &str) -> String {
    fs::read_to_string(root().join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

fn cargo(arguments: &[&str]) -> String {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    let output = Command::new(cargo).current_dir(root()).args(arguments).output().unwrap();
    assert!(output.status.success(), "cargo {arguments:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

/// Whether one of the choices that an SPDX expression leaves asks only for what is allowed.
fn allowed(licence: &str) -> bool {
    if let Some((first, rest)) = licence.strip_prefix('(').and_then(|open| open.split_once(')')) {
        let rest = rest.trim().strip_prefix("AND ").unwrap_or(rest.trim());
        return allowed(first) && (rest.is_empty() || allowed(rest));
    }
    let choices = licence.split(" OR ").flat_map(|choice| choice.split('/'));
    choices.into_iter().any(|choice| choice.split(" AND ").all(|one| LICENCES.contains(&one.trim())))
}

#[test]
fn h135_nothing_unsafe_of_our_own() {
    for manifest in ["Cargo.toml", "macros/Cargo.toml"] {
        assert!(read(manifest).contains("\nunsafe_code = \"forbid\"\n"), "{manifest} does not forbid it");
    }
    assert!(read("src/lib.rs").contains("\n#![forbid(unsafe_code)]\n"), "for those who build without our lints");
    // What a lint of rustc cannot see, because a macro or an included file might bring it.
    let mut folders = vec![root().join("src"), root().join("macros/src")];
    while let Some(folder) = folders.pop() {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                let text = fs::read_to_string(&path).unwrap();
                for (number, line) in text.lines().enumerate() {
                    let code: String = line.split("//").next().unwrap().split('"').step_by(2).collect(); // outside of quotes
                    let found = ["unsafe {", "unsafe fn", "unsafe impl", "unsafe trait", "unsafe extern", "unsafe("]
                        .iter()
                        .any(|word| code.contains(word));
                    assert!(!found, "{}:{}: {line}", path.display(), number + 1);
                }
            }
        }
    }
}

#[test]
fn h135_every_package_is_of_the_registry_and_of_a_licence_that_may_come_along() {
    // Of this platform, for those packages are here already; cargo-deny looks at the others.
    let rustc = Command::new("rustc").arg("-vV").output().unwrap();
    let rustc = String::from_utf8(rustc.stdout).unwrap();
    let host = rustc.lines().find_map(|line| line.strip_prefix("host: ")).unwrap();
    let metadata = cargo(&["metadata", "--locked", "--all-features", "--filter-platform", host, "--format-version", "1"]);
    let metadata: Value = serde_json::from_str(&metadata).unwrap();
    let mut seen = 0;
    for package in metadata["packages"].as_array().unwrap() {
        let name = package["name"].as_str().unwrap();
        if package["source"].is_null() {
            assert!(name.starts_with("steadfast"), "{name} is a path outside of this workspace");
            continue;
        }
        assert_eq!(package["source"], REGISTRY, "{name}");
        let licence = package["license"].as_str().unwrap_or_else(|| panic!("{name} names no licence"));
        assert!(allowed(licence), "{name}: {licence}");
        seen += 1;
    }
    assert!(seen > 100, "{seen}");
    let lock = read("Cargo.lock");
    assert_eq!(lock.matches("\nsource = ").count(), lock.matches("\nchecksum = ").count(), "every package of a registry has a checksum");
}

#[test]
fn h135_few_packages_by_default() {
    let tree = cargo(&["tree", "--locked", "--package", "steadfast", "--edges", "normal,build", "--prefix", "none", "--format", "{p}"]);
    let names = tree.lines().map(|line| line.trim_end_matches(" (*)")).filter(|line| !line.starts_with("steadfast"));
    let packages: BTreeSet<&str> = names.collect();
    assert!(packages.len() <= PACKAGES, "{} packages, and at most {PACKAGES} were meant: {packages:#?}", packages.len());
}

#[test]
fn h135_licences_are_read_as_they_are_meant() {
    for licence in
        ["MIT", "MIT OR Apache-2.0", "Apache-2.0/GPL-3.0", "GPL-3.0 OR MIT", "MIT AND BSD-3-Clause", "(MIT OR GPL-3.0) AND Unicode-3.0"]
    {
        assert!(allowed(licence), "{licence}");
    }
    for licence in ["GPL-3.0", "MIT AND GPL-3.0", "LGPL-2.1 OR AGPL-3.0", "", "(MIT OR Apache-2.0) AND GPL-3.0", "(GPL-3.0) AND MIT"] {
        assert!(!allowed(licence), "{licence}");
    }
}
