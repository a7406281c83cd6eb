//! The tasks of a node of a cluster: its pods come from an API server, which is told of them.

use std::path::Path;
use std::sync::Arc;

use tokio::sync::{mpsc, watch};

use super::{Tasks, Values, manifest_context};
use crate::config::Config;
use crate::identity::client;
use crate::model::api::ApiPods;
use crate::model::report::Happening;
use crate::model::service::Services;
use crate::publish::{events, lease, mirror, node, pods};
use crate::source;

/// A value with its one writer.
type Shared<T> = (watch::Sender<T>, watch::Receiver<T>);

/// What the tasks share.
pub(super) struct Member {
    /// Held so that the clients stay told; who renews certificates will write here.
    _client: watch::Sender<kube::Client>,
    clients: watch::Receiver<kube::Client>,
    objects: Shared<Option<Arc<ApiPods>>>,
}

impl Member {
    /// Reads the kubeconfig; nothing is sent yet.
    pub(super) async fn connect(kubeconfig: &Path) -> anyhow::Result<Member> {
        // Another one that is there already is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (_client, clients) = watch::channel(client::connect(kubeconfig).await?);
        Ok(Member {
            _client,
            clients,
            objects: watch::channel(None),
        })
    }

    /// How the API server is reached.
    pub(super) fn clients(&self) -> watch::Receiver<kube::Client> {
        self.clients.clone()
    }

    /// The API server as a source of pods.
    pub(super) fn spawn_source(&self, tasks: &mut Tasks, config: &Config, values: &Values) -> source::Told {
        let (set, told) = watch::channel(None);
        let outputs = source::apiserver::Outputs {
            set,
            objects: self.objects.0.clone(),
        };
        let (clients, cancel) = (self.clients.clone(), tasks.cancel.clone());
        tasks.spawn(
            "api pods",
            source::apiserver::run(clients, manifest_context(config), outputs, cancel),
        );
        let (complete, with_objects) = watch::channel(None);
        let inputs = source::objects::Inputs {
            clients: self.clients.clone(),
            pods: told,
            objects: self.objects.1.clone(),
            node: values.api_node.1.clone(),
        };
        let cancel = tasks.cancel.clone();
        tasks.spawn("api objects", source::objects::run(inputs, complete, cancel));
        values.services.0.send_replace(Services::Asked);
        let (clients, cancel) = (self.clients.clone(), tasks.cancel.clone());
        tasks.spawn(
            "api services",
            source::services::run(clients, values.services.0.clone(), cancel),
        );
        let (clients, cancel) = (self.clients.clone(), tasks.cancel.clone());
        let (name, out) = (config.node.name.clone(), values.api_node.0.clone());
        tasks.spawn("api node", source::own_node::run(clients, name, out, cancel));
        with_objects
    }

    /// The writers of the API server.
    pub(super) fn spawn_publishing(
        &self,
        tasks: &mut Tasks,
        config: &Config,
        values: &Values,
        happenings: mpsc::UnboundedReceiver<Happening>,
    ) {
        let inputs = pods::Inputs {
            clients: self.clients.clone(),
            report: values.pods.1.clone(),
            objects: self.objects.1.clone(),
        };
        tasks.spawn("publish pods", pods::run(inputs, tasks.cancel.clone()));
        let inputs = mirror::Inputs {
            clients: self.clients.clone(),
            desired: values.desired.1.clone(),
            report: values.pods.1.clone(),
            objects: self.objects.1.clone(),
            node: values.api_node.1.clone(),
        };
        tasks.spawn("publish mirrors", mirror::run(inputs, tasks.cancel.clone()));
        let inputs = node::Inputs {
            clients: self.clients.clone(),
            report: values.node.1.clone(),
            node: values.api_node.1.clone(),
        };
        let settings = node::Settings {
            name: config.node.name.clone(),
            register: config.member.register,
            taints: config.member.taints.clone(),
            provider_id: config.member.provider_id.clone(),
            external_cloud: config.member.external_cloud,
            report_every: config.node.status_report,
        };
        tasks.spawn("publish node", node::run(inputs, settings, tasks.cancel.clone()));
        let (clients, node) = (self.clients.clone(), values.api_node.1.clone());
        let (name, duration) = (config.node.name.clone(), config.member.lease);
        let renewing = lease::run(clients, name, duration, node, tasks.cancel.clone());
        tasks.spawn("publish lease", renewing);
        let settings = events::Settings {
            node: config.node.name.clone(),
            per_second: config.member.events_per_second,
            burst: config.member.event_burst,
        };
        let telling = events::run(self.clients.clone(), happenings, settings, tasks.cancel.clone());
        tasks.spawn("publish events", telling);
    }
}
