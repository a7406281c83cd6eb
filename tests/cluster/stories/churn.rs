//! Pods that come and go while the agent is killed again and again.

use std::time::Duration;

use serde_json::json;

use crate::churn::Churn;
use crate::cluster::Cluster;
use crate::end_state::{assert_is_all, reported};
use crate::objects::{IDLE, spec, workload};

/// How often the agent is killed.
const KILLS: usize = 100;
/// Nearly always it lives so long at most: most kills fall into its start and into the middle of a step.
const SHORT: Duration = Duration::from_millis(250);
/// Every tenth life may be longer, so that something comes to its end, too.
const LONGER: Duration = Duration::from_secs(2);
/// How many pods are left alone.
const CALM: usize = 3;

pub fn the_agent_is_killed_at_random_moments(cluster: &mut Cluster) {
    let object = workload("calm", spec(IDLE), json!({"replicas": CALM}));
    cluster.create("apps/v1/deployments", &object);
    let calm = reported(&cluster.wait_all_running(CALM));

    let mut churn = Churn::new();
    for round in 0..KILLS {
        churn.change(cluster);
        let longest = if round % 10 == 9 { LONGER } else { SHORT };
        std::thread::sleep(churn.random.next(longest)); // the random moment
        cluster.node.kill_agent();
        cluster.node.spawn_agent();
    }

    // None is lost, doubled or stuck.
    let pods = churn.wait_settled(cluster, CALM);
    let now = reported(&pods);
    for (uid, id) in &calm {
        assert_eq!(now.get(uid), Some(id), "a pod that was left alone");
    }
    assert_is_all(cluster, &pods);
}
