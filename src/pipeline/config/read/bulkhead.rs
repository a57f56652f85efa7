//! `[bulkhead]`.

use super::Section;
use super::queue::shed;
use crate::admission::{Bulkhead, BulkheadConfig};

pub(super) const FIELDS: &[&str] = &["limit", "queue", "max_wait", "ageing", "shed"];

pub(super) fn read(section: &mut Section<'_>, partial: bool) -> Option<BulkheadConfig> {
    let before = section.faults.len();
    let limit = section.count_usize("limit");
    if limit.is_none() && section.faults.len() == before && !partial {
        section.fault("limit", "is missing; say how many calls may run at once, `limit = 50`".into());
    }
    let mut config = Bulkhead::new(limit.unwrap_or(1));
    if let Some(calls) = section.count_usize("queue") {
        config = config.queue(calls);
    }
    if let Some(wait) = section.duration("max_wait") {
        config = config.max_wait(wait);
    }
    if let Some(step) = section.duration("ageing") {
        config = config.ageing(step);
    }
    if let Some(when) = shed(section) {
        config = config.shed(when);
    }
    if !partial && limit.is_some() {
        section.judge(config.faults());
    }
    (limit.is_some() || partial).then_some(config)
}
