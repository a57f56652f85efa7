//! Settings in TOML and JSON, whatever they are: a pipeline, or faults; never a panic. What was read is written as it was read, and builds.
#![no_main]

use libfuzzer_sys::fuzz_target;
use steadfast::{PipelineConfig, RegistryConfig};

fn pipeline(config: &PipelineConfig) {
    let text = serde_json::to_string(config).expect("JSON can hold it");
    let again: PipelineConfig = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(&again, config, "{text}");
    if let Ok(pipeline) = config.build("fuzzed") {
        let _ = (pipeline.to_string(), pipeline.explain().to_string(), pipeline.warnings().len());
    }
}

fn registry(config: &RegistryConfig) {
    let text = serde_json::to_string(config).expect("JSON can hold it");
    let again: RegistryConfig = serde_json::from_str(&text).unwrap_or_else(|error| panic!("{text}: {error}"));
    assert_eq!(&again, config, "{text}");
}

fuzz_target!(|text: &str| {
    if let Ok(table) = text.parse::<toml::Table>() {
        match PipelineConfig::from_source(table.clone()) {
            Ok(config) => pipeline(&config),
            Err(error) => assert!(!error.faults().is_empty() && !error.to_string().is_empty()),
        }
        if let Ok(config) = RegistryConfig::from_source(table) {
            registry(&config);
        }
    }
    if let Ok(value) = serde_json::from_str::<serde_json::Value>(text) {
        match PipelineConfig::from_source(&value) {
            Ok(config) => pipeline(&config),
            Err(error) => assert!(!error.faults().is_empty() && !error.to_string().is_empty()),
        }
        if let Ok(config) = RegistryConfig::from_source(&value) {
            registry(&config);
        }
    }
});
