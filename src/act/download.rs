//! How far the runtime has come with a pull. CRI does not say, but containerd's content store does: a pull marks the
//! manifest with the repository that it is from, before its layers come, and the ingests show how much of each has arrived.
//! With another runtime nothing but the time is known.

use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

use containerd_client::services::v1::Info;
use jiff::Timestamp;
use serde::Deserialize;
use tokio::time::{Instant, MissedTickBehavior, interval_at};

use crate::cri::{CriError, Runtime};
use crate::model::image_progress::{LayerDownload, Progress, of_layers};
use crate::model::image_ref::{ImageRef, full_name};

/// The largest manifest that is read, in bytes: registries accept none that is larger (docker-registry, 4 MiB).
const MAX_MANIFEST: usize = 4 << 20;
/// The most layers of an image that are followed: overlayfs has no more.
const MOST_LAYERS: usize = 500;
/// The label that containerd sets on what it pulls: its key ends with the registry's host, its value lists repositories
/// (`AppendDistributionSourceLabel` in `remotes/docker/handler.go` of containerd 1.7).
const SOURCE: &str = "containerd.io/distribution.source.";
/// The beginning of the labels with which a manifest refers to its layers.
const LAYER_LABEL: &str = "containerd.io/gc.ref.content.l.";

#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
struct Layer {
    digest: String,
    size: u64,
}

#[derive(Deserialize)]
struct Manifest {
    layers: Vec<Layer>,
}

/// Looks as often as this how far the pull of `name`, which begins now, has come, and reports it, until dropped.
pub(super) async fn watch(runtime: &Runtime, name: &str, each: Duration, report: impl Fn(Progress)) -> ! {
    let began = Timestamp::now();
    let mut ticks = interval_at(Instant::now() + each, each);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut layers = Vec::new();
    let mut complete = BTreeSet::new();
    loop {
        ticks.tick().await;
        let looked = look(runtime, (name, began), &mut layers, &mut complete).await;
        match looked {
            Ok(now) => report(now),
            Err(error) => {
                tracing::debug!(image = name, %error, "the runtime does not report the progress of a pull");
                // The pull itself reports what is wrong with the runtime, if anything is.
                std::future::pending::<()>().await;
            }
        }
    }
}

async fn look(
    runtime: &Runtime,
    (name, began): (&str, Timestamp),
    layers: &mut Vec<Layer>,
    complete: &mut BTreeSet<String>,
) -> Result<Progress, CriError> {
    let ingests = runtime.ingests().await?;
    if layers.is_empty() {
        *layers = layers_of(runtime, (name, began), &ingests).await?;
    }
    let mut downloads = Vec::new();
    for layer in layers.iter() {
        let arrived = ingests.get(&format!("layer-{}", layer.digest));
        // A layer that was complete stays so: the runtime may be configured to discard what it has unpacked.
        if !complete.contains(&layer.digest) && arrived.is_none() && runtime.has_blob(&layer.digest).await? {
            complete.insert(layer.digest.clone());
        }
        let is_complete = complete.contains(&layer.digest);
        downloads.push(LayerDownload {
            size: layer.size,
            // All bytes have arrived before a layer is complete: its digest is still computed.
            done: match is_complete {
                true => layer.size,
                false => arrived.copied().unwrap_or(0).min(layer.size.saturating_sub(1)),
            },
        });
    }
    Ok(of_layers(&downloads))
}

/// The layers of the manifest that the pull has fetched, or has found; none while there is no such manifest yet.
async fn layers_of(
    runtime: &Runtime,
    (name, began): (&str, Timestamp),
    ingests: &HashMap<String, u64>,
) -> Result<Vec<Layer>, CriError> {
    let full = full_name(name);
    let name = ImageRef::split(&full).name();
    let Some((registry, repository)) = name.split_once('/') else {
        return Ok(Vec::new());
    };
    let label = format!("{SOURCE}{}", host(registry));
    let blobs = runtime.labeled_blobs(&label).await?;
    let Some(manifest) = manifest_of(&blobs, (&label, repository), began, ingests) else {
        return Ok(Vec::new());
    };
    let bytes = runtime.read_blob(&manifest.digest, MAX_MANIFEST).await?;
    Ok(parse(&bytes))
}

/// The manifest that a pull works on: one of the repository that it has marked since it began, or whose layers arrive now.
/// (containerd 1.6 does not report when it marked a manifest that was there before.) With several pulls from one repository
/// at once the latest is taken for this one. Pure.
fn manifest_of<'a>(
    blobs: &'a [Info],
    (label, repository): (&str, &str),
    began: Timestamp,
    ingests: &HashMap<String, u64>,
) -> Option<&'a Info> {
    let marked = |blob: &Info| {
        let times = [&blob.created_at, &blob.updated_at].into_iter().flatten();
        let times = times.filter_map(|time| Timestamp::new(time.seconds, time.nanos).ok());
        times.max().unwrap_or(Timestamp::UNIX_EPOCH)
    };
    let candidates = blobs.iter().filter(|blob| {
        let sources = blob.labels.get(label);
        let is_of_repository = sources.is_some_and(|sources| sources.split(',').any(|one| one == repository));
        let mut layers = blob
            .labels
            .iter()
            .filter(|(key, _)| key.starts_with(LAYER_LABEL))
            .peekable();
        let is_manifest = layers.peek().is_some();
        let arrives = layers.any(|(_, digest)| ingests.contains_key(&format!("layer-{digest}")));
        is_of_repository && is_manifest && (arrives || marked(blob) >= began)
    });
    candidates.max_by_key(|blob| marked(blob))
}

/// A registry without its port, and an IPv6 address without its brackets: containerd uses Go's `URL.Hostname`.
fn host(registry: &str) -> &str {
    match registry.strip_prefix('[') {
        Some(address) => address.split(']').next().unwrap_or_default(),
        None => registry.split(':').next().unwrap_or_default(),
    }
}

/// The layers of a manifest; none if it is not one that can be followed.
fn parse(manifest: &[u8]) -> Vec<Layer> {
    let parsed: Result<Manifest, _> = serde_json::from_slice(manifest);
    let mut layers = parsed.map(|manifest| manifest.layers).unwrap_or_default();
    layers.truncate(MOST_LAYERS);
    layers
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_manifest_is_one_of_the_repository_that_is_new_or_whose_layers_arrive() {
        let blob = |digest: &str, labels: &[(&str, &str)], created: i64| Info {
            digest: digest.to_owned(),
            labels: labels
                .iter()
                .map(|&(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            created_at: Some(prost_types::Timestamp {
                seconds: created,
                nanos: 0,
            }),
            ..Info::default()
        };
        let layer = "containerd.io/gc.ref.content.l.0";
        let blobs = [
            blob("old", &[("source", "team/app"), (layer, "sha256:a")], 10),
            blob(
                "other",
                &[("source", "team/application"), (layer, "sha256:b")],
                30,
            ),
            blob("config", &[("source", "team/app")], 30),
            blob("new", &[("source", "a/b,team/app"), (layer, "sha256:c")], 20),
        ];
        let check = |began: i64, arriving: &[&str], expected: Option<&str>| {
            let ingests = arriving.iter().map(|&name| (name.to_owned(), 5)).collect();
            let began = Timestamp::from_second(began).unwrap();
            let found = manifest_of(&blobs, ("source", "team/app"), began, &ingests);
            assert_eq!(
                found.map(|blob| blob.digest.as_str()),
                expected,
                "{began} {arriving:?}"
            );
        };
        check(15, &[], Some("new"));
        check(25, &[], None);
        check(25, &["layer-sha256:a"], Some("old"));
        check(25, &["layer-sha256:b", "layer-sha256:d"], None);
    }

    #[test]
    fn the_label_has_the_host_alone() {
        for (registry, expected) in [
            ("docker.io", "docker.io"),
            ("registry.example.com:5000", "registry.example.com"),
            ("[2001:db8::1]:5000", "2001:db8::1"),
        ] {
            assert_eq!(host(registry), expected);
        }
    }

    #[test]
    fn the_layers_of_a_manifest_are_read_and_what_is_none_has_none() {
        let check = |text: &str, expected: &[(&str, u64)]| {
            let layers = parse(text.as_bytes());
            let found: Vec<_> = layers
                .iter()
                .map(|layer| (layer.digest.as_str(), layer.size))
                .collect();
            assert_eq!(found, expected, "{text}");
        };
        check(
            r#"{"schemaVersion":2,"config":{"digest":"sha256:c","size":1},
                "layers":[{"mediaType":"m","digest":"sha256:a","size":7},{"digest":"sha256:b","size":0}]}"#,
            &[("sha256:a", 7), ("sha256:b", 0)],
        );
        check(r#"{"manifests":[]}"#, &[]);
        check(r#"{"layers":[{"digest":"sha256:a","size":-1}]}"#, &[]);
        check("cut off", &[]);
    }
}
