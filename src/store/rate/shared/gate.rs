//! The limit as a gate of a pipeline.

use super::{Shared, SharedLimit};
use crate::admission::{Gate, GateFuture, Pass};
use crate::call::Call;
use crate::outcome::{Outcome, Rejected, RejectedKind};
use crate::store::Key;
use crate::store::rate::Source;
use std::sync::Arc;

/// Each attempt takes the [cost](Call::cost_units) of its call, of the [key](Call::key) of its call; calls without one share a key of their own.
/// What an attempt took that was [not made](Outcome::NotAttempted) is given back, by a task, if there is a runtime to run it. What one took that was
/// made stays taken, however it went; and so does what was dropped, since nobody knows: give up and try again must not be a way around a limit.
impl Gate for SharedLimit {
    fn admit<'a>(&'a self, call: Call<'a>) -> GateFuture<'a> {
        Box::pin(async move {
            let shared = &self.shared;
            let key = match call.key() {
                Some(key) if !key.is_empty() => Key::new(key),
                // No caller has a key without text.
                _ => Ok(Key::from_text(String::new())),
            };
            let key = key.map_err(|_| Rejected::new(RejectedKind::Custom("limit_unavailable")))?;
            let cost = call.cost_units();
            let decision = shared.acquire(&key, cost, call.attempt().deadline()).await?;
            let counted = cost > 0 && decision.source != Source::DenyCache && decision.retry_after.is_none();
            Ok(Box::new(Admitted { taken: counted.then(|| (Arc::clone(shared), key, cost, decision.source)) }) as Box<dyn Pass>)
        })
    }

    fn name(&self) -> &str {
        &self.shared.name
    }
}

/// What an attempt has taken.
struct Admitted {
    taken: Option<(Arc<Shared>, Key, u32, Source)>,
}

impl Pass for Admitted {
    fn settle(self: Box<Self>, outcome: Outcome) {
        let Some((shared, key, cost, source)) = self.taken else { return };
        if outcome != Outcome::NotAttempted {
            return;
        }
        if source == Source::LocalFallback {
            shared.give_back_own(&key, cost);
        } else if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let _ = shared.refund(&key, cost).await; // else it comes back with time
            });
        }
    }
}
