//! `/metrics/cadvisor`: what the kernel counts of the machine, the pods and their containers, under the names and labels
//! of cAdvisor, which dashboards join on. Pure.
//!
//! - `subjects`: whose numbers are shown, and their labels.
//! - `cpu_and_memory`, `io`, `processes`: the families of a cgroup.
//! - `machine`: those of the machine.
//! - `measures`: families that are one number of each cgroup.

mod cpu_and_memory;
mod io;
mod machine;
mod measures;
mod processes;
mod subjects;

use jiff::Timestamp;

use super::exposition::{Format, Page};
use crate::counters::Kind;
use crate::model::stats::NodeSample;

/// The page; an error of the sample is a value on it, as in cAdvisor.
pub(super) fn page(format: Format, sample: Option<&NodeSample>, now: Timestamp) -> Vec<u8> {
    let mut page = Page::new(format);
    if let Some(sample) = sample {
        let subjects = subjects::subjects(sample);
        machine::put_version(&mut page, &sample.facts);
        cpu_and_memory::put(&mut page, &subjects);
        io::put_devices(&mut page, &subjects, &sample.device_names);
        io::put_disks(&mut page, &subjects, (&sample.disks, &sample.device_names));
        io::put_interfaces(&mut page, &subjects);
        processes::put(&mut page, &subjects, now);
        machine::put(&mut page, &sample.facts);
    }
    let failed = u64::from(sample.is_none());
    let help = "1 if there was an error while getting container metrics, 0 otherwise";
    page.family("container_scrape_error", Kind::Gauge, help)
        .value(&[], failed);
    let help = "1 if there was an error while getting machine metrics, 0 otherwise.";
    page.family("machine_scrape_error", Kind::Gauge, help)
        .value(&[], failed);
    page.finish()
}

#[cfg(test)]
mod tests;
