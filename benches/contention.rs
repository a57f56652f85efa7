//! What two threads, and 64 tasks on two workers, get done together. `cargo bench --bench contention -- "closed breaker"`

use criterion::{Criterion, SamplingMode, Throughput};
use std::time::Duration;

/// Calls in one iteration: so many that starting the threads does not count.
const CALLS: u64 = 8192;

fn main() {
    let mut criterion =
        Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(3)).configure_from_args();
    for mut row in steadfast_benches::contention() {
        let mut group = criterion.benchmark_group(row.group);
        group.sampling_mode(SamplingMode::Flat).sample_size(30).throughput(Throughput::Elements(CALLS));
        group.bench_function(row.who, |bencher| bencher.iter_custom(|n| (row.batch)(n * CALLS)));
        group.finish();
    }
    criterion.final_summary();
}
