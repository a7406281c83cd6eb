use std::path::Path;
use std::time::Duration;

use jiff::Timestamp;
use k8s_openapi::api::core::v1::EphemeralContainer;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::*;
use crate::manifest;
use crate::model::added::{Adder, NotAdded, adder};
use crate::model::pod::Pod;
use crate::model::pod_name::PodName;

fn context() -> ManifestContext {
    ManifestContext {
        node_name: "vm".to_owned(),
        ..ManifestContext::default()
    }
}

fn pod(name: &str, image: &str) -> Arc<Pod> {
    let text = format!(
        r#"{{"apiVersion": "v1", "kind": "Pod", "metadata": {{"name": "{name}"}},
            "spec": {{"containers": [{{"name": "main", "image": "{image}"}}]}}}}"#
    );
    let path = Path::new("/manifests/pod.yaml");
    let context = context();
    let (pods, problems) = manifest::read(text.as_bytes(), path, &context, Timestamp::UNIX_EPOCH);
    assert_eq!(problems, []);
    Arc::new(pods.into_iter().next().unwrap())
}

fn set(pods: &[Arc<Pod>]) -> Option<Arc<SourceSet>> {
    let pods = pods.iter().map(|pod| (pod.name.clone(), Arc::clone(pod)));
    Some(Arc::new(SourceSet {
        pods: pods.collect(),
        ..SourceSet::default()
    }))
}

fn container(name: &str) -> EphemeralContainer {
    EphemeralContainer {
        name: name.to_owned(),
        image: Some("tools:1".to_owned()),
        ..EphemeralContainer::default()
    }
}

/// A running stage.
struct Stage {
    from: watch::Sender<Option<Arc<SourceSet>>>,
    out: SetReceiver,
    adder: Adder,
    cancel: CancellationToken,
    task: JoinHandle<()>,
}

impl Stage {
    fn start(directory: &Path, pods: &[Arc<Pod>]) -> Stage {
        let (from, receiver) = watch::channel(set(pods));
        let (sender, out) = watch::channel(None);
        let (adder, requests) = adder();
        let cancel = CancellationToken::new();
        let inputs = AddedInputs {
            pods: receiver,
            requests,
            context: context(),
            directory: directory.to_owned(),
        };
        let task = tokio::spawn(run(inputs, sender, cancel.clone()));
        Stage {
            from,
            out,
            adder,
            cancel,
            task,
        }
    }

    /// The next published set's pod of that name.
    async fn next(&mut self, name: &str) -> Option<Arc<Pod>> {
        let changed = tokio::time::timeout(Duration::from_secs(20), self.out.changed());
        changed.await.expect("a set is published").unwrap();
        let set = self.out.borrow_and_update().clone().unwrap();
        set.pods.get(&PodName::new("default", name)).cloned()
    }

    async fn add(&self, name: &str, added: &str) -> Result<(), NotAdded> {
        self.adder
            .add(PodName::new("default", name), container(added))
            .await
    }

    async fn end(self) {
        self.cancel.cancel();
        self.task.await.unwrap();
    }
}

fn names(pod: &Pod) -> Vec<&str> {
    pod.ephemeral_containers
        .iter()
        .map(|container| container.name.as_str())
        .collect()
}

#[tokio::test]
async fn what_was_added_stays_with_its_pod_over_a_restart_and_goes_with_it() {
    let directory = tempfile::tempdir().unwrap();
    let (web, db) = (pod("web", "i:1"), pod("db", "i:1"));
    let mut stage = Stage::start(directory.path(), &[web.clone(), db.clone()]);
    // Nothing was added: the very same pods.
    assert!(Arc::ptr_eq(&stage.next("web-vm").await.unwrap(), &web));
    stage.add("web-vm", "one").await.unwrap();
    stage.add("web-vm", "two").await.unwrap();
    let mut made = stage.next("web-vm").await.unwrap();
    if names(&made).len() == 1 {
        made = stage.next("web-vm").await.unwrap();
    }
    assert_eq!(names(&made), ["one", "two"]);
    assert_eq!((&made.uid, made.seen), (&web.uid, web.seen));
    // Another pod's change leaves this one as it is.
    stage.from.send_replace(set(&[web.clone(), pod("db", "i:2")]));
    assert!(Arc::ptr_eq(&stage.next("web-vm").await.unwrap(), &made));
    stage.end().await;

    let mut stage = Stage::start(directory.path(), &[web.clone(), db]);
    assert_eq!(names(&stage.next("web-vm").await.unwrap()), ["one", "two"]);
    // Another version of the manifest is another pod.
    let edited = pod("web", "i:2");
    stage.from.send_replace(set(std::slice::from_ref(&edited)));
    assert!(Arc::ptr_eq(&stage.next("web-vm").await.unwrap(), &edited));
    stage.end().await;
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn a_restarted_pod_begins_without_what_was_added() {
    let directory = tempfile::tempdir().unwrap();
    let web = pod("web", "i:1");
    let mut stage = Stage::start(directory.path(), std::slice::from_ref(&web));
    stage.next("web-vm").await.unwrap();
    stage.add("web-vm", "one").await.unwrap();
    assert_eq!(names(&stage.next("web-vm").await.unwrap()), ["one"]);
    let next = Arc::new(Pod {
        incarnation: 1,
        ..(*web).clone()
    });
    stage.from.send_replace(set(std::slice::from_ref(&next)));
    assert!(Arc::ptr_eq(&stage.next("web-vm").await.unwrap(), &next));
    stage.end().await;
    assert_eq!(std::fs::read_dir(directory.path()).unwrap().count(), 0);
}

#[tokio::test]
async fn what_cannot_be_added_changes_nothing() {
    let directory = tempfile::tempdir().unwrap();
    let mut stage = Stage::start(&directory.path().join("added"), &[pod("web", "i:1")]);
    stage.next("web-vm").await.unwrap();
    let no_pod = stage.add("none", "a").await.unwrap_err();
    assert_eq!(no_pod.to_string(), "pods \"default/none\" not found");
    let same = stage.add("web-vm", "main").await.unwrap_err().to_string();
    assert!(
        same.contains("another container is already named \"main\""),
        "{same}"
    );
    assert!(!directory.path().join("added").exists());
    // A directory that cannot be made.
    std::fs::write(directory.path().join("added"), "").unwrap();
    let unsaved = stage.add("web-vm", "a").await.unwrap_err();
    assert!(matches!(unsaved, NotAdded::NotSaved(_)), "{unsaved}");
    assert!(!stage.out.has_changed().unwrap());
    stage.end().await;
}

#[tokio::test]
async fn a_broken_file_costs_only_its_own_pod() {
    let directory = tempfile::tempdir().unwrap();
    let (web, db) = (pod("web", "i:1"), pod("db", "i:1"));
    let write = |name: &str, text: &str| std::fs::write(directory.path().join(name), text).unwrap();
    write(&format!("{}.json", web.uid.0), "[{");
    write(
        &format!("{}.json", db.uid.0),
        r#"[{"name": "dbg", "image": "tools:1"}]"#,
    );
    write("no uid.json", "[]");
    write("other", "");
    let mut stage = Stage::start(directory.path(), &[web.clone(), db]);
    assert_eq!(names(&stage.next("db-vm").await.unwrap()), ["dbg"]);
    let set = stage.out.borrow().clone().unwrap();
    assert!(Arc::ptr_eq(&set.pods[&web.name], &web));
    stage.end().await;
}
