//! Evicted pods on their way out.

use crate::model::end::End;
use crate::model::memory::Remains;
use crate::model::pod::{PodName, PodUid};
use crate::plan::node::NodeView;

impl NodeView<'_> {
    /// The pods whose eviction is on disk and not over.
    pub(super) fn being_evicted(&self) -> impl Iterator<Item = (PodUid, PodName)> {
        let all = self.snapshot.pods.iter();
        let all =
            all.flat_map(|(name, observed)| observed.uids.iter().map(move |(uid, seen)| (name, uid, seen)));
        let ending = all.filter(|(_, _, seen)| {
            let checkpoint = seen.checkpoint.as_ref();
            let end = checkpoint.and_then(|checkpoint| checkpoint.ended.as_ref());
            seen.lives() && matches!(end, Some(End::Evicted { .. }))
        });
        ending.map(|(name, uid, _)| (uid.clone(), name.clone()))
    }

    /// Whether nothing of the pod runs, and its volumes are gone.
    pub(super) fn is_gone(&self, name: &PodName, uid: &PodUid) -> bool {
        let seen = self.snapshot.pods.get(name).and_then(|name| name.uids.get(uid));
        let lives = seen.is_some_and(|seen| seen.lives());
        let own = self.memory.pods.get(name).filter(|own| own.uid == *uid);
        !lives && own.is_none_or(|own| own.remains != Remains::Everything)
    }
}
