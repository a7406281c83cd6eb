//! Images without a registry: the archives of a directory are imported at the start and when one appears, and the agent
//! provides the sandbox image itself unless one is configured.
//!
//! `requested` imports the archives that people send.
//!
//! This room writes only to containerd's image store. A counter announces each import, so that a pod that waits for an
//! image is retried at once.

mod scratch;
pub mod archive;
pub mod blob;
pub mod import;
pub mod oci;
pub mod pause;
mod store;
mod requested;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use notify::Watcher as _;
use tokio::sync::{Notify, mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::cri::Runtime;
use crate::model::backoff::Doubling;
use crate::model::collection::Provided;
use crate::model::image_ref::full_name;
use crate::model::image_work::ImportRequest;
use import::{Imported, OnSent};
use store::Store;

/// How often the directory is read even without an event.
const RESCAN: Duration = Duration::from_secs(30);
/// The first pause before an import that containerd rejected is retried; it grows with each attempt.
const RETRY: Duration = Duration::from_secs(1);
const RETRIES: Doubling = Doubling::new(RETRY, Duration::from_secs(16));

/// The architecture of this program (Go's name), as images state it.
pub fn architecture() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// The name of the image from which the runtime makes sandboxes, as in CRI's verbose status (containerd: the key
/// `config`). `None` if the status does not have it.
pub fn sandbox_image_name(info: &HashMap<String, String>) -> Option<String> {
    let config: serde_json::Value = serde_json::from_str(info.get("config")?).ok()?;
    // containerd 1.x has it at the top, 2.x among the pinned images.
    let name = config
        .get("sandboxImage")
        .or_else(|| config.pointer("/pinnedImages/sandbox"))?;
    name.as_str().filter(|name| !name.is_empty()).map(str::to_owned)
}

/// The state of an archive file when it was last imported or rejected.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Seen {
    size: u64,
    modified: Option<SystemTime>,
    inode: u64,
}

/// The image from which containerd makes sandboxes if its status does not say: since 2.0 CRI's status omits the image
/// settings. The names are the defaults of 2.0 to 2.4 (`DefaultSandboxImage`); another image must be configured here
/// too.
const UNTOLD: [&str; 3] = [
    "registry.k8s.io/pause:3.10",
    "registry.k8s.io/pause:3.10.1",
    "registry.k8s.io/pause:3.10.2",
];

/// What provides the sandbox image.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SandboxImage {
    /// The agent, under each of these names.
    Ours(Vec<String>),
    /// It is configured under this name, so something else provides it.
    Others(Vec<String>),
    /// The runtime, which has the name, has not answered yet.
    Unknown,
}

impl SandboxImage {
    /// The image that the runtime names, or its candidates.
    pub fn named(name: Option<String>) -> SandboxImage {
        SandboxImage::Ours(match name {
            Some(name) => vec![full_name(&name)],
            None => UNTOLD.map(str::to_owned).to_vec(),
        })
    }
}

/// The archives of a directory, and the sandbox image. `imported` counts the images that became available.
pub struct Importer {
    directory: PathBuf,
    sandbox: SandboxImage,
    store: Store,
    seen: HashMap<PathBuf, Seen>,
    /// The names of the images of each archive that is there and can be read.
    names: BTreeMap<PathBuf, Vec<String>>,
    provided: watch::Sender<Option<Arc<Provided>>>,
}

/// What remains to do after a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scanned {
    /// Nothing.
    Complete,
    /// containerd rejected something: retry soon.
    Incomplete,
}

impl Importer {
    /// An importer of `directory`, which need not exist; gzipped archives are unpacked in `scratch`. `sandbox` says
    /// whether to provide the sandbox image, and under which name.
    pub fn new(
        directory: PathBuf,
        scratch: PathBuf,
        sandbox: SandboxImage,
        runtime: Runtime,
    ) -> (Importer, watch::Receiver<u64>) {
        let (store, counter) = Store::new(scratch, architecture(), runtime);
        (
            Importer {
                directory,
                sandbox,
                store,
                seen: HashMap::new(),
                names: BTreeMap::new(),
                provided: watch::channel(None).0,
            },
            counter,
        )
    }

    /// The images that the archives of the directory contain, and those that sandboxes are made of; `None` until the
    /// archives have been read.
    pub fn provided(&self) -> watch::Receiver<Option<Arc<Provided>>> {
        self.provided.subscribe()
    }

    /// Imports the archives that people send, until canceled.
    pub fn requested(
        &self,
        requests: mpsc::Receiver<ImportRequest>,
        cancel: CancellationToken,
    ) -> impl Future<Output = ()> + Send + use<> {
        requested::run(requests, self.store.clone(), cancel)
    }

    /// Imports what is new in the directory, until canceled. Watches it, or reads it periodically while it is missing.
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
                tracing::warn!(%error, "the images directory is not watched; reading it every {RESCAN:?}");
                None
            }
        };
        let mut watched = false;
        let mut retries = RETRIES.waits();
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
                    retries.reset();
                    RESCAN
                }
                // The query is cheap, and no pod can start before.
                Scanned::Incomplete if self.sandbox == SandboxImage::Unknown => RETRY,
                Scanned::Incomplete => retries.fail(),
            };
            // Every arm only waits: nothing is lost when another one is first, as the next scan reads everything.
            tokio::select! {
                () = cancel.cancelled() => return,
                () = changed.notified() => {}
                () = tokio::time::sleep(pause) => {}
            }
            scanned = self.scan().await;
        }
    }

    /// Imports the sandbox image if it is missing, and every archive that is new or changed.
    pub async fn scan(&mut self) -> Scanned {
        let mut scanned = Scanned::Complete;
        if self.sandbox == SandboxImage::Unknown {
            match self.store.runtime.verbose_info().await {
                Ok(info) => self.sandbox = SandboxImage::named(sandbox_image_name(&info)),
                // The observer logs that the runtime does not answer.
                Err(_) => return Scanned::Incomplete,
            }
        }
        if let SandboxImage::Ours(names) = self.sandbox.clone() {
            for name in names {
                if let Err(error) = self.provide_sandbox_image(&name).await {
                    tracing::warn!(image = name, %error, "cannot import the sandbox image yet; retrying");
                    scanned = Scanned::Incomplete;
                }
            }
        }
        let there = archives(&self.directory);
        self.forget_all_but(&there);
        for (path, now) in there {
            if self.seen.get(&path) == Some(&now) {
                continue;
            }
            match self.import_archive(&path).await {
                Ok(new) => {
                    self.seen.insert(path, now);
                    if new > 0 {
                        self.store.announce(new);
                    }
                }
                Err(Failure::Archive(error)) => {
                    tracing::warn!(archive = %path.display(), %error, "image archive rejected; replace or remove it");
                    self.names.remove(&path);
                    self.seen.insert(path, now);
                }
                Err(Failure::Import(error)) => {
                    tracing::warn!(archive = %path.display(), %error, "cannot import an image archive yet; retrying");
                    scanned = Scanned::Incomplete;
                }
            }
        }
        self.publish_provided();
        scanned
    }

    /// An archive that comes back is imported again.
    fn forget_all_but(&mut self, there: &[(PathBuf, Seen)]) {
        let is_there = |path: &PathBuf| there.iter().any(|(known, _)| known == path);
        self.seen.retain(|path, _| is_there(path));
        self.names.retain(|path, _| is_there(path));
    }

    fn publish_provided(&self) {
        let provided = Provided {
            sandbox: match &self.sandbox {
                SandboxImage::Ours(names) | SandboxImage::Others(names) => names.iter().cloned().collect(),
                SandboxImage::Unknown => Default::default(),
            },
            archives: self.names.values().flatten().cloned().collect(),
        };
        self.provided.send_if_modified(|before| {
            let is_news = before.as_deref() != Some(&provided);
            if is_news {
                *before = Some(Arc::new(provided));
            }
            is_news
        });
    }

    /// Imports the built-in sandbox image unless the runtime has an image of that name.
    async fn provide_sandbox_image(&self, name: &str) -> Result<(), import::ImportError> {
        let Store { channel, runtime, .. } = &self.store;
        if import::target_of(channel, name).await?.is_some() {
            return import::until_known(channel, runtime, name).await;
        }
        let Some(image) = pause::image(name, architecture()) else {
            tracing::warn!(
                image = name,
                "no sandbox image is built in for this architecture; the runtime must pull it"
            );
            return Ok(());
        };
        import::import(channel, &image, true, &unreported()).await?;
        import::until_known(channel, runtime, name).await?;
        self.store.announce(1);
        Ok(())
    }

    /// Imports one archive; returns how many of its images were new.
    async fn import_archive(&mut self, path: &Path) -> Result<u64, Failure> {
        let begun = std::time::Instant::now();
        let (file, scratch) = (path.to_owned(), self.store.scratch.clone());
        let opened =
            tokio::task::spawn_blocking(move || archive::open(&file, architecture(), &scratch)).await;
        let archive = opened
            .expect("opening an archive does not panic")
            .map_err(Failure::Archive)?;
        let names = archive.images.iter().flat_map(|image| image.names.clone());
        // Before the import: until it is complete, nothing of it is removed either.
        self.names.insert(path.to_owned(), names.collect());
        if self.provided.borrow().is_some() {
            self.publish_provided();
        }
        let mut new = 0;
        let _turn = self.store.turn().await;
        for image in &archive.images {
            let imported = self
                .store
                .import(image, &unreported())
                .await
                .map_err(Failure::Import)?;
            if imported == Imported::New {
                new += 1;
                let ms = u64::try_from(begun.elapsed().as_millis()).unwrap_or(u64::MAX);
                tracing::info!(archive = %path.display(), images = ?image.names, ms, "image imported");
            }
        }
        Ok(new)
    }
}

/// Nobody waits for an import of the agent's own.
fn unreported() -> OnSent {
    Arc::new(|_| {})
}

/// Whether an event means that an archive is complete: written and closed, or moved here. An archive that is still
/// being written causes an event with each write.
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

/// The archives of a directory with their file states: `.tar`, `.tar.gz` and `.tgz`, no hidden files.
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
