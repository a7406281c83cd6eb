//! Images that nothing uses are removed: when their file system is nearly full, and when somebody asks for it.

use std::io::Cursor;
use std::time::Duration;

use gantry::act::pulls::PullRate;
use gantry::command::client::Client;
use gantry::command::prune::{self, EndedPods, Mode, Options};
use gantry::model::measured::FsUsage;
use gantry::model::resources::Bytes;
use gantry::serve::images::wire::ImageList;
use jiff::Timestamp;
use serde_json::json;
use tonic::Status;

use crate::agent::{Machine, manifest, message, phase, simple, state};
use crate::fake_api::FakeApi;
use crate::served;

/// A file system of that many bytes, of which so many are free. The runtime's images have 4096 each.
fn disk(capacity: i64, available: i64) -> FsUsage {
    FsUsage {
        capacity: Bytes(capacity),
        available: Bytes(available),
        inodes: 1000,
        inodes_free: 900,
    }
}

/// A machine whose images may go as soon as they are seen: those that each machine has, and these.
fn with_images(names: &[&str]) -> Machine {
    let mut machine = Machine::new();
    machine.image_policy.min_age = Duration::ZERO;
    for name in names {
        machine.fake.world().add_image(name);
    }
    machine
}

async fn started(mut machine: Machine) -> Machine {
    machine.start().await;
    machine
        .becomes("a subscriber to events", |fake| fake.has_subscriber())
        .await;
    machine
}

/// The tags of the images that the runtime has.
fn images(machine: &Machine) -> Vec<String> {
    let world = machine.fake.world();
    let mut tags: Vec<_> = world
        .images
        .values()
        .flat_map(|image| image.repo_tags.clone())
        .collect();
    tags.sort();
    tags
}

/// What `gantry images prune` prints and its exit code.
async fn prune(client: &Client, mode: Mode, typed: &str) -> (u32, String) {
    let options = Options {
        mode,
        ended_pods: EndedPods::Kept,
    };
    prune_with(client, options, typed).await
}

async fn prune_with(client: &Client, options: Options, typed: &str) -> (u32, String) {
    let mut out = Vec::new();
    let mut input = Cursor::new(typed.to_owned());
    let code = prune::run(client, options, Timestamp::now(), &mut input, &mut out).await;
    (code.unwrap(), String::from_utf8(out).unwrap())
}

#[tokio::test]
async fn where_the_disk_is_nearly_full_unused_images_go_until_there_is_room() {
    let mut machine = with_images(&["a:1", "b:1", "c:1", "d:1"]);
    machine.write("web.yaml", &simple("web"));
    // 91 % are used, and 80 % shall be: 11000 bytes.
    machine.imagefs = Some(disk(100_000, 9_000));
    let machine = started(machine).await;
    machine.called("RemoveImage", 3).await;
    machine.running("web").await;
    machine
        .until("the removals to be counted", |machine| {
            machine.counted("kubelet_image_garbage_collected_total", &["space"]) == 3.0
        })
        .await;
    let left = images(&machine);
    assert_eq!(left.len(), 3, "{left:?}");
    assert!(left.contains(&"demo:1".to_owned()), "{left:?}");
    assert_eq!(machine.fake.count("RemoveImage"), 3);
}

#[tokio::test]
async fn what_cannot_be_freed_is_an_event_of_the_node() {
    let mut machine = with_images(&["gone:1"]);
    machine.write("web.yaml", &simple("web"));
    machine.provided.archives.insert("busybox:latest".to_owned());
    machine.imagefs = Some(disk(100_000, 9_000));
    machine.api = Some(FakeApi::start().await);
    let machine = started(machine).await;
    let told = |machine: &Machine| {
        let events = machine.api().all("events").into_iter();
        let mut of_node = events.filter(|event| event["involvedObject"]["kind"] == "Node");
        of_node.find(|event| event["reason"] == "FreeDiskSpaceFailed")
    };
    machine
        .until("the event", |machine| told(machine).is_some())
        .await;
    let event = told(&machine).unwrap();
    assert_eq!(event["type"], "Warning");
    assert_eq!(
        event["message"],
        "Insufficient free disk space on the node's image filesystem (91% of 97.7 KiB used). Failed to free sufficient \
         space by deleting unused images (freed 4096 bytes). Investigate disk usage, as it could be used by active images, \
         logs, volumes, or other data."
    );
    // That of an archive, and that of the pod.
    assert_eq!(images(&machine), ["busybox:latest", "demo:1"]);
}

#[tokio::test]
async fn somebody_sees_what_would_go_and_has_it_removed() {
    let machine = started(with_images(&["a:1", "b:1"])).await;
    let client = served::client(&machine);
    machine.write("web.yaml", &simple("web"));
    machine.running("web").await;
    let (code, shown) = prune(&client, Mode::DryRun, "").await;
    assert_eq!(code, 0);
    assert!(shown.ends_with("3 images (12Ki) would be removed.\n"), "{shown}");
    assert!(shown.contains("a:1") && !shown.contains("demo:1"), "{shown}");
    let (code, asked) = prune(&client, Mode::Ask, "no\n").await;
    assert!(
        asked.ends_with("This removes 3 images (12Ki). Type yes to continue: "),
        "{asked}"
    );
    assert_eq!((code, machine.fake.count("RemoveImage")), (1, 0));
    let list: ImageList = client.object("/images").await.unwrap();
    let demo = list.items.iter().find(|image| image.names == ["demo:1"]).unwrap();
    assert!(demo.last_used.is_some() && demo.goes_after.is_none(), "{demo:?}");
    // One of them cannot be removed; the others go all the same.
    machine
        .fake
        .fail("RemoveImage", 1, Status::unknown("read-only file system"));
    let (code, said) = prune(&client, Mode::Ask, "yes\n").await;
    assert_eq!(code, 1, "{said}");
    let lines: Vec<&str> = said.lines().rev().take(4).collect();
    assert_eq!(lines[0], "2 images (8.0Ki) removed.");
    assert!(lines[1].starts_with("left "), "{said}");
    assert!(
        lines[1].ends_with(": rpc error: code = Unknown desc = read-only file system"),
        "{said}"
    );
    assert_eq!(images(&machine).len(), 2);
    let (code, said) = prune(&client, Mode::Remove, "").await;
    assert_eq!((code, said.lines().last()), (0, Some("1 image (4.0Ki) removed.")));
    assert_eq!(images(&machine), ["demo:1"]);
    let (code, said) = prune(&client, Mode::Remove, "").await;
    assert_eq!((code, said.as_str()), (0, "No image can be removed.\n"));
}

#[tokio::test]
async fn what_has_come_a_moment_ago_stays() {
    let mut machine = with_images(&[]);
    machine.image_policy.min_age = Duration::from_secs(120);
    let machine = started(machine).await;
    let client = served::client(&machine);
    let (code, said) = prune(&client, Mode::Remove, "").await;
    assert_eq!(
        (code, said.as_str()),
        (
            0,
            "No image can be removed.\n2 images are unused too, but gantry has not known them for as long as \
             imageMinimumGCAge says.\n"
        )
    );
    assert_eq!(machine.fake.count("RemoveImage"), 0);
}

#[tokio::test]
async fn a_pod_that_comes_meanwhile_keeps_its_image_or_gets_it_again() {
    let machine = started(with_images(&[])).await;
    {
        let mut world = machine.fake.world();
        world.registry.insert("busybox:latest".to_owned());
        world.registry.insert("demo:1".to_owned());
    }
    let client = served::client(&machine);
    machine.fake.hold("RemoveImage");
    let pruning = tokio::spawn(async move { prune(&client, Mode::Remove, "").await });
    machine.called("RemoveImage", 1).await;
    let going = machine
        .fake
        .calls()
        .into_iter()
        .find(|call| call.call == "RemoveImage")
        .unwrap();
    let name = machine.fake.world().image(&going.about).unwrap().repo_tags[0].clone();
    let other = if name == "demo:1" {
        "busybox:latest"
    } else {
        "demo:1"
    };
    // Its image was chosen, too, and is named now.
    let pod = |name: &str, image: &str| {
        let container = format!("name: c, image: '{image}', imagePullPolicy: IfNotPresent");
        manifest(name, "", &[&container])
    };
    machine.write("other.yaml", &pod("other", other));
    machine.running("other").await;
    // This one finds its image, which goes before its container is created.
    machine.fake.hold("CreateContainer");
    machine.write("web.yaml", &pod("web", &name));
    machine.called("CreateContainer", 2).await;
    machine.fake.release("RemoveImage");
    let (code, said) = pruning.await.unwrap();
    assert_eq!(
        (code, said.lines().last()),
        (0, Some("1 image (4.0Ki) removed.")),
        "{said}"
    );
    assert!(machine.fake.world().image(other).is_some());
    machine.fake.release("CreateContainer");
    // It is tried again, and pulls the image.
    machine.running("web").await;
    assert!(machine.fake.world().image(&name).is_some());
}

#[tokio::test]
async fn pulls_beyond_the_registrys_limit_are_refused_in_the_kubelets_words() {
    let mut machine = Machine::new();
    machine.pull_rate = Some(PullRate {
        per_second: 1,
        burst: 1,
    });
    for name in ["example.com/a:1", "example.com/b:1"] {
        machine.fake.world().registry.insert(name.to_owned());
        let pod = name["example.com/".len()..].replace(":1", "");
        let container = format!("name: c, image: '{name}'");
        machine.write(&format!("{pod}.yaml"), &manifest(&pod, "", &[&container]));
    }
    let machine = started(machine).await;
    let refused = |machine: &Machine| {
        ["a", "b"].into_iter().find(|pod| {
            let pod = machine.pod(pod);
            pod.is_some_and(|pod| message(&pod, "c") == "pull QPS exceeded")
        })
    };
    machine
        .until("a refusal", |machine| refused(machine).is_some())
        .await;
    let refused = refused(&machine).unwrap();
    assert_eq!(
        state(&machine.pod(refused).unwrap(), "c"),
        "Waiting: ErrImagePull"
    );
    machine.running(if refused == "a" { "b" } else { "a" }).await;
}

#[tokio::test]
async fn the_containers_of_ended_pods_go_before_their_images_and_their_status_stays() {
    let mut machine = with_images(&["job:1"]);
    machine.api = Some(FakeApi::start().await);
    let machine = started(machine).await;
    let client = served::client(&machine);
    // The end of a static pod is known from its containers alone.
    machine.write(
        "once.yaml",
        &manifest("once", "restartPolicy: Never", &["name: c, image: demo:1"]),
    );
    machine.running("once").await;
    machine.fake.exit(&running_id(&machine, "once-node"), 0);
    machine
        .api()
        .bind_asking("job", "u1", "job:1", json!({"restartPolicy": "Never"}));
    let status = |machine: &Machine| {
        let object = machine.api().get("pods", "job").unwrap_or_default();
        (
            object["status"]["phase"].clone(),
            object["status"]["containerStatuses"].clone(),
        )
    };
    machine
        .until("it runs", |machine| status(machine).0 == "Running")
        .await;
    machine.fake.exit(&running_id(&machine, "job"), 0);
    machine
        .until("its end is known", |machine| status(machine).0 == "Succeeded")
        .await;
    machine
        .pod_told("once", "succeeded", |pod| phase(pod) == "Succeeded")
        .await;
    let ended = status(&machine);
    // The watch brings the end back, by which the agent knows that the API server has it.
    let mut said = String::new();
    for _ in 0..50 {
        let options = Options {
            mode: Mode::Remove,
            ended_pods: EndedPods::Cleared,
        };
        said = prune_with(&client, options, "").await.1;
        if machine.fake.world().image("job:1").is_none() {
            break;
        }
    }
    assert_eq!(images(&machine), ["demo:1"], "{said}");
    let of_job = |machine: &Machine| {
        let world = machine.fake.world();
        world.sandbox("job").is_some()
    };
    assert!(!of_job(&machine));
    assert!(machine.fake.world().sandbox("once-node").is_some());
    // What was reported stays, and nothing starts again.
    let runs = machine.fake.count("RunPodSandbox");
    machine.write("web.yaml", &simple("web"));
    machine.running("web").await;
    assert_eq!(status(&machine), ended);
    assert_eq!(machine.fake.count("RunPodSandbox"), runs + 1);
    let status = machine.pod("once").unwrap();
    assert_eq!(phase(&status), "Succeeded");
}

/// The ID of the container of that pod.
fn running_id(machine: &Machine, pod: &str) -> String {
    let world = machine.fake.world();
    let sandbox = world.sandbox(pod).unwrap().0.clone();
    let mut containers = world.containers.iter();
    let found = containers.find(|(_, container)| container.sandbox == sandbox);
    found.unwrap().0.clone()
}
