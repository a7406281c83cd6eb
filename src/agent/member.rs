//! The tasks of a cluster node: its pods come from an API server, to which their status is published.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::manifest_context::manifest_context;
use super::network;
use super::storing::Storing;
use super::tasks::Tasks;
use super::values::{Shared, Values};
use crate::config::Config;
use crate::counters::Counters;
use crate::drivers::recount;
use crate::identity::clients::Clients;
use crate::identity::connection;
use crate::model::api::{ApiNode, ApiPods, TrustBundles};
use crate::model::driver::Periods;
use crate::model::event::Event;
use crate::model::service::Services;
use crate::network::Connects;
use crate::publish::{claims, csi_node, events, lease, mirror, node, pods};
use crate::source;
use crate::source::api::driver_periods;
use crate::source::api::objects::Of;

/// The connection to a cluster's API server, and what was stored of it.
#[derive(Clone)]
pub struct Cluster {
    /// The clients, once there is one: until then a node without a certificate runs its static pods.
    pub joined: (watch::Sender<Option<Clients>>, watch::Receiver<Option<Clients>>),
    /// The checkpoint of its pods.
    pub storing: Storing,
}

/// When a task that uses the API server starts.
#[derive(Clone, Copy)]
enum Begin {
    /// Once there is a client.
    Joined,
    /// At once: until there is a client, its requests get no answer.
    AtOnce,
}

/// What the tasks share.
pub(super) struct Member {
    cluster: Cluster,
    counters: Arc<Counters>,
    objects: Shared<Option<Arc<ApiPods>>>,
}

impl Member {
    pub(super) fn new(cluster: Cluster, counters: Arc<Counters>) -> Member {
        Member {
            cluster,
            counters,
            objects: watch::channel(None),
        }
    }

    /// Spawns a task that uses the API server.
    fn spawn<F>(
        &self,
        tasks: &mut Tasks,
        name: &'static str,
        begin: Begin,
        task: impl FnOnce(Clients, CancellationToken) -> F + Send + 'static,
    ) where
        F: Future<Output = ()> + Send + 'static,
    {
        let (joined, cancel) = (self.cluster.joined.1.clone(), tasks.cancel.clone());
        tasks.spawn(name, async move {
            match begin {
                Begin::Joined => {
                    if let Some(clients) = connection::joined(joined, &cancel).await {
                        task(clients, cancel).await;
                    }
                }
                Begin::AtOnce => {
                    let (clients, hand_on) = connection::at_once(joined, cancel.clone());
                    // Both end with the agent.
                    tokio::join!(hand_on, task(clients, cancel));
                }
            }
        });
    }

    /// The static pods, with the RuntimeClasses that they name. They do not wait for an API server.
    pub(super) fn spawn_classes(&self, tasks: &mut Tasks, files: source::SetReceiver) -> source::SetReceiver {
        let (out, receiver) = watch::channel(None);
        self.spawn(tasks, "static classes", Begin::AtOnce, |clients, cancel| {
            let inputs = source::api::objects::ObjectInputs {
                of: Of::Files,
                clients,
                pods: files,
                objects: watch::channel(None).1,
                node: watch::channel(ApiNode::Unknown).1,
                stored: None,
                refresh: Duration::MAX,
                bundles: TrustBundles::Off,
                issues_certificates: false,
                // Static pods have no claims.
                exhausted: mpsc::unbounded_channel().0,
            };
            source::api::objects::run(inputs, out, cancel)
        });
        receiver
    }

    /// The API server as a source of pods.
    pub(super) fn spawn_source(
        &self,
        tasks: &mut Tasks,
        config: &Config,
        values: &Values,
    ) -> source::SetReceiver {
        let (set, receiver) = watch::channel(None);
        let outputs = source::api::pods::Outputs {
            set,
            objects: self.objects.0.clone(),
        };
        let (context, reserve) = (manifest_context(config), self.cluster.storing.reserve());
        // With a checkpoint to run from, this does not wait for a client.
        let begin = match reserve {
            Some(_) => Begin::AtOnce,
            None => Begin::Joined,
        };
        self.spawn(tasks, "api pods", begin, |clients, cancel| {
            source::api::pods::run(clients, context, reserve, outputs, cancel)
        });
        let stored = self.cluster.storing.stored();
        let reserve = stored.clone().map(|stored| source::api::services::Reserve {
            stored,
            pods: receiver.clone(),
        });
        let (complete, with_objects) = watch::channel(None);
        let (objects, node) = (self.objects.1.clone(), values.api_node.1.clone());
        let (refresh, bundles) = (config.member.refresh, config.member.trust_bundles);
        let issues_certificates = config.member.pod_certificates;
        let exhausted = self.spawn_recount(tasks, values);
        self.spawn(tasks, "api objects", begin, move |clients, cancel| {
            let inputs = source::api::objects::ObjectInputs {
                of: Of::Api,
                clients,
                pods: receiver,
                objects,
                node,
                stored,
                refresh,
                bundles,
                issues_certificates,
                exhausted,
            };
            source::api::objects::run(inputs, complete, cancel)
        });
        values.services.0.send_replace(Services::Asked);
        let services = values.services.0.clone();
        self.spawn(tasks, "api services", begin, |clients, cancel| {
            source::api::services::run(clients, reserve, services, cancel)
        });
        let (name, out) = (config.node.name.clone(), values.api_node.0.clone());
        self.spawn(tasks, "api node", Begin::Joined, |clients, cancel| {
            source::api::node::run(clients, name, out, cancel)
        });
        if network::who_connects(config) == Connects::OwnAsTheClusterSays {
            self.spawn_pod_network(tasks, config, values);
        }
        self.spawn_checkpoint(tasks, with_objects.clone(), values);
        with_objects
    }

    /// The other nodes, and what the cluster says of its pod network.
    fn spawn_pod_network(&self, tasks: &mut Tasks, config: &Config, values: &Values) {
        let peers = values.peers.0.clone();
        self.spawn(tasks, "api peers", Begin::Joined, |clients, cancel| {
            source::api::peers::run(clients, peers, cancel)
        });
        if config.network.overlay.transport.is_none() {
            let network = values.cluster_network.0.clone();
            self.spawn(tasks, "api pod network", Begin::Joined, |clients, cancel| {
                source::api::cluster_network::run(clients, network, cancel)
            });
        }
    }

    fn spawn_checkpoint(&self, tasks: &mut Tasks, set: source::SetReceiver, values: &Values) {
        let inputs = source::checkpoint::store::CheckpointInputs {
            set,
            pods: self.objects.1.clone(),
            services: values.services.1.clone(),
            renewed: self.cluster.storing.last_renewed(),
        };
        let storing = self.cluster.storing.clone();
        self.spawn(tasks, "api checkpoint", Begin::Joined, |_, cancel| {
            storing.keep(inputs, cancel)
        });
    }

    fn spawn_claims(&self, tasks: &mut Tasks, values: &Values) {
        let memory = values.memory.1.clone();
        self.spawn(tasks, "publish claims", Begin::Joined, |clients, cancel| {
            claims::run(claims::ClaimInputs { clients, memory }, cancel)
        });
    }

    /// The writers of the API server.
    pub(super) fn spawn_publishing(
        &self,
        tasks: &mut Tasks,
        config: &Config,
        values: &Values,
        (events, counters): (mpsc::UnboundedReceiver<Event>, &Arc<Counters>),
    ) {
        let [of_pods, of_mirrors, of_node] = [counters.clone(), counters.clone(), counters.clone()];
        let (report, objects) = (values.pods.1.clone(), self.objects.1.clone());
        let written = values.written.clone();
        self.spawn(tasks, "publish pods", Begin::Joined, |clients, cancel| {
            let inputs = pods::StatusInputs {
                clients,
                report,
                objects,
                written,
                counters: of_pods,
            };
            pods::run(inputs, cancel)
        });
        let (desired, report) = (values.desired.1.clone(), values.pods.1.clone());
        let (objects, node) = (self.objects.1.clone(), values.api_node.1.clone());
        self.spawn(tasks, "publish mirrors", Begin::Joined, |clients, cancel| {
            let inputs = mirror::MirrorInputs {
                clients,
                desired,
                report,
                objects,
                node,
                counters: of_mirrors,
            };
            mirror::run(inputs, cancel)
        });
        let settings = node_settings(config);
        let (report, own) = (values.node.1.clone(), values.api_node.1.clone());
        let happened = values.events.clone();
        self.spawn(tasks, "publish node", Begin::Joined, |clients, cancel| {
            let inputs = node::NodeInputs {
                clients,
                report,
                node: own,
                events: happened,
                counters: of_node,
            };
            node::run(inputs, settings, cancel)
        });
        self.spawn_csi_node(tasks, config, values);
        let (own, renewals) = (values.api_node.1.clone(), self.cluster.storing.renewed());
        let (name, duration) = (config.node.name.clone(), config.member.lease);
        self.spawn(tasks, "publish lease", Begin::Joined, move |clients, cancel| {
            lease::run(clients, name, duration, own, renewals, cancel)
        });
        self.spawn_claims(tasks, values);
        let settings = event_settings(config);
        self.spawn(tasks, "publish events", Begin::Joined, |clients, cancel| {
            events::run(clients, events, settings, cancel)
        });
    }

    /// The questions to storage drivers how many volumes the node can have. What is returned wants the names of those of
    /// which a volume finds no room.
    fn spawn_recount(&self, tasks: &mut Tasks, values: &Values) -> mpsc::UnboundedSender<String> {
        let (exhausted, names) = mpsc::unbounded_channel();
        let (drivers, out) = (values.drivers.1.clone(), values.driver_answers.0.clone());
        let (stated, periods) = watch::channel(Periods::new());
        self.spawn(tasks, "CSIDrivers", Begin::Joined, |clients, cancel| {
            driver_periods::run(clients, stated, cancel)
        });
        let settings = recount::Settings {
            periods,
            drivers,
            exhausted: names,
            counters: self.counters.clone(),
        };
        let cancel = tasks.cancel.clone();
        tasks.spawn(
            "volume limits of storage drivers",
            recount::run(settings, out, cancel),
        );
        exhausted
    }

    /// The writer of what storage drivers say of the node.
    fn spawn_csi_node(&self, tasks: &mut Tasks, config: &Config, values: &Values) {
        let (name, out) = (config.node.name.clone(), values.driver_publications.0.clone());
        let (drivers, node) = (values.drivers.1.clone(), values.api_node.1.clone());
        let told = values.driver_answers.1.clone();
        self.spawn(tasks, "publish csi node", Begin::Joined, |clients, cancel| {
            let inputs = csi_node::CsiNodeInputs {
                clients,
                name,
                drivers,
                told,
                node,
            };
            csi_node::run(inputs, out, cancel)
        });
    }
}

fn node_settings(config: &Config) -> node::Settings {
    node::Settings {
        name: config.node.name.clone(),
        register: config.member.register,
        taints: config.member.taints.clone(),
        provider_id: config.member.provider_id.clone(),
        external_cloud: config.member.external_cloud,
        report_every: config.node.status_report,
    }
}

fn event_settings(config: &Config) -> events::Settings {
    events::Settings {
        node: config.node.name.clone(),
        per_second: config.member.events_per_second,
        burst: config.member.event_burst,
    }
}
