//! What has to hold on the machine that nearly everybody has: systemd, cgroup v2, slices.

use std::time::Duration;

use serde_json::Value;

use crate::vm::Vm;
use crate::wait::wait_for;

/// A story's name and what it does. They run in this order on one machine.
pub type Story = (&'static str, fn(&mut Vm));

/// Every story.
pub const ALL: &[Story] = &[
    (
        "systemd_starts_the_installed_unit",
        systemd_starts_the_installed_unit,
    ),
    ("pods_are_in_vlans", pods_are_in_vlans),
    ("the_pods_answer", the_pods_answer),
    (
        "what_a_limited_pod_uses_is_shown",
        what_a_limited_pod_uses_is_shown,
    ),
    ("a_cpu_limit_holds", a_cpu_limit_holds),
    (
        "over_its_memory_limit_a_container_is_oom_killed",
        over_its_memory_limit_a_container_is_oom_killed,
    ),
    (
        "a_fork_bomb_stops_at_the_pid_limit",
        a_fork_bomb_stops_at_the_pid_limit,
    ),
    (
        "what_is_reserved_is_enforced_on_a_slice",
        what_is_reserved_is_enforced_on_a_slice,
    ),
    (
        "a_killed_agent_is_started_again_and_adopts",
        a_killed_agent_is_started_again_and_adopts,
    ),
    (
        "after_a_reboot_the_pods_come_back",
        after_a_reboot_the_pods_come_back,
    ),
    (
        "a_pod_writes_to_a_server_and_can_be_removed_when_that_is_gone",
        crate::nfs::a_pod_writes_to_a_server_and_can_be_removed_when_that_is_gone,
    ),
    (
        "two_pods_share_a_disk_of_a_target_and_the_last_one_logs_out",
        crate::iscsi::two_pods_share_a_disk_of_a_target_and_the_last_one_logs_out,
    ),
    (
        "logind_allows_the_time_that_pods_are_to_have",
        crate::shutdown::logind_allows_the_time_that_pods_are_to_have,
    ),
    (
        "when_the_shutdown_fails_the_node_is_ready_and_static_pods_run_again",
        crate::shutdown::when_the_shutdown_fails_the_node_is_ready_and_static_pods_run_again,
    ),
    (
        "pods_have_their_time_before_the_machine_reboots_and_static_pods_run_again",
        crate::shutdown::pods_have_their_time_before_the_machine_reboots_and_static_pods_run_again,
    ),
    (
        "cleanup_leaves_a_machine_without_a_node",
        cleanup_leaves_a_machine_without_a_node,
    ),
    (
        "a_file_system_with_project_quotas_counts_volumes_itself",
        crate::quotas::a_file_system_with_project_quotas_counts_volumes_itself,
    ),
];

fn systemd_starts_the_installed_unit(vm: &mut Vm) {
    wait_for("the unit to be active", Duration::from_secs(60), || {
        let reported = vm.run("systemctl is-active gantry");
        if reported.code == 0 {
            Ok(())
        } else {
            Err(reported.output)
        }
    });
    let properties =
        vm.prints("systemctl show gantry --property=Type,NRestarts,WatchdogUSec,KillMode,Restart");
    for expected in [
        "Type=notify",
        "NRestarts=0",
        "WatchdogUSec=30s",
        "KillMode=process",
        "Restart=always",
    ] {
        assert!(properties.contains(expected), "no {expected} in:\n{properties}");
    }
    assert_eq!(vm.prints("systemctl --failed --no-legend"), "");
    let controllers = vm.prints("stat --format=%T --file-system /sys/fs/cgroup");
    assert_eq!(
        controllers.trim(),
        "cgroup2fs",
        "this machine is to be one with cgroup v2"
    );
    for command in [
        "man -w gantry || ls /usr/local/share/man/man1/gantry.1",
        "gantry version",
        "gantry doctor",
    ] {
        vm.prints(command);
    }
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod["status"]["conditions"].as_array();
    pod["status"]["phase"] == "Running"
        && conditions.is_some_and(|all| all.iter().any(|c| c["type"] == "Ready" && c["status"] == "True"))
}

/// Every pod that is shipped, ready, and answering where it has a port.
fn the_pods_answer(vm: &mut Vm) {
    let shipped = std::fs::read_dir(concat!(env!("CARGO_MANIFEST_DIR"), "/static-pods"))
        .expect("manifests are shipped");
    let shipped = shipped
        .flatten()
        .filter(|file| file.path().extension().is_some_and(|e| e == "yaml"))
        .count();
    let ready = wait_for("the shipped pods to be ready", Duration::from_secs(240), || {
        let pods = vm.pods()?;
        let ready: Vec<Value> = pods
            .iter()
            .filter(|pod| is_ready(pod) && !is_test(pod))
            .cloned()
            .collect();
        if ready.len() >= shipped {
            Ok(ready)
        } else {
            Err(serde_json::to_string(&pods).unwrap_or_default())
        }
    });
    for pod in ready {
        let address = pod["status"]["podIP"].as_str().unwrap_or_default();
        let containers = pod["spec"]["containers"].as_array().into_iter().flatten();
        for port in containers.flat_map(|container| container["ports"].as_array().into_iter().flatten()) {
            vm.prints(&format!(
                "curl --silent --fail --max-time 20 http://{address}:{}/",
                port["containerPort"]
            ));
        }
    }
}

/// Whether a pod is one of tests/vm/pods.
fn is_test(pod: &Value) -> bool {
    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
    ["burn", "bomb", "hungry"]
        .iter()
        .any(|test| name == format!("{test}-gantry-vm"))
}

fn a_cpu_limit_holds(vm: &mut Vm) {
    vm.wait_pod("burn", "running", |pod| pod["status"]["phase"] == "Running");
    let used = vm.prints(
        r#"cgroup=$(find /sys/fs/cgroup/kubepods.slice -name '*.scope' -path '*pod*' | while read -r scope; do
    pid=$(head -n 1 "$scope/cgroup.procs")
    grep -qa 'while :; do :; done' "/proc/$pid/cmdline" 2>/dev/null && echo "$scope"
done | head -n 1)
usage() { awk '$1 == "usage_usec" { print $2 }' "$cgroup/cpu.stat"; }
start=$(date +%s%N); before=$(usage)
sleep 10
after=$(usage); end=$(date +%s%N)
echo $(( (after - before) * 1000 * 1000 / (end - start) ))"#,
    );
    let millicores: i64 = used.trim().parse().unwrap_or_else(|_| panic!("no usage: {used}"));
    assert!(
        (180..=220).contains(&millicores),
        "limited to 200m, it used {millicores}m over 10 s"
    );
    vm.prints("rm /etc/kubernetes/manifests/burn.yaml");
}

/// The numbers of cgroup v2 below systemd's slices: the pod that burns its whole CPU limit.
fn what_a_limited_pod_uses_is_shown(vm: &mut Vm) {
    let socket = "curl --silent --fail --max-time 20 --unix-socket /run/gantry/gantry.sock http://gantry";
    // A rate needs two samples.
    let pod = wait_for("the pod's CPU to be measured", Duration::from_secs(90), || {
        let summary: Value = serde_json::from_str(&vm.prints(&format!("{socket}/stats/summary")))
            .map_err(|error| error.to_string())?;
        let pods = summary["pods"].as_array().cloned().unwrap_or_default();
        let pod = pods
            .into_iter()
            .find(|pod| pod["podRef"]["name"] == "burn-gantry-vm");
        let pod = pod.ok_or("it is not in the summary")?;
        match pod["containers"][0]["cpu"]["usageNanoCores"].as_u64() {
            Some(_) => Ok(pod),
            None => Err(pod.to_string()),
        }
    });
    let container = &pod["containers"][0];
    let nano_cores = container["cpu"]["usageNanoCores"]
        .as_u64()
        .expect("it was waited for");
    assert!(
        (100_000_000..300_000_000).contains(&nano_cores),
        "the limit is 200m: {container}"
    );
    for amount in ["workingSetBytes", "usageBytes", "rssBytes"] {
        assert!(
            container["memory"][amount].as_u64() > Some(0),
            "{amount}: {container}"
        );
    }
    let psi = vm
        .run("test -r /proc/pressure/cpu && grep -q . /proc/pressure/cpu")
        .code
        == 0;
    assert_eq!(container["cpu"]["psi"]["some"].is_object(), psi, "{container}");
    let cadvisor = vm.prints(&format!("{socket}/metrics/cadvisor"));
    let value = |name: &str| {
        let sample = cadvisor.lines().find(|line| {
            line.starts_with(&format!("{name}{{"))
                && line.contains("container=\"")
                && line.contains("pod=\"burn-gantry-vm\"")
        });
        let sample = sample.unwrap_or_else(|| panic!("no {name} of the pod in:\n{cadvisor}"));
        let value = sample.split("} ").nth(1).and_then(|rest| rest.split(' ').next());
        value
            .and_then(|value| value.parse::<f64>().ok())
            .unwrap_or_else(|| panic!("no value in {sample}"))
    };
    assert!(value("container_cpu_cfs_throttled_periods_total") > 0.0);
    assert!(value("container_spec_cpu_quota") > 0.0);
    if psi {
        assert!(value("container_pressure_cpu_waiting_seconds_total") > 0.0);
    }
}

fn over_its_memory_limit_a_container_is_oom_killed(vm: &mut Vm) {
    // The runtime may report the end first and its cause a moment later; the pod's end is reported once nothing
    // of it can run any more.
    let ended = |pod: &Value| pod["status"]["containerStatuses"][0]["state"]["terminated"].clone();
    let pod = vm.wait_pod("hungry", "OOMKilled and failed", |pod| {
        ended(pod)["reason"] == "OOMKilled" && pod["status"]["phase"] == "Failed"
    });
    assert_eq!(ended(&pod)["exitCode"], 137, "{}", ended(&pod));
    vm.prints("rm /etc/kubernetes/manifests/hungry.yaml");
}

fn a_fork_bomb_stops_at_the_pid_limit(vm: &mut Vm) {
    vm.prints(
        r#"mkdir -p /etc/gantry /etc/systemd/system/gantry.service.d
cat >/etc/gantry/config.yaml <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
podPidsLimit: 64
YAML
cat >/etc/systemd/system/gantry.service.d/limits.conf <<UNIT
[Service]
ExecStart=
ExecStart=/usr/local/bin/gantry run --config=/etc/gantry/config.yaml
UNIT
systemctl daemon-reload
systemctl restart gantry
mv /root/bomb.yaml /etc/kubernetes/manifests/"#,
    );
    wait_for("the bomb to hit the limit", Duration::from_secs(60), || {
        let reported = vm
            .run("gantry logs bomb-gantry-vm; gantry logs --previous bomb-gantry-vm")
            .output;
        if reported.contains("can't fork") {
            Ok(())
        } else {
            Err(reported)
        }
    });
    vm.prints("find /sys/fs/cgroup/kubepods.slice -name pids.max -path '*pod*' -exec cat {} + | grep --line-regexp 64");
    vm.prints("rm /etc/kubernetes/manifests/bomb.yaml");
}

fn what_is_reserved_is_enforced_on_a_slice(vm: &mut Vm) {
    let agent = r#"cat /proc/$(systemctl show gantry --property=MainPID --value)/oom_score_adj"#;
    assert_eq!(vm.prints(agent).trim(), "-999");
    vm.prints(
        r#"mkdir -p /etc/gantry /etc/systemd/system/gantry.service.d
cat >/etc/gantry/reserved.yaml <<YAML
apiVersion: kubelet.config.k8s.io/v1beta1
kind: KubeletConfiguration
featureGates: {MemoryQoS: true}
memoryReservationPolicy: TieredReservation
enforceNodeAllocatable: [pods, system-reserved]
systemReserved: {cpu: 200m, memory: 64Mi, pid: '200'}
systemReservedCgroup: /programs.slice/programs-own.slice
oomScoreAdj: -500
YAML
cat >/etc/systemd/system/gantry.service.d/reserved.conf <<UNIT
[Service]
ExecStart=
ExecStart=/usr/local/bin/gantry run --config=/etc/gantry/reserved.yaml
UNIT
systemctl daemon-reload
systemd-run --quiet --unit=own-program --slice=programs-own sleep infinity
systemctl restart gantry"#,
    );
    let values = "cd /sys/fs/cgroup/programs.slice/programs-own.slice && \
                  cat cpu.weight memory.max memory.min pids.max";
    let expected = "8\n67108864\n67108864\n200";
    let is_limited = |vm: &mut Vm| {
        wait_for("the slice to be limited", Duration::from_secs(60), || {
            let found = vm.run(values).output;
            match found.trim() == expected {
                true => Ok(()),
                false => Err(found),
            }
        });
    };
    is_limited(vm);
    // systemd writes what it knows at every reload.
    vm.prints("systemctl daemon-reload");
    is_limited(vm);
    assert_eq!(vm.prints(agent).trim(), "-500");
    assert_ne!(
        vm.prints("cat /sys/fs/cgroup/kubepods.slice/memory.min").trim(),
        ""
    );
    vm.prints(
        r#"rm /etc/systemd/system/gantry.service.d/reserved.conf /etc/gantry/reserved.yaml
systemctl daemon-reload
systemctl stop own-program programs-own.slice programs.slice
systemctl restart gantry"#,
    );
    the_pods_answer(vm);
}

/// The containers that run, as containerd knows them.
const RUNNING: &str = "ctr --namespace k8s.io tasks list | awk '$3 == \"RUNNING\" { print $1 }' | sort";

fn a_killed_agent_is_started_again_and_adopts(vm: &mut Vm) {
    vm.prints("rm -f /etc/kubernetes/manifests/{burn,hungry,bomb}.yaml");
    wait_for(
        "the pods of the other stories to be gone",
        Duration::from_secs(60),
        || {
            let left = vm.pods()?.into_iter().filter(is_test).count();
            if left == 0 {
                Ok(())
            } else {
                Err(format!("{left} pods"))
            }
        },
    );
    the_pods_answer(vm);
    let before = vm.prints(RUNNING);
    vm.prints("systemctl kill --signal=KILL --kill-whom=main gantry");
    wait_for("systemd to start it again", Duration::from_secs(60), || {
        let reported = vm.run(
            "systemctl is-active gantry && systemctl show gantry --property=NRestarts && gantry get node",
        );
        if reported.code == 0 && reported.output.contains("NRestarts=1") {
            Ok(())
        } else {
            Err(reported.output)
        }
    });
    the_pods_answer(vm);
    assert_eq!(vm.prints(RUNNING), before);
}

fn after_a_reboot_the_pods_come_back(vm: &mut Vm) {
    let boot = vm.prints("cat /proc/sys/kernel/random/boot_id");
    vm.reboot();
    assert_ne!(vm.prints("cat /proc/sys/kernel/random/boot_id"), boot);
    the_pods_answer(vm);
}

fn cleanup_leaves_a_machine_without_a_node(vm: &mut Vm) {
    vm.prints("systemctl stop gantry && gantry cleanup --yes");
    let left = vm.prints(
        "ip -o link; nft list ruleset; find /sys/fs/cgroup -name 'kubepods*'; ls /etc/cni/net.d 2>&1",
    );
    for trace in ["gantry", "veth", "kubepods"] {
        assert!(!left.contains(trace), "{trace} is left:\n{left}");
    }
    assert_eq!(vm.prints("ctr --namespace k8s.io containers list --quiet"), "");
}

/// The plugins' own stories, in namespaces of their own.
fn pods_are_in_vlans(vm: &mut Vm) {
    let said = vm.prints(
        "cd /tmp && GANTRY_CNI=$(readlink -f /opt/cni/bin/bridge) /root/vlan-stories --include-ignored --test-threads=2 2>&1",
    );
    let passed = said
        .lines()
        .find_map(|line| line.strip_prefix("test result: ok. ")?.split(' ').next());
    let passed: usize = passed.and_then(|count| count.parse().ok()).unwrap_or_default();
    assert!(passed >= 6, "{said}");
}
