//! The parts of the OCI image format that an import needs (*OCI Image Format Specification* 1.1).

use std::fmt::Write as _;

use serde::Deserialize;
use sha2::Digest as _;

use super::blob::{ArchiveImage, Blob, BlobSource};

/// Media type of a manifest.
pub const MANIFEST: &str = "application/vnd.oci.image.manifest.v1+json";
/// Media type of an image's configuration.
pub const CONFIG: &str = "application/vnd.oci.image.config.v1+json";
/// Media type of an uncompressed layer.
pub const LAYER: &str = "application/vnd.oci.image.layer.v1.tar";
/// Media type of Docker's manifest.
pub const DOCKER_MANIFEST: &str = "application/vnd.docker.distribution.manifest.v2+json";
/// Media type of Docker's configuration.
pub const DOCKER_CONFIG: &str = "application/vnd.docker.container.image.v1+json";
/// Media type of Docker's uncompressed layer.
pub const DOCKER_LAYER: &str = "application/vnd.docker.image.rootfs.diff.tar";
/// Media type of Docker's layer compressed with gzip.
pub const DOCKER_LAYER_GZIP: &str = "application/vnd.docker.image.rootfs.diff.tar.gzip";

/// Reference to a blob.
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Descriptor {
    /// Its media type.
    #[serde(default)]
    pub media_type: String,
    /// `sha256:<hex>`
    pub digest: String,
    /// Bytes.
    pub size: u64,
    /// Annotations: the image's name among them.
    #[serde(default)]
    pub annotations: std::collections::BTreeMap<String, String>,
    /// The platform of a manifest.
    pub platform: Option<Platform>,
}

/// Platform of a manifest.
#[derive(Debug, Clone, Deserialize)]
pub struct Platform {
    /// Go's name of it.
    pub architecture: String,
    /// `linux`
    pub os: String,
}

/// An index: a list of manifests.
#[derive(Debug, Clone, Deserialize)]
pub struct Index {
    /// The manifests, or further indexes.
    pub manifests: Vec<Descriptor>,
}

/// A manifest.
#[derive(Debug, Clone, Deserialize)]
pub struct Manifest {
    /// The configuration.
    pub config: Descriptor,
    /// The layers, the lowest first.
    pub layers: Vec<Descriptor>,
}

/// One image of a `docker save` archive (its `manifest.json`).
#[derive(Debug, Clone, Deserialize)]
#[serde(rename_all = "PascalCase")]
pub struct DockerImage {
    /// The configuration's file in the archive.
    pub config: String,
    /// Names with tags; `null` for an image without.
    #[serde(default)]
    pub repo_tags: Option<Vec<String>>,
    /// The layers' files in the archive, the lowest first.
    pub layers: Vec<String>,
}

/// `sha256:<hex>` of these bytes.
pub fn digest(bytes: &[u8]) -> String {
    hex(sha2::Sha256::digest(bytes).as_slice())
}

/// `sha256:<hex>` of a finished hash.
pub fn hex(hash: &[u8]) -> String {
    hash.iter().fold("sha256:".to_owned(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// Assembles an image from its parts: writes the manifest with the given media type.
pub fn assemble(
    names: Vec<String>,
    media_type: &'static str,
    config: Blob,
    layers: Vec<Blob>,
) -> ArchiveImage {
    let describe = |blob: &Blob| serde_json::json!({ "mediaType": blob.media_type, "digest": blob.digest, "size": blob.size });
    let manifest = serde_json::json!({
        "schemaVersion": 2,
        "mediaType": media_type,
        "config": describe(&config),
        "layers": layers.iter().map(describe).collect::<Vec<_>>(),
    })
    .to_string()
    .into_bytes();
    let (digest, size) = (digest(&manifest), manifest.len() as u64);
    ArchiveImage {
        names,
        manifest: Blob::new(media_type, BlobSource::Inline(manifest), digest, size),
        config,
        layers,
    }
}
