//! What Redis says, as errors of stores: typed, and without a word of its own text, which may name keys, users and addresses.

use super::NAME;
use crate::store::{StoreError, StoreErrorKind as Kind};
use redis::{ErrorKind, RedisError};

/// What an operation does to the server: the same broken connection means different things.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// It reads: nobody minds if it happened.
    Read,
    /// It writes: once it was sent, it may have happened.
    Write,
}

/// The error for `error`. `detail` in it is Redis's own code word at most.
pub(super) fn translate(effect: Effect, error: RedisError) -> StoreError {
    match error.kind() {
        ErrorKind::Io if error.is_timeout() => lost(effect, Kind::Timeout, "no answer in time"),
        // Nobody listens there, so nothing was sent.
        ErrorKind::Io if error.is_connection_refusal() => say(Kind::Unavailable, "connection refused"),
        ErrorKind::Io => lost(effect, Kind::Unavailable, "the connection broke"),
        ErrorKind::AuthenticationFailed => say(Kind::Denied, "the password or the user is wrong"),
        ErrorKind::InvalidClientConfig => say(Kind::InvalidConfig, "an address that cannot work, or a feature that is off"),
        ErrorKind::Parse => lost(effect, Kind::Protocol, "an answer that is not in Redis's language"),
        ErrorKind::UnexpectedReturnType => say(Kind::Protocol, "an answer of another type"),
        ErrorKind::Client => say(Kind::Unavailable, "the connection could not be made"),
        ErrorKind::MasterNameNotFoundBySentinel | ErrorKind::NoValidReplicasFoundBySentinel | ErrorKind::ClusterConnectionNotFound => {
            say(Kind::Unavailable, "no server for that")
        }
        ErrorKind::Server(_) | ErrorKind::Extension => match error.into_server_errors() {
            Some(errors) => errors.first().map_or_else(|| say(Kind::Protocol, "an error without a word"), |(_, error)| said(error)),
            None => say(Kind::Protocol, "an error without a code"),
        },
        _ => say(Kind::Other, "the client failed"),
    }
}

/// The time for the whole of it is over.
pub(super) fn late(effect: Effect) -> StoreError {
    lost(effect, Kind::Timeout, "no answer in time")
}

/// A connection lost on the way: what was to be written may have been.
fn lost(effect: Effect, kind: Kind, detail: &'static str) -> StoreError {
    say(if effect == Effect::Write { Kind::OutcomeUnknown } else { kind }, detail)
}

fn say(kind: Kind, detail: &'static str) -> StoreError {
    StoreError::new(kind).in_store(NAME).with_detail(detail)
}

/// The server answered, with an error: whatever it was, it has not been done.
fn said(error: &redis::ServerError) -> StoreError {
    // An error of a command inside a script arrives with a text of its own, and its code in front.
    let (kind, retriable, detail) = match error.code() {
        "READONLY" => (Kind::ReadOnly, true, "READONLY"), // a replica now; the next connection finds the master
        "LOADING" => (Kind::Unavailable, true, "LOADING"),
        "MASTERDOWN" => (Kind::Unavailable, true, "MASTERDOWN"),
        "CLUSTERDOWN" => (Kind::Unavailable, true, "CLUSTERDOWN"),
        "TRYAGAIN" => (Kind::Unavailable, true, "TRYAGAIN"),
        "MOVED" => (Kind::Unavailable, true, "MOVED"),
        "ASK" => (Kind::Unavailable, true, "ASK"),
        "NOREPLICAS" => (Kind::Unavailable, true, "NOREPLICAS"),
        "BUSY" => (Kind::Busy, true, "BUSY"),
        "OOM" => (Kind::Full, false, "OOM"),
        "MISCONF" => (Kind::ReadOnly, false, "MISCONF"),
        "WRONGTYPE" => (Kind::Protocol, false, "WRONGTYPE"),
        "NOAUTH" => (Kind::Denied, false, "NOAUTH"),
        "WRONGPASS" => (Kind::Denied, false, "WRONGPASS"),
        "NOPERM" => (Kind::Denied, false, "NOPERM"),
        "NOSCRIPT" => (Kind::Unavailable, true, "NOSCRIPT"), // flushed between the load and the call
        "CROSSSLOT" => (Kind::Unsupported, false, "CROSSSLOT"),
        "EXECABORT" => (Kind::Protocol, false, "EXECABORT"),
        "ERR" if error.details().is_some_and(|text| text.starts_with("max number of clients")) => (Kind::Busy, true, "too many clients"),
        "ERR" => (Kind::Protocol, false, "ERR"),
        _ => (Kind::Protocol, false, "an error of a kind unknown here"),
    };
    say(kind, detail).with_retriable(retriable)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn of(code: &str, effect: Effect) -> StoreError {
        let text = Some("for key 'hunter2' of user 'alice' at 10.0.0.1".to_owned());
        translate(effect, redis::make_extension_error(code.to_owned(), text))
    }

    #[test]
    fn h82_every_word_of_the_server_has_a_kind_and_says_whether_to_come_back() {
        for (code, kind, retriable) in [
            ("READONLY", Kind::ReadOnly, true),
            ("LOADING", Kind::Unavailable, true),
            ("BUSY", Kind::Busy, true),
            ("OOM", Kind::Full, false),
            ("WRONGTYPE", Kind::Protocol, false),
            ("NOAUTH", Kind::Denied, false),
            ("NOPERM", Kind::Denied, false),
            ("SOMETHING", Kind::Protocol, false),
        ] {
            for effect in [Effect::Read, Effect::Write] {
                let error = of(code, effect);
                assert_eq!((error.kind(), error.is_retriable()), (kind, retriable), "{code}");
            }
        }
    }

    #[test]
    fn h86_nothing_of_the_servers_text_is_kept() {
        for code in ["READONLY", "NOPERM", "ERR", "hunter2"] {
            let error = of(code, Effect::Read);
            let text = format!("{error} {error:?} {:?}", std::error::Error::source(&error).map(ToString::to_string));
            assert!(!["hunter2", "alice", "10.0.0.1"].iter().any(|secret| text.contains(secret)), "{text}");
        }
    }

    #[test]
    fn h98_a_write_that_was_cut_off_is_of_unknown_outcome() {
        let broken = || RedisError::from(std::io::Error::from(std::io::ErrorKind::BrokenPipe));
        assert_eq!(translate(Effect::Read, broken()).kind(), Kind::Unavailable);
        assert_eq!(translate(Effect::Write, broken()).kind(), Kind::OutcomeUnknown);
        assert!(!translate(Effect::Write, broken()).is_retriable());
        let refused = || RedisError::from(std::io::Error::from(std::io::ErrorKind::ConnectionRefused));
        assert_eq!(translate(Effect::Write, refused()).kind(), Kind::Unavailable, "nothing was sent");
    }
}
