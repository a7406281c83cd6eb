//! The agent's servers: what they answer from, and the socket of a machine's agent.

use std::path::Path;
use std::sync::Arc;

use gantry::command::client::Client;
use gantry::cri::Runtime;
use gantry::serve::{self, socket};
use jiff::Timestamp;
use tokio::sync::watch;

use crate::agent::{DEADLINE, Machine};

/// Answers from nothing but a runtime, with directories below `root`.
pub(crate) fn world(root: &Path, runtime: Runtime) -> serve::World {
    serve::World {
        pods: watch::channel(Arc::default()).1,
        node: watch::channel(Arc::default()).1,
        snapshot: watch::channel(Arc::default()).1,
        configz: Arc::default(),
        pod_logs_dir: root.join("logs"),
        runtime,
        stream_idle: DEADLINE,
        exec_dir: root.join("exec"),
        metrics: Arc::default(),
        health: Default::default(),
        offered: Arc::default(),
        changes: gantry::model::changes::changes().0,
        images: gantry::model::image_work::image_worker().0,
        stats: gantry::stats::requests().0,
        storage: gantry::stats::storage_requests().0,
        mounted: gantry::stats::mounted_requests().0,
        pulls: watch::channel(Default::default()).1,
        volumes: Default::default(),
        desired: watch::channel(Arc::default()).1,
    }
}

/// Serves the socket of the agent that runs now; the client of it.
pub(crate) fn client(machine: &Machine) -> Client {
    let root = machine.at.root.path();
    let (volumes, desired) = machine.volumes();
    let world = serve::World {
        pods: machine.reports(),
        images: machine.images(),
        pulls: machine.pulls(),
        volumes,
        desired,
        ..world(root, Runtime::new(&machine.fake.settings()))
    };
    let path = root.join(format!("{}.sock", Timestamp::now().as_nanosecond()));
    let bound = socket::bind(&path).unwrap();
    tokio::spawn(serve::run(bound, world, std::future::pending()));
    Client::new(path)
}
