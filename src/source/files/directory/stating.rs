//! What the files state of their objects, and since when there are these objects.

use std::collections::BTreeMap;
use std::path::Path;

use jiff::Timestamp;

use super::Directory;
use crate::manifest::static_pod_name;
use crate::model::manifest_edit::{ManifestKind, Target};
use crate::model::pod::{PodName, PodUid};
use crate::model::stated::AllStated;
use crate::source::files::known::{Known, Reading};
use crate::source::files::last_good::{Ages, Change};
use crate::source::stated::{self, Facts};

impl Directory {
    /// What the file states after it was read. What is in force without being in the file is stated, too.
    pub(super) fn state(
        &self,
        path: &Path,
        before: &AllStated,
        known: &Known,
        reading: &Reading<'_>,
    ) -> AllStated {
        let pods = known.pods.iter().map(|running| &running.pod);
        let uids: BTreeMap<&PodName, &PodUid> = pods.map(|pod| (&pod.name, &pod.uid)).collect();
        let facts = Facts {
            before,
            uid: &|target| {
                let name = static_pod_name(Some(&target.namespace), &target.name, &self.context);
                let uid = uids.get(&name).map(|uid| uid.0.clone());
                uid.filter(|_| target.kind == ManifestKind::Pod)
            },
            created: &|target| self.saved_age(path, target).unwrap_or(reading.modified),
        };
        // As for the content itself: the YAML parser comes from another project.
        let documents = || reading.bytes.map(stated::documents).unwrap_or_default();
        let documents = std::panic::catch_unwind(documents).unwrap_or_default();
        let mut all = stated::next(&documents, &facts);
        let in_force = known.objects.iter().map(|object| Target::from(&object.key));
        let lasting: Vec<Target> = in_force.filter(|target| !all.contains_key(target)).collect();
        all.extend(stated::lasting(lasting.into_iter(), &facts));
        all
    }

    /// The last good version of a file.
    pub(super) fn kept(&self, path: &Path, now: Timestamp) -> Known {
        let content = self.kept.as_ref().map(|kept| kept.load(path, &self.context, now));
        let mut known = Known::of_last_good(content.unwrap_or_default(), self.departures);
        let reading = Reading::nothing(now);
        known.stated = self.state(path, &known.stated, &known, &reading);
        known
    }

    fn saved_age(&self, path: &Path, target: &Target) -> Option<Timestamp> {
        let of_file = self.ages.as_ref()?.get(&*path.to_string_lossy())?;
        of_file.get(&named(target)).copied()
    }

    /// Reads once since when the objects of the last life were there.
    pub(super) fn load_ages(&mut self) {
        if self.ages.is_none() {
            self.ages = self.kept.as_ref().map(super::LastGood::ages);
        }
    }

    /// What the file has from now on is new.
    pub(super) fn forget_ages(&mut self, path: &Path) {
        if let Some(ages) = &mut self.ages {
            ages.remove(&*path.to_string_lossy());
        }
    }

    /// Saves it when it has changed. Pods are as old as their run.
    pub(super) fn save_ages(&mut self) {
        let mut ages = Ages::new();
        for (path, known) in &self.files {
            let objects = known
                .stated
                .iter()
                .filter(|(target, _)| target.kind != ManifestKind::Pod);
            let of_file: BTreeMap<String, Timestamp> = objects
                .map(|(target, stated)| (named(target), stated.created))
                .collect();
            if !of_file.is_empty() {
                ages.insert(path.to_string_lossy().into_owned(), of_file);
            }
        }
        if self.kept.is_some() && self.ages.as_ref() != Some(&ages) {
            self.changes.push(Change::Ages(ages.clone()));
            self.ages = Some(ages);
        }
    }
}

fn named(target: &Target) -> String {
    let Target {
        kind,
        namespace,
        name,
    } = target;
    format!("{} {namespace}/{name}", kind.as_str())
}
