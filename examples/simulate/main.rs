//! Simulates bad days, and draws what comes of them.
//!
//! ```text
//! cargo run --release --example simulate -- --list
//! cargo run --release --example simulate -- storm layers
//! cargo run --release --example simulate -- --all --seed 7 --out /tmp/figures
//! ```
//!
//! For each scenario there is an SVG figure, a CSV file for each run in it, and its numbers on the screen. The same seed gives the same
//! files, to the last byte. `--guide` draws the figures of the guide anew (into `src/guide/figures`).

mod figure;
mod plot;
mod scenarios;

use indicatif::{ProgressBar, ProgressStyle};
use scenarios::{ALL, Entry, Lab};
use std::error::Error;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::time::Instant;

const USAGE: &str = "usage: simulate [--list] [--all] [--seed N] [--out DIR] [--guide] [SCENARIO..]";
/// The seed of the guide's figures.
const SEED: u64 = 1;

struct Wish {
    entries: Vec<&'static Entry>,
    seed: u64,
    out: PathBuf,
    guide: bool,
}

fn wish() -> Result<Option<Wish>, Box<dyn Error>> {
    use lexopt::prelude::*;
    let mut wish = Wish { entries: Vec::new(), seed: SEED, out: PathBuf::from("target/simulate"), guide: false };
    let mut parser = lexopt::Parser::from_env();
    while let Some(arg) = parser.next()? {
        match arg {
            Short('l') | Long("list") => {
                list();
                return Ok(None);
            }
            Short('h') | Long("help") => {
                println!("{USAGE}\n");
                list();
                return Ok(None);
            }
            Short('a') | Long("all") => wish.entries = ALL.iter().collect(),
            Short('s') | Long("seed") => wish.seed = parser.value()?.parse()?,
            Short('o') | Long("out") => wish.out = parser.value()?.into(),
            Long("guide") => wish.guide = true,
            Value(name) => {
                let name = name.string()?;
                let entry = ALL.iter().find(|entry| entry.name == name);
                wish.entries.push(entry.ok_or_else(|| format!("no scenario is called {name}; see --list"))?);
            }
            _ => return Err(arg.unexpected().into()),
        }
    }
    if wish.guide {
        wish.entries = ALL.iter().filter(|entry| entry.in_guide).collect();
        wish.seed = SEED;
        wish.out = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/guide/figures");
    }
    if wish.entries.is_empty() {
        println!("{USAGE}\n");
        list();
        return Ok(None);
    }
    Ok(Some(wish))
}

fn list() {
    for entry in ALL {
        println!("  {:<11}{}", entry.name, entry.about);
    }
}

fn main() -> ExitCode {
    match simulate() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}\n{USAGE}");
            ExitCode::FAILURE
        }
    }
}

fn simulate() -> Result<(), Box<dyn Error>> {
    let Some(wish) = wish()? else { return Ok(()) };
    std::fs::create_dir_all(&wish.out)?;
    let mut all = String::new();
    for entry in wish.entries {
        let begun = Instant::now();
        // Hidden where there is no terminal.
        let bar = ProgressBar::new(entry.lasts.as_secs());
        bar.set_style(ProgressStyle::with_template("{msg:<11}{bar:40} {pos} of {len} simulated seconds")?);
        bar.set_message(entry.name);
        let told = bar.clone();
        let lab = Lab { seed: wish.seed, tell: Arc::new(move |time| told.inc(time.as_secs())) };
        let findings = (entry.run)(&lab);
        bar.finish_and_clear();

        let drawn = wish.out.join(format!("{}.svg", entry.name));
        std::fs::write(&drawn, plot::svg(&findings.figure)?)?;
        println!("{}: {} ({:.1} s)", entry.name, findings.figure.title, begun.elapsed().as_secs_f64());
        for (name, value) in &findings.numbers {
            println!("  {name:<60}{value:>10.3}");
            all.push_str(&format!("{},{name:?},{value:.3}\n", entry.name));
        }
        if !wish.guide {
            for (name, csv) in &findings.tables {
                let file = wish.out.join(format!("{}_{name}.csv", entry.name));
                std::fs::write(&file, csv)?;
                println!("  {}", file.display());
            }
        }
        println!("  {}\n", drawn.display());
    }
    if wish.guide {
        std::fs::write(wish.out.join("numbers.csv"), all)?;
    }
    Ok(())
}
