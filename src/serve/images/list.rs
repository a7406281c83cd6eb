//! `GET /images`: the images that the runtime has, with the pods that use them, and the order in which unused ones go.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use axum::Json;
use axum::extract::State;
use k8s_cri::v1;
use tokio::time::timeout;

use super::wire::{ImageList, ListedImage};
use crate::model::collection::{Fate, SurveyedImage};
use crate::model::runtime::Snapshot;
use crate::serve::answer::Refusal;
use crate::serve::world::Served;

/// How long what the agent knows of images is waited for.
const PATIENCE: Duration = Duration::from_secs(2);

pub(crate) async fn list(State(served): State<Served>) -> Result<Json<ImageList>, Refusal> {
    let listed = served.world.runtime.list_images().await;
    let images = listed.map_err(|error| {
        Refusal::Internal(format!(
            "the container runtime does not list its images: {error}; `gantry doctor` checks it"
        ))
    })?;
    // It comes from the loop that works on pods, which begins when the runtime has answered.
    let survey = timeout(PATIENCE, served.world.images.survey()).await;
    let survey = survey.ok().and_then(Result::ok).unwrap_or_default();
    let uses = uses(&served.world.snapshot.borrow());
    Ok(Json(image_list(images, &uses, &survey)))
}

/// The pods that have a container of each image, or mount it as a volume, by what the runtime calls the image. Pure.
fn uses(snapshot: &Snapshot) -> BTreeMap<String, BTreeSet<String>> {
    let mut uses: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (name, observed) in &snapshot.pods {
        let containers = observed.uids.values().flat_map(|pod| &pod.containers);
        for container in containers {
            let own = [&container.image, &container.image_ref];
            for image in own.into_iter().chain(&container.mounted_images) {
                let pods = uses.entry(image.clone()).or_default();
                pods.insert(name.to_string());
            }
        }
    }
    uses
}

fn image_list(
    images: Vec<v1::Image>,
    uses: &BTreeMap<String, BTreeSet<String>>,
    survey: &[SurveyedImage],
) -> ImageList {
    let surveyed: BTreeMap<&str, &SurveyedImage> = survey
        .iter()
        .map(|image| (image.image.id.as_str(), image))
        .collect();
    let item = |image: v1::Image| {
        let known = surveyed.get(image.id.as_str());
        let (goes_after, kept) = match known.map(|known| known.fate) {
            Some(Fate::Goes(after)) => (Some(after), None),
            Some(Fate::Stays(why)) => (None, Some(why)),
            None => (None, None),
        };
        let ways = image
            .repo_tags
            .iter()
            .chain(&image.repo_digests)
            .chain([&image.id]);
        let pods: BTreeSet<String> = ways.filter_map(|way| uses.get(way)).flatten().cloned().collect();
        ListedImage {
            detected: known.map(|known| known.detected),
            last_used: known.and_then(|known| known.last_used),
            goes_after,
            kept,
            pods: pods.into_iter().collect(),
            id: image.id,
            names: image.repo_tags,
            digests: image.repo_digests,
            size: image.size,
            pinned: image.pinned,
        }
    };
    let mut items: Vec<ListedImage> = images.into_iter().map(item).collect();
    items.sort_by(|a, b| (&a.names, &a.digests, &a.id).cmp(&(&b.names, &b.digests, &b.id)));
    ImageList { items }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::serve::fixture::{exited, running, snapshot_of};

    #[test]
    fn an_image_is_used_by_the_pods_that_have_a_container_of_it_or_mount_it() {
        let mut other = running("c2", "other", "");
        other.image = "docker.io/library/tool:2".to_owned();
        other.image_ref = "docker.io/library/tool@sha256:2".to_owned();
        let mut mounting = running("c1", "web", "");
        mounting.mounted_images = vec!["sha256:4".to_owned()];
        let snapshot = snapshot_of(vec![mounting, exited(other)]);
        let image = |id: &str, tags: &[&str], digests: &[&str]| v1::Image {
            id: id.to_owned(),
            repo_tags: tags.iter().map(|&tag| tag.to_owned()).collect(),
            repo_digests: digests.iter().map(|&digest| digest.to_owned()).collect(),
            size: 7,
            ..Default::default()
        };
        let images = vec![
            image("sha256:4", &["docker.io/library/data:1"], &[]),
            image("sha256:3", &["docker.io/library/unused:1"], &[]),
            image("sha256:2", &[], &["docker.io/library/tool@sha256:2"]),
            image("sha256:1", &["docker.io/library/demo:1"], &[]),
        ];
        let list = image_list(images, &uses(&snapshot), &[]);
        let found: Vec<(&str, Vec<&str>)> = list
            .items
            .iter()
            .map(|item| (item.id.as_str(), item.pods.iter().map(String::as_str).collect()))
            .collect();
        let expected = [
            ("sha256:2", vec!["default/web-vm"]),
            ("sha256:4", vec!["default/web-vm"]),
            ("sha256:1", vec!["default/web-vm"]),
            ("sha256:3", vec![]),
        ];
        assert_eq!(found, expected);
    }
}
