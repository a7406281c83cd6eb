//! The machine shuts down, by its real logind: pods have their time in the order of their priorities, static pods run again
//! after the reboot, and also when the shutdown fails.

use std::time::Duration;

use serde_json::Value;

use crate::vm::Vm;
use crate::wait::wait_for;

const LONG: Duration = Duration::from_secs(150);
const PODS: [&str; 3] = ["first", "last", "once"];

/// 70 s for normal pods and 30 s for critical ones, so that a busy machine does not matter; logind allows 5 s by itself.
pub fn logind_allows_the_time_that_pods_are_to_have(vm: &mut Vm) {
    vm.prints(
        "mkdir -p /etc/gantry /etc/systemd/system/gantry.service.d /var/log/journal && journalctl --flush\n\
         cat >/etc/gantry/shutdown.yaml <<'END'\n\
         apiVersion: kubelet.config.k8s.io/v1beta1\n\
         kind: KubeletConfiguration\n\
         shutdownGracePeriod: 100s\n\
         shutdownGracePeriodCriticalPods: 30s\n\
         END\n\
         cat >/etc/systemd/system/gantry.service.d/shutdown.conf <<'END'\n\
         [Service]\n\
         ExecStart=\n\
         ExecStart=/usr/local/bin/gantry run --config=/etc/gantry/shutdown.yaml\n\
         END\n\
         mv /root/farewell.yaml /etc/kubernetes/manifests/ && systemctl daemon-reload && systemctl restart gantry",
    );
    is_delayed(vm);
    let delay = vm.prints(
        "cat /etc/systemd/logind.conf.d/99-kubelet.conf; busctl get-property org.freedesktop.login1 \
         /org/freedesktop/login1 org.freedesktop.login1.Manager InhibitDelayMaxUSec",
    );
    assert!(
        delay.contains("InhibitDelayMaxSec=100\n") && delay.contains("t 100000000"),
        "{delay}"
    );
    run(vm, 0);
    vm.prints("systemctl restart systemd-logind");
    wait_for("the agent to notice it", LONG, || {
        let journal = vm.prints("journalctl --no-pager --boot --unit gantry");
        let is_noticed = journal.contains("systemd-logind was started again");
        is_noticed.then_some(()).ok_or(journal)
    });
    is_delayed(vm);
}

/// The job that would reboot the machine cannot be started, which is when logind takes a shutdown back.
pub fn when_the_shutdown_fails_the_node_is_ready_and_static_pods_run_again(vm: &mut Vm) {
    vm.prints("systemctl reboot && systemctl mask --runtime reboot.target");
    let ready = || "gantry get node -o json";
    wait_for("the node not to be ready", LONG, || {
        let node = vm.run(ready()).output;
        let is_told = node.contains("node is shutting down");
        is_told.then_some(()).ok_or(node)
    });
    let status = wait_for("systemd to show it", LONG, || {
        let status = vm.prints("systemctl show gantry --property=StatusText --value");
        status
            .starts_with("Shutting down: ")
            .then_some(status.clone())
            .ok_or(status)
    });
    assert!(status.contains("pods have ended"), "{status}");
    wait_for("logind to take it back", LONG, || {
        let journal = vm.prints("journalctl --no-pager --boot --unit gantry");
        let is_back = journal.contains("the machine does not shut down after all");
        is_back.then_some(()).ok_or(journal)
    });
    vm.prints("systemctl unmask --runtime reboot.target");
    run(vm, 1);
    wait_for("the node to be ready", LONG, || {
        let node = vm.run(ready()).output;
        let is_told = node.contains("kubelet is posting ready status");
        is_told.then_some(()).ok_or(node)
    });
    assert_eq!(
        vm.prints("systemctl show gantry --property=StatusText --value")
            .trim(),
        ""
    );
    is_delayed(vm);
    ended_in_order(vm);
}

pub fn pods_have_their_time_before_the_machine_reboots_and_static_pods_run_again(vm: &mut Vm) {
    let boot = "cat /proc/sys/kernel/random/boot_id";
    let before = vm.prints(boot);
    vm.prints("rm /var/lib/told/log");
    vm.reboot();
    assert_ne!(vm.prints(boot), before);
    ended_in_order(vm);
    let journal = vm.prints("journalctl --no-pager --boot=-1 --unit gantry");
    for line in [
        "systemd-logind announces that the machine shuts down",
        "pods have ended",
        "(priority 0)",
        "(priority 2000000000)",
        "the inhibitor is released; the machine goes down",
    ] {
        assert!(journal.contains(line), "no {line:?} in:\n{journal}");
    }
    run(vm, 2);
    is_delayed(vm);
    let times = vm.prints("cat /var/lib/kubelet/graceful_node_shutdown_state");
    let times: Value = serde_json::from_str(&times).expect("it is JSON");
    assert!(
        times["startTime"].is_string() && times["endTime"].is_string(),
        "{times}"
    );
    vm.prints(
        "rm /etc/kubernetes/manifests/farewell.yaml /etc/gantry/shutdown.yaml \
         /etc/systemd/system/gantry.service.d/shutdown.conf && systemctl daemon-reload && systemctl restart gantry",
    );
    wait_for("the pods to be gone", LONG, || {
        let left = vm.run("gantry get pods").output;
        let are_gone = PODS.iter().all(|pod| !left.contains(&format!("{pod}-gantry-vm")));
        are_gone.then_some(()).ok_or(left)
    });
    // Nobody delays a shutdown any more.
    let inhibitors = vm.prints("systemd-inhibit --list");
    assert!(!inhibitors.contains("gantry"), "{inhibitors}");
}

/// A shutdown waits for the agent.
fn is_delayed(vm: &mut Vm) {
    wait_for("the inhibitor", LONG, || {
        let inhibitors = vm.prints("systemd-inhibit --list");
        let line = inhibitors.lines().find(|line| line.contains("gantry"));
        let is_held = line.is_some_and(|line| line.contains("shutdown") && line.contains("delay"));
        is_held.then_some(()).ok_or(inhibitors)
    });
}

/// All pods run, and their containers were started again so often.
fn run(vm: &mut Vm, restarts: u64) {
    for pod in PODS {
        vm.wait_pod(pod, &format!("running with {restarts} restarts"), |pod| {
            let status = &pod["status"];
            status["phase"] == "Running"
                && status["containerStatuses"][0]["restartCount"] == restarts
                && status["containerStatuses"][0]["ready"] == true
        });
    }
}

/// The critical pod was asked when the normal one had ended, and both had their time.
fn ended_in_order(vm: &mut Vm) {
    assert_eq!(
        vm.prints("cat /var/lib/told/log"),
        "first is asked\nfirst has ended\nlast is asked\nlast has ended\n"
    );
}
