//! Where something is mounted, as the kernel's table says (proc_pid_mountinfo(5)). Reading it touches nothing that is mounted.

use std::ffi::OsString;
use std::os::unix::ffi::OsStringExt;
use std::path::{Path, PathBuf};

/// The table of this process.
pub const TABLE: &str = "/proc/self/mountinfo";

/// The mount points at and below a directory, in the order in which they were mounted (proc(5), mountinfo).
pub fn beneath(table: &[u8], dir: &Path) -> Vec<PathBuf> {
    let start = dir.components().as_path().as_os_str().as_encoded_bytes();
    table
        .split(|byte| *byte == b'\n')
        .filter_map(|line| line.split(|byte| *byte == b' ').nth(4))
        // Of hundreds of pods only one is affected.
        .filter(|field| field.starts_with(start) || field.contains(&b'\\'))
        .map(|field| PathBuf::from(OsString::from_vec(unescape(field))))
        .filter(|point| point.starts_with(dir))
        .collect()
}

/// The mount points of the file system that is mounted at exactly this path, without that one; `None`: nothing is mounted
/// there.
pub fn of_same(table: &[u8], point: &Path) -> Option<Vec<PathBuf>> {
    let rows = table.split(|byte| *byte == b'\n').filter_map(|line| {
        let mut fields = line.split(|byte| *byte == b' ');
        let (device, at) = (fields.nth(2)?, fields.nth(1)?);
        Some((device, PathBuf::from(OsString::from_vec(unescape(at)))))
    });
    let rows: Vec<(&[u8], PathBuf)> = rows.collect();
    // The last one hides the others.
    let (device, _) = rows.iter().rev().find(|(_, at)| at == point)?;
    let others = rows.iter().filter(|(own, at)| own == device && at != point);
    Some(others.map(|(_, at)| at.clone()).collect())
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, tail @ ..] = rest {
        let digits = tail.get(..3).and_then(|digits| std::str::from_utf8(digits).ok());
        match digits.and_then(|digits| u8::from_str_radix(digits, 8).ok()) {
            Some(byte) if *first == b'\\' => {
                plain.push(byte);
                rest = &tail[3..];
            }
            _ => {
                plain.push(*first);
                rest = tail;
            }
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_mount_points_of_one_file_system() {
        let table = b"\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 22 7:1 / /plugins/mounts/pv rw - ext4 /dev/loop1 rw
41 22 7:1 / /pods/u1/volumes/a\\040b rw - ext4 /dev/loop1 rw
42 22 7:2 / /plugins/mounts/other rw - ext4 /dev/loop2 rw
";
        let got = of_same(table, Path::new("/plugins/mounts/pv"));
        assert_eq!(got, Some(vec![PathBuf::from("/pods/u1/volumes/a b")]));
        assert_eq!(
            of_same(table, Path::new("/plugins/mounts/other")),
            Some(Vec::new())
        );
        assert_eq!(of_same(table, Path::new("/plugins/mounts")), None);
    }

    #[test]
    fn mount_points_beneath_a_directory() {
        let table = b"\
22 1 254:0 / / rw,relatime shared:1 - ext4 /dev/vda rw
40 22 0:35 / /pods/u1/volumes/kubernetes.io~empty-dir/m rw - tmpfs tmpfs rw
41 40 0:36 / /pods/u1/volumes/kubernetes.io~empty-dir/m/a\\040b rw - tmpfs tmpfs rw
42 22 0:37 / /pods/u10 rw - tmpfs tmpfs rw
43 22 0:38 / /pods/u1 rw - tmpfs tmpfs rw
";
        let got = beneath(table, Path::new("/pods/u1"));
        let want = [
            "/pods/u1/volumes/kubernetes.io~empty-dir/m",
            "/pods/u1/volumes/kubernetes.io~empty-dir/m/a b",
            "/pods/u1",
        ];
        assert_eq!(got, want.map(PathBuf::from));
        assert_eq!(beneath(b"\n\n1 2 3\n", Path::new("/")), Vec::<PathBuf>::new());
    }

    #[test]
    fn octal_escapes() {
        let check = |field: &str, want: &str| assert_eq!(unescape(field.as_bytes()), want.as_bytes());
        check("/a\\040b\\011c\\012d\\134e", "/a b\tc\nd\\e");
        check("/a\\", "/a\\");
        check("/a\\04", "/a\\04");
        check("/a\\999", "/a\\999");
        check("", "");
    }
}
