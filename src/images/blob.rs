//! The blobs of an image, and where their bytes are.

use std::fs::File;
use std::io;
use std::os::unix::fs::{FileExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};

/// Where a blob's bytes are.
#[derive(Debug, Clone)]
pub enum BlobSource {
    /// In memory.
    Inline(Vec<u8>),
    /// In the archive.
    File {
        /// The uncompressed archive.
        path: PathBuf,
        /// Its offset, in bytes.
        offset: u64,
    },
}

/// A blob of an image.
#[derive(Debug, Clone)]
pub struct Blob {
    /// Its media type.
    pub media_type: String,
    /// Its bytes.
    pub source: BlobSource,
    /// `sha256:<hex>`; the runtime verifies it.
    pub digest: String,
    /// Bytes.
    pub size: u64,
}

impl Blob {
    /// A blob with these parts.
    pub fn new(media_type: &str, source: BlobSource, digest: String, size: u64) -> Blob {
        Blob {
            media_type: media_type.to_owned(),
            source,
            digest,
            size,
        }
    }

    /// Reads at most `length` bytes from `offset` on.
    pub fn read_at(&self, offset: u64, length: usize) -> io::Result<Vec<u8>> {
        match &self.source {
            BlobSource::Inline(bytes) => {
                let start = usize::try_from(offset).map_or(bytes.len(), |start| start.min(bytes.len()));
                Ok(bytes[start..bytes.len().min(start + length)].to_vec())
            }
            BlobSource::File { path, offset: begin } => {
                let left = usize::try_from(self.size.saturating_sub(offset)).unwrap_or(usize::MAX);
                let mut buffer = vec![0; length.min(left)];
                open_file(path)?.read_exact_at(&mut buffer, begin + offset)?;
                Ok(buffer)
            }
        }
    }
}

/// A complete image of an archive.
#[derive(Debug, Clone)]
pub struct ArchiveImage {
    /// Its full names.
    pub names: Vec<String>,
    /// The manifest.
    pub manifest: Blob,
    /// The configuration.
    pub config: Blob,
    /// The layers, the lowest first.
    pub layers: Vec<Blob>,
}

impl ArchiveImage {
    /// The size of all its blobs in bytes.
    pub fn size(&self) -> u64 {
        let own = [&self.manifest, &self.config];
        let sizes = own.into_iter().chain(&self.layers).map(|blob| blob.size);
        sizes.fold(0, u64::saturating_add)
    }
}

/// Opens a file for reading without blocking on a FIFO. The caller rejects what is not a regular file.
pub(super) fn open_file(path: &Path) -> std::io::Result<File> {
    let mut options = std::fs::OpenOptions::new();
    options.read(true).custom_flags(nix::libc::O_NONBLOCK).open(path)
}
