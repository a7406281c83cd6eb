//! Commands that are run in a container and waited for.

use std::time::Duration;

use k8s_cri::v1;

use super::{CriError, Runtime};

impl Runtime {
    /// Runs a command in a container to its end; `None` waits forever, as CRI defines it.
    pub async fn exec_sync(
        &self,
        id: &str,
        command: Vec<String>,
        timeout: Option<Duration>,
    ) -> Result<v1::ExecSyncResponse, CriError> {
        let seconds = timeout.map_or(0, |timeout| i64::try_from(timeout.as_secs()).unwrap_or(i64::MAX));
        let request = v1::ExecSyncRequest {
            container_id: id.to_owned(),
            cmd: command,
            timeout: seconds,
        };
        // The runtime ends the command itself, and needs a moment to report it.
        let deadline = timeout.map_or(Duration::MAX, |timeout| timeout.saturating_add(self.timeout));
        self.within("ExecSync", deadline, self.pods.clone().exec_sync(request))
            .await
    }
}
