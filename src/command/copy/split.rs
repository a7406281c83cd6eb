//! A path in a container, as its `tar` needs it. Pure.

/// A path in a container as directory and name, for `tar -C`: no name if it names a directory's content (`/`, `dir/.`,
/// `..`).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Split<'a> {
    /// Not empty.
    pub(super) directory: &'a str,
    /// Without a slash, and neither `.` nor `..`.
    pub(super) name: Option<&'a str>,
}

/// Splits a path that is not empty.
pub(super) fn split(path: &str) -> Split<'_> {
    let trimmed = path.trim_end_matches('/');
    if trimmed.is_empty() {
        return Split {
            directory: "/",
            name: None,
        };
    }
    let (directory, name) = match trimmed.rsplit_once('/') {
        Some(("", name)) => ("/", name),
        Some((directory, name)) => (directory, name),
        None => (".", trimmed),
    };
    match name {
        "." | ".." => Split {
            directory: trimmed,
            name: None,
        },
        name => Split {
            directory,
            name: Some(name),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_split_into_directory_and_name() {
        let check = |path: &str, directory: &str, name: Option<&str>| {
            assert_eq!(split(path), Split { directory, name }, "{path}");
        };
        check("/a/b", "/a", Some("b"));
        check("/a/b//", "/a", Some("b"));
        check("/a", "/", Some("a"));
        check("a", ".", Some("a"));
        check("a/b", "a", Some("b"));
        check("-x", ".", Some("-x"));
        check("/", "/", None);
        check("//", "/", None);
        check(".", ".", None);
        check("a/.", "a/.", None);
        check("/a/..", "/a/..", None);
    }
}
