//! Between the stores of one process.

use super::{Backplane, Heard, HeardFuture, Notice, Subscription};
use crate::store::StoreFuture;
use std::fmt;
use tokio::sync::broadcast::{Receiver, Sender, channel, error::RecvError};

/// As many words as may wait for one listener; beyond that it drops everything instead, which is as good.
pub(in crate::store) const QUEUE: usize = 1_024;

/// A [`Backplane`] between the stores of one process, and for tests. Clones are the same one.
#[derive(Clone)]
pub struct LocalBackplane {
    words: Sender<Heard>,
}

impl LocalBackplane {
    /// One that nobody listens to yet.
    #[must_use]
    pub fn new() -> Self {
        Self { words: channel(QUEUE).0 }
    }
}

impl Default for LocalBackplane {
    fn default() -> Self {
        Self::new()
    }
}

impl Backplane for LocalBackplane {
    /// Never waits, never fails.
    fn publish<'a>(&'a self, notice: &'a Notice) -> StoreFuture<'a, ()> {
        let _ = self.words.send(Heard::Notice(notice.clone())); // nobody listens: then nobody has anything near
        Box::pin(std::future::ready(Ok(())))
    }

    fn subscribe(&self) -> Box<dyn Subscription> {
        // It may outlive the backplane, and then hears nothing any more, as somebody does whom nobody talks to.
        Box::new(Listener { fresh: true, inbox: Inbox(self.words.subscribe()) })
    }
}

impl fmt::Debug for LocalBackplane {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LocalBackplane").field("listeners", &self.words.receiver_count()).finish()
    }
}

struct Listener {
    fresh: bool,
    inbox: Inbox,
}

impl Subscription for Listener {
    fn next(&mut self) -> HeardFuture<'_> {
        Box::pin(async move { if std::mem::take(&mut self.fresh) { Some(Heard::Gap) } else { self.inbox.next().await } })
    }
}

/// Words that wait to be taken in.
pub(in crate::store) struct Inbox(pub(in crate::store) Receiver<Heard>);

impl Inbox {
    /// Cancel safe, as the channel is.
    pub(in crate::store) async fn next(&mut self) -> Option<Heard> {
        match self.0.recv().await {
            Ok(heard) => Some(heard),
            Err(RecvError::Lagged(_)) => Some(Heard::Gap),
            Err(RecvError::Closed) => None,
        }
    }
}
