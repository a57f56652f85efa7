//! What the settings of every queue have in common.

use super::Section;
use crate::admission::CoDel;
use crate::pipeline::config::tree::Tree;

const SHED: &[&str] = &["target", "interval"];

/// When a queue sheds: `true` is the usual.
pub(super) fn shed(section: &mut Section<'_>) -> Option<CoDel> {
    if let Some((_, value)) = section.entries.iter_mut().find(|(name, _)| name == "shed")
        && (*value == Tree::Bool(true) || *value == Tree::Text("true".into()))
    {
        *value = Tree::table();
    }
    section.section("shed", SHED, |section| {
        let usual = CoDel::default();
        let codel = CoDel::target(section.duration("target").unwrap_or(usual.target));
        Some(codel.interval(section.duration("interval").unwrap_or(usual.interval)))
    })
}
