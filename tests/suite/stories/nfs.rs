//! Volumes of NFS servers, with programs of the test's own for mount(8) and umount(8): what they are given, what is reported
//! of them, and that a server that does not answer holds its own pods alone. The VM tier has a real server.

use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use gantry::act::mount_tools::MountTools;

use super::waits::{a_good_pod_is_up_in_its_usual_time, dead_file_system, in_namespaces, messages};
use crate::agent::{Machine, full_name, manifest};

/// How many pods have volumes of a server that hangs.
const BAD: usize = 30;

/// A machine whose mount(8) and umount(8) are these lines of shell.
fn machine_with(mount: &str, umount: &str) -> (Machine, PathBuf) {
    let mut machine = Machine::new();
    let dir = machine.at.root.path().join("programs");
    std::fs::create_dir(&dir).unwrap();
    for (name, script) in [("mount", mount), ("umount", umount)] {
        let path = dir.join(name);
        let script = script.replace("DIR", &dir.display().to_string());
        std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    }
    machine.mounts = MountTools::beside(dir.clone(), Duration::from_secs(1));
    (machine, dir)
}

fn pod(name: &str, nfs: &str) -> String {
    let c = "name: c, image: demo:1, volumeMounts: [{name: v, mountPath: /v}]";
    manifest(name, &format!("volumes: [{{name: v, nfs: {nfs}}}]"), &[c])
}

async fn is_gone(machine: &Machine, pod: &str) {
    let gone = |report: &gantry::model::report::PodsReport| {
        (!report.pods.contains_key(&full_name(pod))).then_some(())
    };
    machine.reported("its end", gone).await;
}

fn lines(path: &Path) -> Vec<String> {
    let text = std::fs::read_to_string(path).unwrap_or_default();
    text.lines().map(str::to_owned).collect()
}

#[tokio::test]
async fn what_mount_says_of_a_server_is_reported() {
    let (mut machine, _) = machine_with("echo \"mount.nfs: Connection refused\" >&2; exit 32", "exit 1");
    machine.start().await;
    machine.write(
        "p.yaml",
        &pod("p", "{server: '2001:db8::7', path: /a, readOnly: true}"),
    );
    let volume = "volumes/kubernetes.io~nfs/v";
    let event = |machine: &Machine| messages(machine, "p", "FailedMount").into_iter().next();
    machine
        .until("the event", |machine| event(machine).is_some())
        .await;
    let (message, _) = event(&machine).unwrap();
    let begins = "MountVolume.SetUp failed for volume \"v\" : mount failed: exit status 32\nMounting command: mount\n\
                  Mounting arguments: -t nfs -o ro [2001:db8::7]:/a ";
    assert!(message.starts_with(begins), "{message}");
    let says = format!("{volume}\nOutput: mount.nfs: Connection refused\n");
    assert!(message.contains(&says), "{message}");
    machine.delete("p.yaml");
    is_gone(&machine, "p").await;
}

#[tokio::test]
async fn a_server_that_hangs_holds_its_own_pods_and_their_end_ends_the_programs() {
    let (mut machine, dir) = machine_with("echo $$ >>DIR/pids; exec sleep 600", "exit 1");
    machine.start().await;
    let pods = (0..BAD).map(|n| pod(&format!("bad-{n}"), &format!("{{server: nas, path: /{n}}}")));
    machine.write("bad.yaml", &pods.collect::<Vec<_>>().join("---\n"));
    let pids = dir.join("pids");
    machine
        .until("all to be mounted", |_| lines(&pids).len() == BAD)
        .await;
    a_good_pod_is_up_in_its_usual_time(&machine).await;
    machine.delete("bad.yaml");
    for n in 0..BAD {
        is_gone(&machine, &format!("bad-{n}")).await;
    }
    machine
        .until("the programs to have ended", |_| {
            lines(&pids).iter().all(|pid| is_over(pid))
        })
        .await;
}

fn is_over(pid: &str) -> bool {
    match std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => stat.contains(") Z "),
        Err(_) => true,
    }
}

#[tokio::test]
async fn a_pod_is_removed_whose_server_is_gone() {
    if !in_namespaces("stories::nfs::a_pod_is_removed_whose_server_is_gone") {
        return;
    }
    // A file system that never answers stands for what the server exported.
    let (mut machine, dir) = machine_with(
        "for target; do :; done; echo \"$target\" >DIR/target; read _ <DIR/go",
        "[ \"$2\" = -f ] || exec sleep 600\nexec /bin/umount \"$@\"",
    );
    let go = dir.join("go");
    nix::unistd::mkfifo(&go, nix::sys::stat::Mode::S_IRWXU).unwrap();
    machine.start().await;
    machine.write("p.yaml", &pod("p", "{server: nas, path: /a}"));
    let target = dir.join("target");
    machine.until("the mount", |_| lines(&target).len() == 1).await;
    let at = PathBuf::from(&lines(&target)[0]);
    let _server = dead_file_system(&at);
    tokio::task::spawn_blocking(move || std::fs::write(go, "\n").unwrap())
        .await
        .unwrap();
    machine.running("p").await;
    a_good_pod_is_up_in_its_usual_time(&machine).await;
    machine.delete("p.yaml");
    is_gone(&machine, "p").await;
    let table = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    assert!(!table.contains(&at.display().to_string()), "{table}");
}
