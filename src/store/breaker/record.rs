//! What is kept under the name of a shared circuit.

use crate::store::{Entry, Ttl};
use bytes::Bytes;
use std::time::Duration;

/// In the key and not in the value: releases that write differently leave each other alone.
pub(super) const FORMAT: &str = "breaker1";
/// How long it is remembered that the open time is over, and nobody has probed yet; and that the circuit was closed.
pub(super) const KEEP: Duration = Duration::from_secs(600);
const OPEN: u8 = 1;
const CLOSED: u8 = 2;

/// The last thing that was said of a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Record {
    /// Grows with each thing said.
    pub(super) version: u64,
    pub(super) said: Said,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Said {
    /// Open for so long still, by the store's clock; zero when somebody is to probe.
    Open {
        left: Duration,
        failed_rounds: u32,
    },
    Closed,
}

impl Record {
    /// The bytes, and how long they are good for. How long it is still open is told by that alone, so that no clock but the store's decides it.
    pub(super) fn encode(&self) -> (Bytes, Duration) {
        let (kind, failed_rounds, ttl) = match self.said {
            Said::Open { left, failed_rounds } => (OPEN, failed_rounds, left.saturating_add(KEEP)),
            Said::Closed => (CLOSED, 0, KEEP),
        };
        let mut bytes = Vec::with_capacity(13);
        bytes.push(kind);
        bytes.extend_from_slice(&self.version.to_le_bytes());
        bytes.extend_from_slice(&failed_rounds.to_le_bytes());
        (bytes.into(), ttl)
    }

    /// `None` for what nobody of ours has written.
    pub(super) fn decode(entry: &Entry) -> Option<Self> {
        let Ttl::After(left) = entry.ttl() else { return None };
        let (kind, rest) = entry.value.split_first()?;
        let (version, rest) = rest.split_first_chunk()?;
        let failed_rounds = u32::from_le_bytes(rest.try_into().ok()?);
        let said = match *kind {
            OPEN => Said::Open { left: left.saturating_sub(KEEP), failed_rounds },
            CLOSED => Said::Closed,
            _ => return None,
        };
        Some(Self { version: u64::from_le_bytes(*version), said })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Timestamp;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_said_is_heard(version: u64, millis in 0..u64::from(u32::MAX), failed_rounds: u32, open: bool) {
            let said = if open { Said::Open { left: Duration::from_millis(millis), failed_rounds } } else { Said::Closed };
            let record = Record { version, said };
            let (bytes, ttl) = record.encode();
            prop_assert_eq!(Record::decode(&Entry::new(bytes, Ttl::After(ttl), Timestamp::now())), Some(record));
        }

        #[test]
        fn h99_no_bytes_make_it_panic(bytes: Vec<u8>, millis: u64, ends: bool) {
            let ttl = if ends { Ttl::After(Duration::from_millis(millis)) } else { Ttl::Never };
            let _ = Record::decode(&Entry::new(bytes.into(), ttl, Timestamp::now()));
        }
    }
}
