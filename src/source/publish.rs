//! A set of pods, published for the next stage.

use std::sync::Arc;

use tokio::sync::watch;

use crate::model::desired::SourceSet;

/// Publishes the set if it is not the one that was published last.
pub(super) fn publish(out: &watch::Sender<Option<Arc<SourceSet>>>, set: SourceSet) {
    out.send_if_modified(|current| {
        let changed = current.as_ref().is_none_or(|current| !current.is_same(&set));
        if changed {
            *current = Some(Arc::new(set));
        }
        changed
    });
}
