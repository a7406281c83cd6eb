//! What happens between the node and the API server, and to the API server itself.

use crate::cluster::Cluster;
use crate::fault_proxy::Mode;
use crate::storm::Storm;
use crate::storm::faults::{Fault, Harm, Inflicted};

pub fn all() -> Vec<Fault<Cluster>> {
    let fault = |name, weight, inflict| Fault {
        name,
        weight,
        may: |_| true,
        inflict,
    };
    vec![
        fault("api-calls-fail", 8, calls_fail),
        fault("api-out-of-reach", 6, out_of_reach),
        fault("api-connections-torn", 4, torn),
        fault("api-watches-expired", 4, expired),
        fault("api-server-killed", 2, server_killed),
        fault("etcd-compacted", 2, compacted),
    ]
}

/// Calls are slow, refused (500, 503, 429 with Retry-After), cut off, or lost on their way back.
fn calls_fail(storm: &mut Storm<Cluster>) -> Inflicted<Cluster> {
    storm.world.proxy().set(Mode::Faulty);
    let before = storm.world.proxy().spoiled();
    Inflicted::until("", Harm::Nothing, move |storm: &mut Storm<Cluster>| {
        // Something has to go wrong: the node's heartbeat alone takes ten seconds.
        for _ in 0..3 {
            storm.change();
        }
        crate::wait::wait_for("a spoiled request", crate::node::SOON, || {
            match storm.world.proxy().spoiled() - before {
                0 => Err("none".to_owned()),
                _ => Ok(()),
            }
        });
        storm.world.proxy().set(Mode::Pass);
    })
}

fn out_of_reach(storm: &mut Storm<Cluster>) -> Inflicted<Cluster> {
    storm.world.proxy().set(Mode::Closed);
    storm.world.proxy().tear();
    Inflicted::until("", Harm::Nothing, |storm: &mut Storm<Cluster>| {
        storm.world.proxy().set(Mode::Pass)
    })
}

fn torn(storm: &mut Storm<Cluster>) -> Inflicted<Cluster> {
    storm.world.proxy().tear();
    Inflicted::done("", Harm::Nothing)
}

fn expired(storm: &mut Storm<Cluster>) -> Inflicted<Cluster> {
    storm.world.proxy().expire();
    Inflicted::done("", Harm::Nothing)
}

fn server_killed(storm: &mut Storm<Cluster>) -> Inflicted<Cluster> {
    storm.world.plane.kill_server();
    Inflicted::until("", Harm::Nothing, |storm: &mut Storm<Cluster>| {
        storm.world.plane.start_server()
    })
}

/// What happened while no watch was open is gone from etcd's history.
fn compacted(storm: &mut Storm<Cluster>) -> Inflicted<Cluster> {
    storm.world.proxy().set(Mode::Closed);
    storm.world.proxy().tear();
    Inflicted::until("", Harm::Nothing, |storm: &mut Storm<Cluster>| {
        storm.world.plane.kill_server();
        storm.world.plane.compact();
        storm.world.plane.start_server();
        storm.world.proxy().set(Mode::Pass);
    })
}
