//! The versions of a plugin's interface. Pure.

use std::cmp::Ordering;
use std::fmt;

/// A version of the interface of storage drivers.
#[derive(Debug, Clone)]
pub(super) struct Version(Vec<u64>);

impl Version {
    /// Numbers with dots between them, whatever follows (`ParseGeneric` in `k8s.io/apimachinery/pkg/util/version`).
    fn parse(text: &str) -> Result<Version, String> {
        let trimmed = text.trim_start();
        let trimmed = trimmed.strip_prefix('v').unwrap_or(trimmed);
        let end = trimmed.find(|c: char| !c.is_ascii_digit() && c != '.');
        let numbers = trimmed[..end.unwrap_or(trimmed.len())].trim_end_matches('.');
        let parts: Result<Vec<u64>, _> = numbers.split('.').map(str::parse).collect();
        match parts {
            Ok(parts) if parts.len() > 1 => Ok(Version(parts)),
            Ok(_) => Err(format!("illegal version string {text:?}")),
            Err(_) => Err(format!("could not parse {text:?} as version")),
        }
    }

    /// The highest of these that this program speaks, which is one of 1.x (`HighestSupportedVersion` there).
    pub(super) fn highest(versions: &[String]) -> Result<Version, String> {
        let mut fault = None;
        let mut highest: Option<Version> = None;
        for text in versions {
            match Version::parse(text) {
                // The next major version may be another interface.
                Ok(version) if version.0[0] > 1 => {}
                Ok(version) => highest = highest.max(Some(version)),
                Err(error) => fault = Some(error),
            }
        }
        match highest {
            Some(version) if version.0[0] == 1 => Ok(version),
            Some(version) => Err(format!(
                "highest supported version reported by plugin is {version}, must be v1.x"
            )),
            None => {
                let fault = fault.unwrap_or_else(|| "<nil>".to_owned());
                let all = versions.join(" ");
                Err(format!(
                    "could not find a highest supported version from versions ([{all}]) reported by this plugin: {fault}"
                ))
            }
        }
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = self.0.iter().map(u64::to_string).collect();
        f.write_str(&parts.join("."))
    }
}

/// A part that is missing is 0.
impl Ord for Version {
    fn cmp(&self, other: &Version) -> Ordering {
        let length = self.0.len().max(other.0.len());
        let padded = |version: &Version| {
            let zeros = std::iter::repeat(0);
            version
                .0
                .iter()
                .copied()
                .chain(zeros)
                .take(length)
                .collect::<Vec<u64>>()
        };
        padded(self).cmp(&padded(other))
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Version) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for Version {
    fn eq(&self, other: &Version) -> bool {
        self.cmp(other) == Ordering::Equal
    }
}

impl Eq for Version {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_highest_version_of_1_counts() {
        let check = |versions: &[&str], want: Result<&str, &str>| {
            let versions: Vec<String> = versions.iter().map(|&text| text.to_owned()).collect();
            let got = Version::highest(&versions).map(|version| version.to_string());
            assert_eq!(
                got,
                want.map(str::to_owned).map_err(str::to_owned),
                "{versions:?}"
            );
        };
        check(&["1.0.0"], Ok("1.0.0"));
        check(&["0.3.0", "v1.2.0", "1.10.0", "1.9.9"], Ok("1.10.0"));
        check(&["1.2.0-rc.1", "2.0.0"], Ok("1.2.0"));
        check(&["nonsense", "1.0"], Ok("1.0"));
        check(
            &["0.3.0", "0.2.0"],
            Err("highest supported version reported by plugin is 0.3.0, must be v1.x"),
        );
        check(
            &["2.0.0", "1"],
            Err(
                "could not find a highest supported version from versions ([2.0.0 1]) reported by this plugin: \
                 illegal version string \"1\"",
            ),
        );
        check(
            &["x"],
            Err(
                "could not find a highest supported version from versions ([x]) reported by this plugin: could not \
                 parse \"x\" as version",
            ),
        );
    }

    #[test]
    fn a_missing_part_is_zero() {
        let of = |text: &str| Version::parse(text).unwrap();
        assert_eq!(of("1.0"), of("1.0.0"));
        assert!(of("1.0.1") > of("1.0"));
        assert!(of("1.2") < of("1.10"));
    }
}
