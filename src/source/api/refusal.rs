//! Requests that the API server refuses for lack of a permission.

use kube::runtime::watcher;

/// What an administrator does about it.
const REMEDY: &str = "as the cluster's administrator, run: kubectl apply -f packaging/pod-network.yaml (from gantry's sources)";

/// What the API server says, with the remedy, if this node may not read what the pod network needs.
pub(super) fn refusal(error: &watcher::Error) -> Option<String> {
    let (watcher::Error::InitialListFailed(kube::Error::Api(status))
    | watcher::Error::WatchStartFailed(kube::Error::Api(status))
    | watcher::Error::WatchFailed(kube::Error::Api(status))) = error
    else {
        return None;
    };
    (status.code == 403).then(|| format!("{}; {REMEDY}", status.message))
}
