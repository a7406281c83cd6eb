//! The sockets and ports that the agent listens on.

use std::net::IpAddr;
use std::path::Path;
use std::sync::Arc;

use anyhow::Context as _;
use jiff::Timestamp;

use super::statistics::Statistics;
use super::tasks::Tasks;
use super::values::Values;
use crate::config::Config;
use crate::config::node_api::{Authorization, Serving};
use crate::config::offered::SystemLogs;
use crate::counters::Counters;
use crate::cri::Runtime;
use crate::identity::clients::Joined;
use crate::identity::connection;
use crate::identity::self_signed;
use crate::identity::store::{SERVER, Store};
use crate::serve::health::Health;
use crate::serve::node_api::{self, Files, Rules, ServingCertificate};
use crate::serve::{self, port};

/// The machine's log directory, which the kubelet's API shows.
const SYSTEM_LOGS: &str = "/var/log";

/// The values that responses are made from.
pub(super) fn world(
    config: &Config,
    values: &Values,
    (health, metrics): (&Health, &Arc<Counters>),
    statistics: &Statistics,
    runtime: &Runtime,
    verbosity: serve::Verbosity,
) -> serve::World {
    serve::World {
        pods: values.pods.1.clone(),
        node: values.node.1.clone(),
        snapshot: values.snapshot.1.clone(),
        configz: Arc::new(serde_json::json!({ "kubeletconfig": config.configz() })),
        pod_logs_dir: config.paths.pod_logs.clone(),
        runtime: runtime.clone(),
        stream_idle: config.serve.stream_idle,
        exec_dir: config
            .serve
            .socket
            .parent()
            .unwrap_or(Path::new("/run/gantry"))
            .join("exec"),
        metrics: metrics.clone(),
        health: health.clone(),
        offered: Arc::new(offered(config, verbosity)),
        changes: values.changes.clone(),
        images: values.images.clone(),
        stats: statistics.samples.clone(),
        storage: statistics.storage.clone(),
        mounted: statistics.mounted.clone(),
        pulls: values.pulls_at_work.read(),
        volumes: volumes(config, values),
        desired: values.desired.1.clone(),
    }
}

/// What is known of volumes alone.
pub(super) fn volumes(config: &Config, values: &Values) -> serve::volumes::VolumeSources {
    serve::volumes::VolumeSources {
        root: config.paths.root.clone(),
        memory: values.memory.1.clone(),
        work: values.at_work.read(),
    }
}

/// What the configuration leaves of the node API's own endpoints.
fn offered(config: &Config, verbosity: serve::Verbosity) -> serve::Offered {
    let wanted = &config.serve.offered;
    serve::Offered {
        flags: wanted.flagz.then(|| config.flags.clone()),
        program: serve::Program {
            started: Timestamp::now(),
            kubernetes_version: config.node.reported_version.clone(),
        },
        statusz: wanted.statusz,
        verbosity: wanted.debug_flags.then_some(verbosity),
        profiling: wanted.profiling,
        gates: config.serve.gates.clone(),
        checkpoints: wanted
            .checkpoint
            .then(|| serve::Checkpoints::new(config.paths.root.join("checkpoints"))),
        system_logs: match wanted.system_logs {
            SystemLogs::Off => serve::SystemLogs::Disabled,
            SystemLogs::Files => serve::SystemLogs::Files(SYSTEM_LOGS.into()),
            SystemLogs::FilesAndQueries => serve::SystemLogs::FilesAndQueries {
                files: SYSTEM_LOGS.into(),
                journalctl: "journalctl".into(),
            },
        },
    }
}

/// The socket for gantry's commands, and the port of the health check.
pub(super) async fn spawn(
    tasks: &mut Tasks,
    config: &Config,
    socket: serve::socket::Bound,
    world: &serve::World,
) -> anyhow::Result<()> {
    let (end, served) = (tasks.cancel.clone(), world.clone());
    tasks.spawn_fallible("serve", async move {
        Ok(serve::run(socket, served, async move { end.cancelled().await }).await?)
    });
    spawn_read_only(tasks, config, world)?;
    if let Some(address) = config.serve.healthz {
        let listener = port::listen(address).with_context(|| {
            format!(
                "port {} is in use (is a kubelet running?); choose another with --healthz-port",
                address.port()
            )
        })?;
        let (health, end) = (world.health.clone(), tasks.cancel.clone());
        tasks.spawn_fallible("healthz", async move {
            serve::health::healthz(listener, health, async move { end.cancelled().await }).await;
            Ok(())
        });
    }
    Ok(())
}

/// The port without authentication, if there is one.
fn spawn_read_only(tasks: &mut Tasks, config: &Config, world: &serve::World) -> anyhow::Result<()> {
    let Some(address) = config.serve.read_only else {
        return Ok(());
    };
    let listener = port::listen(address).with_context(|| {
        let port = address.port();
        format!(
            "port {port} is in use (is a kubelet running?); choose another with `readOnlyPort`, or 0 for none"
        )
    })?;
    tracing::warn!(
        %address,
        "the read-only port shows all pods to every client that reaches it; remove readOnlyPort unless a program \
         needs it"
    );
    let (world, end) = (world.clone(), tasks.cancel.clone());
    tasks.spawn_fallible("read-only port", async move {
        node_api::run_read_only(listener, world, async move { end.cancelled().await }).await;
        Ok(())
    });
    Ok(())
}

/// The kubelet's API on a cluster node: without an API server nothing can authorize callers.
pub(super) async fn spawn_node_api(
    tasks: &mut Tasks,
    config: &Config,
    addresses: &[IpAddr],
    joined: Joined,
    world: serve::World,
) -> anyhow::Result<()> {
    let (node_api, Some(address)) = (&config.serve.node_api, config.serve.api) else {
        return Ok(());
    };
    let directory = &config.paths.certificates;
    let serving_certificate = match &node_api.serving {
        Serving::Files(certificate, key) => ServingCertificate::Files(certificate.clone(), key.clone()),
        Serving::Own => {
            let node = &config.node.name;
            let (certificate, key) = self_signed::ensure(directory, node, addresses, Timestamp::now())?;
            ServingCertificate::Files(certificate, key)
        }
        Serving::Signed(before) => ServingCertificate::Signed {
            current: Store::new(directory, SERVER).current(),
            before: before.clone(),
        },
    };
    let files = Files {
        serving_certificate,
        client_ca: node_api.client_ca.clone(),
        offer: config.serve.tls.clone(),
    };
    let rules = Rules {
        node: config.node.name.clone(),
        anonymous: node_api.anonymous,
        tokens: node_api.tokens,
        permissions: match node_api.authorization {
            Authorization::AlwaysAllow => None,
            Authorization::Webhook { yes, no } => Some((yes, no)),
        },
        stream_verb: node_api.stream_verb,
        debugging: config.serve.debugging,
    };
    let listener = port::listen(address).with_context(|| {
        let port = address.port();
        format!("port {port} is in use (is a kubelet running?); choose another with `port` in the configuration file")
    })?;
    let end = tasks.cancel.clone();
    tasks.spawn_fallible("node API", async move {
        // Without an API server to query, no caller could be authorized.
        let Some(clients) = connection::joined(joined, &end).await else {
            return Ok(());
        };
        let ended = async move { end.cancelled().await };
        Ok(node_api::run(listener, files, (rules, clients), world, ended).await?)
    });
    Ok(())
}
