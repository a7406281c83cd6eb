//! What is kept of each kind of object: the fields that pods use, and no more.
//!
//! None of them prints a value: a ConfigMap and a Secret show their keys and the lengths of the values, a token its
//! length.

use std::collections::BTreeMap;

use jiff::Timestamp;

use super::content::Content;

/// A ConfigMap.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ConfigMap {
    /// `data`
    pub data: BTreeMap<String, Content>,
    /// `binaryData`, for volumes, not for the environment. It has none of the keys of `data`.
    pub binary_data: BTreeMap<String, Content>,
    /// `immutable`: it does not change until it is deleted.
    pub immutable: bool,
}

/// A Secret.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Secret {
    /// `data`, decoded, with `stringData` over it.
    pub data: BTreeMap<String, Content>,
    /// `type`; may be empty.
    pub secret_type: String,
    /// `immutable`: it does not change until it is deleted.
    pub immutable: bool,
    /// `metadata.uid` of one from the API server; empty for one from the manifests directory.
    pub uid: String,
}

/// A service account token.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Token {
    /// `status.token` of a TokenRequest.
    pub content: Content,
    /// `status.expirationTimestamp`
    pub expires: Timestamp,
}

/// A certificate of a pod.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PodCertificate {
    /// Its key, as PEM.
    pub key: Content,
    /// The certificate and those that lead to the signer's, as PEM.
    pub chain: Content,
}

/// A RuntimeClass.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct RuntimeClass {
    /// `handler`; empty: the runtime's default.
    pub handler: String,
}

/// The certificates of the ClusterTrustBundles that trust anchors name, each once.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TrustBundle {
    /// As PEM.
    pub pem: Content,
}

/// A ConfigMap or a Secret, where a pod may name either: in a volume, or for the environment.
#[derive(Debug, Clone, Copy)]
pub enum Values<'a> {
    /// A ConfigMap.
    ConfigMap(&'a ConfigMap),
    /// A Secret.
    Secret(&'a Secret),
}

impl<'a> Values<'a> {
    /// The values that the environment may have.
    pub fn variables(self) -> &'a BTreeMap<String, Content> {
        match self {
            Values::ConfigMap(map) => &map.data,
            Values::Secret(secret) => &secret.data,
        }
    }

    /// Every key with its content, as a volume shows it.
    pub fn files(self) -> impl Iterator<Item = (&'a String, &'a Content)> {
        self.variables()
            .iter()
            .chain(self.binary_data().into_iter().flatten())
    }

    /// The content of a key, as a volume shows it.
    pub fn file(self, key: &str) -> Option<&'a Content> {
        let binary = || self.binary_data()?.get(key);
        self.variables().get(key).or_else(binary)
    }

    fn binary_data(self) -> Option<&'a BTreeMap<String, Content>> {
        match self {
            Values::ConfigMap(map) => Some(&map.binary_data),
            Values::Secret(_) => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_volume_has_binary_data_and_the_environment_does_not() {
        let contents = |pairs: &[(&str, &str)]| -> BTreeMap<String, Content> {
            let content = |(key, text): &(&str, &str)| ((*key).to_owned(), Content::from(*text));
            pairs.iter().map(content).collect()
        };
        let check = |values: Values<'_>, variables: &[&str], files: &[&str]| {
            let found: Vec<&str> = values.variables().keys().map(String::as_str).collect();
            assert_eq!(found, variables, "{values:?}");
            let found: Vec<&str> = values.files().map(|(key, _)| key.as_str()).collect();
            assert_eq!(found, files, "{values:?}");
            for (key, content) in values.files() {
                assert_eq!(values.file(key), Some(content), "{key}");
            }
            assert_eq!(values.file("none"), None);
        };
        let map = ConfigMap {
            data: contents(&[("b", "1"), ("c", "2")]),
            binary_data: contents(&[("a", "3")]),
            immutable: false,
        };
        check(Values::ConfigMap(&map), &["b", "c"], &["b", "c", "a"]);
        let secret = Secret {
            data: contents(&[("k", "v")]),
            ..Secret::default()
        };
        check(Values::Secret(&secret), &["k"], &["k"]);
        check(Values::ConfigMap(&ConfigMap::default()), &[], &[]);
    }
}
