//! The storage drivers among the objects that pods refer to: what is registered on the node is known to the node alone.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use tokio::sync::watch;
use tokio_util::sync::CancellationToken;

use super::SetReceiver;
use crate::model::driver::{Driver, Drivers};
use crate::model::object::{Known, Object, Reference};
use crate::model::pod::{SourceSet, VolumeSource};

/// Publishes the pods with the drivers of their volumes, until canceled.
pub async fn run(
    mut pods: SetReceiver,
    mut drivers: watch::Receiver<Arc<Drivers>>,
    out: watch::Sender<Option<Arc<SourceSet>>>,
    cancel: CancellationToken,
) {
    let mut registered = Registered::default();
    loop {
        let set = pods.borrow_and_update().clone();
        registered.take(&drivers.borrow_and_update());
        if let Some(set) = set {
            let set = with_drivers(set, &registered);
            out.send_if_modified(|published| {
                let same = published
                    .as_ref()
                    .is_some_and(|published| published.is_same(&set));
                if !same {
                    *published = Some(set);
                }
                !same
            });
        }
        // Every arm may be dropped: the watches keep what was not taken.
        tokio::select! {
            () = cancel.cancelled() => return,
            changed = pods.changed() => if changed.is_err() { return },
            Ok(()) = drivers.changed() => {}
        }
    }
}

/// The drivers as objects. One that has not changed stays the same object, which wakes nobody.
#[derive(Default)]
struct Registered {
    are_known: bool,
    objects: BTreeMap<String, (Arc<Driver>, Known)>,
}

impl Registered {
    fn take(&mut self, drivers: &Drivers) {
        self.are_known = drivers.are_known;
        self.objects.retain(|name, _| drivers.by_name.contains_key(name));
        for (name, driver) in &drivers.by_name {
            if self.objects.get(name).is_none_or(|(before, _)| before != driver) {
                let known = Known::Found(Arc::new(Object::Driver(driver.clone())));
                self.objects.insert(name.clone(), (driver.clone(), known));
            }
        }
    }

    /// What is known of a driver; `None`: it is not registered.
    fn known(&self, name: &str) -> Option<Known> {
        match self.objects.get(name) {
            Some((_, known)) => Some(known.clone()),
            None => (!self.are_known).then_some(Known::Asked),
        }
    }
}

/// The same set where none of its pods has a volume of a driver.
fn with_drivers(set: Arc<SourceSet>, registered: &Registered) -> Arc<SourceSet> {
    let of_pods = set
        .pods
        .values()
        .flat_map(|pod| &pod.volumes)
        .filter_map(|volume| match &volume.source {
            VolumeSource::Csi(inline) => Some(inline.driver.clone()),
            _ => None,
        });
    let of_objects = set.objects.keys().filter_map(|key| match key {
        Reference::CsiDriver(name) => Some(name.clone()),
        _ => None,
    });
    let names: BTreeSet<String> = of_pods.chain(of_objects).collect();
    if names.is_empty() {
        return set;
    }
    let mut set = SourceSet::clone(&set);
    for name in names {
        if let Some(known) = registered.known(&name) {
            set.objects.insert(Reference::Driver(name), known);
        }
    }
    Arc::new(set)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::csi::InlineCsi;
    use crate::model::pod::{RestartPolicy, Volume};
    use crate::model::sample;

    #[test]
    fn a_driver_is_awaited_until_all_are_known() {
        let mut pod = sample::pod(RestartPolicy::Always, &[], &["c"]);
        let inline = InlineCsi {
            driver: "d".to_owned(),
            ..InlineCsi::default()
        };
        pod.volumes.push(Volume {
            name: "v".to_owned(),
            source: VolumeSource::Csi(Box::new(inline)),
        });
        let set = Arc::new(SourceSet {
            pods: [(pod.name.clone(), Arc::new(pod))].into(),
            ..SourceSet::default()
        });
        let mut registered = Registered::default();
        let mut known = |drivers: &Drivers| {
            registered.take(drivers);
            let set = with_drivers(set.clone(), &registered);
            set.objects.get(&Reference::Driver("d".to_owned())).cloned()
        };
        let mut drivers = Drivers::default();
        assert_eq!(known(&drivers), Some(Known::Asked));
        drivers.are_known = true;
        assert_eq!(known(&drivers), None);
        drivers
            .by_name
            .insert("d".to_owned(), Arc::new(Driver::default()));
        let found = known(&drivers).unwrap();
        assert!(known(&drivers).is_some_and(|again| again.is_same(&found)));
        drivers.by_name.insert(
            "d".to_owned(),
            Arc::new(Driver {
                node_id: "n".to_owned(),
                ..Driver::default()
            }),
        );
        assert!(known(&drivers).is_some_and(|other| !other.is_same(&found)));
        let nothing = Arc::new(SourceSet::default());
        assert!(Arc::ptr_eq(&with_drivers(nothing.clone(), &registered), &nothing));
    }
}
