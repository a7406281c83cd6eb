//! Families that are one number of each cgroup.

use super::super::exposition::{Number, Page};
use super::subjects::Subject;
use crate::counters::Kind;
use crate::model::stats::CgroupSample;

/// One family of a cgroup: name, kind, help, and the number.
pub(super) type Measure = (
    &'static str,
    Kind,
    &'static str,
    fn(&CgroupSample) -> Option<Number>,
);

pub(super) fn put_measures(page: &mut Page, subjects: &[Subject<'_>], measures: &[Measure]) {
    for (name, kind, help, measure) in measures {
        let mut family = page.family(name, *kind, help);
        for subject in subjects {
            if let Some(value) = measure(subject.cgroup) {
                family.measured(&subject.labels, &[], value, Some(subject.cgroup.at));
            }
        }
    }
}
