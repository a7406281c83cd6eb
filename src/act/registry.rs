//! The node's own credentials for registries, as docker's configuration has them on disk
//! (`pkg/credentialprovider/config.go`).

use std::fs::OpenOptions;
use std::io::{self, Read as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::time::Duration;

use crate::bulkhead::{Bulkhead, Limits};
use crate::model::registry::{Keyring, NoDockerConfig};

/// How long a file may take to be read; then the pull goes on without it.
const PATIENCE: Duration = Duration::from_secs(10);
/// The pulls that read at once: each reads one file after the other.
const LIMITS: Limits = Limits {
    total: 16,
    per_owner: 16,
};
/// The longest file that is read whole, in bytes. What is cut off is no JSON.
const LONGEST: u64 = 4 << 20;

/// Where they may lie. Of the newer form, and then of the older one, the first file that can be read counts alone.
#[derive(Debug, Clone)]
pub struct DockerConfig {
    newer: Vec<PathBuf>,
    older: Vec<PathBuf>,
    /// A home may lie on a network file system that hangs.
    places: Bulkhead,
}

impl Default for DockerConfig {
    /// Nowhere.
    fn default() -> Self {
        DockerConfig {
            newer: Vec::new(),
            older: Vec::new(),
            places: Bulkhead::new("docker configurations", LIMITS),
        }
    }
}

impl DockerConfig {
    /// The kubelet's places, in its order: its own directory, the one it was started in, the user's home and the root.
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

    /// What they are now: read anew for each pull, so that a change counts at once.
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
        add: fn(&mut Keyring, &[u8]) -> Result<(), NoDockerConfig>,
    ) -> Option<Keyring> {
        for path in paths {
            let (subject, file) = (path.display().to_string(), path.clone());
            let reading = self
                .places
                .run("the node", &subject, PATIENCE, move || content(&file));
            let text = match reading.await {
                Ok(Ok(text)) => text,
                // It is not there, or nobody may read it.
                Ok(Err(_)) => continue,
                Err(stuck) => {
                    tracing::warn!("passed over: {stuck}");
                    continue;
                }
            };
            let mut keyring = Keyring::default();
            match add(&mut keyring, &text) {
                Ok(()) => return Some(keyring),
                Err(wrong) => tracing::warn!(path = %path.display(), "passed over: {wrong}"),
            }
        }
        None
    }
}

/// What is in a file. A FIFO is none, and no more is read than a configuration has.
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
        // Before them all, something that would be waited for for ever.
        nix::unistd::mkfifo(&root.path().join("config.json"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        write(&home.path().join(".docker/config.json"), &newer("home"));
        assert_eq!(user().await, ["home"]);
        // Whoever writes to it waits for a reader.
        std::fs::remove_file(root.path().join("config.json")).unwrap();
        write(&root.path().join("config.json"), "broken");
        assert_eq!(user().await, ["home"]);
        write(&root.path().join("config.json"), &newer("root"));
        assert_eq!(user().await, ["root"]);
        // A file without credentials is a file.
        write(&root.path().join("config.json"), "{}");
        assert!(user().await.is_empty());
    }
}
