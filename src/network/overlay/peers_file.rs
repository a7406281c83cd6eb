//! The peers of a machine without a cluster: a file that people or their tools write, watched.

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use ipnet::IpNet;
use notify::Watcher as _;
use tokio::sync::{Notify, watch};
use tokio_util::sync::CancellationToken;

use super::known::{self, Known};
use crate::bulkhead::{Bulkhead, Limits};
use crate::model::last_logged::LastLogged;
use crate::model::overlay::{Peer, Peers};

/// How often the file is read without an event: one may be lost, and its directory may be missing.
const LOOK: Duration = Duration::from_secs(30);
/// Bytes that a file may have: more than ten thousand nodes.
const LARGEST: u64 = 4 << 20;
/// How long reading may take. The file may lie on a file system whose server is gone.
const PATIENCE: Duration = Duration::from_secs(2);
/// Reads that have not returned.
const READS: Limits = Limits {
    total: 1,
    per_owner: 1,
};

/// Reads the file whenever it changes, and publishes its peers, until canceled. A missing file has none.
pub async fn run(path: PathBuf, out: watch::Sender<Peers>, cancel: CancellationToken) {
    let changed = Arc::new(Notify::new());
    let waker = Arc::clone(&changed);
    let handler = move |event: notify::Result<notify::Event>| {
        if event.is_ok_and(|event| !event.kind.is_access() || is_written(event.kind)) {
            waker.notify_one();
        }
    };
    let mut watcher = notify::recommended_watcher(handler)
        .map_err(
            |error| tracing::warn!(%error, "the file of peers is not watched; reading it every {LOOK:?}"),
        )
        .ok();
    let directory = path.parent().unwrap_or(Path::new("/")).to_owned();
    let mut is_watched = false;
    let mut reader = Reader::default();
    let reads = Bulkhead::new("the file of peers", READS);
    loop {
        if let Some(watcher) = &mut watcher
            && !(is_watched && directory.is_dir())
        {
            is_watched = watcher
                .watch(&directory, notify::RecursiveMode::NonRecursive)
                .is_ok();
        }
        let now = match reader.take(&path, text(&reads, &path).await) {
            Some(peers) => Peers::Known(peers),
            None => Peers::Unreadable(format!("the file of peers {} cannot be read", path.display())),
        };
        out.send_if_modified(|before| before.take(now));
        // Every arm only waits, and the whole file is read each time.
        tokio::select! {
            () = cancel.cancelled() => return,
            () = changed.notified() => {}
            () = tokio::time::sleep(LOOK) => {}
        }
    }
}

/// The subnets of the nodes in a file but of this one, as far as they can be read.
pub async fn subnets(path: &Path, own: &str) -> Vec<IpNet> {
    let reads = Bulkhead::new("the file of peers", READS);
    let text = text(&reads, path).await.ok().flatten().unwrap_or_default();
    let peers = known::read(&text).unwrap_or_default().peers.into_iter();
    peers
        .filter(|peer| peer.name != own)
        .map(|peer| peer.subnet)
        .collect()
}

fn is_written(kind: notify::EventKind) -> bool {
    use notify::event::{AccessKind, AccessMode, EventKind};
    matches!(kind, EventKind::Access(AccessKind::Close(AccessMode::Write)))
}

/// What the file says; absent if there is none.
async fn text(reads: &Bulkhead, path: &Path) -> io::Result<Option<String>> {
    let (file, subject) = (path.to_owned(), path.display().to_string());
    let read = reads.run("", &subject, PATIENCE, move || read(&file)).await;
    read.map_err(io::Error::other)?
}

fn read(path: &Path) -> io::Result<Option<String>> {
    // Opening a FIFO waits for a writer otherwise.
    let nonblocking = nix::libc::O_NONBLOCK;
    let file = match OpenOptions::new().read(true).custom_flags(nonblocking).open(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        file => file?,
    };
    let found = file.metadata()?;
    if !found.is_file() {
        return Err(io::Error::other("it is not a regular file"));
    }
    // One byte more shows the end without another allocation. The bound holds should the file grow now.
    let expected = found.len().min(LARGEST) + 1;
    let mut text = String::with_capacity(usize::try_from(expected).unwrap_or_default());
    file.take(LARGEST + 1).read_to_string(&mut text)?;
    match text.len() as u64 > LARGEST {
        true => Err(io::Error::other(format!("it has more than {LARGEST} bytes"))),
        false => Ok(Some(text)),
    }
}

/// What was read last.
#[derive(Default)]
struct Reader {
    /// The file's content, if it could be read.
    text: Option<Arc<str>>,
    known: Known,
    peers: Arc<[Arc<Peer>]>,
    logged: LastLogged<Vec<String>>,
}

impl Reader {
    /// The peers now; absent if those before stay: the file says the same, as after most events of its directory, or cannot
    /// be read.
    fn take(&mut self, path: &Path, text: io::Result<Option<String>>) -> Option<Arc<[Arc<Peer>]>> {
        let text: io::Result<Arc<str>> = text.map(|text| text.unwrap_or_default().into());
        if text.is_ok() && text.as_ref().ok() == self.text.as_ref() {
            return None;
        }
        let read = match &text {
            Ok(text) => self.known.read_again(Arc::clone(text)),
            Err(error) => Err(error.to_string()),
        };
        self.text = text.ok();
        let (peers, problems) = match read {
            Ok(read) => {
                let is_kept = |peer: &&Arc<Peer>| read.wrong.contains(&peer.name);
                let mut peers = read.peers;
                peers.extend(self.peers.iter().filter(is_kept).cloned());
                (Some(Arc::from(peers)), read.problems)
            }
            Err(error) => (None, vec![error]),
        };
        if self.logged.is_news(&problems) {
            for problem in &problems {
                tracing::warn!(
                    path = %path.display(),
                    problem,
                    "cannot read an entry of the file of peers; what was known of the node stays"
                );
            }
        }
        self.peers = peers.clone().unwrap_or_else(|| Arc::clone(&self.peers));
        peers
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::overlay::Backend;
    use crate::network::overlay::entry;

    fn peer(name: &str, subnet: &str) -> Peer {
        Peer {
            name: name.to_owned(),
            address: "192.0.2.1".parse().unwrap(),
            subnet: subnet.parse().unwrap(),
            backend: Backend::HostGw,
        }
    }

    async fn next(peers: &mut watch::Receiver<Peers>) -> Vec<Peer> {
        let changed = tokio::time::timeout(Duration::from_secs(20), peers.changed());
        changed.await.expect("the file is noticed").unwrap();
        match &*peers.borrow_and_update() {
            Peers::Known(peers) => peers.iter().map(|peer| Peer::clone(peer)).collect(),
            other => panic!("{other:?}"),
        }
    }

    #[tokio::test]
    async fn the_file_is_followed_and_a_broken_one_takes_nothing_away() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("peers.yaml");
        let (out, mut peers) = watch::channel(Peers::Known([].into()));
        let cancel = CancellationToken::new();
        let running = tokio::spawn(run(path.clone(), out, cancel.clone()));
        let (a, b) = (peer("a", "10.244.1.0/24"), peer("b", "10.244.2.0/24"));
        let write = |text: String| {
            let new = dir.path().join("new");
            std::fs::write(&new, text).unwrap();
            std::fs::rename(&new, &path).unwrap();
        };
        write(entry::text(&a));
        assert_eq!(next(&mut peers).await, std::slice::from_ref(&a));
        // One entry becomes wrong, the other is new.
        write(entry::text(&a).replace("host-gw", "pigeon") + &entry::text(&b));
        assert_eq!(next(&mut peers).await, [b.clone(), a.clone()]);
        // No YAML at all changes nothing.
        write("a: [".to_owned());
        let moved = peer("b", "10.244.9.0/24");
        write(entry::text(&moved));
        assert_eq!(next(&mut peers).await, [moved]);
        std::fs::remove_file(&path).unwrap();
        assert_eq!(next(&mut peers).await, []);
        cancel.cancel();
        running.await.unwrap();
    }

    #[test]
    fn a_file_that_is_too_large_or_none_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("peers.yaml");
        std::fs::write(&path, vec![b'#'; usize::try_from(LARGEST).unwrap() + 1]).unwrap();
        assert!(read(&path).is_err());
        std::fs::remove_file(&path).unwrap();
        nix::unistd::mkfifo(&path, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert_eq!(read(&path).unwrap_err().to_string(), "it is not a regular file");
    }
}
