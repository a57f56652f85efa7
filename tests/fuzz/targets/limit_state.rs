//! What a store hands back as the state of a limit, whoever wrote it: read or refused, and whatever was read goes on counting.
#![no_main]

use libfuzzer_sys::fuzz_target;
use steadfast::store::rate::{Algorithm, Quota, State};

const ALGORITHMS: [Algorithm; 5] =
    [Algorithm::Gcra, Algorithm::SlidingLog, Algorithm::SlidingCounter, Algorithm::TokenBucket, Algorithm::FixedWindow];

// Six bytes that choose, eight of a time, then the state.
fuzz_target!(|bytes: &[u8]| {
    let Some(([which, limit, period, burst, cost, back], rest)) = bytes.split_first_chunk::<6>() else { return };
    let Some((now, state)) = rest.split_first_chunk::<8>() else { return };
    let algorithm = ALGORITHMS[usize::from(*which) % ALGORITHMS.len()];
    let Some(mut state) = State::decode(state, algorithm) else { return };
    assert_eq!(State::decode(&state.encode(), algorithm).as_ref(), Some(&state));
    let mut quota = Quota::per(u32::from(*limit).pow(2).max(1), std::time::Duration::from_millis(1 << (*period % 36))).algorithm(algorithm);
    if matches!(algorithm, Algorithm::Gcra | Algorithm::TokenBucket) {
        quota = quota.burst(u32::from(*burst).max(1));
    }
    let Ok(terms) = quota.terms(1) else { return };
    let now = u64::from_le_bytes(*now) >> 12; // 142 years
    for (later, cost) in [(0, *cost), (1, 1), (u64::from(*period) << 20, *cost)] {
        let decision = state.take(now + later, &terms, u32::from(cost).max(1));
        assert!(decision.remaining <= terms.capacity, "{decision:?} of {terms:?}");
        state.give_back(now + later, &terms, u32::from(*back));
    }
});
