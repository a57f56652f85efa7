//! List G: limits.

use super::{Case, Lab, key, told};
use crate::store::rate::{Algorithm, AnyRateStore, Decision, Quota, RateStore, Request};
use crate::store::{Key, StoreErrorKind};
use std::time::Duration;
use tokio::time::{Instant, sleep};

/// `ensure!(what, "should be {}", so)`: the case has failed otherwise.
macro_rules! ensure {
    ($holds:expr, $($why:tt)+) => {
        if !$holds {
            return Err(format!($($why)+));
        }
    };
}

/// `ensure_eq!(seen, expected, "what it is")`.
macro_rules! ensure_eq {
    ($seen:expr, $expected:expr, $($what:tt)+) => {
        match (&$seen, &$expected) {
            (seen, expected) => ensure!(seen == expected, "{}: {seen:?} instead of {expected:?}", format_args!($($what)+)),
        }
    };
}

const MS: Duration = Duration::from_millis(1);
const YEAR: Duration = Duration::from_secs(365 * 86_400);

impl Lab {
    /// So many in a year, which none of these cases sees the end of.
    fn yearly(&self, limit: u32) -> Quota {
        Quota::per(limit, YEAR).algorithm(self.algorithm)
    }

    async fn take(&self, key: &Key, quota: &Quota, cost: u32) -> Result<Decision, String> {
        self.store.acquire(key, quota, cost).await.map_err(told)
    }

    async fn remaining(&self, key: &Key, quota: &Quota) -> Result<u32, String> {
        Ok(self.store.peek(key, quota).await.map_err(told)?.remaining)
    }

    async fn spend(&self, key: &Key, quota: &Quota, cost: u32) -> Case {
        let decision = self.take(key, quota, cost).await?;
        ensure!(decision.allowed, "{cost} of {} were refused: {decision:?}", quota.capacity());
        Ok(())
    }
}

const TASKS: u32 = 32;

/// Runs `work` on 32 tasks, and adds up what they return.
async fn at_once<F>(store: &AnyRateStore, work: impl Fn(AnyRateStore, u32) -> F) -> Result<u32, String>
where
    F: Future<Output = Result<u32, String>> + Send + 'static,
{
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..TASKS {
        tasks.spawn(work(store.clone(), number));
    }
    let mut sum = 0;
    while let Some(ended) = tasks.join_next().await {
        sum += ended.map_err(|panicked| format!("a task panicked: {panicked}"))??;
    }
    Ok(sum)
}

pub(super) async fn g66(lab: Lab) -> Case {
    let (k, quota) = (key("limit")?, lab.yearly(100));
    let went = at_once(&lab.store, |store, number| {
        let k = k.clone();
        async move {
            let mut went = 0;
            for turn in 0..8 {
                let cost = 1 + (number + turn) % 3;
                let decision = store.acquire(&k, &quota, cost).await.map_err(told)?;
                went += if decision.allowed { cost } else { 0 };
            }
            // Whoever is left over takes the last ones.
            while store.acquire(&k, &quota, 1).await.map_err(told)?.allowed {
                went += 1;
            }
            Ok(went)
        }
    });
    ensure_eq!(went.await?, 100, "units that went");
    ensure_eq!(lab.remaining(&k, &quota).await?, 0, "units left");
    Ok(())
}

pub(super) async fn g66_many(lab: Lab) -> Case {
    let (mine, all) = (lab.yearly(5), lab.yearly(60));
    let shared = key("all")?;
    let went = at_once(&lab.store, |store, number| {
        let (own, shared) = (key(format!("tenant {number}")), shared.clone());
        async move {
            let own = own?;
            let mut went = 0;
            for _ in 0..8 {
                let requests = [Request::new(&own, &mine, 1), Request::new(&shared, &all, 1)];
                let decisions = store.acquire_many(&requests).await.map_err(told)?;
                went += u32::from(decisions.iter().all(|decision| decision.allowed));
            }
            ensure!(went <= 5, "{went} of a limit of 5 went");
            Ok(went)
        }
    });
    let went = went.await?;
    // Without one step for all, who is refused may have been in somebody's way.
    ensure!(went <= 60 && went > 0, "{went} of a limit of 60 went");
    ensure_eq!(lab.remaining(&shared, &all).await?, 60 - went, "units left after {went} of 60");
    Ok(())
}

pub(super) async fn g67(lab: Lab) -> Case {
    let (k, quota) = (key("k")?, Quota::per(20, Duration::from_millis(200)).algorithm(lab.algorithm));
    let quota = if matches!(lab.algorithm, Algorithm::Gcra | Algorithm::TokenBucket) { quota.burst(10) } else { quota };
    let (began, lasts) = (Instant::now(), if lab.is_virtual() { Duration::from_secs(2) } else { 700 * MS });
    let mut went: Vec<Duration> = Vec::new();
    while began.elapsed() < lasts {
        if lab.take(&k, &quota, 1).await?.allowed {
            went.push(began.elapsed());
        } else {
            sleep(2 * MS).await;
        }
    }
    // When a call went is known to be before it was told; with a clock on the wall, by some time nobody knows.
    let slack = if lab.is_virtual() { Duration::ZERO } else { 50 * MS };
    let period = Duration::from_millis(200);
    for (at, from) in went.iter().enumerate() {
        for (more, to) in went[at..].iter().enumerate() {
            let (count, time) = (more + 1, *to - *from + slack);
            let most = match lab.algorithm {
                Algorithm::Gcra | Algorithm::TokenBucket => 10 + (time.as_micros() * 20 / period.as_micros()) as usize,
                // One whole limit for each period that the time touches.
                _ => 20 * (2 + (time.as_micros() / period.as_micros()) as usize),
            };
            ensure!(count <= most, "{count} went in {time:?}, where at most {most} may");
            if lab.algorithm == Algorithm::SlidingLog && lab.is_virtual() {
                ensure!(time >= period || count <= 20, "{count} went in {time:?}");
            }
        }
    }
    if lab.is_virtual() {
        // Two seconds are ten periods; counted by the clock, the first and the last may be cut.
        ensure!(went.len() >= 180, "{} of 200 went", went.len());
    }
    Ok(())
}

pub(super) async fn g68(lab: Lab) -> Case {
    let (k, quota) = (key("k")?, Quota::per(2, Duration::from_millis(300)).algorithm(lab.algorithm));
    for round in 0..3 {
        let mut spent = 0;
        let refused = loop {
            let decision = lab.take(&k, &quota, 1).await?;
            if !decision.allowed {
                break decision;
            }
            spent += 1;
            ensure!(spent <= 8, "{spent} of 2 went");
        };
        let Some(wait) = refused.retry_after else { return Err("a refusal that does not say when to come back".into()) };
        ensure!(wait > Duration::ZERO && wait <= Duration::from_millis(600), "come back in {wait:?}, in round {round}");
        ensure!(refused.reset_after >= wait, "full {:?} after the refusal, but not until {wait:?} to be had", refused.reset_after);
        if lab.is_virtual() {
            // A paused clock goes in whole milliseconds; so does a caller.
            sleep(wait.saturating_sub(2 * MS)).await;
            ensure!(!lab.take(&k, &quota, 1).await?.allowed, "allowed before it said so");
            sleep(3 * MS).await;
        } else {
            sleep(wait + 20 * MS).await;
        }
        ensure!(lab.take(&k, &quota, 1).await?.allowed, "refused when it had said to come back");
        let standing = lab.store.peek(&k, &quota).await.map_err(told)?;
        ensure!(standing.reset_after > Duration::ZERO, "full, with a unit taken: {standing:?}");
        sleep(standing.reset_after + if lab.is_virtual() { MS } else { 20 * MS }).await;
        let standing = lab.store.peek(&k, &quota).await.map_err(told)?;
        ensure_eq!(
            (standing.remaining, standing.reset_after),
            (2, Duration::ZERO),
            "units left, and time until full, when it said to be full"
        );
    }
    Ok(())
}

pub(super) async fn g69(lab: Lab) -> Case {
    let (k, quota) = (key("k")?, lab.yearly(5));
    for _ in 0..3 {
        let looked = lab.take(&k, &quota, 0).await?;
        ensure_eq!((looked.allowed, looked.limit, looked.remaining), (true, 5, 5), "a cost of 0 at first");
        ensure_eq!((looked.retry_after, looked.reset_after), (None, Duration::ZERO), "when to come back, when nothing was taken");
    }
    let too_much = lab.store.acquire(&k, &quota, 6).await.map_err(|error| error.kind());
    ensure_eq!(too_much.map(|_| ()), Err(StoreErrorKind::TooLarge), "a cost of 6 where there are 5");
    let impossible = lab.store.acquire(&k, &lab.yearly(0), 0).await.map_err(|error| error.kind());
    ensure_eq!(impossible.map(|_| ()), Err(StoreErrorKind::InvalidConfig), "a limit of 0");
    lab.spend(&k, &quota, 5).await?;
    let looked = lab.take(&k, &quota, 0).await?;
    ensure_eq!((looked.allowed, looked.remaining), (false, 0), "a cost of 0 at last");
    ensure!(looked.retry_after.is_some(), "a look does not say when there is one");
    lab.store.refund(&k, &quota, 2).await.map_err(told)?;
    ensure_eq!(lab.remaining(&k, &quota).await?, 2, "after 2 were given back");
    lab.store.refund(&k, &quota, 100).await.map_err(told)?;
    ensure_eq!(lab.remaining(&k, &quota).await?, 5, "after 100 more were given back");
    lab.spend(&k, &quota, 5).await?;
    ensure!(!lab.take(&k, &quota, 1).await?.allowed, "what was given back and never taken is there");
    lab.store.refund(&key("unheard of")?, &quota, 7).await.map_err(told)?;
    ensure_eq!(lab.remaining(&key("unheard of")?, &quota).await?, 5, "a refund of what was never taken");
    Ok(())
}

pub(super) async fn g71(lab: Lab) -> Case {
    let (k, quota) = (key("k")?, lab.yearly(10));
    lab.spend(&k, &quota, 7).await?;
    for _ in 0..20 {
        let refused = lab.take(&k, &quota, 4).await?;
        ensure_eq!((refused.allowed, refused.remaining), (false, 3), "4 where 3 are left");
    }
    lab.spend(&k, &quota, 3).await
}

pub(super) async fn g71_many(lab: Lab) -> Case {
    let (a, b, quota) = (key("a")?, key("b")?, lab.yearly(10));
    let (of_a, of_b) = (|cost| Request::new(&a, &quota, cost), |cost| Request::new(&b, &quota, cost));
    let many = |requests: Vec<Request<'_>>| {
        let (store, requests) = (lab.store.clone(), requests.into_iter().map(|r| (r.key.clone(), *r.quota, r.cost)).collect::<Vec<_>>());
        async move {
            let requests: Vec<_> = requests.iter().map(|(key, quota, cost)| Request::new(key, quota, *cost)).collect();
            let decisions = store.acquire_many(&requests).await.map_err(told)?;
            Ok::<_, String>(decisions.iter().map(|decision| decision.allowed).collect::<Vec<_>>())
        }
    };
    ensure_eq!(many(vec![]).await?, Vec::<bool>::new(), "no requests");
    ensure_eq!(many(vec![of_a(4), of_b(6)]).await?, [true, true], "4 and 6 of 10");
    ensure_eq!(many(vec![of_a(6), of_b(5)]).await?, [true, false], "6 of 6 and 5 of 4");
    ensure_eq!(many(vec![of_a(7), of_b(4)]).await?, [false, true], "7 of 6 and 4 of 4");
    ensure_eq!((lab.remaining(&a, &quota).await?, lab.remaining(&b, &quota).await?), (6, 4), "units left after two refusals");
    ensure_eq!(many(vec![of_a(4), of_a(3)]).await?.iter().all(|went| *went), false, "4 and 3 of 6, of one key");
    ensure_eq!(lab.remaining(&a, &quota).await?, 6, "units left after that");
    ensure_eq!(many(vec![of_a(3), of_a(3), of_b(4)]).await?, [true, true, true], "3 and 3 of 6, and 4 of 4");
    ensure_eq!((lab.remaining(&a, &quota).await?, lab.remaining(&b, &quota).await?), (0, 0), "units left in the end");
    let too_much = lab.store.acquire_many(&[of_a(0), of_b(11)]).await.map_err(|error| error.kind());
    ensure_eq!(too_much.map(|_| ()), Err(StoreErrorKind::TooLarge), "11 where there are never more than 10");
    Ok(())
}

pub(super) async fn g72(lab: Lab) -> Case {
    let (k, quota) = (key("k")?, lab.yearly(10));
    lab.spend(&k, &quota, 10).await?;
    let more = lab.remaining(&k, &lab.yearly(20)).await?;
    ensure!(more <= 10, "{more} of 20 are left after 10 went");
    ensure_eq!(lab.remaining(&k, &lab.yearly(5)).await?, 0, "units left of 5 after 10 went");
    // Another period, too. Windows by the clock are others then, and what was used in the one that is not over counts in them.
    let other = key("other")?;
    let (fast, slow) = (Quota::per_day(10).algorithm(lab.algorithm), lab.yearly(10));
    lab.spend(&other, &fast, 10).await?;
    let left = lab.remaining(&other, &slow).await?;
    ensure!(left <= 1, "{left} of 10 a year are left after 10 of 10 a day went");
    Ok(())
}

/// What a refusal had to put right, so that it suits another quota, is put right once, and not anew by each refusal, never to end.
pub(super) async fn g72_mended(lab: Lab) -> Case {
    let (alone, together, free) = (key("alone")?, key("together")?, key("free")?);
    let period = Duration::from_millis(300);
    let (before, after) = (Quota::per_hour(10).algorithm(lab.algorithm), Quota::per(2, period).algorithm(lab.algorithm));
    lab.spend(&alone, &before, 10).await?;
    lab.spend(&together, &before, 10).await?;
    for _ in 0..2 {
        // Nobody cares whether they go: who does a whole period has passed for may.
        let _ = lab.take(&alone, &after, 1).await?;
        let both = [Request::new(&free, &after, 0), Request::new(&together, &after, 1)];
        let _ = lab.store.acquire_many(&both).await.map_err(told)?;
        sleep(2 * period + 50 * MS).await;
    }
    ensure!(
        lab.take(&alone, &after, 1).await?.allowed,
        "one of 2 in 300 ms is still refused after two of them, for what went by another quota"
    );
    let both = [Request::new(&free, &after, 0), Request::new(&together, &after, 1)];
    let went = lab.store.acquire_many(&both).await.map_err(told)?.iter().all(|decision| decision.allowed);
    ensure!(went, "the same, of one of several requests");
    Ok(())
}

pub(super) async fn g73(lab: Lab) -> Case {
    let k = key("once a year")?;
    lab.spend(&k, &lab.yearly(1), 1).await?;
    let wait = lab.take(&k, &lab.yearly(1), 1).await?.retry_after;
    ensure!(wait > Some(Duration::ZERO) && wait <= Some(2 * YEAR), "the next one of one a year in {wait:?}");
    if lab.algorithm == Algorithm::SlidingLog {
        return Ok(()); // it does not take so many
    }
    let (k, fast) = (key("a million a second")?, Quota::per_second(1_000_000).algorithm(lab.algorithm));
    lab.spend(&k, &fast, 1_000_000).await?;
    let (k, huge) = (key("four billion")?, lab.yearly(u32::MAX));
    lab.spend(&k, &huge, u32::MAX - 200_000_000).await?;
    let refused = lab.take(&k, &huge, u32::MAX).await?;
    ensure!(!refused.allowed, "eight billion of four went");
    ensure!(refused.remaining.abs_diff(200_000_000) <= 100_000, "{} of 200,000,000 are left", refused.remaining);
    Ok(())
}

pub(super) async fn g74(lab: Lab) -> Case {
    let (k, quota) = (key("k")?, lab.yearly(3));
    ensure!(!lab.store.reset(&k).await.map_err(told)?, "a reset of what nobody has used says there was something");
    let _ = lab.store.peek(&k, &quota).await.map_err(told)?;
    ensure!(!lab.store.reset(&k).await.map_err(told)?, "a peek has begun something");
    lab.spend(&k, &quota, 3).await?;
    ensure!(lab.store.reset(&k).await.map_err(told)?, "a reset says there was nothing");
    ensure_eq!(lab.remaining(&k, &quota).await?, 3, "units left after a reset");
    lab.spend(&k, &quota, 3).await?;
    ensure!(!lab.take(&k, &quota, 1).await?.allowed, "after a reset, 4 of 3 went");
    Ok(())
}

pub(super) async fn g75(lab: Lab) -> Case {
    let k = key("k")?;
    lab.spend(&k, &lab.yearly(2), 2).await?;
    let other = if lab.algorithm == Algorithm::FixedWindow { Algorithm::Gcra } else { Algorithm::FixedWindow };
    let quota = lab.yearly(2).algorithm(other);
    if lab.store.peek(&k, &quota).await.is_ok_and(|standing| standing.remaining != 2) {
        return Err(format!("what was spent by {} counts for {other}", lab.algorithm));
    }
    Ok(())
}

pub(super) async fn h104(lab: Lab) -> Case {
    let quota = lab.yearly(1);
    let long = "x".repeat(1 << 20);
    let hostile = ["a", "A", "a b", "a%20b", "{a}", "}{", "a:b", "*", "a\r\nb", "a\0b", "é", "e\u{301}", "'; DROP TABLE x; --", &long];
    for raw in hostile {
        lab.spend(&key(raw)?, &quota, 1).await?;
    }
    for raw in hostile {
        let again = lab.take(&key(raw)?, &quota, 1).await?;
        ensure!(!again.allowed, "{:?} went twice", raw.chars().take(20).collect::<String>());
    }
    lab.spend(&Key::of_parts(["a:b", "c"]).map_err(told)?, &quota, 1).await?;
    lab.spend(&Key::of_parts(["a", "b:c"]).map_err(told)?, &quota, 1).await
}

pub(super) async fn h90(lab: Lab) -> Case {
    let (k, quota) = (key("k")?, lab.yearly(1));
    let (once, twice) = tokio::join!(lab.store.close(), lab.store.close());
    once.and(twice).map_err(told)?;
    lab.store.close().await.map_err(told)?;
    let closed = Err(StoreErrorKind::Closed);
    ensure_eq!(lab.store.acquire(&k, &quota, 1).await.map(|_| ()).map_err(|error| error.kind()), closed, "acquire after close");
    ensure_eq!(lab.store.refund(&k, &quota, 1).await.map_err(|error| error.kind()), closed, "refund after close");
    ensure_eq!(lab.store.reset(&k).await.map(|_| ()).map_err(|error| error.kind()), closed, "reset after close");
    ensure_eq!(lab.store.probe().await.map_err(|error| error.kind()), closed, "probe after close");
    Ok(())
}

pub(super) async fn h92(lab: Lab) -> Case {
    let (k, quota) = (key("k")?, lab.yearly(1_000));
    let mut told_so = 0;
    for polls in 0..64 {
        let mut step = Box::pin(lab.store.acquire(&k, &quota, 1));
        let mut left = polls % 4;
        let ended = std::future::poll_fn(|cx| match step.as_mut().poll(cx) {
            std::task::Poll::Ready(ended) => std::task::Poll::Ready(Some(ended)),
            std::task::Poll::Pending if left == 0 => std::task::Poll::Ready(None),
            std::task::Poll::Pending => {
                left -= 1;
                std::task::Poll::Pending
            }
        })
        .await;
        if let Some(ended) = ended {
            ensure!(ended.map_err(told)?.allowed, "refused with nearly nothing taken");
            told_so += 1;
        }
    }
    // Whether those that were dropped have gone, nobody knows; nothing hangs, and nothing else has gone.
    let left = lab.remaining(&k, &quota).await?;
    ensure!((1_000 - 64..=1_000 - told_so).contains(&left), "{left} of 1,000 are left after 64 calls, of which {told_so} were told to go");
    Ok(())
}

pub(super) async fn h95(lab: Lab) -> Case {
    lab.store.probe().await.map_err(told)?;
    lab.store.probe().await.map_err(told)?;
    lab.spend(&key("k")?, &lab.yearly(1), 1).await
}
