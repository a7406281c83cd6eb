//! A sample's numbers in the form of the summary (`pkg/kubelet/stats/helper.go`). Pure.

use jiff::Timestamp;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;

use super::wire::{
    ContainerStats, CpuStats, InterfaceStats, IoStats, MemoryStats, NetworkStats, PsiData, PsiStats,
    SwapStats,
};
use crate::model::stats::{CgroupSample, Interface};
use crate::model::usage::{Pressure, Stall};

/// The interface whose numbers stand for a whole pod or machine.
const MAIN_INTERFACE: &str = "eth0";

/// The part of a cgroup's numbers that the summary shows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// Everything.
    All,
    /// Without I/O: `?only_cpu_and_memory=true`.
    CpuAndMemory,
}

pub(super) fn cpu(sample: &CgroupSample) -> Option<CpuStats> {
    let cpu = sample.usage.cpu?;
    Some(CpuStats {
        time: Time(sample.at),
        usage_nano_cores: sample.nano_cores,
        usage_core_nano_seconds: cpu.total,
        psi: sample.usage.pressure.cpu.map(pressure),
    })
}

pub(super) fn memory(sample: &CgroupSample) -> Option<MemoryStats> {
    let memory = sample.usage.memory?;
    let available = |limit: u64| limit.saturating_sub(memory.working_set);
    Some(MemoryStats {
        time: Time(sample.at),
        available_bytes: memory.limits.memory.map(available),
        usage_bytes: memory.usage,
        working_set_bytes: memory.working_set,
        rss_bytes: memory.rss,
        page_faults: memory.faults.all,
        major_page_faults: memory.faults.major,
        psi: sample.usage.pressure.memory.map(pressure),
    })
}

pub(super) fn swap(sample: &CgroupSample) -> Option<SwapStats> {
    let memory = sample.usage.memory?;
    let used = memory.swap?;
    Some(SwapStats {
        time: Time(sample.at),
        swap_available_bytes: memory.limits.swap.map(|limit| limit.saturating_sub(used)),
        swap_usage_bytes: used,
    })
}

pub(super) fn io(sample: &CgroupSample) -> Option<IoStats> {
    let psi = sample.usage.pressure.io.map(pressure)?;
    Some(IoStats {
        time: Time(sample.at),
        psi: Some(psi),
    })
}

pub(super) fn container(
    name: &str,
    created: Timestamp,
    sample: Option<&CgroupSample>,
    part: Part,
) -> ContainerStats {
    ContainerStats {
        name: name.to_owned(),
        start_time: Time(created),
        cpu: sample.and_then(cpu),
        memory: sample.and_then(memory),
        io: sample.filter(|_| part == Part::All).and_then(io),
        rootfs: None,
        logs: None,
        swap: sample.and_then(swap),
    }
}

pub(super) fn network(at: Timestamp, all: &[Interface]) -> NetworkStats {
    let interfaces: Vec<InterfaceStats> = all.iter().map(interface).collect();
    let main = interfaces.iter().find(|one| one.name == MAIN_INTERFACE);
    NetworkStats {
        time: Time(at),
        main: main.cloned().unwrap_or_default(),
        interfaces,
    }
}

fn interface(interface: &Interface) -> InterfaceStats {
    InterfaceStats {
        name: interface.name.clone(),
        rx_bytes: Some(interface.received.bytes),
        rx_errors: Some(interface.received.errors),
        tx_bytes: Some(interface.sent.bytes),
        tx_errors: Some(interface.sent.errors),
    }
}

fn pressure(pressure: Pressure) -> PsiStats {
    PsiStats {
        full: stall(pressure.full),
        some: stall(pressure.some),
    }
}

/// Microseconds, as the kernel and the kubelet have it (its documentation says nanoseconds).
fn stall(stall: Stall) -> PsiData {
    PsiData {
        total: stall.total,
        avg10: stall.avg10,
        avg60: stall.avg60,
        avg300: stall.avg300,
    }
}
