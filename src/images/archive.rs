//! Reading an image archive: an OCI layout or the output of `docker save`, as a tar file, plain or gzipped.
//!
//! Nothing is unpacked: one scan finds where the archive's members lie, and blobs are read from there while they are
//! sent. Blocking; the caller gives it a thread.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use sha2::Digest as _;

use super::blob::{ArchiveImage, Blob, BlobSource, open_file};
use super::oci::{self, Descriptor, DockerImage, Index, Manifest};
use super::scratch::{self, Scratch};
use crate::model::image_ref::full_name;

/// The largest JSON document that is read out of an archive, in bytes.
const MAX_DOCUMENT: u64 = 4 << 20;
/// The largest number of members of an archive.
const MAX_MEMBERS: usize = 65_536;

/// Why an archive is not imported.
#[derive(Debug, thiserror::Error)]
pub enum ArchiveError {
    /// The file cannot be read.
    #[error("cannot read {}", path.display())]
    Read {
        /// The archive.
        path: PathBuf,
        /// The system's error.
        source: io::Error,
    },
    /// The file's format is wrong.
    #[error("{} is not an image archive: {why}", path.display())]
    Malformed {
        /// The archive.
        path: PathBuf,
        /// What is wrong, and what would be right.
        why: String,
    },
}

/// The images of one archive, and the unpacked copy of a gzipped one while they are sent.
pub struct Archive {
    /// The images for this machine's architecture.
    pub images: Vec<ArchiveImage>,
    /// Removed from the disk when this is dropped.
    _plain: Option<Scratch>,
}

/// Opens an archive and finds its images for `architecture` (Go's name). A gzipped one is unpacked to a temporary file
/// in `scratch`.
pub fn open(path: &Path, architecture: &str, scratch: &Path) -> Result<Archive, ArchiveError> {
    let read = |source| ArchiveError::Read {
        path: path.to_owned(),
        source,
    };
    let malformed = |why| ArchiveError::Malformed {
        path: path.to_owned(),
        why,
    };
    let mut file = open_file(path).map_err(read)?;
    if !file.metadata().map_err(read)?.is_file() {
        return Err(malformed("it is not a regular file".to_owned()));
    }
    let mut magic = [0; 2];
    let length = file.read(&mut magic).map_err(read)?;
    file.seek(SeekFrom::Start(0)).map_err(read)?;
    let plain = if length == 2 && magic == [0x1f, 0x8b] {
        Some(unzip(file, path, scratch)?)
    } else {
        None
    };
    let plain_path = plain
        .as_ref()
        .map_or_else(|| path.to_owned(), |copy| copy.path().to_owned());
    let contents = Contents::scan(&plain_path).map_err(malformed)?;
    let images = contents.images(architecture).map_err(malformed)?;
    Ok(Archive {
        images,
        _plain: plain,
    })
}

fn unzip(file: File, path: &Path, directory: &Path) -> Result<Scratch, ArchiveError> {
    let read = |source| ArchiveError::Read {
        path: path.to_owned(),
        source,
    };
    let name = path
        .file_name()
        .map(|n| n.to_string_lossy().into_owned())
        .unwrap_or_default();
    let name = format!(".{name}.{}.plain", std::process::id());
    let (copy, mut plain) = scratch::create(directory, &name).map_err(read)?;
    io::copy(&mut flate2::read::MultiGzDecoder::new(file), &mut plain).map_err(read)?;
    Ok(copy)
}

/// Where the members of an uncompressed archive lie.
struct Contents {
    path: PathBuf,
    members: HashMap<String, (u64, u64)>,
}

impl Contents {
    fn scan(path: &Path) -> Result<Contents, String> {
        let file = open_file(path).map_err(|e| e.to_string())?;
        let end = file.metadata().map_err(|e| e.to_string())?.len();
        let mut archive = tar::Archive::new(file);
        let mut members = HashMap::new();
        let mut links = Vec::new();
        for entry in archive.entries_with_seek().map_err(|e| e.to_string())? {
            let entry = entry.map_err(|e| format!("it is damaged or not a tar file: {e}"))?;
            let name = entry
                .path()
                .map_err(|e| e.to_string())?
                .to_string_lossy()
                .into_owned();
            let name = name.trim_start_matches("./").to_owned();
            let (begin, size) = (entry.raw_file_position(), entry.size());
            if begin.checked_add(size).is_none_or(|last| last > end) {
                return Err(format!("it is incomplete: it ends within {name}"));
            }
            if let Ok(Some(target)) = entry.link_name() {
                links.push((name, target.to_string_lossy().into_owned()));
            } else {
                members.insert(name, (begin, size));
            }
            if members.len() > MAX_MEMBERS {
                return Err(format!("it has more than {MAX_MEMBERS} members"));
            }
        }
        // Older `docker save` links equal layers to one another: `<id>/layer.tar -> ../<other>/layer.tar`.
        for (name, target) in links {
            if let Some(place) = members.get(target.trim_start_matches("../")).copied() {
                members.insert(name, place);
            }
        }
        Ok(Contents {
            path: path.to_owned(),
            members,
        })
    }

    fn images(&self, architecture: &str) -> Result<Vec<ArchiveImage>, String> {
        if self.members.contains_key("index.json") && self.members.contains_key("oci-layout") {
            return self.oci_images(architecture);
        }
        if self.members.contains_key("manifest.json") {
            return self.docker_images();
        }
        Err("it has neither an index.json (OCI) nor a manifest.json (docker save)".to_owned())
    }

    fn document<T: serde::de::DeserializeOwned>(&self, name: &str) -> Result<T, String> {
        serde_json::from_slice(&self.bytes(name)?).map_err(|e| format!("{name}: {e}"))
    }

    fn bytes(&self, name: &str) -> Result<Vec<u8>, String> {
        let (offset, size) = *self
            .members
            .get(name)
            .ok_or_else(|| format!("{name} is missing from it"))?;
        if size > MAX_DOCUMENT {
            return Err(format!("{name} has {size} bytes, more than {MAX_DOCUMENT}"));
        }
        let blob = Blob::new(
            "",
            BlobSource::File {
                path: self.path.clone(),
                offset,
            },
            String::new(),
            size,
        );
        blob.read_at(0, usize::try_from(size).unwrap_or(usize::MAX))
            .map_err(|e| format!("{name}: {e}"))
    }

    fn oci_images(&self, architecture: &str) -> Result<Vec<ArchiveImage>, String> {
        let index: Index = self.document("index.json")?;
        let mut images = Vec::new();
        for descriptor in &index.manifests {
            let name = ["io.containerd.image.name", "org.opencontainers.image.ref.name"]
                .iter()
                .find_map(|key| descriptor.annotations.get(*key))
                .ok_or(
                    "an image in its index.json has no name; set the annotation io.containerd.image.name",
                )?;
            let Some(found) = self.manifest_for(descriptor, architecture, 0)? else {
                continue;
            };
            let manifest: Manifest = self.document(&member_of(&found.digest)?)?;
            let layers = manifest
                .layers
                .iter()
                .map(|layer| self.blob(layer))
                .collect::<Result<_, _>>()?;
            images.push(ArchiveImage {
                names: vec![full_name(name)],
                manifest: Blob {
                    media_type: media_type_or(&found, oci::MANIFEST),
                    ..self.blob(&found)?
                },
                config: self.blob(&manifest.config)?,
                layers,
            });
        }
        if images.is_empty() {
            return Err(format!("it has no image for linux/{architecture}"));
        }
        Ok(images)
    }

    /// Follows indexes, at most three deep, to the manifest for this machine.
    fn manifest_for(
        &self,
        descriptor: &Descriptor,
        architecture: &str,
        depth: u8,
    ) -> Result<Option<Descriptor>, String> {
        if let Some(platform) = &descriptor.platform
            && (platform.os != "linux" || platform.architecture != architecture)
        {
            return Ok(None);
        }
        let is_index =
            descriptor.media_type.contains("index") || descriptor.media_type.contains("manifest.list");
        if !is_index {
            return Ok(Some(descriptor.clone()));
        }
        if depth == 3 {
            return Err("its indexes are nested more than three deep".to_owned());
        }
        let index: Index = self.document(&member_of(&descriptor.digest)?)?;
        for inner in &index.manifests {
            if let Some(found) = self.manifest_for(inner, architecture, depth + 1)? {
                return Ok(Some(found));
            }
        }
        Ok(None)
    }

    fn blob(&self, descriptor: &Descriptor) -> Result<Blob, String> {
        let name = member_of(&descriptor.digest)?;
        let (offset, size) = *self
            .members
            .get(&name)
            .ok_or_else(|| format!("{name} is missing from it"))?;
        if size != descriptor.size {
            return Err(format!("{name} has {size} bytes instead of {}", descriptor.size));
        }
        let source = BlobSource::File {
            path: self.path.clone(),
            offset,
        };
        Ok(Blob::new(
            &descriptor.media_type,
            source,
            descriptor.digest.clone(),
            size,
        ))
    }

    fn docker_images(&self) -> Result<Vec<ArchiveImage>, String> {
        let listed: Vec<DockerImage> = self.document("manifest.json")?;
        let mut images = Vec::new();
        for image in listed {
            let names: Vec<_> = image
                .repo_tags
                .unwrap_or_default()
                .iter()
                .map(|tag| full_name(tag))
                .collect();
            if names.is_empty() {
                return Err("an image in it has no tag; save it by its name, not by its ID".to_owned());
            }
            let config = self.bytes(&image.config)?;
            let (digest, size) = (oci::digest(&config), config.len() as u64);
            let config = Blob::new(oci::DOCKER_CONFIG, BlobSource::Inline(config), digest, size);
            let layers = image
                .layers
                .iter()
                .map(|layer| self.docker_layer(layer))
                .collect::<Result<_, _>>()?;
            images.push(oci::assemble(names, oci::DOCKER_MANIFEST, config, layers));
        }
        Ok(images)
    }

    /// A layer of `docker save` has no stated digest, so its bytes are read once to compute it.
    fn docker_layer(&self, name: &str) -> Result<Blob, String> {
        let (offset, size) = *self
            .members
            .get(name)
            .ok_or_else(|| format!("{name} is missing from it"))?;
        let mut file = open_file(&self.path).map_err(|e| e.to_string())?;
        file.seek(SeekFrom::Start(offset)).map_err(|e| e.to_string())?;
        let mut reader = file.take(size);
        let mut hash = sha2::Sha256::new();
        let mut buffer = vec![0; 1 << 20];
        let mut gzipped = None;
        loop {
            let length = reader.read(&mut buffer).map_err(|e| e.to_string())?;
            if length == 0 {
                break;
            }
            gzipped.get_or_insert(buffer.starts_with(&[0x1f, 0x8b]));
            hash.update(&buffer[..length]);
        }
        let kind = if gzipped == Some(true) {
            oci::DOCKER_LAYER_GZIP
        } else {
            oci::DOCKER_LAYER
        };
        let source = BlobSource::File {
            path: self.path.clone(),
            offset,
        };
        Ok(Blob::new(
            kind,
            source,
            oci::hex(hash.finalize().as_slice()),
            size,
        ))
    }
}

fn media_type_or(descriptor: &Descriptor, default: &str) -> String {
    if descriptor.media_type.is_empty() {
        default.to_owned()
    } else {
        descriptor.media_type.clone()
    }
}

/// The archive member that holds the blob with this digest.
fn member_of(digest: &str) -> Result<String, String> {
    match digest.split_once(':') {
        Some(("sha256", hex)) if hex.len() == 64 && hex.bytes().all(|b| b.is_ascii_hexdigit()) => {
            Ok(format!("blobs/sha256/{hex}"))
        }
        _ => Err(format!("{digest:?} is not a sha256 digest")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tar_of(members: &[(&str, &[u8])]) -> Vec<u8> {
        let mut builder = tar::Builder::new(Vec::new());
        for (name, bytes) in members {
            let mut header = tar::Header::new_ustar();
            header.set_size(bytes.len() as u64);
            header.set_mode(0o644);
            builder.append_data(&mut header, name, *bytes).unwrap();
        }
        builder.into_inner().unwrap()
    }

    fn docker_archive() -> Vec<u8> {
        tar_of(&[
            ("c.json", br#"{"os":"linux"}"#),
            ("l/layer.tar", b"layer"),
            (
                "manifest.json",
                br#"[{"Config":"c.json","RepoTags":["demo:1"],"Layers":["l/layer.tar"]}]"#,
            ),
        ])
    }

    fn opened(bytes: &[u8]) -> Result<Archive, String> {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x.tar");
        std::fs::write(&path, bytes).unwrap();
        // The plain copy and the archive stay readable until the directory goes, which is after the checks here.
        let archive = open(&path, "amd64", dir.path()).map_err(|e| e.to_string())?;
        for image in &archive.images {
            for blob in [&image.manifest, &image.config].into_iter().chain(&image.layers) {
                let bytes = blob.read_at(0, 1 << 20).unwrap();
                assert_eq!(oci::digest(&bytes), blob.digest);
            }
        }
        Ok(archive)
    }

    #[test]
    fn docker_save_is_read_plain_and_gzipped() {
        use std::io::Write as _;
        let plain = docker_archive();
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&plain).unwrap();
        for bytes in [plain, gzip.finish().unwrap()] {
            let archive = opened(&bytes).unwrap();
            assert_eq!(archive.images[0].names, ["docker.io/library/demo:1"]);
            assert_eq!(archive.images[0].layers[0].media_type, oci::DOCKER_LAYER);
        }
    }

    #[test]
    fn nobody_else_reads_the_plain_copy() {
        use std::io::Write as _;
        use std::os::unix::fs::PermissionsExt as _;
        let dir = tempfile::tempdir().unwrap();
        let (path, scratch) = (dir.path().join("x.tar.gz"), dir.path().join("a/scratch"));
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(&docker_archive()).unwrap();
        std::fs::write(&path, gzip.finish().unwrap()).unwrap();
        let archive = open(&path, "amd64", &scratch).unwrap();
        let mode = |path: &Path| std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        let copies: Vec<PathBuf> = std::fs::read_dir(&scratch)
            .unwrap()
            .map(|entry| entry.unwrap().path())
            .collect();
        assert_eq!((mode(&scratch), copies.len()), (0o700, 1));
        assert_eq!(mode(&copies[0]), 0o600);
        drop(archive);
        assert!(!copies[0].exists());
    }

    #[test]
    fn an_oci_layout_is_read_for_this_architecture_only() {
        let config = br#"{"os":"linux"}"#;
        let manifest = format!(
            r#"{{"config":{{"mediaType":"c","digest":"{}","size":{}}},"layers":[]}}"#,
            oci::digest(config),
            config.len()
        );
        let (digest, size) = (oci::digest(manifest.as_bytes()), manifest.len());
        let index = |architecture: &str| {
            format!(
                r#"{{"manifests":[{{"mediaType":"{}","digest":"{digest}","size":{size},
                "platform":{{"os":"linux","architecture":"{architecture}"}},
                "annotations":{{"io.containerd.image.name":"example.com/a:1"}}}}]}}"#,
                oci::MANIFEST
            )
        };
        let archive = |architecture| {
            tar_of(&[
                ("oci-layout", b"{}"),
                ("index.json", index(architecture).as_bytes()),
                (&member_of(&digest).unwrap(), manifest.as_bytes()),
                (&member_of(&oci::digest(config)).unwrap(), config),
            ])
        };
        assert_eq!(
            opened(&archive("amd64")).unwrap().images[0].names,
            ["example.com/a:1"]
        );
        let refused = opened(&archive("riscv64")).err().unwrap();
        assert!(refused.contains("no image for linux/amd64"), "{refused}");
    }

    #[test]
    fn a_damaged_archive_is_refused_with_what_is_wrong() {
        for (bytes, expected) in [
            (b"no archive".to_vec(), "damaged or not a tar file"),
            (Vec::new(), "neither an index.json"),
            (tar_of(&[("x", b"y")]), "neither an index.json"),
            (docker_archive()[..600].to_vec(), "neither an index.json"),
            (
                tar_of(&[(
                    "manifest.json",
                    br#"[{"Config":"c","Layers":[],"RepoTags":["a"]}]"#,
                )]),
                "c is missing",
            ),
            (
                tar_of(&[("manifest.json", br#"[{"Config":"c","Layers":[]}]"#)]),
                "has no tag",
            ),
            (
                tar_of(&[
                    ("oci-layout", b"{}"),
                    (
                        "index.json",
                        br#"{"manifests":[{"digest":"sha256:../x","size":1}]}"#,
                    ),
                ]),
                "has no name",
            ),
        ] {
            let error = opened(&bytes)
                .err()
                .unwrap_or_else(|| panic!("accepted, expected {expected}"));
            assert!(error.contains(expected), "{error:?} does not say {expected:?}");
        }
    }
}
