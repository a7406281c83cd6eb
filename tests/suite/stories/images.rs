//! People have images pulled through the agent's socket.

use gantry::command::client::{Chunks, Client};
use gantry::command::get;
use gantry::command::image_work::{self, Shown};
use gantry::command::progress::Progress;
use gantry::serve::images::wire::Line;
use http_body_util::Empty;
use jiff::Timestamp;
use serde_json::json;

use crate::agent::{DEADLINE, Machine, manifest, state};
use crate::served;

const IMAGE: &str = "registry.example.com/team/app:1";

/// What `gantry pull` prints, or why it failed.
async fn pull(client: &Client, image: &str) -> Result<String, String> {
    let shown = Shown {
        progress: Progress::Lines,
        result: true,
    };
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let pulled = image_work::pull(client, image, shown, (&mut out, &mut err)).await;
    match pulled {
        Ok(0) => Ok(String::from_utf8(out).unwrap()),
        Ok(code) => Err(format!("exit code {code}")),
        Err(error) => Err(error.to_string()),
    }
}

/// The lines of a pull, while it is under way.
async fn begin(client: &Client, image: &str) -> Chunks {
    let path = format!("/images/pull?image={image}");
    client.work(&path, Empty::<bytes::Bytes>::new()).await.unwrap()
}

async fn next(lines: &mut Chunks) -> Line {
    let chunk = tokio::time::timeout(DEADLINE, lines.next()).await;
    let chunk = chunk.expect("a line comes").unwrap().expect("it is not the end");
    serde_json::from_slice(&chunk).unwrap()
}

fn phase(line: &Line) -> String {
    match line {
        Line::Progress(progress) => format!("{:?}", progress.phase),
        other => format!("{other:?}"),
    }
}

#[tokio::test]
async fn an_image_is_pulled_as_for_pods_and_the_pod_that_waits_for_it_starts() {
    let machine = Machine::started().await;
    let client = served::client(&machine);
    let container = format!("name: c, image: '{IMAGE}', imagePullPolicy: IfNotPresent");
    machine.write("web.yaml", &manifest("web", "", &[&container]));
    machine
        .pod_told("web", "waiting for its image", |pod| {
            state(pod, "c") == "Waiting: ErrImagePull" || state(pod, "c") == "Waiting: ImagePullBackOff"
        })
        .await;
    let refused = pull(&client, IMAGE).await.unwrap_err();
    let file = machine.at.root.path().join("config.json");
    assert_eq!(
        refused,
        format!(
            "failed to resolve reference {IMAGE:?}; the node has no credentials for it: if the registry requires them, \
             add them to {}",
            file.display()
        )
    );
    // The registry has it now, for those who say who they are.
    {
        let mut world = machine.fake.world();
        world.registry.insert(IMAGE.to_owned());
        let asked = ("ann".to_owned(), "right".to_owned());
        world.passwords.insert(IMAGE.to_owned(), asked);
    }
    let auths = json!({"auths": {"registry.example.com": {"username": "ann", "password": "right"}}});
    std::fs::write(file, auths.to_string()).unwrap();
    assert_eq!(
        pull(&client, IMAGE).await.unwrap(),
        format!("pulled {IMAGE} (4.0Ki)\n")
    );
    // Without waiting for the end of its back-off, and without another pull: every pod of the node may use the image.
    machine.running("web").await;
    let pulls = machine.fake.count("PullImage");
    let records = machine.at.root.path().join("image_manager/pulled");
    assert_eq!(std::fs::read_dir(records).unwrap().count(), 1);
    let again = pull(&client, IMAGE).await.unwrap();
    assert_eq!(again, format!("{IMAGE} is up to date (4.0Ki)\n"));
    assert_eq!(machine.fake.count("PullImage"), pulls + 1);
    assert_eq!(
        machine.fake.world().pulled_by.last().unwrap().as_deref(),
        Some("ann")
    );
}

/// What `gantry get pods` prints.
async fn listed(client: &Client) -> String {
    let (mut out, mut err) = (Vec::new(), Vec::new());
    let options = get::Options::default();
    get::run(client, &options, Timestamp::now(), &mut out, &mut err)
        .await
        .unwrap();
    String::from_utf8(out).unwrap()
}

#[tokio::test]
async fn the_list_of_pods_shows_how_far_their_pulls_are_until_they_end() {
    let machine = Machine::started().await;
    let client = served::client(&machine);
    machine.fake.world().registry.insert(IMAGE.to_owned());
    machine.fake.hold("PullImage");
    let container = format!("name: c, image: '{IMAGE}'");
    machine.write("web.yaml", &manifest("web", "", &[&container]));
    machine.called("PullImage", 1).await;
    machine.event("Pulling").await;
    let table = listed(&client).await;
    let [heading, web] = table.lines().collect::<Vec<_>>()[..] else {
        panic!("{table}")
    };
    assert!(heading.trim_end().ends_with("AGE   PULLING"), "{table}");
    assert!(web.contains("downloading ("), "{table}");
    // The node pulls one image at a time.
    machine.write(
        "other.yaml",
        &manifest("other", "", &["name: c, image: absent:1"]),
    );
    machine
        .until("the other pull waits", |machine| {
            machine.pulls().borrow().of_pods.len() == 2
        })
        .await;
    let table = listed(&client).await;
    assert!(table.contains("waiting for other pulls ("), "{table}");
    machine.delete("other.yaml");
    machine.fake.release("PullImage");
    machine.running("web").await;
    machine
        .until("nothing is pulled", |machine| {
            machine.pulls().borrow().of_pods.is_empty()
        })
        .await;
    let table = listed(&client).await;
    assert!(!table.contains("PULLING"), "{table}");
}

#[tokio::test]
async fn a_pull_ends_with_its_client_and_others_wait_for_their_turn() {
    let machine = Machine::started().await;
    let client = served::client(&machine);
    machine.fake.world().registry.insert(IMAGE.to_owned());
    machine.fake.hold("PullImage");
    let mut first = begin(&client, IMAGE).await;
    machine.called("PullImage", 1).await;
    let mut line = next(&mut first).await;
    while phase(&line) == "Waiting" {
        line = next(&mut first).await;
    }
    assert_eq!(phase(&line), "Downloading");
    // The node pulls one image at a time.
    let mut second = begin(&client, IMAGE).await;
    assert_eq!(phase(&next(&mut second).await), "Waiting");
    assert_eq!(machine.fake.count("PullImage"), 1);
    // The runtime never answers the first one, so only its end makes room.
    drop(first);
    machine.called("PullImage", 2).await;
    machine.fake.release("PullImage");
    loop {
        match next(&mut second).await {
            Line::Progress(_) => {}
            Line::Done(images) => {
                assert_eq!(images[0].names, [IMAGE]);
                break;
            }
            Line::Failed(why) => panic!("{why}"),
        }
    }
}

#[tokio::test]
async fn what_is_no_image_is_refused_and_a_runtime_that_is_away_is_named() {
    let mut machine = Machine::started().await;
    let client = served::client(&machine);
    assert_eq!(
        pull(&client, "Team/App").await.unwrap_err(),
        "\"Team/App\" is not an image name: invalid reference format: repository name (App) must be lowercase"
    );
    machine.fake.stop();
    let refused = pull(&client, IMAGE).await.unwrap_err();
    let begin = format!("the container runtime does not say whether it has {IMAGE}: ");
    assert!(refused.starts_with(&begin), "{refused}");
    assert!(refused.ends_with("; `gantry doctor` checks it"), "{refused}");
}
