//! Block devices, and the file systems on them (proc_pid_mountinfo(5), `Documentation/admin-guide/iostats.rst` of the
//! kernel).
//!
//! File systems of containers and of memory are not among them: there are several for each pod, and the first lie on a disk
//! that is.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use super::directories;
use crate::model::stats::{DiskCounters, DiskSample};

/// A device's numbers.
type Numbers = (u32, u32);

/// The names of all block devices, `/dev/vda`, with their counters.
#[derive(Debug, Default)]
pub(super) struct Devices(BTreeMap<Numbers, (String, DiskCounters)>);

impl Devices {
    pub(super) fn read(proc: &Path) -> Devices {
        Devices(parse(
            &fs::read_to_string(proc.join("diskstats")).unwrap_or_default(),
        ))
    }

    /// The names alone.
    pub(super) fn names(&self) -> BTreeMap<Numbers, String> {
        let names = self.0.iter().map(|(numbers, (name, _))| (*numbers, name.clone()));
        names.collect()
    }

    /// Those with a mounted file system, each once.
    pub(super) fn mounted(&self, proc: &Path) -> Vec<DiskSample> {
        if self.0.is_empty() {
            return Vec::new();
        }
        let mounts = fs::read_to_string(proc.join("self/mountinfo")).unwrap_or_default();
        let mut disks = Vec::new();
        for (numbers, point) in mount_points(&mounts) {
            let Some((name, counters)) = self.0.get(&numbers) else {
                continue;
            };
            disks.extend(
                directories::filesystem(Path::new(&point)).map(|filesystem| DiskSample {
                    device: name.clone(),
                    filesystem,
                    counters: *counters,
                }),
            );
        }
        disks
    }
}

/// `254 0 vda reads merged sectors ms writes merged sectors ms in-progress ms weighted-ms …`
fn parse(text: &str) -> BTreeMap<Numbers, (String, DiskCounters)> {
    let device = |line: &str| {
        let mut fields = line.split_ascii_whitespace();
        let numbers = (fields.next()?.parse().ok()?, fields.next()?.parse().ok()?);
        let name = format!("/dev/{}", fields.next()?);
        let mut next = || fields.next()?.parse().ok();
        let counters = DiskCounters {
            reads: next()?,
            reads_merged: next()?,
            sectors_read: next()?,
            read_millis: next()?,
            writes: next()?,
            writes_merged: next()?,
            sectors_written: next()?,
            write_millis: next()?,
            in_progress: next()?,
            io_millis: next()?,
            weighted_io_millis: next()?,
        };
        Some((numbers, (name, counters)))
    };
    text.lines().filter_map(device).collect()
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

    #[test]
    fn devices_are_read_with_their_counters() {
        let text = " 254       0 vda 1 2 3 4 5 6 7 8 9 10 11 0 0 0 0 0 0\n   7       0 loop0 1 2\n";
        let read = parse(text);
        assert_eq!(read.len(), 1);
        let (name, counters) = &read[&(254, 0)];
        assert_eq!(
            (name.as_str(), counters.reads, counters.weighted_io_millis),
            ("/dev/vda", 1, 11)
        );
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
