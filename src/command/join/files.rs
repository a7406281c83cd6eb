//! The files of a node of a kubeadm cluster, in kubeadm's places, and how they are removed again.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use crate::config::files::VERSION_FILE;
use crate::identity::files::{self, FileError, PUBLIC, SECRET};
use crate::identity::self_signed;
use crate::identity::store::{self, Store, StoreError};

/// Where the files are.
#[derive(Debug, Clone)]
pub struct Places {
    /// What stands for `/`.
    pub root: PathBuf,
}

impl Places {
    /// On this machine.
    pub fn here() -> Places {
        Places {
            root: PathBuf::from("/"),
        }
    }

    fn at(&self, path: &str) -> PathBuf {
        self.root.join(path.trim_start_matches('/'))
    }

    /// The node's kubeconfig.
    pub fn kubeconfig(&self) -> PathBuf {
        self.at("/etc/kubernetes/kubelet.conf")
    }

    /// The bootstrap kubeconfig.
    pub fn bootstrap(&self) -> PathBuf {
        self.at("/etc/kubernetes/bootstrap-kubelet.conf")
    }

    /// The cluster's certificate authority.
    pub fn authority(&self) -> PathBuf {
        self.at("/etc/kubernetes/pki/ca.crt")
    }

    /// The CA's key, which exists only on a control plane.
    pub fn authority_key(&self) -> PathBuf {
        self.at("/etc/kubernetes/pki/ca.key")
    }

    /// The cluster's KubeletConfiguration.
    pub fn config(&self) -> PathBuf {
        self.at("/var/lib/kubelet/config.yaml")
    }

    /// The configuration that kubeadm adds for this machine.
    pub fn instance_config(&self) -> PathBuf {
        self.at("/var/lib/kubelet/instance-config.yaml")
    }

    /// Flags of this node.
    pub fn flags(&self) -> PathBuf {
        self.at("/var/lib/kubelet/kubeadm-flags.env")
    }

    /// The flags that the administrator adds.
    pub fn extra_flags(&self) -> PathBuf {
        self.at("/etc/default/kubelet")
    }

    /// The node's certificates.
    pub fn certificates(&self) -> PathBuf {
        self.at("/var/lib/kubelet/pki")
    }

    /// The file with the Kubernetes version that the node reports.
    pub fn version(&self) -> PathBuf {
        self.at(VERSION_FILE)
    }

    /// The drop-in that starts the service as a node of a cluster.
    pub fn drop_in(&self) -> PathBuf {
        self.at("/etc/systemd/system/gantry.service.d/10-join.conf")
    }

    /// The systemd unit, if no package installed one.
    pub fn unit(&self) -> PathBuf {
        self.at("/etc/systemd/system/gantry.service")
    }

    /// systemd-resolved's resolv.conf with the upstream name servers; it exists only if systemd-resolved runs.
    pub fn resolved(&self) -> PathBuf {
        self.at("/run/systemd/resolve/resolv.conf")
    }

    /// A directory that exists if this machine runs systemd.
    pub fn systemd(&self) -> PathBuf {
        self.at("/run/systemd/system")
    }

    /// The flags that `gantry join` starts the agent with.
    pub fn arguments(&self) -> Vec<String> {
        vec![
            format!("--bootstrap-kubeconfig={}", self.bootstrap().display()),
            format!("--kubeconfig={}", self.kubeconfig().display()),
            format!("--config={}", self.config().display()),
            format!("--cert-dir={}", self.certificates().display()),
        ]
    }

    /// Removes the files that joining (by kubeadm or gantry) and running as a node created, but no directories. Returns
    /// the files that existed.
    pub fn clear(&self) -> Result<Vec<PathBuf>, StoreError> {
        let mut removed = Vec::new();
        // The agent creates these itself if they are not given.
        let (certificate, key) = self_signed::paths(&self.certificates());
        let named = [
            self.kubeconfig(),
            self.bootstrap(),
            self.authority(),
            self.config(),
            self.instance_config(),
            self.flags(),
            self.version(),
            certificate,
            key,
        ];
        for path in named {
            if files::remove(&path)? {
                removed.push(path);
            }
        }
        for pair in [store::CLIENT, store::SERVER] {
            Store::new(&self.certificates(), pair).clear()?;
        }
        Ok(removed)
    }
}

/// A file's content and mode.
type Before = (Vec<u8>, u32);

/// Files that are written together: all or none.
#[derive(Debug, Default)]
pub struct Written {
    /// Each with its previous content.
    files: Vec<(PathBuf, Option<Before>)>,
}

impl Written {
    /// Writes a world-readable file.
    pub fn public(&mut self, path: &Path, content: &str) -> Result<(), FileError> {
        self.write(path, content, PUBLIC)
    }

    /// Writes a file that holds a secret.
    pub fn secret(&mut self, path: &Path, content: &str) -> Result<(), FileError> {
        self.write(path, content, SECRET)
    }

    fn write(&mut self, path: &Path, content: &str, mode: u32) -> Result<(), FileError> {
        let mode_before = std::fs::metadata(path).map_or(SECRET, |about| about.mode() & 0o777);
        let before = files::read(path)?.map(|content| (content, mode_before));
        self.files.push((path.to_owned(), before));
        files::write(path, content.as_bytes(), mode)
    }

    /// Restores the previous content. Returns what cannot be restored, and why.
    pub fn undo(self) -> Vec<FileError> {
        let mut failures = Vec::new();
        for (path, before) in self.files.into_iter().rev() {
            let undone = match before {
                Some((content, mode)) => files::write(&path, &content, mode),
                None => files::remove(&path).map(|_| ()),
            };
            failures.extend(undone.err());
        }
        failures
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_written_is_taken_back() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("old"), "before").unwrap();
        let mut written = Written::default();
        written.public(&at("old"), "after").unwrap();
        written.secret(&at("new/one"), "x").unwrap();
        assert!(written.undo().is_empty());
        assert_eq!(std::fs::read_to_string(at("old")).unwrap(), "before");
        assert!(!at("new/one").exists());
    }
    #[test]
    fn what_makes_a_node_is_removed_the_keys_too() {
        let directory = tempfile::tempdir().unwrap();
        let places = Places {
            root: directory.path().to_owned(),
        };
        let (certificate, key) = self_signed::paths(&places.certificates());
        let others = places.certificates().join("another.key");
        for path in [&places.kubeconfig(), &certificate, &key, &others] {
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "x").unwrap();
        }
        assert_eq!(places.clear().unwrap(), [places.kubeconfig(), certificate, key]);
        assert!(others.exists(), "whoever put it there may need it");
        assert_eq!(places.clear().unwrap(), Vec::<PathBuf>::new());
    }
}
