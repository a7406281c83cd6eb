//! What a machine goes through that a namespace cannot: its power fails in the middle of many starts, and its clock jumps.
//! `make chaos WORLD=vm` tells these stories, on a machine of their own.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::Value;

use crate::node::is_ready;
use crate::stories::Story;
use crate::vm::Vm;
use crate::wait::wait_for;

/// Every story.
pub const ALL: &[Story] = &[
    (
        "power::the_power_fails_in_the_middle_of_thirty_starts",
        the_power_fails_in_the_middle_of_thirty_starts,
    ),
    (
        "power::the_clock_jumps_an_hour_and_back",
        the_clock_jumps_an_hour_and_back,
    ),
];

/// How many pods start when the power fails, and how often it does.
const PODS: usize = 30;
const CUTS: usize = 3;
/// How long so many starts may take under emulation.
const LONG: Duration = Duration::from_secs(600);

/// What there is besides the pods that are reported.
const LEFT: &str = "ls /var/lib/kubelet/pods; ls /var/lib/cni/networks/*/ | grep -E '^[0-9.]+$'; ls /run/netns; \
                    find /sys/fs/cgroup/kubepods.slice -type d -name '*pod*.slice' -printf '%f\\n'";

/// The pods, by their names.
fn pods(vm: &mut Vm) -> Result<BTreeMap<String, Value>, String> {
    let name = |pod: &Value| pod["metadata"]["name"].as_str().unwrap_or_default().to_owned();
    Ok(vm.pods()?.into_iter().map(|pod| (name(&pod), pod)).collect())
}

fn begin_with_nothing(vm: &mut Vm) {
    vm.prints("mkdir -p /root/shipped && mv /etc/kubernetes/manifests/*.yaml /root/shipped/");
    wait_gone(vm);
}

fn wait_gone(vm: &mut Vm) {
    wait_for("no pod to be left", LONG, || match pods(vm)? {
        left if left.is_empty() => Ok(()),
        left => Err(format!("{:?}", left.keys())),
    });
    wait_for("nothing of the pods to be left", LONG, || {
        match vm.run(LEFT).output.trim() {
            "" => Ok(()),
            left => Err(left.to_owned()),
        }
    });
}

/// Writes manifests of pods that do nothing but note each of their starts on a disk.
fn make(vm: &mut Vm) {
    vm.prints(&format!(
        "mkdir -p /root/starts /root/new; for n in $(seq {PODS}); do cat >/root/new/many$n.yaml <<END
apiVersion: v1
kind: Pod
metadata: {{name: many$n}}
spec:
  terminationGracePeriodSeconds: 1
  volumes: [{{name: e, emptyDir: {{}}}}]
  containers:
  - name: main
    image: gantry.local/busybox:1
    command: [sh, -c, \"trap 'exit 0' TERM; while :; do sleep 1000 & wait; done\"]
    volumeMounts: [{{name: e, mountPath: /e}}]
END
done; mv /root/new/*.yaml /etc/kubernetes/manifests/"
    ));
}

fn the_power_fails_in_the_middle_of_thirty_starts(vm: &mut Vm) {
    begin_with_nothing(vm);
    for cut in 0..CUTS {
        make(vm);
        // Early, in the middle, and near the end.
        let wanted = [1, PODS / 2, PODS - 5][cut % 3];
        wait_for("some pods to run", LONG, || {
            let ready = pods(vm)?.values().filter(|pod| is_ready(pod)).count();
            if ready >= wanted {
                Ok(())
            } else {
                Err(format!("{ready} of {wanted}"))
            }
        });
        vm.cut_power();
        wait_for("all pods to run", LONG, || {
            let pods = pods(vm)?;
            let waiting: Vec<_> = pods
                .iter()
                .filter(|(_, pod)| !is_ready(pod))
                .map(|(name, _)| name)
                .collect();
            if pods.len() == PODS && waiting.is_empty() {
                Ok(())
            } else {
                Err(format!("{} pods, waiting {waiting:?}", pods.len()))
            }
        });
        let tasks = vm.prints("ctr --namespace k8s.io tasks ls --quiet | wc -l");
        assert_eq!(
            tasks.trim(),
            (2 * PODS).to_string(),
            "a sandbox and a container each"
        );
        println!("cut {cut}: all run again");
        vm.prints("rm /etc/kubernetes/manifests/many*.yaml");
        wait_gone(vm);
    }
    vm.prints("mv /root/shipped/*.yaml /etc/kubernetes/manifests/");
}

fn the_clock_jumps_an_hour_and_back(vm: &mut Vm) {
    vm.prints(
        "mkdir -p /root/shipped && mv /etc/kubernetes/manifests/{burn,hungry}.yaml /root/shipped/ || true",
    );
    let shipped = |vm: &mut Vm| {
        wait_for("the shipped pods to be ready", LONG, || {
            let pods = pods(vm)?;
            let waiting: Vec<_> = pods
                .iter()
                .filter(|(_, pod)| !is_ready(pod))
                .map(|(name, _)| name)
                .collect();
            match pods.is_empty() || !waiting.is_empty() {
                true => Err(format!("{} pods, waiting {waiting:?}", pods.len())),
                false => Ok(pods),
            }
        })
    };
    let instances = |pods: &BTreeMap<String, Value>| -> Vec<String> {
        let all = pods.values().flat_map(|pod| {
            pod["status"]["containerStatuses"]
                .as_array()
                .into_iter()
                .flatten()
        });
        all.map(|own| format!("{} {}", own["containerID"], own["restartCount"]))
            .collect()
    };
    vm.prints("timedatectl set-ntp false || true");
    let before = instances(&shipped(vm));
    for (number, jump) in ["1 hour", "-1 hour", "-1 hour", "1 hour"].into_iter().enumerate() {
        vm.prints(&format!("date --set=\"$(date --date='now {jump}')\""));
        // Whatever is due by the wall clock is done with this one.
        let name = format!("jumped{number}");
        vm.prints(&format!(
            "printf 'apiVersion: v1\nkind: Pod\nmetadata: {{name: {name}}}\nspec:\n  \
             terminationGracePeriodSeconds: 2\n  containers: [{{name: main, image: \"gantry.local/busybox:1\", \
             command: [sleep, \"1000\"]}}]\n' >/etc/kubernetes/manifests/{name}.yaml"
        ));
        vm.wait_pod(&name, "running", is_ready);
        vm.prints(&format!("rm /etc/kubernetes/manifests/{name}.yaml"));
        wait_for("the pod to be gone", LONG, || {
            let pods = pods(vm)?;
            match pods.keys().any(|own| own.starts_with(&name)) {
                true => Err(format!("{:?}", pods.keys())),
                false => Ok(()),
            }
        });
        assert_eq!(instances(&shipped(vm)), before, "after a jump of {jump}");
        let active = vm.prints("systemctl is-active gantry; systemctl show gantry --property=NRestarts");
        assert!(
            active.contains("NRestarts=0"),
            "the watchdog waits by another clock: {active}"
        );
    }
}
