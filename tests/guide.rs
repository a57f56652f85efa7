//! The guide says nothing about numbers that the code does not: every row of its tables of defaults is held against the real thing. And the
//! example of the same task is as short as it claims.
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::fs;
use std::path::Path;
use std::time::Duration;
use steadfast::{
    Backoff, Budget, Bulkhead, Call, CallEnd, CircuitBreaker, CircuitState, CoDel, Coalesce, Event, Hedge, Jitter, Monitor, Outcome,
    PerKey, Pipeline, RateLimiter, RejectedKind, Retry, Verdict,
};
use tokio::time::advance;

fn read(path: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// The cells of the rows of the first table below a heading: without its first line and its rule.
fn table(page: &str, heading: &str) -> Vec<Vec<String>> {
    let text = read(&format!("src/guide/{page}.rs"));
    let lines = text.lines().map(|line| line.trim_start_matches("//!").trim());
    let rows = lines.skip_while(|line| *line != heading).skip_while(|line| !line.starts_with('|')).take_while(|line| line.starts_with('|'));
    let cells = |row: &str| row.trim_matches('|').split(" | ").map(|cell| cell.trim().replace('`', "")).collect();
    let rows: Vec<_> = rows.skip(2).map(cells).collect();
    assert!(!rows.is_empty(), "{page} has no table below `{heading}`");
    rows
}

const fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// `30 s`, `400 ms`.
fn duration(text: &str) -> Option<Duration> {
    let (number, unit) = text.split_once(' ')?;
    let number: u64 = number.parse().ok()?;
    Some(ms(number * if unit == "s" { 1_000 } else { 1 }))
}

fn number(text: &str) -> Option<u32> {
    text.replace(',', "").parse().ok()
}

/// `10 %`.
fn share(text: &str) -> Option<f64> {
    text.strip_suffix(" %")?.parse::<f64>().ok().map(|percent| percent / 100.0)
}

/// Holds each row of a page against what `check` finds out about that setting. `None`: no such setting is known here.
fn holds(page: &str, check: impl Fn(&str, &str) -> Option<bool>) {
    for row in table(page, "# Defaults") {
        let (setting, default) = (&*row[0], &*row[1]);
        match check(setting, default) {
            Some(true) => {}
            Some(false) => panic!("{page}: the default of `{setting}` is not `{default}`"),
            None => panic!("{page}: nothing checks `{setting}`: `{default}`"),
        }
    }
}

#[test]
fn defaults_of_timeouts() {
    let bare = Pipeline::builder("bare").build().unwrap();
    holds("policies/timeouts", |setting, default| match setting {
        "total_timeout" | "attempt_timeout" => Some(default == "none" && bare.explain().worst_case().is_none()),
        _ => None,
    });
    assert_eq!(bare.to_string(), "bare: operation");
}

#[test]
fn defaults_of_retry() {
    let retry = || Retry::exponential(3, ms(100));
    let budget = |share| Budget::new(share).min_per_second(3.0).burst(20);
    assert_eq!(retry(), retry().budget(budget(0.1)), "what the next three lines vary");
    holds("policies/retry", |setting, default| {
        Some(match setting {
            "factor" => retry() == retry().factor(number(default)?.into()),
            "max_delay" => Backoff::exponential(ms(100)).nominal(1_000) == duration(default)?,
            "jitter" => default == "full" && retry() == retry().jitter(Jitter::Full),
            "hint_ceiling" => retry() == retry().hint_ceiling(duration(default)?),
            "hint_jitter" => retry() == retry().hint_jitter(duration(default)?),
            "budget.share" => retry() == retry().budget(budget(share(default)?)),
            "budget.min_per_second" => retry() == retry().budget(budget(0.1).min_per_second(number(default)?.into())),
            "budget.burst" => retry() == retry().budget(budget(0.1).burst(number(default)?)),
            "retry_rejections" => default == "none" && retry() == retry().retry_rejections([]),
            "retry_timeouts" => retry() == retry().retry_timeouts(default == "true"),
            "even_when_nested" => default == "false" && retry() != retry().even_when_nested(),
            _ => return None,
        })
    });
}

/// Settles so many calls with failures.
fn fail(breaker: &CircuitBreaker, calls: u32) {
    for _ in 0..calls {
        breaker.try_acquire().unwrap().settle(Outcome::Judged(Verdict::transient()));
    }
}

fn succeed(breaker: &CircuitBreaker) {
    breaker.try_acquire().unwrap().settle(Outcome::Judged(Verdict::Success));
}

#[tokio::test(start_paused = true)]
async fn defaults_of_the_circuit_breaker() {
    let breaker = || CircuitBreaker::failure_rate(0.5);
    holds("policies/circuit_breaker", |setting, default| {
        Some(match setting {
            "window" => breaker() == breaker().window(duration(default)?),
            "min_calls" => {
                let (live, enough) = (breaker().build().unwrap(), number(default)?);
                fail(&live, enough - 1);
                let before = live.state();
                fail(&live, 1);
                (before, live.state()) == (CircuitState::Closed, CircuitState::Open)
            }
            "trip_on_success" => breaker() == breaker().trip_on_success(default == "true"),
            "open_for" => breaker() == breaker().open_for(duration(default)?),
            "open_growth" => breaker() == breaker().open_growth(number(default)?.into()),
            "open_jitter" => breaker() == breaker().open_jitter(share(default)?),
            "probes" => breaker() == breaker().probes(number(default)?),
            "abandoned_after" => default == "none" && breaker() != breaker().abandoned_after(Duration::MAX),
            "ramp" => default == "none" && breaker() != breaker().ramp(Duration::MAX),
            "half_open_for" => default == "no limit" && breaker() != breaker().half_open_for(Duration::MAX),
            // Derived from other settings, and seen only at work: below.
            "max_open" => default == "60 s",
            "close_after" => default == "so many that the failure rate of the probes is below the threshold",
            "probe_lease" => default == "open_for",
            _ => return None,
        })
    });

    // max_open: the open time grows up to it.
    let live = CircuitBreaker::consecutive_failures(1).open_jitter(0.0).build().unwrap();
    let mut open = Vec::new();
    for _ in 0..6 {
        fail(&live, 1);
        open.push(live.next_probe_in().unwrap().as_secs());
        advance(live.next_probe_in().unwrap()).await;
    }
    assert_eq!(open, [5, 10, 20, 40, 60, 60]);

    // close_after: of four probes at 50 %, three.
    let live = CircuitBreaker::failure_rate(0.5).probes(4).build().unwrap();
    live.force_open();
    live.half_open();
    succeed(&live);
    succeed(&live);
    assert_eq!(live.state(), CircuitState::HalfOpen);
    succeed(&live);
    assert_eq!(live.state(), CircuitState::Closed);

    // probe_lease: as long as open_for.
    let live = CircuitBreaker::failure_rate(0.5).open_for(ms(7_000)).build().unwrap();
    live.force_open();
    live.half_open();
    let hangs = live.try_acquire().unwrap();
    advance(ms(6_999)).await;
    assert!(live.try_acquire().is_err());
    advance(ms(1)).await;
    assert!(live.try_acquire().is_ok());
    drop(hangs);
}

#[tokio::test(start_paused = true)]
async fn defaults_of_the_rate_limiter() {
    let limiter = || RateLimiter::per_second(100);
    holds("policies/rate_limiter", |setting, default| {
        Some(match setting {
            "burst" => default == "the units of one period" && limiter().build().unwrap().available() == 100,
            "sliding_window" => default == "false" && limiter() != limiter().sliding_window(),
            "max_wait" => limiter() == limiter().max_wait(duration(default)?),
            "queue" => limiter() == limiter().queue(number(default)? as usize),
            "shed" => default == "none" && limiter() != limiter().shed(CoDel::default()),
            "ageing" => limiter() == limiter().ageing(duration(default)?),
            "cost of a call" => Call::now().cost_units() == number(default)?,
            _ => return None,
        })
    });
}

#[test]
fn defaults_of_the_bulkhead() {
    let bulkhead = || Bulkhead::new(10);
    holds("policies/bulkhead", |setting, default| {
        Some(match setting {
            "queue" => bulkhead() == bulkhead().queue(number(default)? as usize),
            "max_wait" => default == "as long as the deadline allows" && bulkhead() == bulkhead().max_wait(Duration::MAX),
            "shed" => default == "none" && bulkhead() != bulkhead().shed(CoDel::default()),
            "ageing" => bulkhead() == bulkhead().ageing(duration(default)?),
            _ => return None,
        })
    });
}

#[test]
fn defaults_of_the_throttle() {
    let throttle = steadfast::Throttle::new;
    holds("policies/throttle", |setting, default| {
        Some(match setting {
            "accept_multiplier" => throttle() == throttle().accept_multiplier(number(default)?.into()),
            "window" => throttle() == throttle().window(duration(default)?),
            "min_requests" => throttle() == throttle().min_requests(number(default)?),
            "max_rejection" => throttle() == throttle().max_rejection(number(default)?.into()),
            "fast_recovery" => default == "true" && throttle() == throttle().fast_recovery(true),
            "probe_interval" => throttle() == throttle().probe_interval(duration(default)?),
            _ => return None,
        })
    });
}

#[test]
fn defaults_of_a_dynamic_rate() {
    let settings = format!("{:?}", steadfast::steering::Steering::between(10, 200));
    let has = |setting: &str, value: &str| settings.contains(&format!("{setting}: {value}"));
    holds("policies/dynamic_rate", |setting, default| {
        Some(match setting {
            "every" => has("every", &format!("{:?}", duration(default)?)),
            "smoothing" | "grow_below" | "most_cut" | "headroom" | "lead" => has(setting, default),
            "step" => default == "a twentieth of the ceiling" && has("step", "None"),
            "forecast_every" => default == "as every" && has("forecast_every", "None"),
            _ => return None,
        })
    });
}

#[cfg(feature = "chaos")]
#[test]
fn defaults_of_chaos() {
    use steadfast::chaos::Chaos;
    let one = Chaos::random().hang(0.0);
    holds("policies/chaos", |setting, default| {
        Some(match setting {
            "switch" => default == "on" && one.clone().build().unwrap().is_enabled(),
            "injections" => default == "none" && Chaos::random().build().is_err(),
            "only" => default == "all calls" && format!("{one:?}").contains("only: 0"),
            _ => return None,
        })
    });
}

#[tokio::test]
async fn defaults_of_fallback_and_gates() {
    use steadfast::{Fallback, Gate, GateFuture};
    struct Mine;
    impl Gate for Mine {
        fn admit<'a>(&'a self, _: Call<'a>) -> GateFuture<'a> {
            Box::pin(std::future::pending())
        }
    }
    let bare = Pipeline::builder("bare").build().unwrap();
    let kept = bare.call(|| async { Err::<u8, _>("own") }).await;
    let for_all = Pipeline::builder("all").fallback(Fallback::<u8, String>::value(7)).build().unwrap();
    let answered = [for_all.call(|| async { Err("a".into()) }).await, for_all.call(|| async { Err("b".into()) }).await];
    holds("policies/fallback", |setting, default| {
        Some(match setting {
            "fallback" => default == "none" && kept == Err(steadfast::Error::Inner("own")),
            "when" => default == "every error" && answered == [Ok(7), Ok(7)],
            _ => return None,
        })
    });
    holds("policies/own_gate", |setting, default| {
        Some(match setting {
            "gate" => default == "none" && bare.to_string() == "bare: operation",
            "name" => default == Mine.name(),
            _ => return None,
        })
    });
}

#[test]
fn defaults_of_the_monitor() {
    let bare = Pipeline::builder("bare");
    let (settings, monitor) = (format!("{bare:?}"), format!("{:?}", Monitor::new()));
    holds("policies/monitor", |setting, default| {
        Some(match setting {
            "monitor" => default == "none" && settings.contains("monitor: false"),
            "max_names" => monitor.contains(&format!("max_names: {}", number(default)?)),
            "spans" => default == "false" && settings.contains("spans: false"),
            _ => return None,
        })
    });
}

#[test]
fn the_presets_are_as_the_guide_says() {
    let presets = table("which_policy", "# Presets");
    assert_eq!(presets.len(), 5);
    for row in presets {
        let [preset, total, attempt, retries, at_once, waiting, _] = &row[..] else { panic!("{row:?}") };
        let name = preset.trim_start_matches('[').split(']').next().unwrap();
        let pipeline = match name {
            "http" => Pipeline::http(name),
            "database" => Pipeline::database(name),
            "interactive" => Pipeline::interactive(name),
            "background" => Pipeline::background(name),
            "standard" => Pipeline::standard(name),
            other => panic!("no preset {other}"),
        };
        let pipeline = pipeline.build().unwrap();
        let drawn = pipeline.to_string();
        let shown = |limit: &str| match duration(limit).unwrap() {
            long if long >= ms(100_000) => format!("timeout {} s ", long.as_secs()),
            short if short < ms(1_000) => format!("timeout {} ms ", short.as_millis()),
            between => format!("timeout {:.1} s ", between.as_secs_f64()),
        };
        let limits = |which: &str, limit: &str| match limit {
            "none" => !drawn.contains(which),
            limit => drawn.contains(&format!("{which} {}", shown(limit))),
        };
        assert!(limits("total", total) && limits("attempt", attempt), "{name}: {drawn}");
        assert_eq!(pipeline.explain().attempts() - 1, number(retries).unwrap(), "{name}: retries");
        let waiting = number(waiting).unwrap() as usize;
        if let Some(first) = at_once.strip_suffix(" at first, adaptive") {
            let config = pipeline.adaptive_limit().unwrap().config();
            assert_eq!(config, config.clone().initial(number(first).unwrap() as usize).queue(waiting), "{name}");
        } else {
            let bulkhead = pipeline.bulkhead().unwrap();
            assert_eq!(bulkhead.limit(), number(at_once).unwrap() as usize, "{name}: at once");
            let config = bulkhead.config();
            assert_eq!(config, config.clone().queue(waiting), "{name}: waiting");
        }
        assert!(pipeline.circuit_breaker().is_some() && pipeline.monitor().is_some(), "{name}");
    }
}

#[test]
fn the_events_of_each_page_exist() {
    let (zero, transient) = (Duration::ZERO, Outcome::Judged(Verdict::transient()));
    let known = [
        Event::AttemptFailed { attempt: 1, outcome: transient, elapsed: zero },
        Event::Retrying { attempt: 1, delay: zero, cause: transient },
        Event::RetryStopped { attempts: 1, reason: "budget" },
        Event::Rejected { kind: RejectedKind::CircuitOpen, retry_after: None },
        Event::Waited { policy: "bulkhead", waited: zero },
        Event::CircuitChanged { from: "closed", to: "open", generation: 1 },
        Event::FallbackUsed { cause: CallEnd::Failure },
        Event::CallFinished { end: CallEnd::Success, attempts: 1, elapsed: zero },
    ]
    .map(|event| event.name());
    for page in ["timeouts", "retry", "circuit_breaker", "rate_limiter", "bulkhead", "fallback", "coalesce"] {
        for row in table(&format!("policies/{page}"), "# What you will see") {
            let name = row[0].split([',', ' ']).next().unwrap();
            assert!(known.contains(&name), "{page}: no event is called {name}");
        }
    }
}

#[cfg(feature = "cache")]
#[tokio::test(start_paused = true)]
async fn defaults_of_the_cache() {
    use steadfast::{Cache, CacheConfig, Eviction};
    let of = |config: CacheConfig<String, u32>| config;
    let default = of(Cache::new(10));
    let zero = Duration::ZERO;
    holds("policies/cache", |setting, said| {
        let same = match (setting, said) {
            ("capacity", "you say it") => return Some(of(Cache::new(0)).build().is_err()),
            ("eviction", "S3Fifo") => of(Cache::new(10)).eviction(Eviction::S3Fifo),
            ("ttl", "for ever") => of(Cache::new(10)).ttl(Duration::MAX),
            ("jitter", "none") => of(Cache::new(10)).jitter(zero),
            ("idle", "never") => of(Cache::new(10)).idle(Duration::MAX),
            ("negative_ttl", "0") => of(Cache::new(10)).negative_ttl(zero),
            ("refresh_ahead", "off") => return Some(!format!("{default:?}").contains("Some(")),
            ("stale_while_revalidate", "0") => of(Cache::new(10)).stale_while_revalidate(zero),
            ("stale_if_error", "0") => of(Cache::new(10)).stale_if_error(zero),
            ("retry_stale_every", said) => of(Cache::new(10)).retry_stale_every(duration(said)?),
            ("load_timeouts", "none") => of(Cache::new(10)).load_timeouts(Duration::MAX, Duration::MAX),
            _ => return None,
        };
        Some(same == default)
    });
}

/// Lines of code: neither empty nor all comment.
fn lines_of_code(path: &str) -> usize {
    read(path).lines().map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("//")).count()
}

#[test]
fn the_same_task_is_short() {
    let (builder, attribute) = (lines_of_code("examples/same_task/builder.rs"), lines_of_code("examples/same_task/attribute.rs"));
    assert!(builder <= 30, "{builder} lines with the builder");
    assert!(attribute <= 20, "{attribute} lines with the attribute");
    // Shortness by long lines is none.
    for file in ["builder", "attribute"] {
        for line in read(&format!("examples/same_task/{file}.rs")).lines() {
            assert!(line.len() <= 140, "{file}: {line}");
        }
    }
}

/// Whether a page of a policy fits on a screen or two: prose beyond that belongs to the module.
#[test]
fn pages_of_policies_are_short() {
    for file in fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("src/guide/policies")).unwrap() {
        let path = file.unwrap().path();
        let lines = fs::read_to_string(&path).unwrap().lines().count();
        assert!(lines <= 75, "{}: {lines} lines", path.display());
    }
}

#[test]
fn defaults_of_policies_for_each_key() {
    let keys = || PerKey::new(9);
    holds("policies/keyed", |setting, default| {
        Some(match setting {
            "rate_limit" => default == "none" && keys() != keys().rate_limit(RateLimiter::per_second(1)),
            "circuit_breaker" => default == "none" && keys() != keys().circuit_breaker(CircuitBreaker::failure_rate(0.5)),
            "bulkhead" => default == "none" && keys() != keys().bulkhead(Bulkhead::new(1)),
            "statistics" => keys() == keys().statistics(default.parse().ok()?),
            "idle" => keys() == keys().idle(duration(default)?),
            _ => return None,
        })
    });
}

#[tokio::test(start_paused = true)]
async fn defaults_of_the_hedge() {
    let hedge = || Hedge::at_percentile(0.5).idempotent();
    let learned = |answers: u32, latency| {
        let hedge = hedge().build().unwrap();
        (0..answers).for_each(|_| hedge.record(Outcome::Judged(Verdict::Success), latency));
        hedge.delay()
    };
    holds("policies/hedge", |setting, default| {
        Some(match setting {
            "max_hedges" => hedge() == hedge().max_hedges(number(default)?),
            "min_samples" => learned(number(default)? - 1, ms(9)).is_none() && learned(number(default)?, ms(9)).is_some(),
            "initial_delay" => default == "none" && learned(0, ms(9)).is_none(),
            "min_delay" => learned(100, Duration::ZERO) == duration(default),
            "max_delay" => default == "none" && learned(100, ms(3_600_000)) >= Some(ms(3_600_000)),
            "budget" => default == "that of the retries" && hedge() != hedge().budget(Budget::new(0.1)),
            "idempotent" => default == "–" && Hedge::after(ms(1)).build().is_err(),
            _ => return None,
        })
    });
}

#[test]
fn defaults_of_coalesce() {
    let group = Coalesce::new;
    holds("policies/coalesce", |setting, default| {
        Some(match setting {
            "share_errors" => group() == group().share_errors(default.parse().ok()?),
            "max_keys" => group() == group().max_keys(number(default)? as usize),
            "patience" => group() == group().patience(duration(default)?),
            "max_wait" => group() == group().max_wait(duration(default)?),
            _ => return None,
        })
    });
}

/// The sources of the crate, of its macros and of their tests.
fn sources() -> Vec<String> {
    fn collect(folder: &Path, found: &mut Vec<String>) {
        for entry in fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                collect(&path, found);
            } else if path.extension().is_some_and(|extension| extension == "rs") {
                found.push(fs::read_to_string(path).unwrap());
            }
        }
    }
    let mut found = Vec::new();
    ["src", "tests", "macros"].iter().for_each(|folder| collect(&Path::new(env!("CARGO_MANIFEST_DIR")).join(folder), &mut found));
    found
}

/// Functions between `proptest! {` and the bracket that ends it, which stands as far in.
fn properties(source: &str) -> usize {
    let (mut count, mut end) = (0, None);
    for line in source.lines() {
        match &end {
            None if line.trim_start().trim_start_matches("proptest::").starts_with("proptest! {") => {
                end = Some(line.replace(line.trim_start(), "}"))
            }
            Some(last) if line == last => end = None,
            Some(_) if line.trim_start().starts_with("fn ") => count += 1,
            _ => {}
        }
    }
    count
}

#[test]
fn the_page_on_tests_counts_right() {
    let sources = sources();
    let lines =
        |wanted: fn(&str) -> bool| sources.iter().flat_map(|source| source.lines()).filter(|line| wanted(line.trim_start())).count();
    let mut hazards: Vec<String> = Vec::new();
    for name in sources
        .iter()
        .flat_map(|source| source.lines())
        .filter_map(|line| line.trim_start().strip_prefix("fn ").or(line.trim_start().strip_prefix("async fn ")))
    {
        let words = name.split('(').next().unwrap().split('_');
        hazards.extend(
            words
                .filter(|word| word.strip_prefix('h').is_some_and(|n| n.len() > 1 && n.chars().all(|c| c.is_ascii_digit())))
                .map(str::to_owned),
        );
    }
    hazards.sort();
    hazards.dedup();
    let models = [
        "src/admission/models.rs",
        "src/admission/adaptive/models.rs",
        "src/admission/keyed/models.rs",
        "src/admission/rate_limiter/gcra/models.rs",
        "src/execution/models.rs",
        "src/observation/models.rs",
        "src/substitution/models.rs",
    ];
    let folder = |path: &str, extension: &str| {
        let files = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(path)).unwrap();
        files.filter(|file| file.as_ref().unwrap().file_name().to_string_lossy().ends_with(extension)).count()
    };
    let counted = |what: &str| match what.trim_end_matches(" *") {
        "tests in the sources" => Some(lines(|line| line.starts_with("#[test]") || line.starts_with("#[tokio::test"))),
        "properties, tried on random input" => Some(sources.iter().map(|source| properties(source)).sum()),
        "loom models" => Some(models.iter().map(|path| read(path).matches("#[test]").count()).sum()),
        "known hazards of such libraries with a test of their id" => Some(hazards.len()),
        "compile errors of the attribute, word for word" => Some(folder("macros/tests/ui", ".stderr")),
        "fuzz targets" => Some(folder("tests/fuzz/targets", ".rs")),
        _ => None,
    };
    let rows = table("how_it_is_tested", "# In figures");
    for row in rows.iter().filter(|row| row[0].ends_with('*')) {
        let real = counted(&row[0]).unwrap_or_else(|| panic!("nothing counts `{}`", row[0]));
        let said = row[1].trim_start_matches("at least ").split(' ').next().unwrap();
        let said = usize::try_from(number(said).unwrap()).unwrap();
        // A page that says far less than there is has not been looked at for long.
        assert!(real >= said && real <= said + said / 2, "{}: the page says {said}, and there are {real}", row[0]);
    }
    assert!(rows.iter().filter(|row| row[0].ends_with('*')).count() > 5);
}
