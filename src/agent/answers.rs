//! What only the runtime knows: requested at the start and, if the runtime did not answer then, later.

use std::path::PathBuf;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::machine::init;
use super::tasks::Tasks;
use crate::config::Config;
use crate::cri::{self, Runtime};
use crate::images::{self, SandboxImage};
use crate::model::image_ref::full_name;
use crate::model::node::{CgroupDriver, CgroupVersion};

/// How long a start waits for a runtime that does not answer before it continues without its answers.
const RUNTIME_PATIENCE: Duration = Duration::from_secs(10);

/// What only the runtime knows.
#[derive(Default)]
pub(super) struct RuntimeAnswers {
    /// By CRI's `RuntimeConfig`.
    pub(super) reported_driver: Option<CgroupDriver>,
    /// By its own configuration.
    pub(super) configured_driver: Option<CgroupDriver>,
    /// The name of the sandbox image.
    pub(super) sandbox_image: Option<String>,
    /// The runtime's image directory.
    pub(super) images_dir: Option<PathBuf>,
    /// The directory of the containers' own files, if it is another one.
    pub(super) containers_dir: Option<PathBuf>,
}

impl RuntimeAnswers {
    /// Queries the runtime. Waits for a runtime that does not answer yet, for a limited time.
    pub(super) async fn ask(runtime: &Runtime, cancel: &CancellationToken) -> Option<RuntimeAnswers> {
        // Both arms are cancel-safe: the query changes nothing.
        let asked = tokio::select! {
            () = cancel.cancelled() => None,
            asked = tokio::time::timeout(RUNTIME_PATIENCE, Self::until_answered(runtime)) => asked.ok(),
        };
        if asked.is_none() && !cancel.is_cancelled() {
            tracing::warn!(runtime = %runtime.socket().display(), "the runtime does not answer: is containerd running?");
        }
        asked
    }

    async fn until_answered(runtime: &Runtime) -> RuntimeAnswers {
        let mut again = tokio::time::interval(Duration::from_millis(200));
        loop {
            again.tick().await;
            if let Ok(info) = runtime.verbose_info().await {
                let (images_dir, containers_dir) = runtime.disk_dirs().await;
                return RuntimeAnswers {
                    reported_driver: runtime.cgroup_driver().await,
                    configured_driver: cri::configured_driver(&info),
                    sandbox_image: images::sandbox_image_name(&info),
                    images_dir,
                    containers_dir,
                };
            }
        }
    }
}

/// What provides the sandbox image, as far as the runtime has answered.
pub(super) fn sandbox_image(config: &Config, asked: Option<&RuntimeAnswers>) -> SandboxImage {
    match (&config.images.pause, asked) {
        (Some(name), _) => {
            let told = asked.and_then(|answers| answers.sandbox_image.as_ref());
            let names = [Some(name), told].into_iter().flatten();
            SandboxImage::Others(names.map(|name| full_name(name)).collect())
        }
        (None, Some(answers)) => SandboxImage::named(answers.sandbox_image.clone()),
        (None, None) => SandboxImage::Unknown,
    }
}

/// The cgroup driver of a runtime that did not answer at the start was guessed. If the runtime later reports another
/// driver, the agent exits and the service manager restarts it: otherwise every pod would fail or be in a cgroup
/// without effect.
pub(super) fn check_driver_later(
    tasks: &mut Tasks,
    config: &Config,
    runtime: &Runtime,
    guessed: CgroupDriver,
    version: CgroupVersion,
) {
    let (config, runtime, cancel) = (config.clone(), runtime.clone(), tasks.cancel.clone());
    tasks.spawn_fallible("runtime", async move {
        // Both arms are cancel-safe: the query changes nothing.
        let answers = tokio::select! {
            () = cancel.cancelled() => return Ok(()),
            answers = RuntimeAnswers::until_answered(&runtime) => answers,
        };
        let driver = config.cgroup_driver(answers.reported_driver, answers.configured_driver, init(), version);
        if driver != guessed {
            anyhow::bail!(
                "the runtime's cgroup driver is {driver:?}, not {guessed:?} as guessed while it did not answer; \
                 restart the agent"
            );
        }
        cancel.cancelled().await;
        Ok(())
    });
}
