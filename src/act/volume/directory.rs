//! The directory of an emptyDir, whatever is mounted there, and the file that marks it as made.

use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt};
use std::path::Path;

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
