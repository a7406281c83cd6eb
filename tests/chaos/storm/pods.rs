//! The pods of a storm: of every kind that a node has to treat in its own way, from the manifests directory and from the
//! API server.

use std::collections::BTreeMap;
use std::path::Path;

use serde_json::{Value, json};

use super::faults::Harm;
use crate::node::MANIFESTS;

/// The fewest pods that there are; and the most.
pub const LEAST: usize = 4;
const MOST: usize = 9;
/// Where the containers of pods that end leave a line for each run.
pub const RUNS: &str = "/run/node/runs";
/// The host ports begin here; each pod has its own.
const FIRST_PORT: usize = 20_000;
/// The ConfigMap that every pod of the kind [`Kind::Volumes`] mounts.
pub const CONFIG_MAP: &str = "storm-config";
/// What that has in it.
const TEXT: &str = "blows";

/// Ends when it is asked to.
const LASTS: &str = "trap 'exit 0' TERM; while :; do sleep 1000000 & wait $!; done";

/// What a pod is like.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It does nothing.
    Idle,
    /// A web server with probes and a port of the host.
    Web,
    /// Volumes of the kinds that need no driver.
    Volumes,
    /// An init container, a sidecar and two containers.
    Several,
    /// In the network namespace of the node.
    HostNetwork,
    /// As much requested as allowed.
    Limited,
    /// It ends well, and is not started again.
    Ends,
    /// It fails once and then ends well.
    Retries,
}

const KINDS: [Kind; 8] = [
    Kind::Idle,
    Kind::Web,
    Kind::Volumes,
    Kind::Several,
    Kind::HostNetwork,
    Kind::Limited,
    Kind::Ends,
    Kind::Retries,
];

impl Kind {
    /// The containers that run for good.
    pub fn lasting(self) -> &'static [&'static str] {
        match self {
            Kind::Several => &["main", "second", "sidecar"],
            Kind::Ends | Kind::Retries => &[],
            _ => &["main"],
        }
    }

    /// How often the container of a pod that ends is run.
    pub fn runs(self) -> usize {
        match self {
            Kind::Ends => 1,
            Kind::Retries => 2,
            _ => 0,
        }
    }
}

/// Who has described a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum From {
    File,
    Api,
}

/// A pod that should be there.
#[derive(Debug, Clone)]
pub struct Wanted {
    /// Its name in the manifest.
    pub name: String,
    /// Its number: names are used again, numbers are not.
    pub number: usize,
    pub kind: Kind,
    pub from: From,
    /// The node was at rest with it once.
    has_rested: bool,
    /// A fault has ended a container of it: another restart may have to wait for its back-off, so the pod goes next.
    is_harmed: bool,
    /// How often its containers have run says nothing any more.
    pub is_forgiven: bool,
}

impl Wanted {
    /// The name under which it is reported.
    pub fn full_name(&self) -> String {
        match self.from {
            From::File => format!("{}-node-1", self.name),
            From::Api => self.name.clone(),
        }
    }

    /// The name of its manifest in the manifests directory.
    pub fn file(&self) -> String {
        format!("{}.json", self.name)
    }

    /// The host port of a web server.
    pub fn port(&self) -> usize {
        FIRST_PORT + self.number % 10_000
    }

    /// Where a pod that ends leaves a line for each run.
    pub fn runs_file(&self) -> std::path::PathBuf {
        Path::new(RUNS).join(format!("{}-{}", self.name, self.number))
    }

    /// Whether the node was at rest with it before.
    pub fn has_rested(&self) -> bool {
        self.has_rested
    }

    /// Its manifest.
    pub fn object(&self) -> Value {
        let mut spec = json!({"terminationGracePeriodSeconds": 1, "containers": [container("main", LASTS)]});
        self.describe(&mut spec);
        json!({
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {
                "name": self.name,
                "namespace": "default",
                // Two pods of one name are never the same.
                "annotations": {"storm/number": self.number.to_string()},
            },
            "spec": spec,
        })
    }

    fn describe(&self, spec: &mut Value) {
        match self.kind {
            Kind::Idle => {}
            Kind::Web => self.serve(spec),
            Kind::Volumes => mount(spec),
            Kind::Several => {
                let mut sidecar = container("sidecar", LASTS);
                sidecar["restartPolicy"] = json!("Always");
                spec["initContainers"] = json!([sidecar, container("first", "true")]);
                spec["containers"] = json!([container("main", LASTS), container("second", LASTS)]);
            }
            Kind::HostNetwork => spec["hostNetwork"] = json!(true),
            Kind::Limited => {
                spec["containers"][0]["resources"] = json!({"limits": {"cpu": "500m", "memory": "32Mi"}});
            }
            Kind::Ends => self.end(spec, "Never", "sleep 0.2"),
            Kind::Retries => self.end(spec, "OnFailure", "[ $(wc -l <\"$FILE\") -ge 2 ]"),
        }
    }

    fn serve(&self, spec: &mut Value) {
        let text = self.page();
        let script = format!("mkdir -p /srv; echo '{text}' >/srv/index.html; exec httpd -f -p 8080 -h /srv");
        let main = &mut spec["containers"][0];
        main["command"][2] = json!(script);
        main["ports"] = json!([{"containerPort": 8080, "hostPort": self.port()}]);
        main["readinessProbe"] =
            json!({"httpGet": {"path": "/", "port": 8080}, "periodSeconds": 1, "timeoutSeconds": 5});
        // A runtime that is stopped for a moment answers no exec probe, which is no reason for a restart.
        main["livenessProbe"] = json!({"exec": {"command": ["true"]}, "periodSeconds": 2, "timeoutSeconds": 10, "failureThreshold": 20});
    }

    /// What a web server answers.
    pub fn page(&self) -> String {
        format!("{} {}", self.name, self.number)
    }

    fn end(&self, spec: &mut Value, policy: &str, last: &str) {
        spec["restartPolicy"] = json!(policy);
        spec["volumes"] = json!([{"name": "runs", "hostPath": {"path": RUNS, "type": "DirectoryOrCreate"}}]);
        let main = &mut spec["containers"][0];
        main["env"] = json!([{"name": "FILE", "value": format!("/runs/{}-{}", self.name, self.number)}]);
        main["command"][2] = json!(format!("echo ran >>\"$FILE\"; {last}"));
        main["volumeMounts"] = json!([{"name": "runs", "mountPath": "/runs"}]);
    }
}

fn container(name: &str, script: &str) -> Value {
    json!({"name": name, "image": "gantry.local/busybox:1", "command": ["sh", "-c", script]})
}

/// Its container runs only as long as every volume has in it what it should.
fn mount(spec: &mut Value) {
    spec["volumes"] = json!([
        {"name": "disk", "emptyDir": {}},
        {"name": "memory", "emptyDir": {"medium": "Memory", "sizeLimit": "1Mi"}},
        {"name": "map", "configMap": {"name": CONFIG_MAP}},
        {"name": "self", "downwardAPI": {"items": [{"path": "name", "fieldRef": {"fieldPath": "metadata.name"}}]}},
        {"name": "host", "hostPath": {"path": RUNS, "type": "DirectoryOrCreate"}},
    ]);
    let main = &mut spec["containers"][0];
    let check =
        format!("[ \"$(cat /map/text)\" = {TEXT} ] && [ -s /self/name ] && echo >/disk/a && echo >/memory/a");
    main["command"][2] = json!(format!("{check} || exit 9; {LASTS}"));
    main["volumeMounts"] = json!([
        {"name": "disk", "mountPath": "/disk"},
        {"name": "memory", "mountPath": "/memory"},
        {"name": "map", "mountPath": "/map"},
        {"name": "self", "mountPath": "/self"},
        {"name": "host", "mountPath": "/host"},
    ]);
}

/// The ConfigMap that pods mount.
pub fn config_map() -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "ConfigMap",
        "metadata": {"name": CONFIG_MAP, "namespace": "default"},
        "data": {"text": TEXT},
    })
}

/// Writes what the pods of the manifests directory have in common.
pub fn write_common() {
    std::fs::create_dir_all(RUNS).expect("a private directory");
    let file = Path::new(MANIFESTS).join("storm-config.json");
    std::fs::write(file, config_map().to_string()).expect("a private directory");
}

/// The pods that should be there.
#[derive(Default)]
pub struct Pods {
    wanted: BTreeMap<String, Wanted>,
    made: usize,
}

impl Pods {
    pub fn len(&self) -> usize {
        self.wanted.len()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = &Wanted> {
        self.wanted.values()
    }

    /// The pod of this name.
    pub fn get(&self, name: &str) -> Option<&Wanted> {
        self.wanted.get(name)
    }

    /// Takes a pod that has to go, if it is time for one to go: one that was harmed, else any; of those that can go.
    pub fn leaving(&mut self, drawn: usize, can_go: impl Fn(From) -> bool) -> Option<Wanted> {
        let able: Vec<&Wanted> = self.iter().filter(|pod| can_go(pod.from)).collect();
        let are_few = self.wanted.len() < LEAST / 2;
        let harmed = able.iter().find(|pod| pod.is_harmed && !are_few);
        let is_time = self.wanted.len() >= MOST || (self.wanted.len() > LEAST && drawn.is_multiple_of(2));
        let any = || able.get((drawn / 2).checked_rem(able.len())?).filter(|_| is_time);
        let name = harmed.or_else(any)?.name.clone();
        self.wanted.remove(&name)
    }

    /// Takes this pod, unless it has gone already.
    pub fn remove(&mut self, pod: &Wanted) -> bool {
        let is_there = self
            .wanted
            .get(&pod.name)
            .is_some_and(|own| own.number == pod.number);
        is_there && self.wanted.remove(&pod.name).is_some()
    }

    /// Another pod, with the first free name: names of pods that have just gone are used again.
    pub fn coming(&mut self, drawn: usize, from: From) -> Wanted {
        self.made += 1;
        let free = (0..)
            .map(|number| format!("p{number}"))
            .find(|name| !self.wanted.contains_key(name));
        let pod = Wanted {
            name: free.expect("there are more numbers than pods"),
            number: self.made,
            kind: KINDS[drawn % KINDS.len()],
            from,
            has_rested: false,
            is_harmed: false,
            is_forgiven: false,
        };
        self.wanted.insert(pod.name.clone(), pod.clone());
        pod
    }

    /// One of those that run for good, rest, and were not harmed yet.
    pub fn victim(&self, drawn: usize) -> Option<Wanted> {
        let fit: Vec<&Wanted> = self
            .iter()
            .filter(|pod| pod.has_rested && !pod.is_harmed && !pod.kind.lasting().is_empty())
            .collect();
        fit.get(drawn.checked_rem(fit.len())?).map(|pod| (*pod).clone())
    }

    /// Notes what a fault has done.
    pub fn suffer(&mut self, harm: &Harm) {
        for pod in self.wanted.values_mut() {
            if harm.may_restart(pod) {
                pod.is_harmed |= harm.restarts(pod);
                pod.is_forgiven = true;
            }
        }
    }

    /// The node is at rest.
    pub fn rested(&mut self) {
        self.wanted.values_mut().for_each(|pod| pod.has_rested = true);
    }
}
