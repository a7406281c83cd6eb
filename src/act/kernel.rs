//! Kernel settings that pods rely on: memory overcommit is allowed, the kernel kills processes when memory runs out and
//! reboots after a panic, and root's key quota has room for a key of each container (`setupKernelTunables` in
//! `pkg/kubelet/cm/container_manager_linux.go`).

use std::fmt;
use std::fs;
use std::io;
use std::path::Path;

/// Each setting below `/proc/sys`, with its required value.
const SETTINGS: [(&str, i64); 6] = [
    ("vm/overcommit_memory", 1),
    ("vm/panic_on_oom", 0),
    ("kernel/panic", 10),
    ("kernel/panic_on_oops", 1),
    ("kernel/keys/root_maxkeys", 1_000_000),
    ("kernel/keys/root_maxbytes", 25_000_000),
];

/// A setting with a wrong value.
#[derive(Debug)]
pub struct Deviation {
    name: &'static str,
    wanted: i64,
    found: io::Result<i64>,
}

/// Worded as in the kubelet.
impl fmt::Display for Deviation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Deviation { name, wanted, found } = self;
        match found {
            Ok(found) => write!(
                f,
                "invalid kernel flag: {name}, expected value: {wanted}, actual value: {found}"
            ),
            Err(error) => write!(f, "cannot read kernel flag {name}: {error}"),
        }
    }
}

/// The settings with a wrong value. `root` is `/proc/sys`.
pub fn deviations(root: &Path) -> Vec<Deviation> {
    let found = SETTINGS.into_iter().map(|(name, wanted)| Deviation {
        name,
        wanted,
        found: read(&root.join(name)),
    });
    let is_right = |deviation: &Deviation| matches!(deviation.found, Ok(found) if found == deviation.wanted);
    found.filter(|deviation| !is_right(deviation)).collect()
}

/// Sets them, and records their previous values in the file `note` for [`restore`]; returns those that could not be
/// set.
pub fn set(root: &Path, deviations: &[Deviation], note: &Path) -> Vec<String> {
    let mut failed = Vec::new();
    // The values recorded by the first agent are the machine's original ones.
    let mut noted = fs::read_to_string(note).unwrap_or_default();
    for deviation in deviations {
        let Deviation { name, wanted, found } = deviation;
        let was = match found {
            Ok(was) => was,
            Err(error) => {
                failed.push(format!("{name} to {wanted}: {error}"));
                continue;
            }
        };
        match fs::write(root.join(name), wanted.to_string()) {
            Ok(()) => {
                tracing::info!("changed kernel flag {name} from {was} to {wanted}");
                if !noted.lines().any(|line| line.split(' ').next() == Some(*name)) {
                    noted.push_str(&format!("{name} {was}\n"));
                }
            }
            Err(error) => failed.push(format!("{name} to {wanted}: {error}")),
        }
    }
    if !noted.is_empty()
        && let Err(error) = fs::write(note, noted)
    {
        failed.push(format!(
            "cannot record the previous values in {}: {error}",
            note.display()
        ));
    }
    failed
}

/// Restores the settings from before the first [`set`], unless they have been changed since.
pub fn restore(root: &Path, note: &Path) -> io::Result<()> {
    let noted = match fs::read_to_string(note) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
        noted => noted?,
    };
    for (name, wanted) in SETTINGS {
        let line = noted
            .lines()
            .find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        let was = line.and_then(|was| was.parse::<i64>().ok());
        if let Some(was) = was
            && read(&root.join(name))? == wanted
        {
            fs::write(root.join(name), was.to_string())?;
        }
    }
    fs::remove_file(note)
}

fn read(path: &Path) -> io::Result<i64> {
    let text = fs::read_to_string(path)?;
    text.trim().parse().map_err(io::Error::other)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kernel(values: [i64; 6]) -> tempfile::TempDir {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir_all(root.path().join("kernel/keys")).unwrap();
        fs::create_dir(root.path().join("vm")).unwrap();
        for ((name, _), value) in SETTINGS.iter().zip(values) {
            fs::write(root.path().join(name), format!("{value}\n")).unwrap();
        }
        root
    }

    const RIGHT: [i64; 6] = [1, 0, 10, 1, 1_000_000, 25_000_000];

    fn problems_of(root: &Path) -> Vec<String> {
        deviations(root).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn what_deviates_is_told_as_the_kubelet_does() {
        assert_eq!(problems_of(kernel(RIGHT).path()), [""; 0]);
        let other = kernel([0, 0, 1, 1, 1_000_000, 25_000_000]);
        let expected = [
            "invalid kernel flag: vm/overcommit_memory, expected value: 1, actual value: 0",
            "invalid kernel flag: kernel/panic, expected value: 10, actual value: 1",
        ];
        assert_eq!(problems_of(other.path()), expected);
        fs::remove_file(other.path().join("kernel/keys/root_maxkeys")).unwrap();
        assert!(
            problems_of(other.path())[2].starts_with("cannot read kernel flag kernel/keys/root_maxkeys: ")
        );
    }

    #[test]
    fn what_is_set_is_put_back_where_nobody_has_changed_it_since() {
        let root = kernel([0, 0, 1, 0, 1_000_000, 25_000_000]);
        let note = root.path().join("note");
        let value = |name: &str| read(&root.path().join(name)).unwrap();
        let set_all = || set(root.path(), &deviations(root.path()), &note);
        assert_eq!(set_all(), [""; 0]);
        assert_eq!(problems_of(root.path()), [""; 0]);
        // Another start finds nothing to do; a start after an outside change sets the values again.
        assert_eq!(set_all(), [""; 0]);
        fs::write(root.path().join("kernel/panic"), "7").unwrap();
        assert_eq!(set_all(), [""; 0]);
        fs::write(root.path().join("kernel/panic_on_oops"), "2").unwrap();
        restore(root.path(), &note).unwrap();
        let values = ["vm/overcommit_memory", "kernel/panic", "kernel/panic_on_oops"].map(value);
        assert_eq!(values, [0, 1, 2]);
        assert!(!note.exists());
        restore(root.path(), &note).unwrap();
    }

    #[test]
    fn what_cannot_be_set_is_told() {
        let root = kernel([0, 0, 10, 1, 1_000_000, 25_000_000]);
        fs::remove_file(root.path().join("kernel/panic")).unwrap();
        let failed = set(root.path(), &deviations(root.path()), &root.path().join("note"));
        assert_eq!(failed.len(), 1);
        assert!(failed[0].starts_with("kernel/panic to 10: "), "{failed:?}");
    }
}
