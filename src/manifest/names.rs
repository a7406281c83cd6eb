//! The kinds of names in Kubernetes, each as a check that describes a valid one
//! (`k8s.io/apimachinery/pkg/util/validation`).

/// What is wrong with a name, phrased to follow the name; `None` where it is valid.
pub(crate) type Complaint = Option<String>;

const LABEL: &str = "must consist of lower case letters, digits and '-', start and end with a letter or a digit, \
 and have at most 63 characters (my-name, 123-abc)";
const SUBDOMAIN: &str = "must consist of lower case letters, digits, '-' and '.', start and end with a letter or a \
 digit, and have at most 253 characters (example.com)";

/// A DNS label (RFC 1123): names of containers, volumes and namespaces.
pub(crate) fn dns_label(name: &str) -> Complaint {
    let right = (1..=63).contains(&name.len()) && is_label(name);
    (!right).then(|| LABEL.to_owned())
}

/// A DNS subdomain (RFC 1123): names of pods and nodes.
pub(crate) fn dns_subdomain(name: &str) -> Complaint {
    let right = (1..=253).contains(&name.len()) && name.split('.').all(is_label);
    (!right).then(|| SUBDOMAIN.to_owned())
}

/// A DNS search domain: a subdomain whose labels may contain underscores.
pub(crate) fn search_domain(name: &str) -> Complaint {
    dns_subdomain(&name.replace('_', "a")).map(|c| c.replace("'-' and '.'", "'-', '_' and '.'"))
}

/// A name that is a single segment of an API path, with any other characters
/// (`k8s.io/apimachinery/pkg/api/validation/path`).
pub(crate) fn path_segment(name: &str) -> Complaint {
    let right = (1..=253).contains(&name.len())
        && !matches!(name, "." | "..")
        && !name.contains(['/', '%'])
        && !name.contains(char::is_control);
    (!right).then(|| {
        "must be a single path segment without '/' and '%', and have at most 253 characters".to_owned()
    })
}

/// The name of a CSI driver, which is part of paths (`ValidateCSIDriverName` in `pkg/apis/core/validation`).
pub(crate) fn csi_driver(name: &str) -> Complaint {
    let right = name.len() <= 63 && dns_subdomain(&name.to_ascii_lowercase()).is_none();
    (!right).then(|| {
        "must consist of letters, digits, '-' and '.', start and end with a letter or a digit, and have at most 63 \
         characters (csi.example.com)"
            .to_owned()
    })
}

/// The name of a file system: it becomes part of the name of the program that makes one. The API server takes any.
pub(crate) fn file_system(name: &str) -> Complaint {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || ['.', '_', '-'].contains(&c);
    let right = !name.starts_with(['-', '.']) && name.chars().all(is_plain);
    (!right).then(|| "is no name of a file system: use one like ext4 or xfs".to_owned())
}

fn is_label(label: &str) -> bool {
    let ends = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
    let bytes = label.as_bytes();
    ends(bytes.first())
        && ends(bytes.last())
        && bytes
            .iter()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || *b == b'-')
}

/// The name part of a label or a resource: letters of both cases, digits, '-', '_' and '.'.
fn is_name_part(name: &str) -> bool {
    let bytes = name.as_bytes();
    let ends = |b: Option<&u8>| b.is_some_and(u8::is_ascii_alphanumeric);
    name.len() <= 63
        && ends(bytes.first())
        && ends(bytes.last())
        && bytes
            .iter()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
}

/// The key of a label, an annotation or a toleration, and the name of a resource: `[prefix/]name`.
pub(crate) fn qualified_name(name: &str) -> Complaint {
    let right = match name.split_once('/') {
        Some((prefix, rest)) => dns_subdomain(prefix).is_none() && is_name_part(rest),
        None => is_name_part(name),
    };
    (!right).then(|| {
        "must consist of letters, digits, '-', '_' and '.', start and end with a letter or a digit, have at most 63 \
         characters, and may have a domain prefix followed by '/' (example.com/my-name)"
            .to_owned()
    })
}

/// The value of a label or a toleration.
pub(crate) fn label_value(value: &str) -> Complaint {
    let right = value.is_empty() || is_name_part(value);
    (!right).then(|| {
        "must be empty, or consist of letters, digits, '-', '_' and '.', start and end with a letter or a digit, \
         and have at most 63 characters"
            .to_owned()
    })
}

/// The name of a port (RFC 6335).
pub(crate) fn port_name(name: &str) -> Complaint {
    let right = name.len() <= 15
        && is_label(name)
        && name.bytes().any(|b| b.is_ascii_lowercase())
        && !name.contains("--");
    (!right).then(|| {
        "must consist of lower case letters, digits and '-', have at least one letter and at most 15 characters, \
         and not start or end with '-' or have two in a row"
            .to_owned()
    })
}

/// The name of an environment variable: printable ASCII except '='.
pub(crate) fn env_name(name: &str) -> Complaint {
    let right = !name.is_empty() && name.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'=');
    (!right).then(|| "must consist of printable ASCII characters other than '='".to_owned())
}

/// The name of a kernel parameter, with '.' or '/' between its parts.
pub(crate) fn sysctl(name: &str) -> Complaint {
    let part = |part: &str| {
        let ends = |b: Option<&u8>| b.is_some_and(|b| b.is_ascii_lowercase() || b.is_ascii_digit());
        let bytes = part.as_bytes();
        ends(bytes.first())
            && ends(bytes.last())
            && bytes
                .iter()
                .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || matches!(b, b'-' | b'_'))
    };
    let right = (1..=253).contains(&name.len()) && name.split(['.', '/']).all(part);
    (!right).then(|| "must be the name of a kernel parameter (net.ipv4.tcp_syncookies)".to_owned())
}

/// A UID that a manifest sets: it becomes the name of directories and cgroups.
pub(crate) fn uid(uid: &str) -> Complaint {
    let right = (1..=63).contains(&uid.len())
        && uid.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
        && uid.bytes().next().is_some_and(|b| b.is_ascii_alphanumeric());
    (!right).then(|| {
        "must consist of letters, digits and '-', at most 63: omit it, and one is generated".to_owned()
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(rule: fn(&str) -> Complaint, right: &[&str], wrong: &[&str]) {
        for name in right {
            assert_eq!(rule(name), None, "{name:?}");
        }
        for name in wrong {
            assert!(rule(name).is_some(), "{name:?}");
        }
    }

    #[test]
    fn names_are_checked_as_kubernetes_does() {
        let long = "a".repeat(64);
        let longer = "a.".repeat(127) + "a";
        check(
            dns_label,
            &["a", "a-b", "0a"],
            &["", "A", "a.b", "-a", "a-", "a_b", &long, "é"],
        );
        check(
            dns_subdomain,
            &["a", "a.b-c", "1.2"],
            &["", ".a", "a.", "a..b", "A", &longer],
        );
        check(search_domain, &["a_b.c", "x"], &["", "a b", "a."]);
        check(
            qualified_name,
            &["a", "A_b.c", "x.y/Z"],
            &["", "/a", "a/", "a/b/c", "X/a", &long],
        );
        check(label_value, &["", "a", "A-1_b.c"], &["-a", "a b", &long]);
        check(
            port_name,
            &["http", "a-1"],
            &["", "80", "-a", "a-", "a--b", "http-too-long-name", "HTTP"],
        );
        check(env_name, &["PATH", "a.b", "1 2"], &["", "a=b", "é", "a\tb"]);
        check(
            sysctl,
            &["net.ipv4.tcp_syncookies", "kernel/shm"],
            &["", ".a", "a..b", "A.b", "a."],
        );
        check(uid, &["1-a", "0af"], &["", "..", "a/b", "-a", "a.b", &long]);
    }
}
