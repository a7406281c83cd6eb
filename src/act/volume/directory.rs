//! The directory of an emptyDir, whatever is mounted there, and the file that marks it as made.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};

/// The plugin name of an emptyDir in paths.
const EMPTY_DIR: &str = "kubernetes.io~empty-dir";

/// `<pod>/plugins/<plugin>/<volume>/ready` of the volume `<pod>/volumes/<plugin>/<volume>`. Volumes whose files the
/// agent writes are based on an emptyDir, which has a marker file of its own name.
pub(super) fn ready_mark(path: &Path) -> PathBuf {
    let mut parts = path.iter().rev();
    let (volume, plugin) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    let pod = path.ancestors().nth(3).unwrap_or(Path::new(""));
    let plugins = pod.join("plugins");
    let marked = match plugin == EMPTY_DIR {
        true => plugins.join(plugin).join(volume),
        false => plugins
            .join(EMPTY_DIR)
            .join(format!("wrapped_{}", volume.to_string_lossy())),
    };
    marked.join("ready")
}

pub(super) fn set_ready(mark: &Path) -> io::Result<()> {
    let dir = mark.parent().expect("the marker file has a parent directory");
    fs::DirBuilder::new().recursive(true).mode(0o750).create(dir)?;
    fs::File::create(mark).map(drop)
}

/// Mode 0777, independent of the umask.
pub(super) fn make_open_dir(path: &Path) -> io::Result<()> {
    let parent = path.parent().expect("a volume path has a parent directory");
    fs::DirBuilder::new().recursive(true).mode(0o750).create(parent)?;
    match fs::DirBuilder::new().mode(0o777).create(path) {
        Err(error) if error.kind() != io::ErrorKind::AlreadyExists => return Err(error),
        _ => {}
    }
    if fs::symlink_metadata(path)?.mode() & 0o777 != 0o777 {
        fs::set_permissions(path, Permissions::from_mode(0o777))?;
    }
    Ok(())
}

/// `fsGroup`: the group owns the directory, and files created in it belong to the group, too (`changeFilePermission`).
/// The directory is still empty.
pub(super) fn give_to_group(path: &Path, group: Option<i64>) -> io::Result<()> {
    let Some(group) = group else { return Ok(()) };
    let group = u32::try_from(group).map_err(io::Error::other)?;
    std::os::unix::fs::lchown(path, None, Some(group))?;
    let mode = fs::symlink_metadata(path)?.mode() & 0o7777;
    fs::set_permissions(path, Permissions::from_mode(mode | 0o2770))
}
