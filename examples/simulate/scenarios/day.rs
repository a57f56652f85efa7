//! A day in the life of the preset: 86,400 seconds, 200 calls a second by day and night, fifty incidents.

use super::{Entry, Findings, Lab, ms, secs};
use crate::figure::{Axis, Figure, Ink, Line, Panel};
use steadfast::testing::sim::{Dependency, Latency, Load, Report, Scenario};
use steadfast::{CircuitBreaker, CircuitState, Pipeline};

pub(crate) const ENTRY: Entry = Entry {
    name: "day",
    about: "a whole day, 17 million calls and fifty incidents (takes a minute)",
    lasts: secs(DAY as u64),
    in_guide: false,
    run,
};

const DAY: u32 = 86_400;
/// The breaker's window: no outage may take longer to be noticed.
const WINDOW: u32 = 10;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Refuses every request.
    Outage,
    /// Takes requests, and answers none.
    Hang,
    /// Four requests in five fail.
    Errors,
    /// Takes five times as long.
    BrownOut,
    /// A thousand calls at once.
    Herd,
    /// The clock leaps ahead: a machine was suspended.
    Leap,
    /// Other settings for the breaker, while calls run.
    Change,
}

const KINDS: [Kind; 7] = [Kind::Outage, Kind::BrownOut, Kind::Herd, Kind::Hang, Kind::Leap, Kind::Errors, Kind::Change];

#[derive(Clone, Copy, Debug)]
pub(crate) struct Incident {
    pub(crate) kind: Kind,
    pub(crate) from: u32,
    pub(crate) to: u32,
}

/// So many incidents, evenly over so many seconds, each as long as its number says: 30 s to 90 s.
pub(crate) fn incidents(number: u32, seconds: u32) -> Vec<Incident> {
    let each = seconds / (number + 1);
    let incident = |n: u32| {
        let kind = KINDS[n as usize % KINDS.len()];
        let lasts = if matches!(kind, Kind::Herd | Kind::Leap | Kind::Change) { 1 } else { 30 + n * 13 % 61 };
        Incident { kind, from: each * (n + 1), to: each * (n + 1) + lasts }
    };
    (0..number).map(incident).collect()
}

pub(crate) fn scenario(incidents: &[Incident], per_second: f64, seconds: u32) -> Scenario {
    // Bears twice the mean, and a third more than the most.
    let mut service = Dependency::new((per_second / 5.0) as u32, Latency::exponential(ms(100))).queue(1_000);
    let mut load = Load::poisson(per_second).wave(0.5, seconds);
    let (mut leaps, mut changes) = (Vec::new(), Vec::new());
    for &Incident { kind, from, to } in incidents {
        match kind {
            Kind::Outage => service = service.outage(from..to),
            Kind::Hang => service = service.hangs(from..to),
            Kind::Errors => service = service.errors(0.8, from..to),
            Kind::BrownOut => service = service.slow(5.0, from..to),
            Kind::Herd => load = load.herd(1_000, from),
            Kind::Leap => leaps.push(from),
            Kind::Change => changes.push(from),
        }
    }
    let through = move || {
        let breaker = CircuitBreaker::failure_rate(0.5).build().expect("sound");
        let (changed, changes, leaps) = (breaker.clone(), changes.clone(), leaps.clone());
        let begun = tokio::time::Instant::now();
        tokio::spawn(async move {
            for at in leaps {
                tokio::time::sleep_until(begun + secs(at.into())).await;
                tokio::time::advance(secs(5)).await;
            }
        });
        tokio::spawn(async move {
            for (turn, at) in changes.into_iter().enumerate() {
                tokio::time::sleep_until(begun + secs(at.into())).await;
                let share = if turn % 2 == 0 { 0.4 } else { 0.5 };
                changed.reconfigure(&CircuitBreaker::failure_rate(share)).expect("sound");
            }
        });
        Pipeline::http("service").attempt_timeout(ms(1_000)).circuit_breaker(breaker)
    };
    Scenario::new("day", load, service).through(through).lasting(secs(seconds.into()))
}

/// What became of one incident.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Aftermath {
    pub(crate) incident: Incident,
    /// Seconds from its beginning until the circuit was open, where it had to.
    pub(crate) noticed: Option<u32>,
    /// Seconds from its end until 99 % of the calls of the next five seconds were answered.
    pub(crate) recovered: u32,
    /// Requests per call from its beginning to the recovery.
    pub(crate) load: f64,
}

pub(crate) fn aftermath(report: &Report, incident: Incident) -> Aftermath {
    let Incident { kind, from, to } = incident;
    let closed = |second: u32| report.buckets()[second as usize].circuit == Some(CircuitState::Closed);
    let must_open = matches!(kind, Kind::Outage | Kind::Hang | Kind::Errors);
    let noticed = must_open.then(|| (from..from + 300).find(|&second| !closed(second)).map_or(u32::MAX, |second| second - from));
    let recovered = (to..to + 600).find(|&second| report.served(second..second + 5) >= 0.99).map_or(u32::MAX, |second| second - to);
    let load = report.load(from..to.saturating_add(recovered.max(10)));
    Aftermath { incident, noticed, recovered, load }
}

/// The longest time to notice and to recover, and the highest load.
pub(crate) fn worst(all: &[Aftermath]) -> (u32, u32, f64) {
    all.iter()
        .fold((0, 0, 0.0), |worst, one| (worst.0.max(one.noticed.unwrap_or(0)), worst.1.max(one.recovered), f64::max(worst.2, one.load)))
}

fn run(lab: &Lab) -> Findings {
    let incidents = incidents(50, DAY);
    let report = lab.run(scenario(&incidents, 200.0, DAY), 0);
    let all: Vec<Aftermath> = incidents.iter().map(|&incident| aftermath(&report, incident)).collect();
    let (noticed, recovered, load) = worst(&all);
    let mut numbers = vec![
        ("calls, millions".into(), report.sum(0..DAY, |bucket| bucket.offered) as f64 / 1e6),
        ("answered, of all calls of the day".into(), report.served(0..DAY)),
        (format!("longest until the circuit is open, s (window: {WINDOW} s)"), f64::from(noticed)),
        ("longest until 99 % are answered again, s".into(), f64::from(recovered)),
        ("highest load in an incident".into(), load),
        ("load of the whole day".into(), report.load(0..DAY)),
    ];
    for one in &all {
        let Incident { kind, from, to } = one.incident;
        numbers.push((
            format!("{kind:?} of {} s at {}:{:02}: recovered after, s", to - from, from / 3_600, from / 60 % 60),
            f64::from(one.recovered),
        ));
    }
    let minutes: Vec<_> = report.buckets().chunks(60).collect();
    let line = |count: &dyn Fn(&steadfast::testing::sim::Bucket) -> u64| {
        let mean = |minute: &[steadfast::testing::sim::Bucket]| minute.iter().map(count).sum::<u64>() as f64 / minute.len() as f64;
        minutes.iter().map(|minute| (minute[0].start.as_secs_f64() / 3_600.0, mean(minute))).collect::<Vec<_>>()
    };
    let panel = Panel::new("answers per second, minute by minute", Axis::linear(0.0, 24.0, 3.0, " h"), Axis::linear(0.0, 350.0, 50.0, ""))
        .line(Line::new("calls", Ink::Grey, line(&|bucket| bucket.offered)).filled())
        .line(Line::new("answers", Ink::Blue, line(&|bucket| bucket.good)));
    let figure = Figure {
        title: format!("A day with fifty incidents: each is over at most {recovered} s after its cause"),
        subtitle: "The http preset, 100 to 300 calls a second. Outages, hangs, brown-outs, errors, herds of a thousand calls,\nleaps of the clock, and changes of the settings.".into(),
        panels: vec![panel],
        side_by_side: false,
    };
    Findings { figure, tables: vec![("seconds".into(), report.to_csv())], numbers }
}
