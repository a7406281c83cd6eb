use std::collections::BTreeMap;

use futures::FutureExt as _;
use k8s_openapi::api::core::v1::Pod;

use super::*;
use crate::serve::kube::kind::Kind;
use crate::serve::kube::object::{Key, Object};
use crate::serve::kube::options::{self, Mode};
use crate::serve::kube::path::{Api, Part};

fn pods(list: &[(&str, &str)]) -> BTreeMap<Key, Object> {
    let pod = |(name, phase): &(&str, &str)| {
        let pod: Pod = serde_json::from_value(json!({
            "metadata": {"name": name, "namespace": "ns", "labels": {"phase": phase}}, "status": {"phase": phase},
        }))
        .unwrap();
        let object = Object::Pod(Arc::new(pod));
        (object.key(), object)
    };
    list.iter().map(pod).collect()
}

/// A state that changes, and a watcher of it.
struct Scene {
    state: watch::Sender<Arc<State>>,
    watcher: Watcher,
    stopping: CancellationToken,
}

impl Scene {
    fn new(namespace: Option<&str>, query: &str, form: Form) -> Scene {
        let mut first = State::starting(0);
        first.replace(pods(&[("a", "Pending"), ("b", "Running")]));
        let state = watch::Sender::new(Arc::new(first));
        let options = options::parse(Kind::Pod, &format!("watch=1&{query}")).unwrap();
        let Mode::Watch(watch) = options.mode else {
            panic!()
        };
        let place = Place {
            api: Api::Core,
            kind: Kind::Pod,
            namespace: namespace.map(str::to_owned),
            name: None,
            part: Part::Whole,
        };
        let asked = Asked {
            place,
            form,
            options,
            watch,
        };
        Scene {
            watcher: Watcher::new(state.subscribe(), asked),
            state,
            stopping: CancellationToken::new(),
        }
    }

    fn change(&self, list: &[(&str, &str)]) {
        self.state
            .send_modify(|state| Arc::make_mut(state).replace(pods(list)));
    }

    /// The lines that are there without waiting: what happened to whom, at which version.
    fn lines(&mut self) -> Vec<String> {
        let mut lines = Vec::new();
        while let Some(Some(line)) = self.watcher.next(None, &self.stopping).now_or_never() {
            let event: Value = serde_json::from_slice(&line).unwrap();
            let metadata = &event["object"]["metadata"];
            let (what, version) = (event["type"].as_str().unwrap(), &metadata["resourceVersion"]);
            let name = metadata["name"].as_str().unwrap_or("-");
            lines.push(format!("{what} {name} {}", version.as_str().unwrap_or("-")));
        }
        lines
    }
}

#[test]
fn what_there_is_comes_first_and_then_each_change() {
    let mut scene = Scene::new(None, "", Form::Objects);
    assert_eq!(scene.lines(), ["ADDED a 1", "ADDED b 2"]);
    scene.change(&[("a", "Running"), ("c", "Pending")]);
    scene.change(&[("a", "Running")]);
    assert_eq!(
        scene.lines(),
        ["MODIFIED a 3", "DELETED b 4", "ADDED c 5", "DELETED c 6"]
    );
    scene.change(&[("a", "Running")]);
    assert_eq!(scene.lines(), [""; 0]);
}

#[test]
fn a_watch_goes_on_from_a_list() {
    let mut scene = Scene::new(Some("ns"), "resourceVersion=1", Form::Objects);
    assert_eq!(scene.lines(), ["ADDED b 2"]);
    let mut elsewhere = Scene::new(Some("other"), "", Form::Objects);
    elsewhere.change(&[]);
    assert_eq!(elsewhere.lines(), [""; 0]);
}

#[test]
fn an_object_that_is_selected_no_more_is_deleted_for_the_client() {
    for query in [
        "fieldSelector=status.phase%3DRunning",
        "labelSelector=phase%3DRunning",
    ] {
        let mut scene = Scene::new(None, query, Form::Objects);
        assert_eq!(scene.lines(), ["ADDED b 2"]);
        scene.change(&[("a", "Running"), ("b", "Failed")]);
        assert_eq!(scene.lines(), ["ADDED a 3", "DELETED b 4"], "{query}");
    }
}

#[test]
fn a_forgotten_version_ends_the_watch_with_an_error() {
    let mut scene = Scene::new(None, "resourceVersion=7", Form::Objects);
    let line = scene
        .watcher
        .next(None, &scene.stopping)
        .now_or_never()
        .unwrap()
        .unwrap();
    let event: Value = serde_json::from_slice(&line).unwrap();
    assert_eq!(
        (&event["type"], &event["object"]["code"]),
        (&json!("ERROR"), &json!(410))
    );
    assert_eq!(event["object"]["reason"], "Expired");
    assert!(matches!(
        scene.watcher.next(None, &scene.stopping).now_or_never(),
        Some(None)
    ));
}

#[tokio::test(start_paused = true)]
async fn a_watch_ends_in_time_and_says_where_to_go_on() {
    let mut scene = Scene::new(
        None,
        "timeoutSeconds=5&allowWatchBookmarks=true&resourceVersion=2",
        Form::Objects,
    );
    let end = Some(Instant::now() + scene.watcher.asked.watch.timeout.unwrap());
    let line = scene.watcher.next(end, &scene.stopping).await.unwrap();
    let event: Value = serde_json::from_slice(&line).unwrap();
    let expected = json!({"kind": "Pod", "apiVersion": "v1", "metadata": {"resourceVersion": "2"}});
    assert_eq!(event, json!({"type": "BOOKMARK", "object": expected}));
    assert_eq!(scene.watcher.next(end, &scene.stopping).await, None);
}

#[test]
fn the_end_of_what_there_was_is_marked_if_asked_for() {
    let mut scene = Scene::new(
        None,
        "sendInitialEvents=true&allowWatchBookmarks=true",
        Form::Objects,
    );
    assert_eq!(scene.lines(), ["ADDED a 1", "ADDED b 2", "BOOKMARK - 2"]);
}

#[test]
fn rows_of_a_table_are_sent_one_by_one() {
    let mut scene = Scene::new(None, "", Form::Table(TableVersion::V1));
    let line = scene
        .watcher
        .next(None, &scene.stopping)
        .now_or_never()
        .unwrap()
        .unwrap();
    let event: Value = serde_json::from_slice(&line).unwrap();
    assert_eq!(event["object"]["kind"], "Table");
    assert_eq!(event["object"]["rows"][0]["cells"][0], "a");
}

#[test]
fn a_stopping_agent_ends_its_watches() {
    let mut scene = Scene::new(None, "resourceVersion=2", Form::Objects);
    scene.stopping.cancel();
    assert!(matches!(
        scene.watcher.next(None, &scene.stopping).now_or_never(),
        Some(None)
    ));
}
