//! Wires the sources of pods: the files and, on a node of a cluster, the API server.

use std::sync::Arc;

use tokio::sync::watch;

use super::manifest_context::manifest_context;
use super::member::Member;
use super::tasks::{Tasks, or_left};
use super::values::Values;
use crate::config::Config;
use crate::model::added::AddRequests;
use crate::model::changes::ChangeRequests;
use crate::model::manifest_edit::EditRequests;
use crate::model::pod_restart::RestartRequests;
use crate::source;

pub(super) fn spawn(
    tasks: &mut Tasks,
    config: &Config,
    values: &Values,
    requests: ChangeRequests,
    member: Option<&Member>,
) {
    let files = spawn_files(tasks, config, values);
    spawn_edits(tasks, config, requests.edits);
    let files = match member {
        Some(member) => member.spawn_classes(tasks, files),
        None => files,
    };
    let files = spawn_drivers(tasks, values, "drivers of static pods", files);
    let files = spawn_restarts(tasks, files, requests.restarts);
    let files = spawn_added(tasks, config, files, requests.additions);
    let (desired, cancel) = (values.desired.0.clone(), tasks.cancel.clone());
    let api = member.map(|member| member.spawn_source(tasks, config, values));
    let api = api.map(|pods| spawn_drivers(tasks, values, "drivers of API pods", pods));
    tasks.spawn_fallible("sources", async move {
        Ok(source::merge(files, api, desired, cancel).await?)
    });
}

/// Pods with the storage drivers that they need.
fn spawn_drivers(
    tasks: &mut Tasks,
    values: &Values,
    name: &'static str,
    pods: source::SetReceiver,
) -> source::SetReceiver {
    let (out, receiver) = watch::channel(None);
    let (drivers, cancel) = (values.drivers.1.clone(), tasks.cancel.clone());
    tasks.spawn(name, source::drivers::run(pods, drivers, out, cancel));
    receiver
}

/// What people change in the manifests directory.
fn spawn_edits(tasks: &mut Tasks, config: &Config, requests: EditRequests) {
    let inputs = source::edit::EditInputs {
        path: config.manifests.path.clone(),
        requests,
        context: manifest_context(config),
    };
    let cancel = tasks.cancel.clone();
    tasks.spawn("manifest edits", source::edit::run(inputs, cancel));
}

/// Static pods in the incarnations that people asked for.
fn spawn_restarts(
    tasks: &mut Tasks,
    pods: source::SetReceiver,
    requests: RestartRequests,
) -> source::SetReceiver {
    let (out, receiver) = watch::channel(None);
    let cancel = tasks.cancel.clone();
    tasks.spawn("restarts", source::restarts::run(pods, requests, out, cancel));
    receiver
}

/// Static pods with what was added to them.
fn spawn_added(
    tasks: &mut Tasks,
    config: &Config,
    pods: source::SetReceiver,
    requests: AddRequests,
) -> source::SetReceiver {
    let (out, receiver) = watch::channel(None);
    let inputs = source::added::AddedInputs {
        pods,
        requests,
        context: manifest_context(config),
        directory: config.paths.state.join("ephemeral-containers"),
    };
    let cancel = tasks.cancel.clone();
    tasks.spawn("ephemeral containers", source::added::run(inputs, out, cancel));
    receiver
}

fn spawn_files(tasks: &mut Tasks, config: &Config, values: &Values) -> source::SetReceiver {
    let (files, files_out) = watch::channel(None);
    let cancel = tasks.cancel.clone();
    match config.manifests.path.clone() {
        Some(path) => {
            let inputs = source::files::ManifestInputs {
                path,
                context: manifest_context(config),
                rescan: config.manifests.check,
                state: Some(config.paths.state.join("manifests")),
                runtime: values.snapshot.1.clone(),
            };
            tasks.spawn_fallible("files", async move {
                let reading = source::files::run(inputs, files, cancel.clone());
                match or_left(&cancel, reading).await {
                    Some(read) => Ok(read?),
                    None => Ok(()),
                }
            });
        }
        None => {
            files.send_replace(Some(Arc::default()));
            // An event source that ends is a failure, so this one stays open and sends nothing.
            tasks.spawn("files", async move {
                cancel.cancelled().await;
                drop(files);
            });
        }
    }
    files_out
}
