//! Images without a registry: archives of a directory are imported at start and when one appears, and the
//! sandbox image comes from the agent itself unless it is configured.
//!
//! This room writes to containerd's image store and nothing else. What it imported is told by a counter, so
//! that a pod that waits for an image is tried again at once.

pub mod archive;
pub mod blob;
pub mod import;
pub mod oci;
pub mod pause;

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use notify::Watcher as _;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;
use tonic::transport::Channel;

use crate::cri::{self, Runtime};
use import::Imported;

/// How often the directory is read even if nothing was heard of it.
const RESCAN: Duration = Duration::from_secs(30);
/// How soon it is tried again what containerd did not take, the first time; then ever later.
const RETRY: Duration = Duration::from_secs(1);
const LATEST_RETRY: Duration = Duration::from_secs(16);

/// The architecture of this program in Go's name of it, as images state it.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The name of the image that the runtime makes sandboxes from, as CRI's verbose status tells it
/// (containerd: the key `config`). `None` where the runtime does not tell.
pub fn sandbox_image_name(info: &HashMap<String, String>) -> Option<String> {
    let config: serde_json::Value = serde_json::from_str(info.get("config")?).ok()?;
    // containerd 1.x has it at the top, 2.x among the pinned images.
    let name = config
        .get("sandboxImage")
        .or_else(|| config.pointer("/pinnedImages/sandbox"))?;
    name.as_str().filter(|name| !name.is_empty()).map(str::to_owned)
}

/// What an archive looked like when it was last imported or refused.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    size: u64,
    modified: Option<SystemTime>,
    inode: u64,
}

/// What containerd makes sandboxes from where it does not tell: since 2.0 CRI's status leaves the settings of
/// images out. The names are its defaults from 2.0 to 2.4 (`DefaultSandboxImage`); another one has to be configured
/// here too.
const UNTOLD: [&str; 3] = [
    "registry.k8s.io/pause:3.10",
    "registry.k8s.io/pause:3.10.1",
    "registry.k8s.io/pause:3.10.2",
];

/// Who provides the image that sandboxes are made from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SandboxImage {
    /// We do, under each of these names.
    Ours(Vec<String>),
    /// Somebody else: it is configured.
    Others,
    /// The runtime, which knows the name, has not answered yet.
    Unknown,
}

impl SandboxImage {
    /// The image that the runtime names, or may mean.
    pub fn named(name: Option<String>) -> SandboxImage {
        SandboxImage::Ours(match name {
            Some(name) => vec![oci::full_name(&name)],
            None => UNTOLD.map(str::to_owned).to_vec(),
        })
    }
}

/// The archives of a directory, and the sandbox image. `imported` counts the images that became available.
pub struct Importer {
    directory: PathBuf,
    scratch: PathBuf,
    sandbox: SandboxImage,
    runtime: Runtime,
    channel: Channel,
    seen: HashMap<PathBuf, Seen>,
    imported: watch::Sender<u64>,
}

/// What a scan left to do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scanned {
    /// Nothing.
    Complete,
    /// containerd did not take something: it is tried again soon.
    Incomplete,
}

impl Importer {
    /// An importer of `directory`, which need not be there; gzipped archives are unpacked in `scratch`.
    /// `sandbox` tells whether the sandbox image is provided, and under which name.
    pub fn new(
        directory: PathBuf,
        scratch: PathBuf,
        sandbox: SandboxImage,
        runtime: Runtime,
    ) -> (Importer, watch::Receiver<u64>) {
        let (imported, counter) = watch::channel(0);
        let channel = cri::connect_lazily(runtime.socket());
        (
            Importer {
                directory,
                scratch,
                sandbox,
                runtime,
                channel,
                seen: HashMap::new(),
                imported,
            },
            counter,
        )
    }

    /// Imports what is new in the directory, until cancelled. Watches it, or reads it now and then while it is
    /// missing.
    pub async fn run(mut self, mut scanned: Scanned, cancel: CancellationToken) {
        let changed = Arc::new(Notify::new());
        let waker = changed.clone();
        let mut watcher = match notify::recommended_watcher(move |event: notify::Result<notify::Event>| {
            if event.is_ok_and(|event| is_complete(event.kind)) {
                waker.notify_one();
            }
        }) {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                tracing::warn!(%error, "the images directory is not watched, only read every {RESCAN:?}");
                None
            }
        };
        let mut watched = false;
        let mut retry = RETRY;
        loop {
            if let Some(watcher) = &mut watcher
                && !(watched && self.directory.is_dir())
            {
                watched = watcher
                    .watch(&self.directory, notify::RecursiveMode::NonRecursive)
                    .is_ok();
            }
            let pause = match scanned {
                Scanned::Complete => {
                    retry = RETRY;
                    RESCAN
                }
                // To ask costs little, and no pod can start before.
                Scanned::Incomplete if self.sandbox == SandboxImage::Unknown => RETRY,
                Scanned::Incomplete => {
                    let pause = retry;
                    retry = (retry * 2).min(LATEST_RETRY);
                    pause
                }
            };
            // Each arm only waits: nothing is lost when another one is first, the next scan reads everything.
            tokio::select! {
                () = cancel.cancelled() => return,
                () = changed.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
            scanned = self.scan().await;
        }
    }

    /// Imports the sandbox image where it is missing, and every archive that has not been seen as it is now.
    pub async fn scan(&mut self) -> Scanned {
        let mut scanned = Scanned::Complete;
        if self.sandbox == SandboxImage::Unknown {
            match self.runtime.verbose_info().await {
                Ok(info) => self.sandbox = SandboxImage::named(sandbox_image_name(&info)),
                // The observation tells that the runtime does not answer.
                Err(_) => return Scanned::Incomplete,
            }
        }
        if let SandboxImage::Ours(names) = self.sandbox.clone() {
            for name in names {
                if let Err(error) = self.provide_sandbox_image(&name).await {
                    tracing::warn!(image = name, %error, "the sandbox image is not imported yet: it is tried again");
                    scanned = Scanned::Incomplete;
                }
            }
        }
        for (path, now) in archives(&self.directory) {
            if self.seen.get(&path) == Some(&now) {
                continue;
            }
            match self.import_archive(&path).await {
                Ok(new) => {
                    self.seen.insert(path, now);
                    if new > 0 {
                        self.imported.send_modify(|count| *count += new);
                    }
                }
                Err(Failure::Archive(error)) => {
                    tracing::warn!(archive = %path.display(), %error, "archive refused: replace or remove it");
                    self.seen.insert(path, now);
                }
                Err(Failure::Import(error)) => {
                    tracing::warn!(archive = %path.display(), %error, "archive not imported yet: it is tried again");
                    scanned = Scanned::Incomplete;
                }
            }
        }
        scanned
    }

    /// Imports our sandbox image unless the runtime has one of that name.
    async fn provide_sandbox_image(&self, name: &str) -> Result<(), import::ImportError> {
        if import::target_of(&self.channel, name).await?.is_some() {
            return import::until_known(&self.channel, &self.runtime, name).await;
        }
        let Some(image) = pause::image(name, architecture()) else {
            tracing::warn!(
                image = name,
                "no sandbox image is built in for this architecture: the runtime must pull it"
            );
            return Ok(());
        };
        import::import(&self.channel, &image, true).await?;
        import::until_known(&self.channel, &self.runtime, name).await?;
        self.imported.send_modify(|count| *count += 1);
        Ok(())
    }

    /// Imports one archive; answers how many of its images were new.
    async fn import_archive(&self, path: &Path) -> Result<u64, Failure> {
        let begun = std::time::Instant::now();
        let (file, scratch) = (path.to_owned(), self.scratch.clone());
        let opened =
            tokio::task::spawn_blocking(move || archive::open(&file, architecture(), &scratch)).await;
        let archive = opened
            .expect("opening an archive does not panic")
            .map_err(Failure::Archive)?;
        let mut new = 0;
        for image in &archive.images {
            let imported = import::import(&self.channel, image, false)
                .await
                .map_err(Failure::Import)?;
            for name in &image.names {
                import::until_known(&self.channel, &self.runtime, name)
                    .await
                    .map_err(Failure::Import)?;
            }
            if imported == Imported::New {
                new += 1;
                let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                tracing::info!(archive = %path.display(), images = ?image.names, ms, "image imported");
            }
        }
        Ok(new)
    }
}

/// Whether an event tells of an archive that is there as a whole: written and closed, or moved here. One that is
/// being written tells with every write.
fn is_complete(kind: notify::EventKind) -> bool {
    use notify::event::{AccessKind, AccessMode, EventKind, ModifyKind};
    matches!(
        kind,
        EventKind::Access(AccessKind::Close(AccessMode::Write))
            | EventKind::Modify(ModifyKind::Name(_))
            | EventKind::Remove(_)
    )
}

enum Failure {
    Archive(archive::ArchiveError),
    Import(import::ImportError),
}

/// The archives of a directory with what they look like: `.tar`, `.tar.gz` and `.tgz`, no hidden files.
fn archives(directory: &Path) -> Vec<(PathBuf, Seen)> {
    use std::os::unix::fs::MetadataExt as _;
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).into_iter().flatten().flatten() {
        let path = entry.path();
        let name = entry.file_name().to_string_lossy().into_owned();
        let wanted = [".tar", ".tar.gz", ".tgz"]
            .iter()
            .any(|ending| name.ends_with(ending));
        if name.starts_with('.') || !wanted {
            continue;
        }
        if let Ok(meta) = std::fs::metadata(&path)
            && meta.is_file()
        {
            found.push((
                path,
                Seen {
                    size: meta.len(),
                    modified: meta.modified().ok(),
                    inode: meta.ino(),
                },
            ));
        }
    }
    found.sort_by(|a, b| a.0.cmp(&b.0));
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_runtime_tells_which_sandbox_image_it_wants() {
        for (config, expected) in [
            (
                r#"{"sandboxImage":"registry.k8s.io/pause:3.6"}"#,
                Some("registry.k8s.io/pause:3.6"),
            ),
            (
                r#"{"pinnedImages":{"sandbox":"registry.k8s.io/pause:3.10"}}"#,
                Some("registry.k8s.io/pause:3.10"),
            ),
            (r#"{"sandboxImage":""}"#, None),
            ("nonsense", None),
        ] {
            let info = HashMap::from([("config".to_owned(), config.to_owned())]);
            assert_eq!(sandbox_image_name(&info).as_deref(), expected, "{config}");
        }
    }

    #[test]
    fn only_archives_count() {
        let dir = tempfile::tempdir().unwrap();
        for name in ["b.tar", "a.tgz", ".c.tar", "d.txt", "e.tar.gz"] {
            std::fs::write(dir.path().join(name), "x").unwrap();
        }
        std::fs::create_dir(dir.path().join("f.tar")).unwrap();
        let names: Vec<_> = archives(dir.path())
            .iter()
            .map(|(p, _)| p.file_name().unwrap().to_string_lossy().into_owned())
            .collect();
        assert_eq!(names, ["a.tgz", "b.tar", "e.tar.gz"]);
    }
}
