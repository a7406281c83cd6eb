//! The world that the stories share, and the place that each has in it.

use std::path::Path;
use std::process::{Child, Command};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::{Value, json};

use super::disk;
use super::driver::Driver;
use super::objects::claim;
use crate::api::Api;
use crate::cluster::Cluster;
use crate::control_plane::{ADMIN, ControlPlane, NODE, wait_node_ready};
use crate::kubeadm::Agent as Who;
use crate::kubelet::{self, Kubelet};
use crate::node::{LONG, NODE_IP, Node, SOON, is_ready};
use crate::objects::uid;
use crate::process::{logged, run};
use crate::wait::wait_for;
use crate::world::{CGROUP, control_plane};

/// What an agent does now and then, it does as often as it can: measuring volumes, reporting those in use, looking
/// whether a claim has become larger.
const CONFIG: &str = "volumeStatsAggPeriod: 1s
nodeStatusUpdateFrequency: 1s
syncFrequency: 3s
";

/// The cluster of all stories, and the driver for which the external controllers work.
pub struct Volumes {
    _plane: ControlPlane,
    pub agent: Mutex<Agent>,
    pub shared: Arc<Driver>,
    /// They die with the process namespace that they were started in.
    _controllers: Vec<Child>,
}

/// The agent under test, in the same place and of the same name whoever it is.
pub struct Agent {
    node: Node,
    kubelet: Option<Kubelet>,
    is: Who,
}

impl Volumes {
    /// Starts everything, and waits until the node is Ready.
    pub fn start() -> Volumes {
        // The network of the node's pods is gantry's, whoever is the agent later.
        let Cluster {
            plane, api, mut node, ..
        } = Cluster::start_configured(CONFIG);
        // Otherwise it asks name servers for its own name at each start, and none answers.
        node.flag(&format!("--node-ip={NODE_IP}"));
        let mut agent = Agent {
            node,
            kubelet: None,
            is: Who::Gantry,
        };
        if Who::asked_for() == Who::Kubelet {
            agent.stop();
            agent.start_as(Who::Kubelet, &api);
        }
        let shared = Arc::new(Driver::start("shared", &["--attaches"]));
        let spec = json!({"attachRequired": true, "podInfoOnMount": true});
        api.create(
            "/apis/storage.k8s.io/v1/csidrivers",
            &super::objects::csi_driver(&shared, spec),
        );
        let class = json!({
            "metadata": {"name": "shared"},
            "provisioner": shared.name,
            "allowVolumeExpansion": true,
            "volumeBindingMode": "WaitForFirstConsumer",
        });
        api.create("/apis/storage.k8s.io/v1/storageclasses", &class);
        Volumes {
            _plane: plane,
            agent: Mutex::new(agent),
            _controllers: controllers(&shared),
            shared,
        }
    }
}

/// Kubernetes' own controllers for a driver.
fn controllers(driver: &Driver) -> Vec<Child> {
    let start = |name: &str, flags: &[&str]| {
        let mut command = Command::new(control_plane(name));
        command
            .arg(format!("--csi-address={}", driver.socket().display()))
            .arg(format!("--kubeconfig={ADMIN}"))
            .arg("--retry-interval-start=100ms")
            .args(flags);
        logged(&mut command, &format!("{name}.log"))
    };
    vec![
        start("csi-provisioner", &["--extra-create-metadata"]),
        start("csi-attacher", &[]),
        start("csi-resizer", &[]),
    ]
}

impl Agent {
    /// Who is under test.
    pub fn is(&self) -> Who {
        self.is
    }

    /// Starts the agent that is under test.
    pub fn start(&mut self, api: &Api) {
        self.start_as(Who::asked_for(), api);
    }

    /// Starts one or the other, and waits until it has reported.
    pub fn start_as(&mut self, who: Who, api: &Api) {
        self.is = who;
        match who {
            Who::Gantry => self.node.start_agent(),
            Who::Kubelet => self.start_kubelet(),
        }
        wait_node_ready(api);
    }

    /// Starts the agent that is under test, and does not wait for what it does.
    pub fn spawn(&mut self) {
        self.is = Who::asked_for();
        match self.is {
            Who::Gantry => self.node.spawn_agent(),
            Who::Kubelet => self.start_kubelet(),
        }
    }

    fn start_kubelet(&mut self) {
        let cgroup = std::env::var(CGROUP).expect("the outside names the story's cgroup");
        let configuration = kubelet::configuration(&cgroup)
            .replace("address: 127.0.0.1", "address: 0.0.0.0")
            .replace(
                "authentication: {",
                "authentication: {x509: {clientCAFile: /etc/kubernetes/pki/ca.crt}, ",
            );
        let flag = format!("--kubeconfig={NODE}");
        self.kubelet = Some(Kubelet::start_configured(
            &format!("{configuration}{CONFIG}"),
            &[&flag],
        ));
    }

    /// Asks the agent to end, and waits until it has.
    pub fn stop(&mut self) {
        match self.kubelet.take() {
            Some(kubelet) => kubelet.stop(),
            None => self.node.stop_agent(),
        }
    }

    /// Kills the agent as a crash would.
    pub fn kill(&mut self) {
        match self.kubelet.take() {
            Some(kubelet) => drop(kubelet),
            None => self.node.kill_agent(),
        }
    }
}

/// What one story has of the world: a namespace, drivers, and everything that it has made.
pub struct Place<'w> {
    pub world: &'w Volumes,
    pub api: Api,
    pub namespace: String,
    pub drivers: Vec<Arc<Driver>>,
    /// The paths of what belongs to no namespace.
    made: Vec<String>,
    uids: Mutex<Vec<String>>,
}

impl<'w> Place<'w> {
    pub fn enter(world: &'w Volumes, story: &str) -> Place<'w> {
        let mut namespace = story.split("::").last().unwrap_or(story).replace('_', "-");
        namespace.truncate(40);
        let namespace = namespace.trim_end_matches('-').to_owned();
        let api = Api::new(Path::new(ADMIN));
        api.create("/api/v1/namespaces", &json!({"metadata": {"name": namespace}}));
        let account = format!("/api/v1/namespaces/{namespace}/serviceaccounts/default");
        api.wait(&account, "there", SOON, |_| true);
        Place {
            world,
            api,
            namespace,
            drivers: vec![world.shared.clone()],
            made: Vec::new(),
            uids: Mutex::new(Vec::new()),
        }
    }

    /// Starts a driver of the story's own, with its CSIDriver, and waits until it is registered.
    pub fn driver(&mut self, short: &str, flags: &[&str], spec: Value) -> Arc<Driver> {
        let driver = Arc::new(Driver::start(short, flags));
        self.drivers.push(driver.clone());
        let object = super::objects::csi_driver(&driver, spec);
        self.make("/apis/storage.k8s.io/v1/csidrivers", &object);
        let node = "/apis/storage.k8s.io/v1/csinodes/node-1";
        self.api
            .wait(node, &format!("with {}", driver.name), LONG, |node| {
                let drivers = node["spec"]["drivers"].as_array();
                drivers.is_some_and(|all| all.iter().any(|one| one["name"] == driver.name.as_str()))
            });
        driver
    }

    /// Makes an object that belongs to no namespace, and goes with the story.
    #[track_caller]
    pub fn make(&mut self, path: &str, object: &Value) {
        let name = object["metadata"]["name"].as_str().expect("it has a name");
        self.made.push(format!("{path}/{name}"));
        self.api.create(path, object);
    }

    /// The path of an object in the story's namespace.
    pub fn at(&self, kind: &str, name: &str) -> String {
        format!("{}/{name}", self.all(kind))
    }

    fn all(&self, kind: &str) -> String {
        format!("/api/v1/namespaces/{}/{kind}", self.namespace)
    }

    /// Makes an object in the story's namespace.
    #[track_caller]
    pub fn create(&self, kind: &str, object: &Value) -> Value {
        let made = self.api.create(&self.all(kind), object);
        if kind == "pods" {
            self.uids.lock().expect("never poisoned").push(uid(&made));
        }
        made
    }

    /// A PersistentVolume of this name that a claim of the same name has: `more` is the source of the volume and
    /// whatever differs from the usual of its spec.
    #[track_caller]
    pub fn bound(&mut self, name: &str, more: Value) {
        let mut spec = json!({
            "capacity": {"storage": "1Mi"},
            "accessModes": ["ReadWriteOnce"],
            "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": {"namespace": self.namespace, "name": name},
        });
        for (key, value) in more.as_object().expect("members of a spec") {
            spec[key] = value.clone();
        }
        let mut claim = claim(name, "");
        claim["spec"]["volumeName"] = json!(name);
        claim["spec"]["accessModes"] = spec["accessModes"].clone();
        if let Some(mode) = spec.get("volumeMode") {
            claim["spec"]["volumeMode"] = mode.clone();
        }
        let volume = json!({"metadata": {"name": name}, "spec": spec});
        self.make("/api/v1/persistentvolumes", &volume);
        self.create("persistentvolumeclaims", &claim);
        let path = self.at("persistentvolumeclaims", name);
        self.api
            .wait(&path, "bound", SOON, |claim| claim["status"]["phase"] == "Bound");
    }

    /// Waits until a pod runs with every container ready, and returns it.
    #[track_caller]
    pub fn wait_running(&self, name: &str) -> Value {
        self.api
            .wait(&self.at("pods", name), "running and ready", LONG, is_ready)
    }

    /// Deletes a pod and waits until it is gone.
    #[track_caller]
    pub fn end(&self, name: &str) {
        self.api.delete(&self.at("pods", name));
        self.api.wait_gone(&self.at("pods", name), LONG);
    }

    /// Waits for an event about a pod with this reason whose message begins with this text, from this component.
    #[track_caller]
    pub fn wait_event(&self, pod: &str, reason: &str, text: &str) -> Value {
        let path = self.all("events");
        wait_for(&format!("{reason} of {pod}: {text}"), LONG, || {
            let events = self.api.list(&path)?;
            let about = events
                .iter()
                .filter(|event| event["involvedObject"]["name"] == pod);
            let about: Vec<&Value> = about.collect();
            let is_it = |event: &&&Value| {
                let message = event["message"].as_str().unwrap_or_default();
                event["reason"] == reason && message.starts_with(text)
            };
            let told = about
                .iter()
                .map(|event| format!("{}: {}", event["reason"], event["message"]));
            let told = told.collect::<Vec<_>>().join("\n");
            about
                .iter()
                .find(is_it)
                .map(|event| (**event).clone())
                .ok_or(told)
        })
    }

    /// Whatever state a story ends in: nothing of its pods is mounted or on the disk, nothing of its volumes is in the
    /// API or in the kernel.
    pub fn clear(&mut self) {
        for driver in &self.drivers[1..] {
            driver.pass_all();
        }
        // Each of them may be gone already.
        for kind in ["pods", "persistentvolumeclaims"] {
            let _ = self.api.ask("DELETE", &self.all(kind), None);
        }
        wait_for("the pods and claims to be gone", LONG, || {
            let pods = self.api.list(&self.all("pods"))?;
            let claims = self.api.list(&self.all("persistentvolumeclaims"))?;
            match pods.is_empty() && claims.is_empty() {
                true => Ok(()),
                false => Err(format!("{pods:?} {claims:?}")),
            }
        });
        self.wait_nothing_left();
        for path in &self.made {
            let _ = self.api.ask("DELETE", path, None);
        }
        for path in &self.made {
            self.api.wait_gone(path, LONG);
        }
        let _ = self
            .api
            .ask("DELETE", &format!("/api/v1/namespaces/{}", self.namespace), None);
    }

    /// Waits until the disk and the kernel have nothing of the story's pods.
    #[track_caller]
    pub fn wait_nothing_left(&self) {
        let uids = self.uids.lock().expect("never poisoned").clone();
        wait_for("nothing of the pods to be on the node", LONG, || {
            let there = uids.iter().filter(|uid| disk::pod_directory(uid).exists());
            let mut left: Vec<String> = there.cloned().collect();
            left.extend(uids.iter().flat_map(|uid| disk::mounts(uid)));
            for driver in &self.drivers[1..] {
                left.extend(disk::mounts(&format!("csi/{}/", driver.name)));
            }
            match left.is_empty() {
                true => Ok(()),
                false => Err(left.join("\n")),
            }
        });
    }

    /// Waits until nothing on the node speaks of the driver's volumes: nothing is staged, no directory for it is there,
    /// no loop device is attached. No other story may run that has devices.
    #[track_caller]
    pub fn wait_no_trace(&self, driver: &Driver) {
        wait_for("no directory and no device to be left", LONG, || {
            let of_driver = disk::below(&disk::devices().with_file_name(&driver.name)).into_iter();
            let mut left: Vec<String> = of_driver
                .chain(disk::below(&disk::devices()))
                .filter(|path| !path.ends_with("publish") && !path.ends_with("staging"))
                .map(|path| path.display().to_string())
                .collect();
            for volume in driver.volumes() {
                let data = driver.data(&volume).display().to_string();
                let devices = run(&["losetup", "--noheadings", "--associated", &data]);
                left.extend(devices.lines().map(str::to_owned));
            }
            match left.is_empty() {
                true => Ok(()),
                false => Err(format!("{left:#?}")),
            }
        });
    }
}

/// Long enough for what an external controller does in its own time.
pub const CONTROLLERS: Duration = Duration::from_secs(90);
