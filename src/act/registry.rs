//! The node's own credentials for registries, as docker's configuration has them on disk
//! (`pkg/credentialprovider/config.go`).

use std::path::{Path, PathBuf};

use crate::model::registry::{Keyring, NoDockerConfig};

/// Where they may lie. Of the newer form, and then of the older one, the first file that can be read counts alone.
#[derive(Debug, Clone, Default)]
pub struct DockerConfig {
    newer: Vec<PathBuf>,
    older: Vec<PathBuf>,
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
        }
    }

    /// What they are now: read anew for each pull, so that a change counts at once.
    pub(super) async fn read(&self) -> Keyring {
        match first(&self.newer, Keyring::add_config_json).await {
            Some(found) => found,
            None => first(&self.older, Keyring::add_dockercfg)
                .await
                .unwrap_or_default(),
        }
    }
}

async fn first(
    places: &[PathBuf],
    add: fn(&mut Keyring, &[u8]) -> Result<(), NoDockerConfig>,
) -> Option<Keyring> {
    for path in places {
        let Ok(text) = tokio::fs::read(path).await else {
            continue;
        };
        let mut keyring = Keyring::default();
        match add(&mut keyring, &text) {
            Ok(()) => return Some(keyring),
            Err(wrong) => tracing::warn!(path = %path.display(), "passed over: {wrong}"),
        }
    }
    None
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
        write(&home.path().join(".docker/config.json"), &newer("home"));
        assert_eq!(user().await, ["home"]);
        write(&root.path().join("config.json"), "broken");
        assert_eq!(user().await, ["home"]);
        write(&root.path().join("config.json"), &newer("root"));
        assert_eq!(user().await, ["root"]);
        // A file without credentials is a file.
        write(&root.path().join("config.json"), "{}");
        assert!(user().await.is_empty());
    }
}
