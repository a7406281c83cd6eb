//! What never answers: name servers that are silent and file systems whose server is gone. Whoever names them waits,
//! and no other pod does.

use std::fs::{File, OpenOptions};
use std::os::fd::AsRawFd as _;
use std::path::Path;
use std::process::Command;
use std::time::Duration;

use gantry::act::files::FilePlaces;
use nix::mount::{MsFlags, mount};
use tokio::time::Instant;

use super::volumes;
use crate::agent::{Machine, full_name, manifest, state};
use crate::served;

/// How many pods name what never answers.
const BAD: usize = 30;
/// A pod that names nothing of the kind is up after a fraction of this, on a slow machine under load too.
const USUAL: Duration = Duration::from_secs(5);
/// Longer than any of these stories takes.
const LONG: Duration = Duration::from_secs(180);

/// Runs a story once more in user, mount and network namespaces of its own, where it may put mounts wherever it likes and
/// leaves no trace. True within them.
fn in_own_namespaces(story: &str) -> bool {
    in_namespaces(&format!("stories::waits::{story}"))
}

/// The same for a story with its path.
pub(super) fn in_namespaces(story: &str) -> bool {
    const MARK: &str = "GANTRY_STORY_IN_OWN_NAMESPACES";
    if std::env::var_os(MARK).is_some() {
        return true;
    }
    let output = Command::new("timeout")
        .arg("--kill-after=5")
        .arg(LONG.as_secs().to_string())
        .args(["unshare", "--user", "--map-root-user", "--mount", "--net", "--"])
        .arg(std::env::current_exe().unwrap())
        .args(["--exact", story, "--nocapture"])
        .env(MARK, "1")
        .output()
        .expect("timeout and unshare are on every Debian");
    let said = [output.stdout, output.stderr].concat();
    let said = String::from_utf8_lossy(&said);
    // A name that no story has would be a success, too.
    assert!(
        output.status.success() && said.contains("1 passed"),
        "{story}, in namespaces of its own: {}\n{said}",
        output.status
    );
    false
}

/// Has this story's names asked of a server that takes every question and answers none.
fn silent_name_server(dir: &Path) -> std::net::UdpSocket {
    let up = Command::new("ip")
        .args(["link", "set", "lo", "up"])
        .status()
        .unwrap();
    assert!(up.success());
    let files = [
        (
            "/etc/resolv.conf",
            "nameserver 127.0.0.1\noptions timeout:5 attempts:2\n",
        ),
        ("/etc/nsswitch.conf", "hosts: files dns\n"),
    ];
    for (n, (place, text)) in files.into_iter().enumerate() {
        let own = dir.join(format!("etc-{n}"));
        std::fs::write(&own, text).unwrap();
        mount(Some(&own), place, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    }
    std::net::UdpSocket::bind("127.0.0.1:53").unwrap()
}

/// Mounts a file system whose server never answers; it is gone when what is returned is dropped.
pub(super) fn dead_file_system(at: &Path) -> File {
    let mut options = OpenOptions::new();
    let server = options.read(true).write(true).open("/dev/fuse");
    let server = server.expect("this story needs /dev/fuse: load the module `fuse`");
    let data = format!("fd={},rootmode=40000,user_id=0,group_id=0", server.as_raw_fd());
    mount(
        Some("dead"),
        at,
        Some("fuse"),
        MsFlags::empty(),
        Some(data.as_str()),
    )
    .unwrap();
    server
}

/// A pod that has volumes, a probe and a hook, and whose names and paths are all well.
pub(super) async fn a_good_pod_is_up_in_its_usual_time(machine: &Machine) {
    let c = "name: c, image: demo:1, volumeMounts: [{name: e, mountPath: /e}], lifecycle: {postStart: {exec: {command: [hello]}}}";
    let begun = Instant::now();
    machine.write(
        "good.yaml",
        &manifest("good", "volumes: [{name: e, emptyDir: {}}]", &[c]),
    );
    machine.running("good").await;
    let took = begun.elapsed();
    assert!(took < USUAL, "it took {took:?}");
    let begun = Instant::now();
    machine.delete("good.yaml");
    let gone = |report: &gantry::model::report::PodsReport| {
        (!report.pods.contains_key(&full_name("good"))).then_some(())
    };
    machine.reported("the good one's end", gone).await;
    let took = begun.elapsed();
    assert!(took < USUAL, "its end took {took:?}");
}

/// The messages of a pod's events of that reason, each with how often it came.
pub(super) fn messages(machine: &Machine, pod: &str, reason: &str) -> Vec<(String, u32)> {
    let report = machine.report();
    let events = report
        .events
        .get(&full_name(pod))
        .into_iter()
        .flat_map(|events| events.iter());
    let of_reason = events.filter(|event| event.what.reason == reason);
    of_reason
        .map(|event| (event.what.message.clone(), event.count))
        .collect()
}

#[tokio::test]
async fn names_that_never_resolve_fail_their_probes_and_hold_nobody_up() {
    if !in_own_namespaces("names_that_never_resolve_fail_their_probes_and_hold_nobody_up") {
        return;
    }
    let machine = Machine::started().await;
    let _server = silent_name_server(machine.at.root.path());
    let names: Vec<String> = (0..BAD).map(|n| format!("bad-{n}")).collect();
    let pods = names.iter().map(|name| {
        let probe = |of: &str, kind: &str, ask: &str| {
            format!("{kind}Probe: {{{ask}: {{host: {kind}.{of}.{name}.example, port: 80}}, periodSeconds: 1, failureThreshold: 1000}}")
        };
        let container = |of: &str| {
            let (live, ready) = (probe(of, "liveness", "httpGet"), probe(of, "readiness", "tcpSocket"));
            format!("name: {of}, image: demo:1, {live}, {ready}")
        };
        manifest(name, "", &[&container("c"), &container("d")])
    });
    machine.write("bad.yaml", &pods.collect::<Vec<_>>().join("---\n"));
    // So often that as many lookups as the shared threads are would hang, were they made there.
    let failed = |machine: &Machine, times: u32| {
        let often = |name: &String| {
            messages(machine, name, "Unhealthy")
                .iter()
                .map(|(_, count)| count)
                .sum::<u32>()
        };
        names.iter().all(|name| often(name) >= times)
    };
    machine
        .until("probes that fail", |machine| failed(machine, 20))
        .await;
    machine
        .until("probes that fail on", |machine| failed(machine, 40))
        .await;
    a_good_pod_is_up_in_its_usual_time(&machine).await;
    let reported = messages(&machine, "bad-0", "Unhealthy");
    let late = |(message, _): &(String, u32)| {
        message.contains("probe failed: ")
            && message.contains("dial tcp: lookup ")
            && message.contains("i/o timeout")
    };
    assert!(reported.iter().all(late), "{reported:?}");
    let pod = machine.pod("bad-0").unwrap();
    assert_eq!(state(&pod, "c"), "running");
}

#[tokio::test]
async fn paths_on_a_dead_file_system_fail_their_pods_and_hold_nobody_up() {
    if !in_own_namespaces("paths_on_a_dead_file_system_fail_their_pods_and_hold_nobody_up") {
        return;
    }
    let mut machine = Machine::new();
    let patience = Duration::from_secs(3);
    machine.files = FilePlaces::new(patience);
    let dead = machine.at.root.path().join("dead");
    std::fs::create_dir(&dead).unwrap();
    let _server = dead_file_system(&dead);
    machine.start().await;
    let pods = (0..BAD).map(|n| {
        let volume = format!(
            "volumes: [{{name: v, hostPath: {{path: {}/{n}, type: Directory}}}}, {{name: w, hostPath: {{path: {}/{n}w, type: Directory}}}}]",
            dead.display(),
            dead.display()
        );
        let c = "name: c, image: demo:1, volumeMounts: [{name: v, mountPath: /v}, {name: w, mountPath: /w}]";
        manifest(&format!("bad-{n}"), &volume, &[c])
    });
    machine.write("bad.yaml", &pods.collect::<Vec<_>>().join("---\n"));
    machine.write(
        "part.yaml",
        &manifest(
            "part",
            &format!("volumes: [{{name: v, hostPath: {{path: {}}}}}]", dead.display()),
            &["name: c, image: demo:1, volumeMounts: [{name: v, mountPath: /v, subPath: x}]"],
        ),
    );
    machine
        .reported("all of them", |report| {
            (report.pods.len() == BAD + 1).then_some(())
        })
        .await;
    a_good_pod_is_up_in_its_usual_time(&machine).await;
    for n in 0..BAD {
        let pod = format!("bad-{n}");
        machine
            .until("a reason", |machine| {
                !messages(machine, &pod, "FailedMount").is_empty()
            })
            .await;
    }
    let reported = messages(&machine, "bad-7", "FailedMount");
    let text = format!(
        "MountVolume.SetUp failed for volume \"v\" : {}/7: no answer within 3 s",
        dead.display()
    );
    assert!(
        reported.iter().any(|(message, _)| *message == text),
        "{reported:?}"
    );
    let part = machine
        .pod_told("part", "refused", |pod| {
            state(pod, "c") == "Waiting: CreateContainerConfigError"
        })
        .await;
    let waiting = part.status.as_ref().unwrap().container_statuses.as_ref().unwrap()[0].clone();
    let message = waiting.state.unwrap().waiting.unwrap().message.unwrap();
    let text = format!(
        "failed to prepare subPath for volumeMount \"v\" of container \"c\": {}/x: ",
        dead.display()
    );
    assert!(message.starts_with(&text), "{message}");
    // Whoever hangs can be deleted, and does not begin calls without end.
    let hanging = |thread: &std::fs::DirEntry| {
        let name = std::fs::read_to_string(thread.path().join("comm")).unwrap_or_default();
        name.trim() == "host paths"
    };
    let threads = std::fs::read_dir("/proc/self/task")
        .unwrap()
        .flatten()
        .filter(hanging)
        .count();
    assert!((BAD * 2..=BAD * 2 + 1).contains(&threads), "{threads} threads");
    machine.delete("bad.yaml");
    machine.delete("part.yaml");
    machine
        .reported("the end of all", |report| report.pods.is_empty().then_some(()))
        .await;
}

#[tokio::test]
async fn a_message_on_a_dead_file_system_is_given_up_and_the_end_of_the_container_is_seen() {
    if !in_own_namespaces("a_message_on_a_dead_file_system_is_given_up_and_the_end_of_the_container_is_seen")
    {
        return;
    }
    let machine = Machine::started().await;
    let c = "name: c, image: demo:1, terminationMessagePath: /m, volumeMounts: [{name: m, mountPath: /m}]";
    let spec = "volumes: [{name: m, emptyDir: {}}]\n  restartPolicy: Never";
    machine.write("web.yaml", &manifest("web", spec, &[c]));
    let pod = machine.running("web").await;
    let id = machine.fake.world().container("c").unwrap().0.clone();
    let mounts = machine
        .fake
        .world()
        .container("c")
        .unwrap()
        .1
        .config
        .mounts
        .clone();
    let host = mounts
        .iter()
        .find(|mount| mount.container_path == "/m")
        .unwrap()
        .host_path
        .clone();
    assert!(host.contains(pod.metadata.uid.as_deref().unwrap()), "{host}");
    let _server = dead_file_system(Path::new(&host));
    machine.fake.exit(&id, 1);
    let pod = machine
        .pod_told("web", "ended", |pod| state(pod, "c").starts_with("Terminated"))
        .await;
    let status = pod.status.as_ref().unwrap().container_statuses.as_ref().unwrap()[0].clone();
    let message = status.state.unwrap().terminated.unwrap().message.unwrap();
    assert_eq!(
        message,
        format!("Error on reading termination log {host}: {host}: no answer within 1 s")
    );
}

#[tokio::test]
async fn volumes_on_dead_file_systems_are_listed_with_what_they_wait_for() {
    if !in_own_namespaces("volumes_on_dead_file_systems_are_listed_with_what_they_wait_for") {
        return;
    }
    let machine = Machine::started().await;
    let _plugin = volumes::start_plugin(&machine);
    let client = served::client(&machine);
    machine.write("web.yaml", volumes::POD);
    machine.running("web").await;
    let is_mounted = |one: &serde_json::Value| one["state"] == "Mounted";
    let before = volumes::volume(&client, "driven", is_mounted).await;
    let _server = dead_file_system(Path::new(before["path"].as_str().unwrap()));
    assert_eq!(volumes::volume(&client, "driven", is_mounted).await, before);

    let dead = machine.at.root.path().join("dead");
    std::fs::create_dir(&dead).unwrap();
    let _other = dead_file_system(&dead);
    let spec = format!(
        "volumes: [{{name: gone, hostPath: {{path: {}/x, type: Directory}}}}]",
        dead.display()
    );
    let c = "name: c, image: demo:1, volumeMounts: [{name: gone, mountPath: /v}]";
    machine.write("bad.yaml", &manifest("bad", &spec, &[c]));
    let gone = volumes::volume(&client, "gone", |one| one["state"] == "Waiting").await;
    let message = format!("waiting for the file system at {}/x", dead.display());
    assert_eq!(gone["message"], message);
    machine.delete("web.yaml");
    machine.delete("bad.yaml");
}
