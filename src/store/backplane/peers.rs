//! One who has something near, among others who have: says what it changed, and hears what they did.

use super::{Backplane, Changed, Heard, Notice};
use crate::store::{Key, StoreError};
use crate::sync::atomic::{AtomicBool, Ordering};
use crate::sync::{Counter, Mutex, lock};
use std::collections::HashSet;
use std::fmt;
use std::pin::Pin;
use std::sync::{Arc, Weak};
use std::time::Duration;
use tokio::sync::Notify;
use tokio::task::AbortHandle;
use tokio::time::MissedTickBehavior;

/// Keys in one message: as many as keep it small.
const BATCH: usize = 512;
/// Beyond so many keys that could not be said, it is shorter to say that all may have changed.
const MOST_UNSAID: usize = 4_096;
/// How often it is tried to say what could not be said.
const AGAIN: Duration = Duration::from_secs(1);

/// Who drops what others have changed.
pub(crate) trait Ears: Send + Sync + 'static {
    /// Somebody else has changed something, or something was missed. What cannot be dropped now must not be read until it is.
    fn hear(&self, heard: Heard) -> Pin<Box<dyn Future<Output = ()> + Send + '_>>;
}

/// Dropped, it listens no longer.
pub(crate) struct Peers {
    voice: Arc<Voice>,
    ear: Mutex<Ear>,
}

#[derive(Default)]
struct Ear {
    task: Option<AbortHandle>,
    stopped: bool,
}

struct Voice {
    backplane: Box<dyn Backplane>,
    sender: u64,
    unsaid: Mutex<Unsaid>,
    /// There is something that was not said.
    left: Notify,
    /// The backplane is no more.
    ended: AtomicBool,
    notices: Counter,
    gaps: Counter,
    errors: Counter,
}

#[derive(Default)]
struct Unsaid {
    keys: HashSet<Key>,
    all: bool,
}

impl Unsaid {
    fn add(&mut self, changed: Changed) {
        match changed {
            _ if self.all => {}
            Changed::Keys(keys) if self.keys.len() + keys.len() <= MOST_UNSAID => self.keys.extend(keys),
            Changed::Keys(_) | Changed::All => *self = Self { keys: HashSet::new(), all: true },
        }
    }

    fn take(&mut self) -> Option<Changed> {
        let Self { keys, all } = std::mem::take(self);
        if all { Some(Changed::All) } else { (!keys.is_empty()).then(|| Changed::Keys(keys.into_iter().collect())) }
    }

    fn is_empty(&self) -> bool {
        self.keys.is_empty() && !self.all
    }
}

/// What is being said. Dropped before its end, the rest is said later.
struct Saying<'a> {
    voice: &'a Voice,
    changed: Changed,
    said: usize,
    done: bool,
}

impl Drop for Saying<'_> {
    fn drop(&mut self) {
        if !self.done {
            let left = match std::mem::replace(&mut self.changed, Changed::All) {
                Changed::Keys(mut keys) => Changed::Keys(keys.split_off(self.said)),
                all => all,
            };
            self.voice.keep(left);
        }
    }
}

impl Voice {
    fn keep(&self, changed: Changed) {
        lock(&self.unsaid).add(changed);
        self.left.notify_one();
    }

    fn has_unsaid(&self) -> bool {
        !lock(&self.unsaid).is_empty()
    }

    async fn say(&self, changed: Changed) -> Result<(), StoreError> {
        let mut saying = Saying { voice: self, changed, said: 0, done: false };
        while !saying.done {
            let (some, done) = match &saying.changed {
                Changed::Keys(keys) => {
                    let some: Vec<Key> = keys.iter().skip(saying.said).take(BATCH).cloned().collect();
                    let done = saying.said + some.len() == keys.len();
                    (Changed::Keys(some), done)
                }
                Changed::All => (Changed::All, true),
            };
            let notice = Notice::new(self.sender, some);
            self.backplane.publish(&notice).await.inspect_err(|_| self.errors.add(1))?;
            saying.said += BATCH;
            saying.done = done;
        }
        Ok(())
    }

    async fn say_the_rest(&self) {
        let left = lock(&self.unsaid).take();
        if let Some(left) = left {
            let _ = self.say(left).await; // kept again, and counted
        }
    }

    async fn listen(&self, ears: Weak<dyn Ears>) {
        let mut subscription = self.backplane.subscribe();
        let mut again = tokio::time::interval(AGAIN);
        again.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let heard = tokio::select! {
                heard = subscription.next() => heard,
                () = self.left.notified() => continue,
                _ = again.tick(), if self.has_unsaid() => {
                    self.say_the_rest().await;
                    continue;
                }
            };
            let Some(heard) = heard else { break };
            let counter = match &heard {
                Heard::Notice(notice) if notice.sender == self.sender => continue,
                Heard::Notice(_) => &self.notices,
                Heard::Gap => &self.gaps,
            };
            let Some(ears) = ears.upgrade() else { return };
            ears.hear(heard).await;
            counter.add(1); // heard is what has been acted upon
        }
        self.ended.store(true, Ordering::Release);
    }
}

impl Peers {
    pub(crate) fn new(backplane: impl Backplane) -> Self {
        let voice = Voice {
            backplane: Box::new(backplane),
            sender: rand::random(),
            unsaid: Mutex::default(),
            left: Notify::new(),
            ended: AtomicBool::new(false),
            notices: Counter::default(),
            gaps: Counter::default(),
            errors: Counter::default(),
        };
        Self { voice: Arc::new(voice), ear: Mutex::default() }
    }

    /// Listens from now on, if it does not yet, or the runtime it did so in is gone. Outside a runtime it does nothing.
    pub(crate) fn listen(&self, ears: impl FnOnce() -> Weak<dyn Ears>) {
        let mut ear = lock(&self.ear);
        let listening = ear.task.as_ref().is_some_and(|task| !task.is_finished());
        if listening || ear.stopped || self.voice.ended.load(Ordering::Acquire) {
            return;
        }
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let (voice, ears) = (Arc::clone(&self.voice), ears());
            ear.task = Some(runtime.spawn(async move { voice.listen(ears).await }).abort_handle());
        }
    }

    /// Says to all others what was changed. What cannot be said now is kept, and said later; so it is when this is dropped half-way.
    pub(crate) async fn tell(&self, changed: Changed) {
        let _ = self.voice.say(changed).await; // kept, and counted
    }

    /// The same, by whoever listens, soon.
    pub(crate) fn tell_later(&self, changed: Changed) {
        self.voice.keep(changed);
    }

    /// Listens no longer, and not again.
    pub(crate) fn stop(&self) {
        let task = {
            let mut ear = lock(&self.ear);
            ear.stopped = true;
            ear.task.take()
        };
        if let Some(task) = task {
            task.abort();
        }
    }

    /// How many notices of others and how many gaps were heard.
    pub(crate) fn heard(&self) -> (u64, u64) {
        (self.voice.notices.get(), self.voice.gaps.get())
    }

    /// How often something could not be said.
    pub(crate) fn errors(&self) -> u64 {
        self.voice.errors.get()
    }

    pub(crate) fn reset(&self) {
        [&self.voice.notices, &self.voice.gaps, &self.voice.errors].iter().for_each(|counter| counter.reset());
    }
}

impl Drop for Peers {
    fn drop(&mut self) {
        self.stop();
    }
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (notices, gaps) = self.heard();
        f.debug_struct("Peers").field("notices", &notices).field("gaps", &gaps).field("errors", &self.errors()).finish_non_exhaustive()
    }
}
