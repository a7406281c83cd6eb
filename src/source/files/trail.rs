//! Resolves a path and collects everything on the way that could change its target.

use std::collections::VecDeque;
use std::ffi::OsString;
use std::io;
use std::path::{Component, Path, PathBuf};

/// The kernel's limit for links in one path.
const MOST_LINKS: usize = 40;

/// A resolved path.
#[derive(Debug)]
pub(super) struct Trail {
    /// Each directory, without links, in which a part of the path was looked up, with that part.
    pub(super) lookups: Vec<(PathBuf, OsString)>,
    /// The result.
    pub(super) end: End,
}

/// The result of resolving a path.
#[derive(Debug)]
pub(super) enum End {
    /// This target, a path without links.
    At(PathBuf),
    /// No target: a part of the path is missing.
    Missing,
    /// A loop of links.
    Circle,
    /// It cannot be followed.
    Denied(io::Error),
}

/// Follows an absolute path, link by link.
pub(super) fn follow(path: &Path) -> Trail {
    let mut lookups = Vec::new();
    let mut at = PathBuf::from("/");
    let mut ahead: VecDeque<OsString> = parts(path).collect();
    let mut links = 0;
    let end = loop {
        let Some(part) = ahead.pop_front() else {
            break End::At(at);
        };
        if part == ".." {
            at.pop();
            continue;
        }
        let next = at.join(&part);
        lookups.push((at.clone(), part));
        match next.symlink_metadata() {
            Ok(metadata) if metadata.is_symlink() => {
                links += 1;
                if links > MOST_LINKS {
                    break End::Circle;
                }
                let target = match next.read_link() {
                    Ok(target) => target,
                    Err(error) => break broken(error),
                };
                if target.is_absolute() {
                    at = PathBuf::from("/");
                }
                for part in parts(&target).collect::<Vec<_>>().into_iter().rev() {
                    ahead.push_front(part);
                }
            }
            Ok(_) => at = next,
            Err(error) => break broken(error),
        }
    };
    Trail { lookups, end }
}

fn broken(error: io::Error) -> End {
    match error.kind() {
        io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => End::Missing,
        _ => End::Denied(error),
    }
}

fn parts(path: &Path) -> impl Iterator<Item = OsString> {
    path.components().filter_map(|component| match component {
        Component::Normal(part) => Some(part.to_owned()),
        Component::ParentDir => Some("..".into()),
        _ => None,
    })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::symlink;

    use super::*;

    fn names(trail: &Trail) -> Vec<String> {
        let last = |path: &Path| {
            path.file_name()
                .unwrap_or_default()
                .to_string_lossy()
                .into_owned()
        };
        trail
            .lookups
            .iter()
            .map(|(dir, part)| format!("{}:{}", last(dir), part.to_string_lossy()))
            .collect()
    }

    #[test]
    fn a_link_is_followed_and_every_directory_on_the_way_is_told() {
        let root = tempfile::tempdir().unwrap();
        let root = root.path().canonicalize().unwrap();
        fs::create_dir_all(root.join("real/inner")).unwrap();
        symlink("real", root.join("link")).unwrap();
        let trail = follow(&root.join("link/../link/inner"));
        assert!(matches!(&trail.end, End::At(at) if *at == root.join("real/inner")));
        let tail = &names(&trail)[root.components().count() - 1..];
        let dir = root.file_name().unwrap().to_string_lossy().into_owned();
        assert_eq!(
            tail,
            [
                format!("{dir}:link"),
                format!("{dir}:real"),
                format!("{dir}:link"),
                format!("{dir}:real"),
                "real:inner".into(),
            ]
        );
    }

    #[test]
    fn what_leads_nowhere_or_in_a_circle_is_told_apart() {
        let root = tempfile::tempdir().unwrap();
        symlink("missing", root.path().join("dangling")).unwrap();
        symlink("b", root.path().join("a")).unwrap();
        symlink("a", root.path().join("b")).unwrap();
        assert!(matches!(follow(&root.path().join("dangling")).end, End::Missing));
        assert!(matches!(follow(&root.path().join("a/b/c")).end, End::Circle));
        assert!(matches!(follow(&root.path().join("none/x")).end, End::Missing));
    }
}
