//! 2. Jitter: the contest of the AWS article "Exponential Backoff And Jitter" (Marc Brooker, 2015).
//!
//! One row with a version. Every client reads it, and writes it if nobody else has since; else it pauses, and begins again. Each leg over
//! the network takes |N(10, 2)| ms, the pauses grow from 5 ms to 2 s.
//!
//! tokio's timers tick in milliseconds, which is too coarse for legs of ten; so a millisecond of the article is a second of the clock here.

use super::{Entry, Findings, Lab, secs};
use crate::figure::{Axis, Figure, Ink, Line, Panel};
use std::cell::{Cell, RefCell};
use std::fmt::Write as _;
use std::rc::Rc;
use std::time::Duration;
use steadfast::testing::sim::{Chance, Latency, virtually};
use steadfast::{Jitter, Pipeline, Retry, RetryConfig};
use tokio::task::LocalSet;
use tokio::time::{Instant, sleep};

pub(crate) const ENTRY: Entry = Entry {
    name: "jitter",
    about: "10 to 200 clients write one row: no pause, exponential, equal, full and decorrelated jitter",
    lasts: secs(5 * 9 * RUNS),
    in_guide: true,
    run,
};

/// Runs of which a point of the figure is the mean.
const RUNS: u64 = 3;
const BASE: Duration = secs(5);
const CAP: Duration = secs(2_000);

/// The contestants: name, ink, pauses.
pub(crate) fn contestants() -> [(&'static str, Ink, RetryConfig); 5] {
    let exponential = |jitter| Retry::exponential(Retry::UNLIMITED, BASE).max_delay(CAP).jitter(jitter);
    [
        ("no pause", Ink::Grey, Retry::constant(Retry::UNLIMITED, Duration::ZERO)),
        ("no jitter", Ink::Red, exponential(Jitter::None)),
        ("equal", Ink::Amber, exponential(Jitter::Equal)),
        ("full", Ink::Blue, exponential(Jitter::Full)),
        ("decorrelated", Ink::Violet, Retry::decorrelated(Retry::UNLIMITED, BASE).max_delay(CAP)),
    ]
}

/// How long it takes (in milliseconds of the article) until all clients have written, and how many times they tried.
pub(crate) fn contest(retry: RetryConfig, clients: u32, seed: u64) -> (f64, u64) {
    virtually(seed, async move || {
        let pipeline = Pipeline::builder("row").retry(retry.without_budget()).build().expect("sound");
        let leg = Latency::normal(secs(10), secs(2));
        let (version, tries) = (Rc::new(Cell::new(0_u64)), Rc::new(Cell::new(0_u64)));
        let begun = Instant::now();
        let together = LocalSet::new();
        for client in 0..clients {
            let (pipeline, leg, version, tries) = (pipeline.clone(), leg.clone(), Rc::clone(&version), Rc::clone(&tries));
            let chance = RefCell::new(Chance::new(seed, &format!("client {client}")));
            together.spawn_local(async move {
                let travel = || {
                    let time = leg.draw(&mut chance.borrow_mut());
                    sleep(time)
                };
                let write = async || {
                    tries.set(tries.get() + 1);
                    travel().await;
                    let read = version.get();
                    travel().await;
                    travel().await;
                    let mine = version.get() == read;
                    if mine {
                        version.set(read + 1);
                    }
                    travel().await;
                    if mine { Ok(()) } else { Err("somebody else was first") }
                };
                let done = pipeline.call(&write).await;
                assert_eq!(done, Ok(()), "there is no limit on the retries");
            });
        }
        together.await;
        (begun.elapsed().as_secs_f64(), tries.get())
    })
}

fn run(lab: &Lab) -> Findings {
    let sizes = [10, 25, 50, 75, 100, 125, 150, 175, 200];
    let mut table = String::from("backoff,clients,completion_ms,tries\n");
    let mut numbers = Vec::new();
    let axis = || Axis::linear(0.0, 200.0, 50.0, "");
    let mut tries = Panel::new("writes tried in all, by number of clients", axis(), Axis::linear(0.0, 9_000.0, 3_000.0, ""));
    let mut times = Panel::new(
        "time until all have written, by number of clients",
        axis(),
        Axis::log(0.3, 100.0, &[(0.3, "0.3 s"), (1.0, "1 s"), (3.0, "3 s"), (10.0, "10 s"), (30.0, "30 s"), (100.0, "100 s")]),
    );
    for (name, ink, retry) in contestants() {
        let (mut time_line, mut try_line) = (Vec::new(), Vec::new());
        for clients in sizes {
            let mut sum = (0.0, 0.0);
            for later in 0..RUNS {
                let (time, tries) = contest(retry.clone(), clients, lab.seed + later);
                sum = (sum.0 + time, sum.1 + tries as f64);
                (lab.tell)(secs(1));
            }
            let (time, tries) = (sum.0 / RUNS as f64, sum.1 / RUNS as f64);
            let _ = writeln!(table, "{name},{clients},{time:.0},{tries:.1}");
            if clients == 200 {
                numbers.push((format!("{name}: completion with 200 clients, ms"), time));
                numbers.push((format!("{name}: tries with 200 clients"), tries));
            }
            time_line.push((f64::from(clients), time / 1000.0));
            try_line.push((f64::from(clients), tries));
        }
        tries = tries.line(Line::new(name, ink, try_line));
        times = times.line(Line::new(name, ink, time_line));
    }
    let seconds = |name: &str| {
        let wanted = format!("{name}: completion with 200 clients, ms");
        numbers.iter().find(|(known, _)| *known == wanted).map_or(f64::NAN, |(_, ms)| ms / 1000.0)
    };
    let (slow, quick) = (seconds("no jitter"), seconds("full"));
    let figure = Figure {
        title: format!("Without jitter the pauses bring everybody back together: {slow:.0} s in place of {quick:.0}"),
        subtitle: "Clients write one row, and begin again when another was first. Pauses from 5 ms doubling to 2 s, legs of |N(10, 2)| ms.\nThe contest of the AWS article \"Exponential Backoff And Jitter\"; each point is the mean of 3 runs.".into(),
        panels: vec![tries, times],
        side_by_side: false,
    };
    Findings { figure, tables: vec![("contest".into(), table)], numbers }
}
