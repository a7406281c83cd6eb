//! The client of the sitting: makes pods, takes them away, and sees on a watch when they are ready and gone. Its pace
//! is the API server's: the next request follows the answer to the one before.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use futures::{Stream, StreamExt as _};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{DeleteParams, ListParams, PostParams, WatchEvent, WatchParams};
use serde_json::{Value, json};

use crate::api::connect;
use crate::control_plane::ADMIN;
use crate::node::is_ready;
use crate::objects::{IDLE, pod};

/// The longest that a lot of pods may take.
const PATIENCE: Duration = Duration::from_secs(300);

/// A client that stays connected.
pub struct Load {
    runtime: tokio::runtime::Runtime,
    pods: kube::Api<Pod>,
}

impl Load {
    /// In the namespace of this name, which is there.
    pub fn new(namespace: &str) -> Load {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()
            .expect("a runtime in a bench");
        let client = runtime.block_on(connect(Path::new(ADMIN)));
        Load {
            pods: kube::Api::namespaced(client, namespace),
            runtime,
        }
    }

    /// Makes pods of these names. How long it takes until the last of them is ready.
    pub fn up(&self, names: &[String]) -> Duration {
        self.up_as(names, object)
    }

    /// The same of other pods.
    pub fn up_as(&self, names: &[String], object: impl Fn(&str) -> Value) -> Duration {
        let is_done = |event: &WatchEvent<Pod>| match event {
            WatchEvent::Added(pod) | WatchEvent::Modified(pod) => {
                is_ready(&serde_json::to_value(pod).expect("a pod is JSON"))
            }
            _ => false,
        };
        let ask = async |name: &str| {
            let object: Pod = serde_json::from_value(object(name)).expect("a pod");
            let made = self.pods.create(&PostParams::default(), &object).await;
            made.expect("the API server makes a pod");
        };
        self.runtime.block_on(self.each(names, ask, is_done))
    }

    /// Takes them away. How long it takes until the last of them is gone.
    pub fn down(&self, names: &[String]) -> Duration {
        let is_done = |event: &WatchEvent<Pod>| matches!(event, WatchEvent::Deleted(_));
        let ask = async |name: &str| {
            let deleted = self.pods.delete(name, &DeleteParams::default()).await;
            deleted.expect("the API server takes a deletion");
        };
        self.runtime.block_on(self.each(names, ask, is_done))
    }

    async fn each(
        &self,
        names: &[String],
        ask: impl AsyncFn(&str),
        is_done: impl Fn(&WatchEvent<Pod>) -> bool,
    ) -> Duration {
        let mut reported = self.watch().await;
        let begun = Instant::now();
        let asking = async {
            for name in names {
                ask(name).await;
            }
        };
        let seeing = async {
            let mut left: BTreeSet<&str> = names.iter().map(String::as_str).collect();
            while !left.is_empty() {
                let event = reported.next().await.expect("the watch goes on");
                if is_done(&event) {
                    left.remove(name(&event));
                }
            }
            begun.elapsed()
        };
        let both = async { tokio::join!(asking, seeing).1 };
        tokio::time::timeout(PATIENCE, both)
            .await
            .expect("a lot of pods is up, or gone, within minutes")
    }

    /// What happens to pods from now on.
    async fn watch(&self) -> impl Stream<Item = WatchEvent<Pod>> + Unpin {
        let list = self.pods.list_metadata(&ListParams::default()).await;
        let version = list.expect("the API server lists pods").metadata.resource_version;
        let version = version.expect("a list has a version");
        let reported = self.pods.watch(&WatchParams::default(), &version).await;
        reported
            .expect("the API server takes a watch")
            .map(|event| event.expect("the watch goes on"))
            .boxed()
    }
}

/// A pod of this node, which ends as soon as it is asked to.
pub fn object(name: &str) -> Value {
    let mut object = pod(name, IDLE);
    object["spec"]["nodeName"] = json!("node-1");
    object["spec"]["terminationGracePeriodSeconds"] = json!(30);
    object
}

fn name(event: &WatchEvent<Pod>) -> &str {
    match event {
        WatchEvent::Added(pod) | WatchEvent::Modified(pod) | WatchEvent::Deleted(pod) => {
            pod.metadata.name.as_deref().unwrap_or_default()
        }
        _ => "",
    }
}
