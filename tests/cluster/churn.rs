//! Pods that come and go at random.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::cluster::Cluster;
use crate::node::{LONG, is_ready};
use crate::objects::{IDLE, name, pod};
use crate::seeded_random::SeededRandom;

/// What is wanted of the pods that come and go.
pub struct Churn {
    pub random: SeededRandom,
    wanted: BTreeSet<String>,
    made: usize,
}

impl Churn {
    pub fn new() -> Churn {
        Churn {
            random: SeededRandom::new(),
            wanted: BTreeSet::new(),
            made: 0,
        }
    }

    /// Makes a pod, or takes one away: gently, or by force.
    #[track_caller]
    pub fn change(&mut self, cluster: &Cluster) {
        let what = self.random.number(5);
        let chosen = self.random.number(self.wanted.len().max(1));
        let chosen = self.wanted.iter().nth(chosen).cloned();
        match chosen.filter(|_| what < 2) {
            Some(name) => {
                self.wanted.remove(&name);
                let grace = json!({"kind": "DeleteOptions", "apiVersion": "v1", "gracePeriodSeconds": what});
                let path = cluster.at("pods", &name);
                let deleted = cluster.api.ask("DELETE", &path, Some(&grace));
                deleted.unwrap_or_else(|error| panic!("DELETE {path}: {error}"));
            }
            None => {
                let name = format!("pod{}", self.made);
                self.made += 1;
                cluster.create("pods", &pod(&name, IDLE));
                self.wanted.insert(name);
            }
        }
    }

    /// Waits until those that are wanted run, beside so many others, and no others are there. Returns all.
    #[track_caller]
    pub fn wait_settled(&self, cluster: &Cluster, others: usize) -> Vec<Value> {
        println!(
            "{} pods are wanted of {} that were made",
            self.wanted.len(),
            self.made
        );
        cluster.wait_pods("those that are wanted, running", LONG, |pods| {
            let own = pods.iter().map(name).filter(|name| name.starts_with("pod"));
            own.collect::<BTreeSet<_>>() == self.wanted
                && pods.len() == self.wanted.len() + others
                && pods.iter().all(is_ready)
        })
    }
}
