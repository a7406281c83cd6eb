//! `/metrics`: what was counted ([`crate::counters`]), and what is looked at now.
//!
//! [`pods`] and [`volumes`] are about what is reported of pods, `volume_stats` about what their claims hold, `runtime` about what is observed, [`node`] about the
//! node and the program, `process` about the agent's own process.

mod node;
mod now;
mod pods;
pub(super) mod process;
mod runtime;
mod volumes;
mod volume_stats;

pub(super) use now::Now;

use super::exposition::{Format, Page};
use crate::counters::Counters;

/// The page.
pub(super) fn page(format: Format, now: &Now, counters: &Counters) -> Vec<u8> {
    filled(format, now, counters).finish()
}

fn filled(format: Format, now: &Now, counters: &Counters) -> Page {
    let mut page = Page::new(format);
    node::put(&mut page, now, counters);
    pods::put(&mut page, &now.report);
    volumes::put(&mut page, &now.report, &now.snapshot, &now.desired);
    volume_stats::put(&mut page, &now.desired, &now.mounted);
    runtime::put(&mut page, &now.snapshot);
    for family in counters.sample() {
        page.counted(&family);
    }
    process::put(&mut page, now.process.as_ref());
    page
}

/// The name of each family of the page.
#[cfg(test)]
pub(super) fn served_names() -> std::collections::BTreeSet<String> {
    let page = filled(Format::Text, &Now::default(), &Counters::default());
    page.families()
        .iter()
        .map(|(name, _)| (*name).to_owned())
        .collect()
}

#[cfg(test)]
mod names;
#[cfg(test)]
mod tests;
