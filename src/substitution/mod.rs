//! Substitutes: what to answer instead?

mod fallback;

pub use fallback::*;
