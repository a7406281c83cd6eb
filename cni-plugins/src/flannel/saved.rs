//! The delegates' configurations, one file for each container and in the place and form of the original plugin, so that
//! a node can change from one to the other: `<dataDir>/<container id>`.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::request::is_name;
use crate::types::{Code, Error};

/// Why a saved configuration could not be read or written.
#[derive(Debug, thiserror::Error)]
#[error("cannot {action} {}: {error}", path.display())]
pub struct SavedError {
    action: &'static str,
    path: PathBuf,
    error: io::Error,
}

impl From<SavedError> for Error {
    fn from(error: SavedError) -> Self {
        Error::new(Code::Io, error.to_string())
    }
}

/// The saved configurations in a directory.
#[derive(Debug, Clone, Copy)]
pub struct Saved<'a> {
    dir: &'a Path,
}

impl<'a> Saved<'a> {
    /// Those in `dir`, which need not exist.
    pub fn new(dir: &'a Path) -> Self {
        Saved { dir }
    }

    /// The text saved for a container.
    pub fn read(self, container_id: &str) -> Result<Option<String>, SavedError> {
        let path = self.dir.join(container_id);
        match fs::read(&path) {
            Ok(bytes) => Ok(Some(String::from_utf8_lossy(&bytes).into_owned())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(at("read", &path)(error)),
        }
    }

    /// Saves `text` for a container. The file is there as a whole and on the disk, or not at all.
    pub fn write(self, container_id: &str, text: &str) -> Result<(), SavedError> {
        let mut builder = fs::DirBuilder::new();
        let created = builder.recursive(true).mode(0o700).create(self.dir);
        created.map_err(at("create directory", self.dir))?;
        let (path, new) = (self.dir.join(container_id), self.new_file(container_id));
        let written = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)
            .and_then(|mut file| file.write_all(text.as_bytes()).and_then(|()| file.sync_all()));
        written.map_err(at("write", &new))?;
        fs::rename(&new, &path).map_err(at("write", &path))?;
        let synced = File::open(self.dir).and_then(|dir| dir.sync_all());
        synced.map_err(at("write", self.dir))
    }

    /// Removes what is saved for a container, and what a killed [`Saved::write`] left.
    pub fn remove(self, container_id: &str) -> Result<(), SavedError> {
        for path in [self.dir.join(container_id), self.new_file(container_id)] {
            match fs::remove_file(&path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => {
                    return Err(at("remove", &path)(error));
                }
                _ => {}
            }
        }
        Ok(())
    }

    /// The containers of a network, with their configurations.
    pub fn of_network(self, network: &str) -> Result<Vec<(String, Value)>, SavedError> {
        let entries = match fs::read_dir(self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
            other => other.map_err(at("list", self.dir))?,
        };
        let mut found = Vec::new();
        for entry in entries {
            let entry = entry.map_err(at("list", self.dir))?;
            let Some(container_id) = entry.file_name().to_str().map(str::to_string) else {
                continue;
            };
            // Files of other names are not containers'.
            let text = if is_name(&container_id) {
                self.read(&container_id)?
            } else {
                None
            };
            let config = text.and_then(|text| serde_json::from_str::<Value>(&text).ok());
            if let Some(config) =
                config.filter(|config| config.get("name").is_some_and(|name| name == network))
            {
                found.push((container_id, config));
            }
        }
        Ok(found)
    }

    /// No container's name starts with a dot.
    fn new_file(self, container_id: &str) -> PathBuf {
        // A container's name may be as long as a file's.
        let end = container_id.len().min(200);
        self.dir.join(format!(".{}.new", &container_id[..end]))
    }
}

fn at(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> SavedError {
    move |error| SavedError {
        action,
        path: path.to_path_buf(),
        error,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_configuration_is_found_again_by_container_and_network() {
        let dir = tempfile::tempdir().unwrap();
        let dir = dir.path().join("flannel");
        let saved = Saved::new(&dir);
        assert_eq!(saved.read("c1").unwrap(), None);
        assert!(saved.of_network("net").unwrap().is_empty());
        saved.remove("c1").unwrap();
        saved.write("c1", r#"{"name": "net", "type": "bridge"}"#).unwrap();
        saved.write("c2", r#"{"name": "other"}"#).unwrap();
        saved.write("c3", "{").unwrap();
        fs::write(dir.join(".c4.new"), r#"{"name": "net"}"#).unwrap();
        assert!(saved.read("c1").unwrap().unwrap().contains("bridge"));
        let found = saved.of_network("net").unwrap();
        assert_eq!((found.len(), found[0].0.as_str()), (1, "c1"));
        for id in ["c1", "c2", "c3", "c4"] {
            saved.remove(id).unwrap();
        }
        assert_eq!(fs::read_dir(&dir).unwrap().count(), 0);
    }
}
