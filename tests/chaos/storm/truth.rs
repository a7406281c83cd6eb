//! What the agent reports, compared with what the runtime has: the same pods, the same containers, each once.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

use super::leaks::{self, Known};
use super::pods::{Kind, Wanted};
use super::{Storm, World};
use crate::node::{NODE_IP, container, http, is_ready};
use crate::runtime::{self, Container, Sandbox};

/// One life of a container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Instance {
    pub id: String,
    pub restarts: u32,
}

/// What a node at rest has.
#[derive(Debug, Default)]
pub struct Settled {
    /// The containers that run for good, by the number of their pod and their name.
    pub instances: BTreeMap<(usize, String), Instance>,
    /// The IDs of containers that have ended, likewise.
    pub ended: Vec<((usize, String), String)>,
    /// The pods as reported, by the name in their manifest.
    pub reported: BTreeMap<String, Value>,
}

/// Whether the node is at rest, and everything is as it should be. `Err` says the first thing that is not.
pub fn look<W: World>(storm: &Storm<W>) -> Result<Settled, String> {
    let reported = storm.world.node().pods()?;
    let names: BTreeSet<&str> = reported
        .iter()
        .filter_map(|pod| pod["metadata"]["name"].as_str())
        .collect();
    let wanted: BTreeMap<String, &Wanted> = storm.pods.iter().map(|pod| (pod.full_name(), pod)).collect();
    if names.len() != reported.len() || names.iter().copied().ne(wanted.keys().map(String::as_str)) {
        return Err(format!("reported are {names:?}, wanted are {:?}", wanted.keys()));
    }
    let (sandboxes, containers) = (runtime::sandboxes()?, runtime::containers()?);
    let of_others = sandboxes
        .iter()
        .map(|own| &own.pod)
        .chain(containers.iter().map(|own| &own.pod));
    if let Some(stranger) = of_others.into_iter().find(|pod| !wanted.contains_key(*pod)) {
        return Err(format!("the runtime has something of {stranger}"));
    }
    let mut settled = Settled::default();
    for object in &reported {
        let name = object["metadata"]["name"].as_str().unwrap_or_default();
        let pod = wanted[name];
        let own = OfPod {
            pod,
            object,
            sandboxes: sandboxes.iter().filter(|own| own.pod == name).collect(),
            containers: containers.iter().filter(|own| own.pod == name).collect(),
        };
        own.add_to(&mut settled)
            .map_err(|why| format!("{name} ({:?}): {why}", pod.kind))?;
        settled.reported.insert(pod.name.clone(), object.clone());
    }
    storm.world.agrees(&reported)?;
    leaks::look(&Known::new(&storm.pods, &settled, &sandboxes, &containers))?;
    Ok(settled)
}

/// What there is of one pod.
struct OfPod<'a> {
    pod: &'a Wanted,
    object: &'a Value,
    sandboxes: Vec<&'a Sandbox>,
    containers: Vec<&'a Container>,
}

impl OfPod<'_> {
    fn add_to(&self, settled: &mut Settled) -> Result<(), String> {
        let annotation = &self.object["metadata"]["annotations"]["storm/number"];
        let number = self.pod.number.to_string();
        if annotation.as_str() != Some(number.as_str()) {
            return Err(format!(
                "it is number {annotation}, wanted is {}",
                self.pod.number
            ));
        }
        let running: Vec<&str> = self.running().map(|own| own.name.as_str()).collect();
        let up = self.sandboxes.iter().filter(|own| own.ready).count();
        if self.pod.kind.lasting().is_empty() {
            return match (running.as_slice(), up) {
                ([], 0) => self.has_ended(),
                _ => Err(format!("it has ended, and {running:?} run in {up} sandboxes")),
            };
        }
        if running != self.pod.kind.lasting() || up != 1 {
            return Err(format!(
                "{running:?} run in {up} sandboxes: {}",
                self.object["status"]
            ));
        }
        if !is_ready(self.object) {
            return Err(format!("it is not ready: {}", self.object["status"]));
        }
        // One that is down stays as long as a container of it does, for that container's log.
        let ended = self.containers.len() - running.len();
        if self.sandboxes.len() > 1 + ended {
            return Err(format!(
                "it has {} sandboxes, and {ended} containers that have ended",
                self.sandboxes.len()
            ));
        }
        self.has_no_more_ends_than_one()?;
        for own in self.containers.iter().filter(|own| !own.running) {
            settled
                .ended
                .push(((self.pod.number, own.name.clone()), own.id.clone()));
        }
        for own in self.running() {
            let instance = self.is_reported(own)?;
            settled
                .instances
                .insert((self.pod.number, own.name.clone()), instance);
        }
        self.answers()
    }

    fn running(&self) -> impl Iterator<Item = &&Container> {
        self.containers.iter().filter(|own| own.running)
    }

    fn is_reported(&self, own: &Container) -> Result<Instance, String> {
        let status = container(self.object, &own.name);
        let id = status["containerID"].as_str().unwrap_or_default();
        let is_same =
            id.trim_start_matches("containerd://") == own.id && status["restartCount"] == own.restarts;
        match is_same && status["state"]["running"].is_object() {
            true => Ok(Instance {
                id: own.id.clone(),
                restarts: own.restarts,
            }),
            false => Err(format!("{own:?} is reported as {status}")),
        }
    }

    fn has_ended(&self) -> Result<(), String> {
        let phase = &self.object["status"]["phase"];
        let is_right = *phase == "Succeeded" || (self.pod.is_forgiven && *phase == "Failed");
        match is_right {
            true => self.has_no_more_ends_than_one(),
            false => Err(format!("it has not ended well: {}", self.object["status"])),
        }
    }

    /// Of each container, one that has ended stays for its log.
    fn has_no_more_ends_than_one(&self) -> Result<(), String> {
        let mut names: Vec<&str> = self
            .containers
            .iter()
            .filter(|own| !own.running)
            .map(|own| own.name.as_str())
            .collect();
        let all = names.len();
        names.sort_unstable();
        names.dedup();
        match all == names.len() {
            true => Ok(()),
            false => Err(format!("containers that have ended: {:?}", self.containers)),
        }
    }

    /// What is ready answers, at its own address and at the port of the node.
    fn answers(&self) -> Result<(), String> {
        if self.pod.kind != Kind::Web {
            return Ok(());
        }
        let address = self.object["status"]["podIP"].as_str().unwrap_or_default();
        for at in [
            format!("{address}:8080"),
            format!("{NODE_IP}:{}", self.pod.port()),
        ] {
            let answer = http(&at, "/")?;
            if !answer.contains(&self.pod.page()) {
                return Err(format!("{at} answers {answer:?}"));
            }
        }
        Ok(())
    }
}
