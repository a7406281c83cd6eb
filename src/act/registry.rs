//! The node's own registry credentials from docker's configuration files (`pkg/credentialprovider/config.go`).

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::bulkhead::{Bulkhead, Limits};
use crate::model::registry::{InvalidDockerConfig, Keyring};

/// The timeout for reading a file; then the pull continues without it.
const PATIENCE: Duration = Duration::from_secs(10);
/// How many pulls may read at once: each reads one file after the other.
const LIMITS: Limits = Limits {
    total: 16,
    per_owner: 16,
};
/// The maximum number of bytes read of a file. A truncated file is not valid JSON.
const LONGEST: u64 = 4 << 20;

/// The possible files. The first readable file of the newer format is used; if there is none, the first readable one of
/// the older format.
#[derive(Debug, Clone)]
pub struct DockerConfig {
    newer: Vec<PathBuf>,
    older: Vec<PathBuf>,
    /// A home directory may be on a network file system that hangs.
    places: Bulkhead,
}

impl Default for DockerConfig {
    /// No files.
    fn default() -> Self {
        DockerConfig {
            newer: Vec::new(),
            older: Vec::new(),
            places: Bulkhead::new("docker configurations", LIMITS),
        }
    }
}

impl DockerConfig {
    /// The file that belongs to the kubelet alone; `None` if there are no files at all.
    pub fn own_file(&self) -> Option<&Path> {
        self.newer.first().map(PathBuf::as_path)
    }

    /// The kubelet's paths, in its order: its own directory, its working directory, the user's home and the root.
    pub fn places(root_dir: &Path, home: Option<&Path>) -> DockerConfig {
        let home = home.unwrap_or(Path::new(""));
        let in_all = |directories: [PathBuf; 4], file: &str| directories.map(|dir| dir.join(file)).into();
        let (own, here, top) = (root_dir.to_owned(), PathBuf::new(), Path::new("/"));
        DockerConfig {
            newer: in_all(
                [
                    own.clone(),
                    here.clone(),
                    home.join(".docker"),
                    top.join(".docker"),
                ],
                "config.json",
            ),
            older: in_all([own, here, home.to_owned(), top.to_owned()], ".dockercfg"),
            ..DockerConfig::default()
        }
    }

    /// The current credentials: read again for each pull, so that a change takes effect at once.
    pub(super) async fn read(&self) -> Keyring {
        match self.first(&self.newer, Keyring::add_config_json).await {
            Some(found) => found,
            None => self
                .first(&self.older, Keyring::add_dockercfg)
                .await
                .unwrap_or_default(),
        }
    }

    async fn first(
        &self,
        paths: &[PathBuf],
        add: fn(&mut Keyring, &[u8]) -> Result<(), InvalidDockerConfig>,
    ) -> Option<Keyring> {
        for path in paths {
            let (subject, file) = (path.display().to_string(), path.clone());
            let reading = self
                .places
                .run("the node", &subject, PATIENCE, move || content(&file));
            let text = match reading.await {
                Ok(Ok(text)) => text,
                // The file does not exist or is not readable.
                Ok(Err(_)) => continue,
                Err(stuck) => {
                    tracing::warn!("registry credentials skipped: {stuck}");
                    continue;
                }
            };
            let mut keyring = Keyring::default();
            match add(&mut keyring, &text) {
                Ok(()) => return Some(keyring),
                Err(wrong) => tracing::warn!(path = %path.display(), "registry credentials skipped: {wrong}"),
            }
        }
        None
    }
}

/// The content of a file. A FIFO is rejected, and no more is read than a configuration may have.
fn content(path: &Path) -> io::Result<Vec<u8>> {
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(nix::libc::O_NONBLOCK)
        .open(path)?;
    if !file.metadata()?.is_file() {
        return Err(io::Error::other("not a regular file"));
    }
    let mut text = Vec::new();
    file.take(LONGEST).read_to_end(&mut text)?;
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_file_that_can_be_read_counts() {
        let root = tempfile::tempdir().unwrap();
        let home = tempfile::tempdir().unwrap();
        let config = DockerConfig::places(root.path(), Some(home.path()));
        let user = async || {
            let found = config.read().await.lookup("example.com/a");
            found.into_iter().map(|found| found.username).collect::<Vec<_>>()
        };
        let write = |path: &Path, text: &str| std::fs::write(path, text).unwrap();
        let newer = |user: &str| format!(r#"{{"auths": {{"example.com": {{"username": "{user}"}}}}}}"#);
        assert!(user().await.is_empty());
        write(
            &home.path().join(".dockercfg"),
            r#"{"example.com": {"username": "older"}}"#,
        );
        assert_eq!(user().await, ["older"]);
        std::fs::create_dir(home.path().join(".docker")).unwrap();
        // Before all others, a file whose reading would block for ever.
        nix::unistd::mkfifo(&root.path().join("config.json"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        write(&home.path().join(".docker/config.json"), &newer("home"));
        assert_eq!(user().await, ["home"]);
        // A process that writes to it blocks until there is a reader.
        std::fs::remove_file(root.path().join("config.json")).unwrap();
        write(&root.path().join("config.json"), "broken");
        assert_eq!(user().await, ["home"]);
        write(&root.path().join("config.json"), &newer("root"));
        assert_eq!(user().await, ["root"]);
        // A file without credentials counts as a file.
        write(&root.path().join("config.json"), "{}");
        assert!(user().await.is_empty());
    }
}
