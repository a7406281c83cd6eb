//! The tasks of a cluster node: its pods come from an API server, to which their status is published.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use super::storing::Storing;
use super::{Tasks, Values, manifest_context};
use crate::config::Config;
use crate::config::node_api::Serving;
use crate::identity::clients::{Clients, Joined};
use crate::identity::connection;
use crate::identity::{self, Renewal, renewal};
use crate::model::api::{ApiNode, ApiPods, TrustBundles};
use crate::model::event::Event;
use crate::model::service::Services;
use crate::publish::{events, lease, mirror, node, pods};
use crate::source;
use crate::source::api::objects::Of;

/// A value and its only writer.
type Shared<T> = (watch::Sender<T>, watch::Receiver<T>);

/// How often the credential files are checked: a few system calls.
const LOOK: Duration = Duration::from_secs(5);
/// How long to wait for a certificate's approval before checking its request again.
const PATIENCE: Duration = Duration::from_secs(900);

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
    identity: identity::Settings,
    /// The clients, once there is one: until then a node without a certificate runs its static pods.
    joined: Shared<Option<Clients>>,
    objects: Shared<Option<Arc<ApiPods>>>,
    storing: Storing,
}

impl Member {
    /// Reads the kubeconfig and the checkpoint; sends nothing yet. `None` if there is no API server. `boot` identifies
    /// the machine's boot.
    pub(super) async fn new(config: &Config, boot: &str) -> anyhow::Result<Option<Member>> {
        let Some(kubeconfig) = config.paths.kubeconfig.clone() else {
            return Ok(None);
        };
        let identity = identity::Settings {
            kubeconfig,
            bootstrap: config.paths.bootstrap_kubeconfig.clone(),
            directory: config.paths.certificates.clone(),
            node: config.node.name.clone(),
            renewal: if config.member.renew_certificates {
                Renewal::On
            } else {
                Renewal::Off
            },
            look: LOOK,
            patience: PATIENCE,
        };
        let checked = connection::check(&identity).await;
        let storing = Storing::new(&identity.kubeconfig, config, boot).await?;
        if let Err(error) = checked {
            // A node with a mistyped kubeconfig has no pods yet, so it fails; a node that has pods keeps running them.
            if storing.reserve().is_none() {
                return Err(error.into());
            }
            let error = anyhow::Error::from(error);
            tracing::warn!(
                "running the checkpointed pods because the API server cannot be reached: {error:#}"
            );
        }
        Ok(Some(Member {
            identity,
            joined: watch::channel(None),
            objects: watch::channel(None),
            storing,
        }))
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
        let (joined, cancel) = (self.joined.1.clone(), tasks.cancel.clone());
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

    /// The credentials: how the node gets and renews them.
    pub(super) fn spawn_identity(&self, tasks: &mut Tasks, config: &Config, values: &Values) {
        let (settings, out, cancel) = (self.identity.clone(), self.joined.0.clone(), tasks.cancel.clone());
        tasks.spawn("credentials", connection::run(settings, out, cancel));
        let (settings, joined, cancel) = (self.identity.clone(), self.joined.1.clone(), tasks.cancel.clone());
        tasks.spawn("certificate", renewal::run(settings, joined, cancel));
        if let (Some(_), Serving::Signed(before)) = (config.serve.api, &config.serve.node_api.serving) {
            let before = before.clone();
            let (settings, joined) = (self.identity.clone(), self.joined.1.clone());
            let (node, cancel) = (values.api_node.1.clone(), tasks.cancel.clone());
            let kept = identity::serving::run(settings, before, joined, node, cancel);
            tasks.spawn("serving certificate", kept);
        }
    }

    /// The connection to the API server, once there is one.
    pub(super) fn joined(&self) -> Joined {
        self.joined.1.clone()
    }

    /// The static pods, with the RuntimeClasses that they name. They do not wait for an API server.
    pub(super) fn spawn_classes(&self, tasks: &mut Tasks, files: source::SetReceiver) -> source::SetReceiver {
        let (out, told) = watch::channel(None);
        self.spawn(tasks, "static classes", Begin::AtOnce, |clients, cancel| {
            let inputs = source::api::objects::ObjectInputs {
                of: Of::Files,
                clients,
                pods: files,
                objects: watch::channel(None).1,
                node: watch::channel(ApiNode::Unknown).1,
                stored: None,
                bundles: TrustBundles::Off,
            };
            source::api::objects::run(inputs, out, cancel)
        });
        told
    }

    /// The API server as a source of pods.
    pub(super) fn spawn_source(
        &self,
        tasks: &mut Tasks,
        config: &Config,
        values: &Values,
    ) -> source::SetReceiver {
        let (set, told) = watch::channel(None);
        let outputs = source::api::pods::Outputs {
            set,
            objects: self.objects.0.clone(),
        };
        let (context, reserve) = (manifest_context(config), self.storing.reserve());
        // With a checkpoint to run from, this does not wait for a client.
        let begin = match reserve {
            Some(_) => Begin::AtOnce,
            None => Begin::Joined,
        };
        self.spawn(tasks, "api pods", begin, |clients, cancel| {
            source::api::pods::run(clients, context, reserve, outputs, cancel)
        });
        let reserve = self
            .storing
            .stored()
            .map(|stored| source::api::services::Reserve {
                stored,
                pods: told.clone(),
            });
        let (complete, with_objects) = watch::channel(None);
        let (objects, node) = (self.objects.1.clone(), values.api_node.1.clone());
        let (stored, bundles) = (self.storing.stored(), config.member.trust_bundles);
        self.spawn(tasks, "api objects", begin, move |clients, cancel| {
            let inputs = source::api::objects::ObjectInputs {
                of: Of::Api,
                clients,
                pods: told,
                objects,
                node,
                stored,
                bundles,
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
        self.spawn_checkpoint(tasks, with_objects.clone(), values);
        with_objects
    }

    fn spawn_checkpoint(&self, tasks: &mut Tasks, set: source::SetReceiver, values: &Values) {
        let inputs = source::checkpoint::store::CheckpointInputs {
            set,
            pods: self.objects.1.clone(),
            services: values.services.1.clone(),
            renewed: self.storing.last_renewed(),
        };
        let storing = self.storing.clone();
        self.spawn(tasks, "api checkpoint", Begin::Joined, |_, cancel| {
            storing.keep(inputs, cancel)
        });
    }

    /// The writers of the API server.
    pub(super) fn spawn_publishing(
        &self,
        tasks: &mut Tasks,
        config: &Config,
        values: &Values,
        events: mpsc::UnboundedReceiver<Event>,
    ) {
        let (report, objects) = (values.pods.1.clone(), self.objects.1.clone());
        self.spawn(tasks, "publish pods", Begin::Joined, |clients, cancel| {
            let inputs = pods::StatusInputs {
                clients,
                report,
                objects,
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
            };
            node::run(inputs, settings, cancel)
        });
        let (own, told) = (values.api_node.1.clone(), self.storing.renewed());
        let (name, duration) = (config.node.name.clone(), config.member.lease);
        self.spawn(tasks, "publish lease", Begin::Joined, move |clients, cancel| {
            lease::run(clients, name, duration, own, told, cancel)
        });
        let settings = event_settings(config);
        self.spawn(tasks, "publish events", Begin::Joined, |clients, cancel| {
            events::run(clients, events, settings, cancel)
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
