//! Wires how a node of a cluster gets its credentials and renews them.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use super::member::Cluster;
use super::storing::Storing;
use super::tasks::Tasks;
use super::values::Values;
use crate::config::Config;
use crate::config::files::STORE_KEY;
use crate::config::node_api::Serving;
use crate::counters::Counters;
use crate::identity::pace::Pace;
use crate::identity::{self, Renewal, connection, renewal};
use crate::source::checkpoint::seal::Keyhole;

/// How often the credential files are checked: a few system calls.
const LOOK: Duration = Duration::from_secs(5);
/// How long to wait for a certificate's approval before checking its request again.
const PATIENCE: Duration = Duration::from_secs(900);
/// How long to wait for an API server that does not answer before pods are started from the checkpoint: the machine's
/// network may come up slowly.
const SERVER_PATIENCE: Duration = Duration::from_secs(10);

/// Where the credentials are, and the cluster that they lead to.
pub(super) struct Credentials {
    settings: identity::Settings,
    pub(super) cluster: Cluster,
}

impl Credentials {
    /// Reads the kubeconfig and the checkpoint; sends nothing yet. `None` if there is no API server. `boot` identifies
    /// the machine's boot.
    pub(super) async fn read(
        config: &Config,
        boot: &str,
        counters: &Arc<Counters>,
    ) -> anyhow::Result<Option<Credentials>> {
        let Some(kubeconfig) = config.paths.kubeconfig.clone() else {
            return Ok(None);
        };
        let settings = identity::Settings {
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
            pace: Arc::new(Pace::new(
                config.member.requests_per_second,
                config.member.request_burst,
            )),
            counters: counters.clone(),
        };
        let checked = connection::check(&settings).await;
        let keyhole = Keyhole {
            file: STORE_KEY.into(),
            credentials: std::env::var_os("CREDENTIALS_DIRECTORY").map(PathBuf::from),
        };
        let storing = Storing::new(&settings.kubeconfig, config, boot, keyhole, SERVER_PATIENCE).await?;
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
        let cluster = Cluster {
            joined: watch::channel(None),
            storing,
        };
        Ok(Some(Credentials { settings, cluster }))
    }

    /// Gets and renews them.
    pub(super) fn spawn(&self, tasks: &mut Tasks, config: &Config, values: &Values) {
        let (settings, out) = (self.settings.clone(), self.cluster.joined.0.clone());
        tasks.spawn(
            "credentials",
            connection::run(settings, out, tasks.cancel.clone()),
        );
        let (settings, joined) = (self.settings.clone(), self.cluster.joined.1.clone());
        tasks.spawn(
            "certificate",
            renewal::run(settings, joined, tasks.cancel.clone()),
        );
        if let (Some(_), Serving::Signed(before)) = (config.serve.api, &config.serve.node_api.serving) {
            let before = before.clone();
            let (settings, joined) = (self.settings.clone(), self.cluster.joined.1.clone());
            let (node, cancel) = (values.api_node.1.clone(), tasks.cancel.clone());
            let kept = identity::serving::run(settings, before, joined, node, cancel);
            tasks.spawn("serving certificate", kept);
        }
    }
}
