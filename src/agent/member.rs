//! The tasks of a node of a cluster: its pods come from an API server, which is told of them.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use tokio::sync::{mpsc, watch};

use super::{Tasks, Values, manifest_context};
use crate::config::Config;
use crate::identity::client;
use crate::identity::cluster::cluster;
use crate::model::api::{ApiPods, CutOffStart};
use crate::model::report::Happening;
use crate::model::service::Services;
use crate::publish::{events, lease, mirror, node, pods};
use crate::source;
use crate::source::store::{Reserve, Store};
use crate::source::stored::{Owner, Stored};

/// How long an API server that does not answer is waited for before pods are started from what was stored of them: the
/// network of a machine comes up slowly.
const PATIENCE: Duration = Duration::from_secs(10);

/// A value with its one writer.
type Shared<T> = (watch::Sender<T>, watch::Receiver<T>);

/// What the tasks share.
pub(super) struct Member {
    /// Held so that the clients stay told; who renews certificates will write here.
    _client: watch::Sender<kube::Client>,
    clients: watch::Receiver<kube::Client>,
    objects: Shared<Option<Arc<ApiPods>>>,
    /// When the Lease was last renewed.
    renewed: Shared<Option<Timestamp>>,
    store: Store,
    reserve: Option<Reserve>,
}

impl Member {
    /// Reads the kubeconfig and what was stored before; nothing is sent yet. `boot` names the life of the machine.
    pub(super) async fn connect(kubeconfig: &Path, config: &Config, boot: &str) -> anyhow::Result<Member> {
        // Another one that is there already is as good.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let (_client, clients) = watch::channel(client::connect(kubeconfig).await?);
        let owner = Owner {
            node: config.node.name.clone(),
            cluster: cluster(kubeconfig).await?,
        };
        let store = Store::new(&config.paths.state.join("cluster"), owner, boot.to_owned());
        let how = config.member.cut_off_start;
        let stored = match how {
            CutOffStart::Never => {
                store
                    .discard()
                    .context("what was stored of the API server's pods cannot be removed")?;
                None
            }
            CutOffStart::Tolerated | CutOffStart::Always => store.load(),
        };
        let reserve = stored.map(|stored| Reserve {
            stored: Arc::new(stored),
            how,
            boot: boot.to_owned(),
            decided: store.decided(Timestamp::now()),
            patience: PATIENCE,
        });
        Ok(Member {
            _client,
            clients,
            objects: watch::channel(None),
            renewed: watch::channel(None),
            store,
            reserve,
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
            source::apiserver::run(
                clients,
                manifest_context(config),
                self.reserve.clone(),
                outputs,
                cancel,
            ),
        );
        let reserve = self.stored().map(|stored| source::services::Reserve {
            stored,
            pods: told.clone(),
        });
        let (complete, with_objects) = watch::channel(None);
        let inputs = source::objects::Inputs {
            clients: self.clients.clone(),
            pods: told,
            objects: self.objects.1.clone(),
            node: values.api_node.1.clone(),
            stored: self.stored(),
        };
        let cancel = tasks.cancel.clone();
        tasks.spawn("api objects", source::objects::run(inputs, complete, cancel));
        values.services.0.send_replace(Services::Asked);
        let (clients, cancel) = (self.clients.clone(), tasks.cancel.clone());
        tasks.spawn(
            "api services",
            source::services::run(clients, reserve, values.services.0.clone(), cancel),
        );
        let (clients, cancel) = (self.clients.clone(), tasks.cancel.clone());
        let (name, out) = (config.node.name.clone(), values.api_node.0.clone());
        tasks.spawn("api node", source::own_node::run(clients, name, out, cancel));
        if config.member.cut_off_start != CutOffStart::Never {
            let inputs = source::store::Inputs {
                set: with_objects.clone(),
                pods: self.objects.1.clone(),
                services: values.services.1.clone(),
                renewed: self.renewed.1.clone(),
            };
            let keeping = source::store::run(inputs, self.store.clone(), tasks.cancel.clone());
            tasks.spawn("api store", keeping);
        }
        with_objects
    }

    fn stored(&self) -> Option<Arc<Stored>> {
        let reserve = self.reserve.as_ref()?;
        Some(reserve.stored.clone())
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
        let told = self.renewed.0.clone();
        let renewing = lease::run(clients, name, duration, node, told, tasks.cancel.clone());
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
