//! The Kubernetes version that the node reports. Pure.
//!
//! kubeadm and the control plane reject a node that is newer than themselves, so a node of an older cluster reports
//! that cluster's version. This is safe because the versions differ in what they offer to a node, not in what they
//! require of it.

use super::KUBERNETES_VERSION;

/// The minor versions that may be reported.
const MINORS: std::ops::RangeInclusive<u32> = 33..=36;

/// Validates the version to report; the agent's own if none is stated.
pub fn reported(stated: &str) -> Result<String, String> {
    let stated = stated.trim();
    if stated.is_empty() {
        return Ok(KUBERNETES_VERSION.to_owned());
    }
    let problem = || format!("{stated:?} is not a version that the node can report; use v1.33.0 to v1.36.x");
    let numbers = stated.strip_prefix('v').ok_or_else(problem)?;
    // A vendor's suffix may follow the numbers.
    let numbers = numbers.split(['-', '+']).next().unwrap_or_default();
    let parts: Vec<u32> = numbers.split('.').map_while(|part| part.parse().ok()).collect();
    match parts[..] {
        [1, minor, _] if MINORS.contains(&minor) => Ok(format!("v{numbers}")),
        _ => Err(problem()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_of_a_node() {
        let check = |stated: &str, expected: Option<&str>| {
            assert_eq!(reported(stated).ok().as_deref(), expected, "{stated}");
        };
        check("", Some(KUBERNETES_VERSION));
        check("v1.33.0\n", Some("v1.33.0"));
        check("v1.34.11-eks.1+x", Some("v1.34.11"));
        check("v1.32.9", None);
        check("v1.37.0", None);
        check("v2.34.0", None);
        check("1.34.1", None);
        check("v1.34", None);
        check("v1.34.1.5", None);
    }
}
