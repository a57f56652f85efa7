//! The policies as files have them, one file each: how its section is read, and how it is written.

pub(super) mod adaptive_limit;
pub(super) mod per_key;
pub(super) mod throttle;
