//! Paths of `gantry cp` on the command line.

use std::path::PathBuf;
use std::str::FromStr;

/// A local path, or one in a pod's container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// On this machine.
    Local(PathBuf),
    /// In a container.
    Pod(PodPath),
}

/// A path in a pod's container.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodPath {
    /// The pod's namespace, if it was given.
    pub namespace: Option<String>,
    /// The pod's name, full or short.
    pub pod: String,
    /// The path; relative to the working directory of the container's process unless it begins with a slash.
    pub path: String,
}

/// Why an argument is no place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidPlace {
    /// Nothing before the colon.
    #[error("no pod before the colon: write POD:PATH, NAMESPACE/POD:PATH or a local path like ./{0}")]
    NoPod(String),
    /// Nothing after the colon.
    #[error("no path after the colon: write {0}PATH")]
    NoPath(String),
    /// Nothing at all.
    #[error("an empty path")]
    Empty,
}

impl FromStr for Place {
    type Err = InvalidPlace;

    /// As kubectl reads it: `POD:PATH`, `NAMESPACE/POD:PATH`, and everything else is local, also `./a:b` and `/a/b:c`.
    fn from_str(text: &str) -> Result<Self, InvalidPlace> {
        if text.is_empty() {
            return Err(InvalidPlace::Empty);
        }
        let local = || Ok(Place::Local(PathBuf::from(text)));
        let Some((before, path)) = text.split_once(':') else {
            return local();
        };
        if before.is_empty() {
            return Err(InvalidPlace::NoPod(text.to_owned()));
        }
        let (namespace, pod) = match before.split('/').collect::<Vec<_>>()[..] {
            [pod] => (None, pod),
            [namespace, pod] if !matches!(namespace, "" | "." | "..") => (Some(namespace.to_owned()), pod),
            _ => return local(),
        };
        if pod.is_empty() {
            return Err(InvalidPlace::NoPod(text.to_owned()));
        }
        if path.is_empty() {
            return Err(InvalidPlace::NoPath(text.to_owned()));
        }
        Ok(Place::Pod(PodPath {
            namespace,
            pod: pod.to_owned(),
            path: path.to_owned(),
        }))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn places_are_local_or_in_a_pod() {
        let check = |text: &str, expected: Result<Place, &str>| {
            let found = text.parse::<Place>().map_err(|error| error.to_string());
            assert_eq!(found, expected.map_err(str::to_owned), "{text}");
        };
        let local = |path: &str| Ok(Place::Local(PathBuf::from(path)));
        let pod = |namespace: Option<&str>, pod: &str, path: &str| {
            Ok(Place::Pod(PodPath {
                namespace: namespace.map(str::to_owned),
                pod: pod.to_owned(),
                path: path.to_owned(),
            }))
        };
        check("/tmp/x", local("/tmp/x"));
        check("x", local("x"));
        check("./a:b", local("./a:b"));
        check("../a:b", local("../a:b"));
        check("/a:b", local("/a:b"));
        check("a/b/c:d", local("a/b/c:d"));
        check("web:/tmp/x", pod(None, "web", "/tmp/x"));
        check("web:x:y", pod(None, "web", "x:y"));
        check("kube-system/web:x", pod(Some("kube-system"), "web", "x"));
        check("", Err("an empty path"));
        check(
            ":x",
            Err("no pod before the colon: write POD:PATH, NAMESPACE/POD:PATH or a local path like ./:x"),
        );
        check(
            "default/:x",
            Err(
                "no pod before the colon: write POD:PATH, NAMESPACE/POD:PATH or a local path like ./default/:x",
            ),
        );
        check("web:", Err("no path after the colon: write web:PATH"));
    }
}
