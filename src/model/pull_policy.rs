//! For which images on the node a pod must prove that it may pull them
//! (`pkg/kubelet/images/pullmanager/image_pull_policies.go`).

use std::collections::BTreeSet;

use super::image_ref::ImageRef;

/// `imagePullCredentialsVerificationPolicy`
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub enum Verification {
    /// `NeverVerify`: for none.
    Never,
    /// `NeverVerifyPreloadedImages`: for images that were pulled for a pod, by this agent or by a kubelet before.
    #[default]
    Pulled,
    /// `NeverVerifyAllowlistedImages`: for all images that are not in the list.
    Unlisted(Allowlist),
    /// `AlwaysVerify`: for all.
    Always,
}

/// `preloadedImagesVerificationAllowlist`: names without tag and digest, and prefixes.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Allowlist {
    names: BTreeSet<String>,
    prefixes: Vec<String>,
}

impl Allowlist {
    /// Parses the patterns. The error names the invalid pattern and the remedy.
    pub fn read(patterns: &[String]) -> Result<Allowlist, String> {
        let mut list = Allowlist::default();
        for pattern in patterns {
            match pattern.strip_suffix("/*") {
                _ if pattern.trim() != pattern => {
                    return Err(format!("{pattern:?} has leading or trailing spaces; remove them"));
                }
                Some("") => {
                    return Err(format!(
                        "{pattern:?} names no registry; write it like example.com/*"
                    ));
                }
                Some(prefix) if prefix.contains('*') => return Err(odd_wildcard(pattern)),
                Some(prefix) => list.prefixes.push(format!("{prefix}/")),
                None if pattern.contains('*') => return Err(odd_wildcard(pattern)),
                None => {
                    let reference = ImageRef::parse(pattern)
                        .map_err(|wrong| format!("{pattern:?} is not an image name: {wrong}"))?;
                    let name = reference.name();
                    if name != *pattern {
                        return Err(format!("{pattern:?} has a tag or a digest; use {name}"));
                    }
                    list.names.insert(name);
                }
            }
        }
        Ok(list)
    }

    fn has(&self, image: &str) -> bool {
        let name = ImageRef::split(image).name();
        self.names.contains(&name) || self.prefixes.iter().any(|prefix| name.starts_with(prefix))
    }
}

fn odd_wildcard(pattern: &str) -> String {
    format!("{pattern:?} has a * elsewhere than in a final /*; write it like example.com/team/*")
}

impl Verification {
    /// Whether a pod must prove that it may pull this image, which is on the node. `was_pulled`: whether the records
    /// say that it was pulled for a pod.
    pub fn is_required(&self, image: &str, was_pulled: bool) -> bool {
        match self {
            Verification::Never => false,
            Verification::Pulled => was_pulled,
            Verification::Unlisted(list) => !list.has(image),
            Verification::Always => true,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(patterns: &[&str]) -> Result<Allowlist, String> {
        let patterns: Vec<_> = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
        Allowlist::read(&patterns)
    }

    #[test]
    fn each_policy_for_preloaded_pulled_and_listed_images() {
        let allowed = list(&["example.com/team/*", "busybox", "localhost:5000/app"]).unwrap();
        let check = |policy: &Verification, image: &str, want: [bool; 2]| {
            let got = [false, true].map(|was_pulled| policy.is_required(image, was_pulled));
            assert_eq!(got, want, "{policy:?} {image}: preloaded, pulled");
        };
        check(&Verification::Never, "a", [false, false]);
        check(&Verification::Pulled, "a", [false, true]);
        check(&Verification::Always, "a", [true, true]);
        let listed = Verification::Unlisted(allowed);
        for image in [
            "busybox",
            "busybox:1",
            "localhost:5000/app:1",
            "example.com/team/a/b:1",
            &format!("busybox@sha256:{}", "0".repeat(64)),
        ] {
            check(&listed, image, [false, false]);
        }
        for image in [
            "a",
            "busybox2",
            "busybox/x",
            "docker.io/library/busybox",
            "example.com/team",
            "example.com/teams/a",
            "localhost:5000/app/x",
        ] {
            check(&listed, image, [true, true]);
        }
        let nothing = Verification::Unlisted(Allowlist::default());
        check(&nothing, "a", [true, true]);
    }

    #[test]
    fn patterns_that_are_none() {
        let check = |pattern: &str, want: &str| {
            let got = list(&["busybox", pattern]).unwrap_err();
            assert!(got.contains(want), "{got}");
        };
        check("", "is not an image name");
        check(" busybox", "spaces");
        check("busybox ", "spaces");
        check("*", "elsewhere");
        check("/*", "names no registry");
        check("exam*.com/*", "elsewhere");
        check("example.com/a*", "elsewhere");
        check("example.com/*/b", "elsewhere");
        check("busybox:1", "use busybox");
        check(&format!("busybox@sha256:{}", "0".repeat(64)), "use busybox");
        check("Busybox", "is not an image name");
        assert!(list(&["example.com/*", "a/b", "example.com:5000/a"]).is_ok());
    }
}
