//! Substitutes: what to answer instead?

mod fallback;

pub use fallback::Fallback;
pub(crate) use fallback::{Nothing, OrElse, Substitute, Substituted};
