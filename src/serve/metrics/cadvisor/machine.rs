//! The machine.

use super::super::exposition::{Number, Page};
use crate::counters::Kind;
use crate::model::resources::Bytes;
use crate::model::stats::NodeFacts;

/// cAdvisor's description of where it runs; there is no cAdvisor here, and no Docker.
pub(super) fn put_version(page: &mut Page, facts: &NodeFacts) {
    let labels = [
        ("cadvisorRevision", ""),
        ("cadvisorVersion", ""),
        ("dockerVersion", ""),
        ("kernelVersion", facts.machine.kernel.as_str()),
        ("osVersion", facts.machine.os_image.as_str()),
    ];
    let help = "A metric with a constant '1' value labeled by kernel version, OS version, docker version, cadvisor \
                version & cadvisor revision.";
    page.family("cadvisor_version_info", Kind::Gauge, help)
        .value(&labels, 1u64);
}

pub(super) fn put(page: &mut Page, facts: &NodeFacts) {
    let labels = [
        ("boot_id", facts.machine.boot_id.as_str()),
        ("machine_id", facts.machine.machine_id.as_str()),
        ("system_uuid", facts.machine.system_uuid.as_str()),
    ];
    let bytes = |Bytes(bytes): Bytes| u64::try_from(bytes).unwrap_or_default();
    let (machine, topology) = (&facts.machine, facts.topology);
    let families: [(&'static str, &'static str, u64); 7] = [
        ("machine_cpu_books", "Number of CPU books.", topology.books),
        (
            "machine_cpu_cores",
            "Number of logical CPU cores.",
            u64::from(machine.cores),
        ),
        ("machine_cpu_drawers", "Number of CPU drawers.", topology.drawers),
        (
            "machine_cpu_physical_cores",
            "Number of physical CPU cores.",
            topology.physical_cores,
        ),
        ("machine_cpu_sockets", "Number of CPU sockets.", topology.sockets),
        (
            "machine_memory_bytes",
            "Amount of memory installed on the machine.",
            bytes(machine.memory),
        ),
        (
            "machine_swap_bytes",
            "Amount of swap memory available on the machine.",
            bytes(machine.swap),
        ),
    ];
    for (name, help, value) in families {
        page.family(name, Kind::Gauge, help)
            .value(&labels, Number::Whole(value));
    }
}
