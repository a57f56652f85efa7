//! Settings from text: what is read, what is refused and how it is told, and what a running pipeline makes of new ones.

#![cfg(feature = "serde")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;
use steadfast::{
    AdaptiveLimit, Backoff, Budget, Bulkhead, CircuitBreaker, CoDel, ConfigError, Hedge, Jitter, PerKey, Pipeline, PipelineConfig,
    RateLimiter, RejectedKind, Retry, Throttle,
};

const fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

const EVERYTHING: &str = r#"
    total_timeout = "10s"
    attempt_timeout = "1.5s"
    monitor = true
    [retry]
    retries = 4
    backoff = "exponential"
    delay = "50ms"
    factor = 3
    max_delay = "5s"
    jitter = "equal"
    seed = 7
    hint_ceiling = "2m"
    hint_jitter = "100ms"
    retry_timeouts = false
    retry_rejections = ["rate_limited", "circuit_open"]
    even_when_nested = true
    budget = { share = "20%", min_per_second = 1.5, burst = 50 }
    [hedge]
    after = "p99.9"
    max_hedges = 2
    idempotent = false
    min_samples = 50
    initial_delay = "1s"
    min_delay = "2ms"
    max_delay = "3s"
    budget = "5%"
    [circuit_breaker]
    failure_rate = "50%"
    consecutive_failures = 10
    slow_calls = { slower_than = "2s", share = 0.8 }
    window = "30s"
    min_calls = 30
    trip_on_success = true
    open_for = "3s"
    open_growth = 1.5
    max_open = "1m"
    open_jitter = "20%"
    seed = 1
    probes = 4
    close_after = 3
    probe_lease = "4s"
    half_open_for = "20s"
    abandoned_after = "5s"
    ramp = "30s"
    [throttle]
    accept_multiplier = 1.5
    window = "60s"
    min_requests = 30
    max_rejection = "90%"
    fast_recovery = false
    probe_interval = "2s"
    seed = 7

    [adaptive_limit]
    algorithm = "gradient2"
    initial = 30
    min = 3
    max = 300
    window = "200ms"
    min_samples = 5
    reserve = "10%"
    queue = 50
    max_wait = "500ms"
    ageing = "3s"
    shed = { target = "30ms" }
    tolerance = 0.4
    smoothing = 0.3
    queue_size = 5

    [per_key]
    max_keys = 500
    idle = "30s"
    statistics = true
    rate_limit = "5/s"
    circuit_breaker = { consecutive_failures = 3, probes = 2 }
    bulkhead = 2

    [rate_limit]
    rate = "5/30s"
    burst = 3
    max_wait = "250ms"
    queue = 10
    ageing = "1s"
    shed = { target = "20ms" }
    [bulkhead]
    limit = 50
    queue = 100
    max_wait = "forever"
    ageing = "1s"
    shed = { target = "10ms", interval = "1s" }
"#;

fn everything() -> PipelineConfig {
    PipelineConfig::new()
        .total_timeout(ms(10_000))
        .attempt_timeout(ms(1_500))
        .monitor(true)
        .retry(
            Retry::exponential(4, ms(50))
                .factor(3.0)
                .max_delay(ms(5_000))
                .jitter(Jitter::Equal)
                .seed(7)
                .hint_ceiling(ms(120_000))
                .hint_jitter(ms(100))
                .retry_timeouts(false)
                .retry_rejections([RejectedKind::RateLimited, RejectedKind::CircuitOpen])
                .even_when_nested()
                .budget(Budget::new(0.2).min_per_second(1.5).burst(50)),
        )
        .circuit_breaker(
            CircuitBreaker::failure_rate(0.5)
                .consecutive_failures(10)
                .slow_calls(ms(2_000), 0.8)
                .window(ms(30_000))
                .min_calls(30)
                .trip_on_success(true)
                .open_for(ms(3_000))
                .open_growth(1.5)
                .max_open(ms(60_000))
                .open_jitter(0.2)
                .seed(1)
                .probes(4)
                .close_after(3)
                .probe_lease(ms(4_000))
                .half_open_for(ms(20_000))
                .abandoned_after(ms(5_000))
                .ramp(ms(30_000)),
        )
        .rate_limit(RateLimiter::per(5, ms(30_000)).burst(3).max_wait(ms(250)).queue(10).ageing(ms(1_000)).shed(CoDel::target(ms(20))))
        .bulkhead(Bulkhead::new(50).queue(100).ageing(ms(1_000)).shed(CoDel::target(ms(10)).interval(ms(1_000))))
        .adaptive_limit(
            AdaptiveLimit::gradient2()
                .initial(30)
                .min(3)
                .max(300)
                .window(ms(200))
                .min_samples(5)
                .reserve(0.1)
                .queue(50)
                .max_wait(ms(500))
                .ageing(ms(3_000))
                .shed(CoDel::target(ms(30)))
                .tolerance(0.4)
                .smoothing(0.3)
                .queue_size(5.0),
        )
        .hedge(
            Hedge::at_percentile(0.999)
                .max_hedges(2)
                .only_idempotent_calls()
                .min_samples(50)
                .initial_delay(ms(1_000))
                .min_delay(ms(2))
                .max_delay(ms(3_000))
                .budget(Budget::new(0.05)),
        )
        .per_key(
            PerKey::new(500)
                .idle(ms(30_000))
                .statistics(true)
                .rate_limit(RateLimiter::per_second(5))
                .circuit_breaker(CircuitBreaker::consecutive_failures(3).probes(2))
                .bulkhead(Bulkhead::new(2)),
        )
        .throttle(
            Throttle::new()
                .accept_multiplier(1.5)
                .window(ms(60_000))
                .min_requests(30)
                .max_rejection(0.9)
                .fast_recovery(false)
                .probe_interval(ms(2_000))
                .seed(7),
        )
}

fn toml(text: &str) -> Result<PipelineConfig, ConfigError> {
    PipelineConfig::from_source(text.parse::<toml::Table>().expect("toml"))
}

fn faults(text: &str) -> Vec<String> {
    toml(text).expect_err(text).faults().iter().map(ToString::to_string).collect()
}

#[test]
fn every_setting_is_read() {
    assert_eq!(toml(EVERYTHING), Ok(everything()));
}

#[test]
fn every_format_reads_and_writes_the_same() -> Result<(), Box<dyn std::error::Error>> {
    let config = everything();
    assert_eq!(toml::from_str::<PipelineConfig>(&toml::to_string(&config)?)?, config);
    assert_eq!(serde_json::from_str::<PipelineConfig>(&serde_json::to_string(&config)?)?, config);
    assert_eq!(serde_json::from_value::<PipelineConfig>(serde_json::to_value(&config)?)?, config);
    assert_eq!(yaml_serde::from_str::<PipelineConfig>(&yaml_serde::to_string(&config)?)?, config);
    assert_eq!(config.build("all")?.config(), config, "and so does a live pipeline");
    Ok(())
}

#[test]
fn every_preset_and_every_kind_of_each_policy_comes_back() -> Result<(), Box<dyn std::error::Error>> {
    let delay = ms(100);
    let retries = [
        Retry::constant(1, Duration::ZERO),
        Retry::linear(Retry::UNLIMITED, delay).jitter(Jitter::None),
        Retry::fibonacci(0, delay).jitter(Jitter::Additive(ms(7))).without_budget(),
        Retry::decorrelated(2, delay),
        Retry::with_backoff(2, Backoff::exponential(delay)),
    ];
    let breakers = [
        CircuitBreaker::consecutive_failures(3),
        CircuitBreaker::slow_calls(delay, 1.0).count_window(100),
        CircuitBreaker::failure_rate(0.07).open_for(Duration::MAX),
    ];
    let limiters = [RateLimiter::per_minute(10).sliding_window(), RateLimiter::per_hour(1).smooth().max_wait(Duration::MAX)];
    let mut all = vec![PipelineConfig::new(), PipelineConfig::new().bulkhead(Bulkhead::new(usize::MAX >> 1))];
    for preset in [Pipeline::http, Pipeline::database, Pipeline::interactive, Pipeline::background, Pipeline::standard] {
        all.push(preset("x").build()?.config());
    }
    all.extend(retries.into_iter().map(|retry| PipelineConfig::new().retry(retry)));
    all.extend(breakers.into_iter().map(|breaker| PipelineConfig::new().circuit_breaker(breaker)));
    let adaptive = [AdaptiveLimit::new(), AdaptiveLimit::aimd().backoff_ratio(0.8), AdaptiveLimit::vegas().alpha(1.0).beta(9.0)];
    all.extend(adaptive.into_iter().map(|limit| PipelineConfig::new().adaptive_limit(limit)));
    all.extend(limiters.into_iter().map(|limiter| PipelineConfig::new().rate_limit(limiter)));
    for config in all {
        assert_eq!(toml::from_str::<PipelineConfig>(&toml::to_string(&config)?)?, config);
        assert_eq!(serde_json::from_str::<PipelineConfig>(&serde_json::to_string(&config)?)?, config);
        assert_eq!(yaml_serde::from_str::<PipelineConfig>(&yaml_serde::to_string(&config)?)?, config);
    }
    Ok(())
}

#[test]
fn a_queue_sheds_as_usual_with_true_and_not_with_false() {
    for (text, shed) in [("true", true), ("false", false), ("{}", true), ("\"true\"", true)] {
        let config = toml(&format!("bulkhead = {{ limit = 5, queue = 9, shed = {text} }}")).expect(text);
        let bulkhead = Bulkhead::new(5).queue(9);
        assert_eq!(config, PipelineConfig::new().bulkhead(if shed { bulkhead.shed(CoDel::default()) } else { bulkhead }), "{text}");
    }
    let told = faults(
        "bulkhead = { limit = 5, shed = { target = \"0s\", interval = 3, often = true } }\nrate_limit = { rate = \"1/s\", shed = 7 }",
    );
    assert_eq!(told.len(), 4, "{told:#?}");
    assert!(told.iter().any(|fault| fault.starts_with("bulkhead.shed.target: ")), "{told:#?}");
}

#[test]
fn what_no_text_can_say_is_refused_when_written() {
    let custom = PipelineConfig::new().retry(Retry::custom(1, |_| ms(1)));
    assert!(serde_json::to_string(&custom).unwrap_err().to_string().contains("a function of your own cannot be written down"));
}

#[test]
fn shorthands_and_presets_with_overrides() -> Result<(), ConfigError> {
    let config = toml(
        r#"
        preset = "http"
        attempt_timeout = "500ms"
        retry = 5
        circuit_breaker = "25%"
        throttle = true
        rate_limit = "100/s"
        bulkhead = false
        "#,
    )?;
    let expected = Pipeline::http("x")
        .build()?
        .config()
        .attempt_timeout(ms(500))
        .retry(Retry::exponential(5, ms(100)).max_delay(ms(5_000))) // the delays of the preset stay
        .circuit_breaker(CircuitBreaker::failure_rate(0.25))
        .throttle(Throttle::new())
        .rate_limit(RateLimiter::per_second(100))
        .bulkhead(None);
    assert_eq!(config, expected);

    let config = toml("preset = 'database'\nbulkhead = 7\ntotal_timeout = false\nretry = { backoff = 'constant', delay = '1s' }")?;
    let expected = Pipeline::database("x")
        .build()?
        .config()
        .total_timeout(None)
        .retry(Retry::constant(2, ms(1_000)))
        .bulkhead(Bulkhead::new(7).queue(100).max_wait(ms(1_000)));
    assert_eq!(config, expected);

    let config = toml("retry = { retries = 1, budget = 'unlimited' }\ncircuit_breaker = { count_window = 50 }")?;
    let expected = PipelineConfig::new()
        .retry(Retry::exponential(1, ms(100)).without_budget())
        .circuit_breaker(CircuitBreaker::failure_rate(0.5).count_window(50));
    assert_eq!(config, expected);

    let config = toml("preset = 'http'\ncircuit_breaker = { failure_rate = false, consecutive_failures = 3, count_window = 9 }")?;
    assert_eq!(
        config.build("x")?.config(),
        Pipeline::http("x").build()?.config().circuit_breaker(CircuitBreaker::consecutive_failures(3).count_window(9))
    );
    Ok(())
}

#[test]
fn numbers_may_be_texts_as_the_environment_has_them() -> Result<(), ConfigError> {
    let config = toml("monitor = 'true'\nbulkhead = '5'\nretry = { retries = '2', factor = '1.5', even_when_nested = 'false' }")?;
    assert_eq!(config, PipelineConfig::new().monitor(true).bulkhead(Bulkhead::new(5)).retry(Retry::exponential(2, ms(100)).factor(1.5)));
    Ok(())
}

#[test]
fn h48_all_faults_at_once_with_path_value_and_fix() {
    let error = toml(
        r#"
        preset = "htp"
        total_timeout = 10
        attempt_timeout = "5"
        retires = 3
        monitor = "perhaps"
        [retry]
        retries = -1
        delai = "1s"
        factor = 0.5
        jitter = "wild"
        budget = { share = 20 }
        retry_rejections = ["rate_limit"]
        [circuit_breaker]
        failure_rate = 50
        open_for = "5sec"
        probes = 1
        close_after = 2
        slow_calls = { slower_than = "2s" }
        [rate_limit]
        rate = 100
        queue = 1.5
        [bulkhead]
        limit = 0
        max_wait = ["1s"]
        "#,
    )
    .unwrap_err();
    let expected = "\
pipeline cannot be built, 19 problems:
  preset: `htp` is none of those there are; did you mean `http`?
  retires: unknown field; did you mean `retry`?
  total_timeout: 10 has no unit; write \"10s\" or \"10ms\"
  attempt_timeout: `5`: a duration needs a unit: `5ms`, `5s` or `5m`
  retry.delai: unknown field; did you mean `delay`?
  retry.retries: -1 is negative; it must be at least 0
  retry.jitter: `wild` is none of those there are; there are `full`, `equal`, `none`, or a duration to add at most: \"+50ms\"
  retry.retry_rejections: `rate_limit` is none of those there are; did you mean `rate_limited`?
  retry.factor: 0.5 is not a factor to grow by; it must be at least 1 and finite, 2 doubles
  retry.budget.share: 20 is not a fraction between 0 and 1; for 20 % write 0.2
  circuit_breaker.open_for: `5sec`: unknown unit `sec`; use `ns`, `us`, `ms`, `s`, `m` or `h`
  circuit_breaker.slow_calls.share: is missing; write `share = \"80%\"`
  circuit_breaker.failure_rate: 50 is not a fraction between 0 and 1; for 50 % write 0.5
  circuit_breaker.close_after: 2 successes cannot come of 1 probes, so the circuit would never close; allow more probes
  rate_limit.rate: 100 of what? A rate needs a period: write \"100/s\" or \"100/min\"
  rate_limit.queue: 1.5 where a whole number is wanted
  bulkhead.max_wait: a list where a duration is wanted; write \"250ms\", \"2s\" or \"1m\"
  bulkhead.limit: 0 would refuse every call; give it at least 1, or drain a running bulkhead with resize(0)
  monitor: the text `perhaps` where `true` or `false` is wanted";
    let told = error.to_string();
    assert_eq!(told, expected, "\n{told}");
    assert_eq!(error.faults().len(), 19);
}

#[test]
fn h43_h44_h45_every_class_of_bad_number_is_a_fault_at_its_place() {
    for (text, field) in [
        ("circuit_breaker = nan", "circuit_breaker.failure_rate"),
        ("circuit_breaker = inf", "circuit_breaker.failure_rate"),
        ("circuit_breaker = -0.1", "circuit_breaker.failure_rate"),
        ("circuit_breaker = '150%'", "circuit_breaker.failure_rate"),
        ("circuit_breaker = { open_jitter = '110%' }", "circuit_breaker.open_jitter"),
        ("circuit_breaker = { open_growth = nan }", "circuit_breaker.open_growth"),
        ("circuit_breaker = { probes = 0 }", "circuit_breaker.probes"),
        ("circuit_breaker = { min_calls = 5_000_000_000 }", "circuit_breaker.min_calls"),
        ("circuit_breaker = { count_window = 10, min_calls = 11 }", "circuit_breaker.min_calls"),
        ("circuit_breaker = { window = '1s', count_window = 10 }", "circuit_breaker.count_window"),
        ("circuit_breaker = { window = '1ms' }", "circuit_breaker.window"),
        ("circuit_breaker = { failure_rate = false }", "circuit_breaker.failure_rate"),
        ("circuit_breaker = true", "circuit_breaker"),
        ("retry = { delay = '1s' }", "retry.retries"),
        ("retry = { retries = 1, factor = inf }", "retry.factor"),
        ("retry = { retries = 1, backoff = 'linear', factor = 2 }", "retry.factor"),
        ("retry = { retries = 1, budget = { burst = 0 } }", "retry.budget.burst"),
        ("retry = { retries = 1, budget = { min_per_second = -1 } }", "retry.budget.min_per_second"),
        ("retry = [3]", "retry"),
        ("throttle = { accept_multiplier = 1 }", "throttle.accept_multiplier"),
        ("adaptive_limit = { min = 0 }", "adaptive_limit.min"),
        ("adaptive_limit = { algorithm = 'vegas', tolerance = 1 }", "adaptive_limit.tolerance"),
        ("adaptive_limit = { algorithm = 'magic' }", "adaptive_limit.algorithm"),
        ("per_key = { idle = '1m' }", "per_key.max_keys"),
        ("per_key = { max_keys = 0, statistics = true }", "per_key.max_keys"),
        ("per_key = { max_keys = 5, bulkhead = 5, rate_limit = '0/s' }", "per_key.rate_limit.rate"),
        ("per_key = { max_keys = 5, bulkhead = 'many' }", "per_key.bulkhead.limit"),
        ("per_key = { max_keys = 5, circuit_breaker = { ramp = '5s' } }", "per_key.circuit_breaker.ramp"),
        ("adaptive_limit = { queue = 5, shed = { target = '0s' } }", "adaptive_limit.shed.target"),
        ("hedge = 'p95'", "hedge.idempotent"),
        ("hedge = { after = 'p0', idempotent = true }", "hedge.after"),
        ("hedge = { after = 50, idempotent = true }", "hedge.after"),
        ("throttle = { max_rejection = '150%' }", "throttle.max_rejection"),
        ("rate_limit = '0/s'", "rate_limit.rate"),
        ("rate_limit = '1/999999h'", "rate_limit.rate"),
        ("rate_limit = '-5/s'", "rate_limit.rate"),
        ("rate_limit = { burst = 3 }", "rate_limit.rate"),
        ("rate_limit = { rate = '5/s', burst = 0 }", "rate_limit.burst"),
        ("bulkhead = { queue = 3 }", "bulkhead.limit"),
        ("bulkhead = { limit = 1, queue = 1_000_001 }", "bulkhead.queue"),
        ("bulkhead = 99999999999999999999", "bulkhead.limit"),
        ("attempt_timeout = '20s'\ntotal_timeout = '10s'", "attempt_timeout"),
        ("total_timeout = '99999999999999999999h'", "total_timeout"),
        ("'a\nb' = 1", "`a\\nb`"),
    ] {
        let Ok(table) = text.parse::<toml::Table>() else { continue };
        let error = PipelineConfig::from_source(table).expect_err(text);
        assert_eq!(error.faults()[0].field(), field, "{text}: {error}");
        assert_eq!(error.faults().len(), 1, "{text}: {error}");
    }
}

#[test]
fn h48_a_field_that_is_there_twice_is_a_fault() {
    let config = serde_json::from_str::<PipelineConfig>(r#"{"monitor": true, "monitor": false, "retry": {"retries": 1, "retries": 2}}"#);
    let error = config.unwrap_err().to_string();
    assert!(error.contains("monitor: is there twice; leave one out"), "{error}");
    assert!(error.contains("retry.retries: is there twice; leave one out"), "{error}");
}

#[test]
fn h48_depth_length_and_number_are_bounded() {
    let deep = format!("{}1{}", "{\"retry\":".repeat(100), "}".repeat(100));
    let long = format!("{{\"total_timeout\": \"{}\"}}", "9".repeat(1 << 20));
    let key = format!("{{\"{}\": 1}}", "k".repeat(1 << 20));
    let many = format!("{{{}}}", (0..50_000).map(|n| format!("\"f{n}\": 1")).collect::<Vec<_>>().join(","));
    let list = format!("{{\"retry\": [{}1]}}", "1,".repeat(500_000));
    for (text, told) in [
        (&deep, "retry.retry: unknown field"),
        (&long, "1048576 bytes"),
        (&key, "1048576 bytes"),
        (&many, "and 49900 more"),
        (&list, "no configuration is so long"),
    ] {
        // What is quadratic in its length never ends here.
        let error = serde_json::from_str::<PipelineConfig>(text).unwrap_err().to_string();
        assert!(error.contains(told), "{}", &error[..error.len().min(500)]);
        assert!(error.len() < 25_000, "{}", error.len());
    }
    for n in [9, 64, 79] {
        let text = format!("{}a = 1", "a.".repeat(n));
        assert!(toml::from_str::<PipelineConfig>(&text).is_err());
        let yaml = (0..n).map(|n| format!("{}a:\n", " ".repeat(n))).collect::<String>();
        assert!(yaml_serde::from_str::<PipelineConfig>(&yaml).is_err());
    }
}

#[test]
fn what_the_format_cannot_read_is_a_fault_of_the_source() {
    let error = PipelineConfig::from_source(&mut serde_json::Deserializer::from_str("{\"retry\": ")).unwrap_err();
    assert_eq!(error.faults()[0].field(), "source");
    assert_eq!(faults_of_whole("[1, 2]"), ["a list where the configuration is a table"]);
    fn faults_of_whole(json: &str) -> Vec<String> {
        let error = PipelineConfig::from_source(&mut serde_json::Deserializer::from_str(json)).unwrap_err();
        error.faults().iter().map(|fault| fault.problem().split(';').next().unwrap_or_default().to_owned()).collect()
    }
    assert_eq!(faults("retry = 3\nbulkhed = 5"), ["bulkhed: unknown field; did you mean `bulkhead`?"]);
}

#[test]
fn settings_are_a_part_of_the_users_own() -> Result<(), Box<dyn std::error::Error>> {
    #[derive(serde::Deserialize)]
    struct App {
        listen: String,
        github: PipelineConfig,
    }
    let app: App = toml::from_str("listen = ':80'\n[github]\npreset = 'http'\nretry = 1")?;
    assert_eq!((app.listen.as_str(), app.github.build("github")?.explain().attempts()), (":80", 2));
    let error = toml::from_str::<App>("listen = ':80'\n[github]\nretry = -1\nbulkhead = 0").map(|_| ()).unwrap_err().to_string();
    assert!(error.contains("retry.retries: -1 is negative") && error.contains("bulkhead.limit: 0 would refuse"), "{error}");
    Ok(())
}

#[cfg(feature = "cache")]
#[test]
fn how_answers_are_kept_is_read_written_and_checked() -> Result<(), Box<dyn std::error::Error>> {
    use steadfast::Caching;

    let all = r#"
        [cache]
        capacity = 10_000
        ttl = "5m"
        jitter = "30s"
        idle = "2h"
        negative_ttl = "2s"
        refresh_ahead = "80%"
        stale_while_revalidate = "1m"
        stale_if_error = "1h"
        retry_stale_every = "10s"
        load_timeouts = { soft = "100ms", hard = "10s" }
    "#;
    let caching = Caching::new(10_000)
        .ttl(ms(300_000))
        .jitter(ms(30_000))
        .idle(ms(7_200_000))
        .negative_ttl(ms(2_000))
        .refresh_ahead(0.8)
        .stale_while_revalidate(ms(60_000))
        .stale_if_error(ms(3_600_000))
        .retry_stale_every(ms(10_000))
        .load_timeouts(ms(100), ms(10_000));
    let config = PipelineConfig::new().caching(caching);
    assert_eq!(toml(all), Ok(config.clone()));
    assert_eq!(toml(&toml::to_string(&config)?), Ok(config.clone()));
    assert_eq!(config.build("p")?.config(), config);
    let plain = PipelineConfig::new().caching(Caching::new(5));
    assert_eq!(toml("cache = { capacity = 5 }"), Ok(plain.clone()));
    assert_eq!(toml(&toml::to_string(&plain)?), Ok(plain));
    assert_eq!(toml("cache = false"), Ok(PipelineConfig::new()));

    let told = faults(
        "[cache]\ncapacity = 0\nttl = 5\nnegative_ttl = \"2m\"\nrefresh_ahead = 80\nstale = \"1h\"\nload_timeouts = { soft = \"2s\", hard = \"1s\" }",
    );
    let fields: Vec<_> = told.iter().filter_map(|fault| fault.split(':').next()).collect();
    assert_eq!(
        fields,
        ["cache.stale", "cache.ttl", "cache.capacity", "cache.negative_ttl", "cache.refresh_ahead", "cache.load_timeouts"],
        "{told:?}"
    );
    assert!(faults("cache = { ttl = \"1m\" }")[0].starts_with("cache.capacity: is missing"));
    assert!(faults("cache = 100")[0].starts_with("cache: 100 where this is a table; its fields are `capacity`, `ttl`"));
    Ok(())
}

#[cfg(not(feature = "cache"))]
#[test]
fn a_cache_needs_its_feature() {
    assert_eq!(
        faults("cache = { capacity = 5 }"),
        ["cache: needs the feature `cache` of steadfast; turn it on in Cargo.toml, or leave this out"]
    );
    assert_eq!(toml("cache = false"), Ok(PipelineConfig::new()));
}

mod arbitrary {
    use super::*;
    use proptest::prelude::*;

    #[cfg(feature = "cache")]
    proptest! {
        #[test]
        fn however_answers_are_kept_comes_back(
            capacity in 1..usize::MAX >> 1,
            nanos in proptest::array::uniform5(1..u64::MAX),
            negative in 0..=60_000_u64,
            refresh in proptest::option::of(0.001..1.0_f64),
            hard in proptest::option::of(1..1_000_u64),
        ) {
            let [ttl, jitter, idle, stale, every] = nanos.map(Duration::from_nanos);
            let mut caching = steadfast::Caching::new(capacity).ttl(ttl).jitter(jitter).idle(idle).negative_ttl(ms(negative));
            caching = caching.stale_while_revalidate(stale).stale_if_error(jitter).retry_stale_every(every);
            if let Some(share) = refresh {
                caching = caching.refresh_ahead(share);
            }
            if let Some(hard) = hard {
                caching = caching.load_timeouts(ms(hard / 2), ms(hard));
            }
            let config = PipelineConfig::new().caching(caching);
            prop_assert_eq!(toml(&toml::to_string(&config).unwrap()), Ok(config.clone()));
            prop_assert_eq!(PipelineConfig::from_source(serde_json::to_value(&config).unwrap()), Ok(config));
        }
    }

    fn value() -> impl Strategy<Value = serde_json::Value> {
        let text = prop_oneof![
            Just("100/s"),
            Just("50%"),
            Just("5"),
            Just("250ms"),
            Just("forever"),
            Just("http"),
            Just("constant"),
            Just("false"),
            Just("\u{0}"),
            Just("-1s"),
            Just("1e9h"),
            Just("unlimited"),
        ];
        let leaf = prop_oneof![
            Just(serde_json::Value::Null),
            any::<bool>().prop_map(Into::into),
            any::<i64>().prop_map(Into::into),
            (0..5_i64).prop_map(Into::into),
            any::<f64>().prop_map(Into::into),
            text.prop_map(Into::into),
            ".{0,12}".prop_map(Into::into),
        ];
        let fields: Vec<&'static str> = vec![
            "preset",
            "total_timeout",
            "attempt_timeout",
            "retry",
            "circuit_breaker",
            "rate_limit",
            "throttle",
            "hedge",
            "per_key",
            "adaptive_limit",
            "bulkhead",
            "monitor",
            "cache",
            "capacity",
            "ttl",
            "stale_if_error",
            "load_timeouts",
            "soft",
            "hard",
            "refresh_ahead",
            "retries",
            "backoff",
            "delay",
            "factor",
            "jitter",
            "budget",
            "share",
            "burst",
            "failure_rate",
            "slow_calls",
            "window",
            "count_window",
            "min_calls",
            "probes",
            "close_after",
            "rate",
            "sliding_window",
            "max_wait",
            "queue",
            "limit",
            "pipelines",
            "defaults",
            "bogus",
        ];
        leaf.prop_recursive(4, 40, 8, move |inner| {
            let field = proptest::sample::select(fields.clone()).prop_map(str::to_owned);
            prop_oneof![
                proptest::collection::vec((field, inner.clone()), 0..8)
                    .prop_map(|fields| fields.into_iter().collect::<serde_json::Map<_, _>>().into()),
                proptest::collection::vec(inner, 0..3).prop_map(Into::into),
            ]
        })
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(2_000))]

        #[test]
        fn h48_whatever_is_read_is_an_error_or_builds_and_comes_back(value in value()) {
            if let Ok(config) = PipelineConfig::from_source(&value) {
                prop_assert!(config.build("any").is_ok());
                let again = serde_json::to_value(&config).unwrap();
                prop_assert_eq!(PipelineConfig::from_source(&again), Ok(config));
            }
            let _ = steadfast::RegistryConfig::from_source(value);
        }
    }
}
