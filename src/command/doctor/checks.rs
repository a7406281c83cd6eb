//! Judges what was found. Pure, so that each verdict can be tested without such a machine.

pub mod containerd;
pub mod network;

use containerd::{cgroup_driver, runtime};
use network::{bridges, cni, forwarding};

use super::findings::{Clock, Findings};
use super::verdict::{Check, failure, good, warning};
use crate::config::Config;
use crate::model::node::CgroupVersion;
use crate::model::threshold::Threshold;

/// All checks, in the order in which a user would work through them.
pub fn judge(findings: &Findings, config: &Config) -> Vec<Check> {
    vec![
        user(findings),
        kernel(findings),
        kernel_parts(findings),
        cgroups(findings, config),
        swap(findings, config),
        runtime(findings, config),
        cgroup_driver(findings, config),
        other_kubelets(findings),
        ports(findings, config),
        disk(findings, config),
        root_directory(findings, config),
        forwarding(findings),
        bridges(findings),
        cni(findings, config),
        inotify(findings),
        clock(findings),
    ]
}

fn user(findings: &Findings) -> Check {
    match findings.uid {
        0 => good("user", "root"),
        uid => failure("user", format!("uid {uid}"), "sudo gantry doctor"),
    }
}

/// openat2(2), which confines pods' paths to their root, exists since Linux 5.6.
fn kernel(findings: &Findings) -> Check {
    let mut numbers = findings
        .kernel
        .split(['.', '-', '+'])
        .map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= (5, 6) {
        good("kernel", &findings.kernel)
    } else {
        failure(
            "kernel",
            &findings.kernel,
            "install kernel 5.6 or newer (Debian 11 and later have one)",
        )
    }
}

fn kernel_parts(findings: &Findings) -> Check {
    match findings.missing_kernel[..] {
        [] => good("kernel modules", "overlay, nf_tables"),
        ref missing => failure(
            "kernel modules",
            format!("missing: {}", missing.join(", ")),
            format!("sudo modprobe -a {}", missing.join(" ")),
        ),
    }
}

fn cgroups(findings: &Findings, config: &Config) -> Check {
    let to_v2 = "boot with systemd.unified_cgroup_hierarchy=1 on the kernel's command line";
    let missing = findings.missing_controllers.join(", ");
    match findings.cgroups {
        None => failure(
            "cgroups",
            "not mounted",
            "sudo mount -t cgroup2 none /sys/fs/cgroup",
        ),
        Some(_) if !missing.is_empty() => failure(
            "cgroups",
            format!("missing controllers: {missing}"),
            "boot with cgroup_enable=memory swapaccount=1 on the kernel's command line, or enable them in the \
             kernel's configuration",
        ),
        Some(CgroupVersion::V2) => good("cgroups", "v2"),
        Some(CgroupVersion::V1) if config.cgroups.refuse_v1 => failure(
            "cgroups",
            "v1, which failCgroupV1 rejects",
            format!("{to_v2}, or set `failCgroupV1: false`"),
        ),
        Some(CgroupVersion::V1) => warning("cgroups", "v1, which Kubernetes is phasing out", to_v2),
    }
}

fn swap(findings: &Findings, config: &Config) -> Check {
    match (&findings.swaps[..], config.pods.fail_swap_on) {
        ([], _) => good("swap", "off"),
        (swaps, true) => failure(
            "swap",
            format!("on: {}", swaps.join(", ")),
            "sudo swapoff -a, and remove swap from /etc/fstab; or start with --fail-swap-on=false",
        ),
        (swaps, false) => good(
            "swap",
            format!("on ({}), allowed by failSwapOn: false", swaps.join(", ")),
        ),
    }
}

fn other_kubelets(findings: &Findings) -> Check {
    match findings.kubelets[..] {
        [] => good("other kubelets", "none"),
        ref pids => {
            let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
            let remedy = "sudo systemctl disable --now kubelet: two agents would fight over the pods";
            failure(
                "other kubelets",
                format!("running with pid {}", pids.join(", ")),
                remedy,
            )
        }
    }
}

fn ports(findings: &Findings, config: &Config) -> Check {
    let wanted: Vec<String> = config
        .serve
        .healthz
        .iter()
        .chain(&config.serve.api)
        .chain(&config.serve.read_only)
        .chain(&config.kubectl_address())
        .map(ToString::to_string)
        .collect();
    match (&findings.taken[..], findings.agent_runs) {
        ([], _) => good("ports", format!("free: {}", wanted.join(", "))),
        (_, true) => good("ports", "in use by the running agent"),
        (taken, false) => {
            let shown: Vec<String> = taken.iter().map(ToString::to_string).collect();
            let ports: Vec<String> = taken
                .iter()
                .map(|address| format!("sport = :{}", address.port()))
                .collect();
            let remedy = format!(
                "sudo ss -ltnp '{}' shows the program; stop it, or choose another --healthz-port, --port or --kubectl-port",
                ports.join(" or ")
            );
            failure("ports", format!("taken: {}", shown.join(", ")), remedy)
        }
    }
}

/// Whether a threshold of `evictionHard` is already crossed.
fn crossed(threshold: Option<&Threshold>, free: i64, all: i64) -> bool {
    #[expect(
        clippy::cast_precision_loss,
        reason = "a fraction of a disk needs no more than 52 bits"
    )]
    match threshold {
        None => false,
        Some(Threshold::Quantity(least) | Threshold::Decimal(least)) => free < *least,
        Some(Threshold::Fraction(least)) => all > 0 && (free as f64) < *least * (all as f64),
    }
}

fn disk(findings: &Findings, config: &Config) -> Check {
    let mut short = Vec::new();
    let mut free_space = Vec::new();
    for disk in &findings.disks {
        let (name, usage) = (disk.name, &disk.usage);
        let at = disk.path.display();
        let threshold = |signal: &str| config.eviction.hard.get(&format!("{name}.{signal}"));
        let free_mib = usage.available.0 >> 20;
        if crossed(threshold("available"), usage.available.0, usage.capacity.0) {
            short.push(format!("{at}: {free_mib} MiB free of {}", usage.capacity.0 >> 20));
        }
        if crossed(threshold("inodesFree"), usage.inodes_free, usage.inodes) {
            short.push(format!(
                "{at}: {} inodes free of {}",
                usage.inodes_free, usage.inodes
            ));
        }
        free_space.push(format!("{at}: {free_mib} MiB free"));
    }
    if short.is_empty() {
        return good("disk", free_space.join("; "));
    }
    let remedy = "free some space (sudo du -xh / | sort -h | tail), or lower the nodefs and imagefs thresholds in \
     evictionHard";
    failure(
        "disk",
        format!("below the eviction threshold: {}", short.join("; ")),
        remedy,
    )
}

fn root_directory(findings: &Findings, config: &Config) -> Check {
    let subject = "root directory";
    let path = config.paths.root.display();
    let mount = findings.root_mount;
    if mount.read_only {
        failure(
            subject,
            format!("{path} is read-only"),
            "mount it read-write, or choose another --root-dir",
        )
    } else if mount.no_exec {
        let remedy = "mount it without noexec: programs in emptyDir volumes would not start";
        warning(subject, format!("{path} is mounted noexec"), remedy)
    } else if !mount.shared {
        let remedy = "sudo mount --make-rshared /: mountPropagation in pods needs it";
        warning(subject, format!("{path} is on a private mount"), remedy)
    } else {
        good(subject, path.to_string())
    }
}

fn inotify(findings: &Findings) -> Check {
    let low = |limit: Option<u64>, least: u64| limit.is_some_and(|limit| limit < least);
    if low(findings.inotify_instances, 128) || low(findings.inotify_watches, 8192) {
        let found = format!(
            "{} instances, {} watches",
            findings.inotify_instances.unwrap_or(0),
            findings.inotify_watches.unwrap_or(0)
        );
        let remedy = "sudo sysctl fs.inotify.max_user_instances=512 fs.inotify.max_user_watches=65536";
        return warning("inotify", found, remedy);
    }
    good("inotify", "enough instances and watches")
}

fn clock(findings: &Findings) -> Check {
    match findings.clock {
        Clock::Synchronised => good("clock", "synchronised"),
        Clock::Unknown => warning(
            "clock",
            "not known to be synchronised",
            "sudo apt-get install systemd-timesyncd, or run chrony; certificates and logs need the right time",
        ),
        Clock::Behind => failure(
            "clock",
            "earlier than the day this program was installed",
            "sudo date -s '2026-01-31 12:00:00 UTC'",
        ),
    }
}

#[cfg(test)]
mod tests;
