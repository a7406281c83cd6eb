//! Environment variables from files in emptyDirs (KEP-3721), read when the container is created.
//!
//! Other containers of the pod write these files. A file is opened beneath its volume, so that no link leads out of it,
//! and what is read of it is bounded.

mod fill;
mod parse;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use k8s_cri::v1::ContainerConfig;
use nix::fcntl::OFlag;
use nix::sys::stat::{SFlag, fstat};

use super::context::Work;
use super::failure::failure;
use super::files::Whose;
use crate::disk::beneath::{self, Links, MountPoints};
use crate::model::bounds;
use crate::model::env_file::EnvFileKey;
use crate::model::outcome::StepError;
use crate::model::reason;

/// Reads the files and puts their values where the placeholders are.
pub(super) async fn resolve(
    work: &Work<'_>,
    container: &str,
    files: &[EnvFileKey],
    config: &mut ContainerConfig,
    paths: &mut [&mut String],
) -> Result<(), StepError> {
    if files.is_empty() {
        return Ok(());
    }
    let misconfigured = |message| failure(reason::waiting::CREATE_CONTAINER_CONFIG_ERROR, message);
    // Each file once, however many variables it has.
    let mut by_path: BTreeMap<(&Path, &Path), Vec<usize>> = BTreeMap::new();
    for (index, file) in files.iter().enumerate() {
        by_path.entry((&file.root, &file.path)).or_default().push(index);
    }
    // None where the file lacks the key, and may.
    let mut found: Vec<Option<String>> = vec![None; files.len()];
    let mut bytes = 0;
    for ((root, path), indices) in by_path {
        let content = read(work, container, root, path).await?;
        let variables = parse::variables(&content);
        for index in indices {
            let file = &files[index];
            let value = variables.get(&file.key).and_then(text).map_err(|error| {
                tracing::warn!(container, file = %root.join(path).display(), error, "cannot parse the file of an environment variable");
                misconfigured(NOT_PARSED.to_owned())
            })?;
            if value.is_empty() && !file.optional {
                return Err(misconfigured(missing(file)));
            }
            bytes += value.len();
            if bytes > bounds::EXEC_TOTAL {
                return Err(misconfigured(bounds::exec_total_exceeded(container)));
            }
            found[index] = Some(value.to_owned()).filter(|value| !value.is_empty());
        }
    }
    fill::fill(container, files, found, config, paths).map_err(misconfigured)
}

/// The kubelet's message, which leaves the reason to its log.
const NOT_PARSED: &str = "couldn't parse env file";

fn missing(file: &EnvFileKey) -> String {
    let path = file.root.join(&file.path);
    format!(
        "environment variable key {:?} not found in file {:?}",
        file.key,
        path.display().to_string()
    )
}

/// CRI has no other texts, and programs get no NUL.
fn text(value: &[u8]) -> Result<&str, &str> {
    match std::str::from_utf8(value) {
        Ok(text) if text.contains('\0') => Err("the value contains a NUL"),
        Ok(text) => Ok(text),
        Err(_) => Err("the value is not UTF-8"),
    }
}

async fn read(work: &Work<'_>, container: &str, root: &Path, path: &Path) -> Result<Vec<u8>, StepError> {
    let whole = root.join(path);
    let (root, path) = (root.to_owned(), path.to_owned());
    let reading = move || open_and_read(&root, &path);
    let content = work
        .in_place(Whose::Pod, &whole, work.context.files.patience, reading)
        .await;
    content.map_err(|error| {
        error.of_step(reason::waiting::CREATE_CONTAINER_CONFIG_ERROR, |error| {
            tracing::warn!(container, file = %whole.display(), %error, "cannot read the file of an environment variable");
            NOT_PARSED.to_owned()
        })
    })
}

/// The whole file, unless it is larger than its bound.
fn open_and_read(root: &Path, path: &Path) -> io::Result<Vec<u8>> {
    let root = beneath::root(root)?;
    // A FIFO would wait for a writer.
    let flags = OFlag::O_RDONLY | OFlag::O_NONBLOCK;
    let file = beneath::open(root, path, flags, Links::Within, MountPoints::Crossed)?;
    let kind = SFlag::from_bits_truncate(fstat(&file)?.st_mode) & SFlag::S_IFMT;
    if kind != SFlag::S_IFREG {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            "it is not a regular file",
        ));
    }
    let mut content = Vec::new();
    let most = u64::try_from(bounds::ENV_FILE).unwrap_or(u64::MAX);
    File::from(file).take(most + 1).read_to_end(&mut content)?;
    if content.len() > bounds::ENV_FILE {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            bounds::env_file_exceeded(),
        ));
    }
    Ok(content)
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_file_is_read_beneath_its_volume_and_no_further_than_its_bound() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("volume");
        fs::create_dir(&root).unwrap();
        fs::write(dir.path().join("secret"), "A='outside'").unwrap();
        fs::write(root.join("env"), "A='1'").unwrap();
        symlink("env", root.join("within")).unwrap();
        symlink("../secret", root.join("out")).unwrap();
        symlink(dir.path().join("secret"), root.join("absolute")).unwrap();
        nix::unistd::mkfifo(&root.join("fifo"), nix::sys::stat::Mode::S_IRWXU).unwrap();
        fs::write(root.join("most"), vec![b'#'; bounds::ENV_FILE]).unwrap();
        fs::write(root.join("more"), vec![b'#'; bounds::ENV_FILE + 1]).unwrap();
        let read = |path: &str| open_and_read(&root, Path::new(path)).map_err(|error| error.kind());
        assert_eq!(read("env").as_deref(), Ok(&b"A='1'"[..]));
        assert_eq!(read("within").as_deref(), Ok(&b"A='1'"[..]));
        assert_eq!(read("out"), Err(io::ErrorKind::CrossesDevices));
        assert_eq!(read("absolute"), Err(io::ErrorKind::CrossesDevices));
        assert_eq!(read("fifo"), Err(io::ErrorKind::InvalidInput));
        assert_eq!(read("."), Err(io::ErrorKind::InvalidInput));
        assert_eq!(read("none"), Err(io::ErrorKind::NotFound));
        assert_eq!(read("most").unwrap().len(), bounds::ENV_FILE);
        assert_eq!(read("more"), Err(io::ErrorKind::FileTooLarge));
    }

    #[test]
    fn a_value_is_a_text_without_nul() {
        assert_eq!(text(b"x"), Ok("x"));
        assert!(text(b"a\0b").is_err());
        assert!(text(b"\xff").is_err());
    }
}
