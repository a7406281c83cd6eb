//! Checkpoints of running containers.

use std::path::Path;
use std::time::Duration;

use k8s_cri::v1;

use super::{CriError, Runtime};

impl Runtime {
    /// Writes the state of a running container to an archive. A timeout that is shorter than that of all calls is
    /// lengthened to it, as in the kubelet.
    pub async fn checkpoint_container(
        &self,
        id: &str,
        location: &Path,
        timeout: Duration,
    ) -> Result<(), CriError> {
        let timeout = timeout.max(self.timeout);
        let request = v1::CheckpointContainerRequest {
            container_id: id.to_owned(),
            location: location.display().to_string(),
            timeout: i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX),
        };
        self.within(
            "CheckpointContainer",
            timeout,
            self.pods.clone().checkpoint_container(request),
        )
        .await?;
        Ok(())
    }
}
