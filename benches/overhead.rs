//! What each policy and each stack adds to a call, on one thread. `cargo bench --bench overhead -- breaker`

use criterion::Criterion;
use std::time::Duration;

fn main() {
    let mut criterion =
        Criterion::default().warm_up_time(Duration::from_millis(500)).measurement_time(Duration::from_secs(2)).configure_from_args();
    for mut row in steadfast_benches::overhead() {
        let mut group = criterion.benchmark_group(row.group);
        group.bench_function(row.who, |bencher| bencher.iter_custom(|n| (row.batch)(n)));
        group.finish();
    }
    criterion.final_summary();
}
