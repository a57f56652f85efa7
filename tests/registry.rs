//! Many pipelines from one file, and new files for running ones.

#![cfg(feature = "serde")]
#![expect(clippy::unwrap_used, reason = "a test may panic")]

use std::time::Duration;
use steadfast::{CircuitBreaker, ConfigError, Pipeline, PipelineConfig, RegistryConfig, Retry, Verdict};

fn config(text: &str) -> Result<RegistryConfig, ConfigError> {
    RegistryConfig::from_source(text.parse::<toml::Table>().expect("toml"))
}

fn told(text: &str) -> String {
    config(text).expect_err(text).to_string()
}

#[test]
fn the_pipeline_has_the_last_word_then_the_defaults_then_the_preset() -> Result<(), ConfigError> {
    let registry = config(
        r#"
        [defaults]
        preset = "http"
        attempt_timeout = "1s"
        retry = { retries = 1 }
        [pipelines.plain]
        [pipelines.own]
        attempt_timeout = "2s"
        retry = { delay = "5ms" }
        [pipelines.database]
        preset = "database"
        bulkhead = false
        "#,
    )?
    .build()?;
    assert_eq!(registry.names(), ["database", "own", "plain"]);
    let http = Pipeline::http("x").build()?.config();
    let found = |name: &str| registry.get(name).map(|pipeline| pipeline.config());
    let second = Duration::from_secs(1);
    let retry = |retries, delay| Retry::exponential(retries, Duration::from_millis(delay)).max_delay(5 * second);
    assert_eq!(found("plain"), Some(http.clone().attempt_timeout(second).retry(retry(1, 100))));
    assert_eq!(found("own"), Some(http.attempt_timeout(2 * second).retry(retry(1, 5))));
    let database = Pipeline::database("x").build()?.config();
    let small = Retry::exponential(1, Duration::from_millis(20)).max_delay(second / 2);
    assert_eq!(found("database"), Some(database.attempt_timeout(second).retry(small).bulkhead(None)));
    Ok(())
}

#[test]
fn h48_all_faults_of_all_pipelines_each_where_it_is_said() {
    let text = r#"
        extra = 1
        [defaults]
        preset = "http"
        total_timeout = "30"
        retry = { factor = 0.5 }
        [pipelines.github]
        circut_breaker = "50%"
        attempt_timeout = "1"
        [pipelines.ledger]
        bulkhead = -3
        [pipelines.other]
        retry = false
        [pipelines]
        wrong = 5
    "#;
    let error =
        RegistryConfig::from_source(text.replace("[pipelines]\n        wrong = 5", "").parse::<toml::Table>().expect("toml")).unwrap_err();
    assert_eq!(
        error.to_string(),
        "registry cannot be built, 6 problems:
  extra: unknown field; there are `defaults`, `pipelines`
  defaults.total_timeout: `30`: a duration needs a unit: `30ms`, `30s` or `30m`
  pipelines.github.circut_breaker: unknown field; did you mean `circuit_breaker`?
  pipelines.github.attempt_timeout: `1`: a duration needs a unit: `1ms`, `1s` or `1m`
  defaults.retry.factor: 0.5 is not a factor to grow by; it must be at least 1 and finite, 2 doubles
  pipelines.ledger.bulkhead.limit: -3 is negative; it must be at least 0"
    );
}

#[test]
fn h48_what_is_no_registry_is_told_so() {
    assert!(told("pipelines = 3").contains("pipelines: 3 where a table is wanted"));
    assert!(told("[pipelines]\ngithub = 3").contains("pipelines.github: 3 where the configuration is a table"));
    assert!(told("[pipelines.'']").contains("has no name"));
    assert!(told("[pipelines.a]\npreset = 'htp'").contains("pipelines.a.preset: `htp` is none of those there are; did you mean `http`?"));
    let twice = serde_json::from_str::<RegistryConfig>(r#"{"pipelines": {"a": {}, "a": {}}}"#).unwrap_err().to_string();
    assert!(twice.contains("pipelines.a: is there twice; leave one out"), "{twice}");
    assert!(config("").is_ok_and(|config| config.names().next().is_none()));
}

#[test]
fn a_registry_comes_back_as_it_was_written() -> Result<(), Box<dyn std::error::Error>> {
    let read = config("[defaults]\npreset = 'http'\n[pipelines.a]\nretry = 1\n[pipelines.b]\nbulkhead = 2")?;
    assert_eq!(toml::from_str::<RegistryConfig>(&toml::to_string(&read)?)?, read);
    assert_eq!(yaml_serde::from_str::<RegistryConfig>(&yaml_serde::to_string(&read)?)?, read);
    Ok(())
}

#[test]
fn an_unknown_name_tells_the_known_ones() -> Result<(), ConfigError> {
    let registry = config("[pipelines.github]\n[pipelines.ledger]")?.build()?;
    assert!(registry.get("gitlab").is_none());
    let error = registry.find("payments").unwrap_err();
    assert_eq!(error.to_string(), "there is no pipeline `payments`; there are `github`, `ledger`");
    assert_eq!((error.name(), error.known()), ("payments", &["github".to_string(), "ledger".to_string()][..]));
    assert_eq!(registry.find("Github").unwrap_err().to_string(), "there is no pipeline `Github`; did you mean `github`?");
    Ok(())
}

#[tokio::test(start_paused = true)]
async fn a_reload_adds_takes_away_and_changes_in_place() -> Result<(), Box<dyn std::error::Error>> {
    let before = config("[pipelines.stays]\nattempt_timeout = '2s'\ncircuit_breaker = '50%'\n[pipelines.goes]")?;
    let registry = before.build_with(|_, builder| builder.classify(|_: &String| Verdict::Permanent))?;
    let (stays, goes) = (registry.find("stays")?, registry.find("goes")?);
    stays.circuit_breaker().expect("there is one").force_open();

    let after = config("[pipelines.stays]\nattempt_timeout = '1s'\ncircuit_breaker = '25%'\n[pipelines.comes]\nretry = 3")?;
    let changes = registry.reload(&after)?;
    assert_eq!(
        changes.to_string(),
        "comes: new\ngoes: gone\nstays: attempt_timeout: 2s -> 1s\nstays: circuit_breaker.failure_rate: 0.5 -> 0.25"
    );
    assert_eq!(registry.names(), ["comes", "stays"]);
    assert!(stays.call(|| async { Ok::<_, String>(()) }).await.unwrap_err().is_circuit_open(), "the state stayed");
    assert_eq!(goes.call(|| async { Ok::<_, String>(1) }).await, Ok(1), "whoever has it can go on");
    let attempts = std::cell::Cell::new(0);
    let comes = registry.find("comes")?;
    let call = comes.call(|| {
        attempts.set(attempts.get() + 1);
        async { Err::<(), _>(String::new()) }
    });
    assert!(call.await.is_err());
    assert_eq!(attempts.get(), 1, "the new one was completed too: its judge says permanent");
    assert!(registry.reload(&after)?.is_empty());
    Ok(())
}

#[test]
fn a_reload_with_any_fault_changes_nothing() -> Result<(), Box<dyn std::error::Error>> {
    let registry = RegistryConfig::new().pipeline("a", PipelineConfig::new()).pipeline("b", PipelineConfig::new()).build()?;
    let second = Duration::from_secs(1);
    let bad = RegistryConfig::new()
        .pipeline("a", PipelineConfig::new().attempt_timeout(second))
        .pipeline("b", PipelineConfig::new().circuit_breaker(CircuitBreaker::failure_rate(50.0)))
        .pipeline("c", PipelineConfig::new().attempt_timeout(second).total_timeout(second / 2));
    let error = registry.reload(&bad).unwrap_err();
    let fields: Vec<_> = error.faults().iter().map(steadfast::Fault::field).collect();
    assert_eq!(fields, ["pipelines.b.circuit_breaker.failure_rate", "pipelines.c.attempt_timeout"]);
    assert_eq!(registry.names(), ["a", "b"]);
    assert_eq!(registry.find("a")?.config(), PipelineConfig::new());
    Ok(())
}

#[test]
fn a_pipeline_of_code_is_nobodys_but_its_own() -> Result<(), Box<dyn std::error::Error>> {
    let registry = RegistryConfig::new().pipeline("file", PipelineConfig::new()).build()?;
    registry.insert(Pipeline::http("code").build()?)?;
    assert!(
        registry
            .insert(Pipeline::http("code").build()?)
            .unwrap_err()
            .to_string()
            .contains("pipelines.code: there is a pipeline of this name")
    );
    assert!(registry.insert(Pipeline::http("file").build()?).is_err());
    let changes = registry.reload(&RegistryConfig::new())?;
    assert_eq!((changes.removed(), registry.names()), (&["file".to_string()][..], vec!["code".to_string()]));
    let taken = registry.reload(&RegistryConfig::new().pipeline("code", PipelineConfig::new())).unwrap_err();
    assert_eq!(taken.faults()[0].field(), "pipelines.code");
    Ok(())
}

#[tokio::test]
async fn monitored_pipelines_share_one_table() -> Result<(), Box<dyn std::error::Error>> {
    let registry = config("[defaults]\nmonitor = true\n[pipelines.a]\n[pipelines.b]\n[pipelines.c]\nmonitor = false")?.build()?;
    for pipeline in registry.pipelines() {
        pipeline.call(|| async { Ok::<_, ()>(()) }).await.map_err(|_| "failed")?;
    }
    assert_eq!(registry.monitor().report().len(), 2);
    let on = registry.find("c")?.config().monitor(true);
    let all = RegistryConfig::new().pipeline("c", on);
    registry.reload(&all)?;
    registry.find("c")?.call(|| async { Ok::<_, ()>(()) }).await.map_err(|_| "failed")?;
    assert_eq!(registry.monitor().report().len(), 3, "also one that is switched on later");
    Ok(())
}

#[test]
fn what_code_says_of_settings_holds_over_the_file_also_after_a_reload() -> Result<(), Box<dyn std::error::Error>> {
    let registry =
        config("[pipelines.a]\nretry = 1")?.build_with(|_, builder| builder.retry(Retry::custom(7, |_| Duration::from_millis(1))))?;
    registry.reload(&config("[pipelines.a]\nattempt_timeout = '1s'")?)?;
    let a = registry.find("a")?;
    assert_eq!((a.explain().attempts(), a.to_string().contains("attempt timeout")), (8, true));
    Ok(())
}
