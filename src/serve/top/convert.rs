//! A sample as the counters of `/top`. Pure.

use super::wire::{
    ContainerCounters, Counters, CpuCounters, InterfaceCounters, MemoryNow, NodeCounters, PodCounters,
    PressureNow, ThrottlingCounters, Top,
};
use crate::model::stats::{CgroupSample, Interface, NodeSample, PodSample};
use crate::model::usage::{CpuUsage, MemoryUsage, Pressure};

/// Billionths of a CPU.
const CPU: u64 = 1_000_000_000;

/// The counters of the node of this name.
pub(super) fn top(node: &str, sample: &NodeSample) -> Top {
    let mut machine = counters(&sample.machine);
    if let Some(cpu) = &mut machine.cpu {
        // The root cgroup has no limits: the machine is one.
        cpu.limit = Some(u64::from(sample.facts.machine.cores) * CPU);
    }
    Top {
        node: NodeCounters {
            name: node.to_owned(),
            counters: machine,
            interfaces: interfaces(&sample.interfaces),
        },
        pods: sample.pods.iter().map(pod).collect(),
    }
}

fn pod(pod: &PodSample) -> PodCounters {
    let containers = pod.containers.iter().map(|container| ContainerCounters {
        name: container.name.clone(),
        id: container.id.clone(),
        counters: container.cgroup.as_ref().map(counters),
    });
    PodCounters {
        namespace: pod.name.namespace.to_string(),
        name: pod.name.name.to_string(),
        uid: pod.uid.0.clone(),
        sandbox: pod.sandbox.id.clone(),
        counters: pod.cgroup.as_ref().map(counters),
        interfaces: pod.interfaces.as_deref().map(interfaces),
        containers: containers.collect(),
    }
}

fn counters(sample: &CgroupSample) -> Counters {
    let pressure = &sample.usage.pressure;
    let lately = |pressure: Option<Pressure>| pressure.map(|pressure| pressure.some.avg10);
    Counters {
        at: sample.at,
        cgroup: sample.number,
        cpu: sample.usage.cpu.map(cpu),
        memory: sample.usage.memory.map(memory),
        pressure: PressureNow {
            cpu: lately(pressure.cpu),
            memory: lately(pressure.memory),
            io: lately(pressure.io),
        },
    }
}

fn cpu(cpu: CpuUsage) -> CpuCounters {
    let limit = |quota: u64, period: u64| {
        let limit = u128::from(quota) * u128::from(CPU);
        u64::try_from(limit.checked_div(u128::from(period))?).ok()
    };
    CpuCounters {
        total: cpu.total,
        limit: cpu
            .limits
            .quota
            .zip(cpu.limits.period)
            .and_then(|(quota, period)| limit(quota, period)),
        throttling: cpu.throttling.map(|throttling| ThrottlingCounters {
            periods: throttling.periods,
            throttled_periods: throttling.throttled_periods,
        }),
    }
}

fn memory(memory: MemoryUsage) -> MemoryNow {
    MemoryNow {
        working_set: memory.working_set,
        limit: memory.limits.memory,
    }
}

fn interfaces(all: &[Interface]) -> Vec<InterfaceCounters> {
    let interface = |interface: &Interface| InterfaceCounters {
        name: interface.name.clone(),
        received: interface.received.bytes,
        sent: interface.sent.bytes,
    };
    all.iter().map(interface).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::sample::stats;
    use crate::model::usage::CpuLimits;

    #[test]
    fn the_machine_is_its_own_limit() {
        let mut sample = stats::node();
        sample.machine.usage.cpu.as_mut().unwrap().limits = CpuLimits::default();
        let top = top("vm", &sample);
        assert_eq!(top.node.name, "vm");
        assert_eq!(top.node.counters.cpu.unwrap().limit, Some(2 * CPU));
    }

    #[test]
    fn a_pods_counters_are_those_of_its_cgroup_and_its_network() {
        let top = top("vm", &stats::node());
        let pod = &top.pods[0];
        assert_eq!(
            (pod.namespace.as_str(), pod.name.as_str(), pod.uid.as_str()),
            ("default", "web", "u1")
        );
        let counters = pod.counters.unwrap();
        let cpu = counters.cpu.unwrap();
        assert_eq!((cpu.total, cpu.limit), (2_500_000_000, Some(500_000_000)));
        let throttling = cpu.throttling.unwrap();
        assert_eq!((throttling.periods, throttling.throttled_periods), (5, 4));
        let memory = counters.memory.unwrap();
        assert_eq!((memory.working_set, memory.limit), (7500, Some(20_000)));
        assert_eq!(counters.pressure.io, Some(1.5));
        let interfaces = pod.interfaces.as_deref().unwrap();
        assert_eq!((interfaces[0].received, interfaces[0].sent), (1268, 402));
        assert_eq!(pod.containers[0].name, "main");
    }

    #[test]
    fn what_is_not_known_is_absent() {
        let mut sample = stats::node();
        let pod = &mut sample.pods[0];
        pod.containers[0].cgroup = None;
        pod.interfaces = None;
        let cgroup = pod.cgroup.as_mut().unwrap();
        cgroup.usage.pressure = Default::default();
        let limits = &mut cgroup.usage.cpu.as_mut().unwrap().limits;
        (limits.quota, limits.period) = (Some(5), Some(0));
        let pod = &top("vm", &sample).pods[0];
        assert_eq!((&pod.interfaces, &pod.containers[0].counters), (&None, &None));
        let counters = pod.counters.unwrap();
        assert_eq!(counters.pressure, PressureNow::default());
        assert_eq!(counters.cpu.unwrap().limit, None);
    }
}
