//! The limits of the machine's own programs (`enforceExistingCgroup` in
//! `pkg/kubelet/cm/node_container_manager_linux.go`). Pure.

use super::cgroup::cpu_shares;
use crate::model::memory_rules::MemoryProtection;
use crate::model::node::{CgroupLayout, CgroupName, CgroupVersion};
use crate::model::request::CgroupSetting;
use crate::model::reserved_cgroup::{Enforced, ReservedCgroup, ReservedFor};

/// What the cgroups of the machine's own programs should hold.
pub(super) fn reserved_cgroups(layout: &CgroupLayout) -> Vec<(ReservedFor, CgroupSetting)> {
    let limited = layout.reserved.iter();
    limited
        .map(|cgroup| (cgroup.owner, setting(cgroup, layout)))
        .collect()
}

fn setting(cgroup: &ReservedCgroup, layout: &CgroupLayout) -> CgroupSetting {
    let amounts = &cgroup.amounts;
    let time = CgroupSetting {
        cpu_shares: amounts.cpu.map(|cpu| cpu_shares(cpu.0)),
        ..CgroupSetting::untouched(CgroupName::at(&cgroup.path, layout.driver))
    };
    if cgroup.enforced == Enforced::Compressible {
        return time;
    }
    // Reserving none is no limit, and not one that ends every program.
    let memory = amounts.memory.map(|bytes| bytes.0).filter(|&bytes| bytes > 0);
    let is_protected = layout.memory.qos.is_some() && layout.version == CgroupVersion::V2;
    CgroupSetting {
        memory_limit: memory,
        memory_protection: MemoryProtection {
            min: memory.filter(|_| is_protected),
            low: None,
        },
        pids_max: amounts.extended.get("pid").copied().filter(|&pids| pids > 0),
        // None can be reserved, and what is not reserved is not to be used.
        hugepages: layout.hugepage_sizes.iter().map(|&size| (size, 0)).collect(),
        ..time
    }
}

#[cfg(test)]
mod tests {
    use expect_test::{Expect, expect};

    use super::*;
    use crate::model::memory_rules::{MemoryQos, MemoryReservation, MemoryRules};
    use crate::model::node::CgroupDriver;
    use crate::model::resources::{Amounts, Bytes, MilliCpu};
    use crate::model::sample;

    fn reserved(enforced: Enforced) -> ReservedCgroup {
        ReservedCgroup {
            owner: ReservedFor::Kube,
            path: "/machine.slice/machine-kube.slice".to_owned(),
            enforced,
            amounts: Amounts {
                cpu: Some(MilliCpu(500)),
                memory: Some(Bytes(1 << 30)),
                extended: [("pid".to_owned(), 1000)].into(),
                ..Amounts::default()
            },
        }
    }

    fn check(layout: &CgroupLayout, expect: Expect) {
        let show = |(_, setting): (ReservedFor, CgroupSetting)| {
            format!(
                "{} shares={:?} memory={:?} min={:?} pids={:?} hugepages={:?}\n",
                setting.name.0.join("/"),
                setting.cpu_shares,
                setting.memory_limit,
                setting.memory_protection.min,
                setting.pids_max,
                setting
                    .hugepages
                    .iter()
                    .map(|(size, limit)| (size.page_size(), *limit))
                    .collect::<Vec<_>>(),
            )
        };
        let text: String = reserved_cgroups(layout).into_iter().map(show).collect();
        expect.assert_eq(&text);
    }

    #[test]
    fn reserved_amounts_become_the_limits_of_the_cgroups_that_are_named() {
        let mut layout = sample::policy().cgroup;
        check(&layout, expect![[""]]);
        layout.reserved = vec![reserved(Enforced::All), reserved(Enforced::Compressible)];
        check(
            &layout,
            expect![[r#"
                machine.slice/machine-kube.slice shares=Some(512) memory=Some(1073741824) min=None pids=Some(1000) hugepages=[("2MB", 0), ("1GB", 0)]
                machine.slice/machine-kube.slice shares=Some(512) memory=None min=None pids=None hugepages=[]
            "#]],
        );
        layout.version = CgroupVersion::V2;
        layout.driver = CgroupDriver::Systemd;
        layout.memory = MemoryRules {
            qos: Some(MemoryQos {
                throttling: 0.9,
                reservation: MemoryReservation::None,
                allocatable: Bytes(0),
                page_size: 4096,
            }),
            ..MemoryRules::default()
        };
        layout.reserved.truncate(1);
        layout.reserved[0].amounts.cpu = None;
        let mut nothing = reserved(Enforced::All);
        nothing.amounts = Amounts {
            memory: Some(Bytes(0)),
            extended: [("pid".to_owned(), 0)].into(),
            ..Amounts::default()
        };
        layout.reserved.push(nothing);
        check(
            &layout,
            expect![[r#"
                machine/kube shares=None memory=Some(1073741824) min=Some(1073741824) pids=Some(1000) hugepages=[("2MB", 0), ("1GB", 0)]
                machine/kube shares=None memory=None min=None pids=None hugepages=[("2MB", 0), ("1GB", 0)]
            "#]],
        );
    }
}
