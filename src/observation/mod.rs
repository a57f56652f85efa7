//! Observers: what happened?

mod event;
mod histogram;
mod monitor;

pub use event::*;
pub use monitor::*;
