//! Where block devices are mounted (proc_pid_mountinfo(5)). The table has several lines for each pod, so it is read again
//! only when the kernel says that it has changed.

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{self, Read as _, Seek as _};
use std::path::Path;

use rustix::event::{PollFd, PollFlags, Timespec, poll};

use super::devices::Numbers;

/// The table as it was read.
#[derive(Debug, Default)]
pub(super) struct Mounts {
    /// Open: the kernel notes a change for each that has the file open.
    table: Option<File>,
    points: BTreeMap<Numbers, String>,
}

impl Mounts {
    /// A mount point of each device; none if the table cannot be read.
    pub(super) fn points(&mut self, proc: &Path) -> &BTreeMap<Numbers, String> {
        if !self.table.as_ref().is_some_and(is_as_it_was) {
            let read = self.read(proc);
            self.points = read.unwrap_or_default();
        }
        &self.points
    }

    fn read(&mut self, proc: &Path) -> io::Result<BTreeMap<Numbers, String>> {
        let mut table = match self.table.take() {
            Some(table) => table,
            None => File::open(proc.join("self/mountinfo"))?,
        };
        table.rewind()?;
        let mut text = String::new();
        table.read_to_string(&mut text)?;
        self.table = Some(table);
        Ok(mount_points(&text))
    }
}

/// Whether the table has not changed since it was opened, or since the last such question.
fn is_as_it_was(table: &File) -> bool {
    let mut asked = [PollFd::new(table, PollFlags::PRI | PollFlags::ERR)];
    let changed = poll(&mut asked, Some(&Timespec::default()));
    changed == Ok(0)
}

/// A mount point of each device: the first at which the whole file system is mounted, else the first.
fn mount_points(mounts: &str) -> BTreeMap<Numbers, String> {
    let mut points: BTreeMap<Numbers, (bool, String)> = BTreeMap::new();
    for line in mounts.lines() {
        let mut fields = line.split(' ').skip(2);
        let (Some(numbers), Some(root), Some(point)) = (fields.next(), fields.next(), fields.next()) else {
            continue;
        };
        let Some(numbers) = numbers
            .split_once(':')
            .and_then(|(major, minor)| Some((major.parse().ok()?, minor.parse().ok()?)))
        else {
            continue;
        };
        let is_whole = root == "/";
        // Such a name is escaped; another mount point has a plain one, or the device is left out.
        if point.contains('\\')
            || points
                .get(&numbers)
                .is_some_and(|(was_whole, _)| *was_whole || !is_whole)
        {
            continue;
        }
        points.insert(numbers, (is_whole, point.to_owned()));
    }
    points
        .into_iter()
        .map(|(numbers, (_, point))| (numbers, point))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::disk::tests::in_own_mounts;

    #[test]
    fn a_change_of_the_table_is_noticed_once() {
        if !in_own_mounts("stats::mounts::tests::a_change_of_the_table_is_noticed_once") {
            return;
        }
        let (outside, place) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let table = File::open("/proc/self/mountinfo").unwrap();
        assert!(is_as_it_was(&table));
        let bind = nix::mount::MsFlags::MS_BIND;
        nix::mount::mount(
            Some(outside.path()),
            place.path(),
            None::<&str>,
            bind,
            None::<&str>,
        )
        .unwrap();
        assert!(!is_as_it_was(&table));
        assert!(is_as_it_was(&table));
        nix::mount::umount(place.path()).unwrap();
        assert!(!is_as_it_was(&table));
    }

    #[test]
    fn the_table_is_read_until_it_is_known() {
        let mut mounts = Mounts::default();
        let first = mounts.points(Path::new("/proc")).clone();
        assert_eq!(mounts.points(Path::new("/proc")), &first);
        assert!(mounts.table.is_some());
        assert!(Mounts::default().points(Path::new("/none")).is_empty());
    }

    #[test]
    fn a_device_has_one_mount_point_of_its_whole_file_system_if_there_is_one() {
        let mounts = "22 1 254:0 /var/lib /bound rw - ext4 /dev/vda rw\n\
            23 1 254:0 / / rw - ext4 /dev/vda rw\n\
            24 1 254:0 / /again rw - ext4 /dev/vda rw\n\
            25 1 254:16 /x /mnt/a\\040b rw - ext4 /dev/vdb rw\n\
            26 1 254:16 /x /mnt/c rw - ext4 /dev/vdb rw\n\
            27 1 0:42 / /run rw - tmpfs tmpfs rw\nbroken\n";
        let points = mount_points(mounts);
        assert_eq!(points[&(254, 0)], "/");
        assert_eq!(points[&(254, 16)], "/mnt/c");
        assert_eq!(points.len(), 3);
    }
}
