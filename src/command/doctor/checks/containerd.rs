//! Checks that containerd runs, serves CRI, and uses the same cgroup driver as gantry.

use super::super::findings::{Findings, Runtime, RuntimeAnswer};
use crate::command::doctor::verdict::{Check, failure, good, warning};
use crate::config::Config;
use crate::config::node::Init;
use crate::model::node::{CgroupDriver, CgroupVersion};

pub(super) fn runtime(findings: &Findings, config: &Config) -> Check {
    let socket = config.runtime.endpoint.display();
    match &findings.runtime {
        RuntimeAnswer::Absent => failure(
            "containerd",
            format!("no socket at {socket}"),
            "sudo apt-get install containerd && sudo systemctl start containerd; or set the socket with \
             --container-runtime-endpoint",
        ),
        RuntimeAnswer::Silent(reason) => {
            let found = format!("{socket} does not answer: {reason}");
            failure(
                "containerd",
                found,
                "sudo systemctl restart containerd; sudo journalctl -u containerd -n 50",
            )
        }
        RuntimeAnswer::NoCri => failure(
            "containerd",
            format!("{socket} answers, but does not serve CRI v1"),
            "remove \"cri\" from disabled_plugins in /etc/containerd/config.toml, then sudo systemctl restart \
             containerd",
        ),
        RuntimeAnswer::Answered(runtime) => runtime_version(runtime),
    }
}

fn runtime_version(runtime: &Runtime) -> Check {
    let found = format!("{} {}", runtime.name, runtime.version);
    let mut numbers = runtime
        .version
        .trim_start_matches('v')
        .split(['.', '-', '~', '+'])
        .map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if runtime.name != "containerd" {
        warning(
            "containerd",
            found,
            "only containerd is tested; use containerd 1.6 or newer",
        )
    } else if version < (1, 6) {
        failure(
            "containerd",
            found,
            "install containerd 1.6 or newer: sudo apt-get install containerd",
        )
    } else {
        good("containerd", found)
    }
}

fn driver_name(driver: CgroupDriver) -> &'static str {
    match driver {
        CgroupDriver::Cgroupfs => "cgroupfs",
        CgroupDriver::Systemd => "systemd",
    }
}

pub(super) fn cgroup_driver(findings: &Findings, config: &Config) -> Check {
    let subject = "cgroup driver";
    let version = findings.cgroups.unwrap_or(CgroupVersion::V2);
    let RuntimeAnswer::Answered(runtime) = &findings.runtime else {
        return warning(
            subject,
            "unknown while containerd does not answer",
            "see containerd above",
        );
    };
    let (reported, seen) = (runtime.driver_reported, runtime.driver_configured);
    let ours = config.cgroup_driver(reported, seen, findings.init, version);
    if ours == CgroupDriver::Systemd && findings.init == Init::Other {
        let remedy = "set SystemdCgroup = false in /etc/containerd/config.toml, restart containerd, and start \
                      with --cgroup-driver=cgroupfs";
        return failure(subject, "systemd, but this machine does not run systemd", remedy);
    }
    match reported.or(seen) {
        Some(theirs) if theirs != ours => failure(
            subject,
            format!(
                "gantry uses {}, containerd {}",
                driver_name(ours),
                driver_name(theirs)
            ),
            format!(
                "start with --cgroup-driver={}, or set SystemdCgroup = {} for runc in \
                 /etc/containerd/config.toml and restart containerd",
                driver_name(theirs),
                ours == CgroupDriver::Systemd,
            ),
        ),
        Some(_) => good(subject, format!("{}, same as containerd", driver_name(ours))),
        None => warning(
            subject,
            format!("{}; containerd does not report its driver", driver_name(ours)),
            "compare with SystemdCgroup in /etc/containerd/config.toml",
        ),
    }
}
