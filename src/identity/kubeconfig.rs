//! What a kubeconfig says about a cluster and a user, and the kubeconfig that the node writes for itself.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use kube::config::{AuthInfo, Cluster, Kubeconfig, KubeconfigError};
use serde_json::{Value, json};

use super::certificate::{Certificate, certificates};
use super::client_error::{ClientError, wrong};
use super::files::{self, FileError};
use crate::model::yaml::document;

/// A kubeconfig's current context.
#[derive(Debug, Clone)]
pub struct Stated {
    whole: Kubeconfig,
    path: PathBuf,
    cluster: Cluster,
    user: AuthInfo,
}

/// A certificate and its key, as PEM. Its Debug output is redacted.
pub struct Pair {
    /// The certificate, followed by the intermediate ones.
    pub chain: Vec<u8>,
    /// The key: a secret.
    pub key: Vec<u8>,
}

impl std::fmt::Debug for Pair {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Pair(redacted)")
    }
}

/// Reads a kubeconfig, but not the files that it refers to.
pub fn read(path: &Path) -> Result<Stated, ClientError> {
    let text = std::fs::read_to_string(path)
        .map_err(|source| wrong(path, KubeconfigError::ReadConfig(source, path.to_owned())))?;
    let mut whole = parse(&text, path)?;
    if let Some(directory) = path.parent() {
        begin_paths_at(directory, &mut whole);
    }
    stated(whole, path)
}

/// Like the above, from a text that came from `place`, which errors name.
pub fn of_text(text: &str, place: &Path) -> Result<Stated, ClientError> {
    stated(parse(text, place)?, place)
}

/// The documents of a text, merged; of what several of them name, the first counts.
pub(super) fn parse(text: &str, place: &Path) -> Result<Kubeconfig, ClientError> {
    let syntax = |line: usize| ClientError::Syntax {
        path: place.to_owned(),
        line: Some(line),
    };
    let documents = document::read(text).map_err(|error| syntax(error.line))?;
    documents
        .iter()
        .try_fold(Kubeconfig::default(), |whole, document| {
            let next = document.typed::<Kubeconfig>();
            let next = next.map_err(|(path, _)| syntax(document.line_of(&path)))?;
            whole.merge(next).map_err(|error| wrong(place, error))
        })
}

/// Makes the relative paths of a kubeconfig in this directory absolute. A program's name without a slash is looked up in
/// `PATH` (`GetAuthInfoFileReferences` of client-go).
fn begin_paths_at(directory: &Path, whole: &mut Kubeconfig) {
    let begin = |path: &mut Option<String>| {
        if let Some(path) = path.as_mut().filter(|path| Path::new(path).is_relative()) {
            *path = directory.join(&path).display().to_string();
        }
    };
    for cluster in whole
        .clusters
        .iter_mut()
        .filter_map(|named| named.cluster.as_mut())
    {
        begin(&mut cluster.certificate_authority);
    }
    for user in whole
        .auth_infos
        .iter_mut()
        .filter_map(|named| named.auth_info.as_mut())
    {
        begin(&mut user.client_certificate);
        begin(&mut user.client_key);
        begin(&mut user.token_file);
        if let Some(exec) = &mut user.exec
            && exec.command.as_ref().is_some_and(|command| command.contains('/'))
        {
            begin(&mut exec.command);
        }
    }
}

fn stated(whole: Kubeconfig, path: &Path) -> Result<Stated, ClientError> {
    let incomplete = |what: &str| ClientError::Incomplete {
        path: path.to_owned(),
        what: what.to_owned(),
    };
    let name = whole.current_context.clone().filter(|name| !name.is_empty());
    let name = name.ok_or_else(|| incomplete("current-context"))?;
    let context = whole.contexts.iter().find(|context| context.name == name);
    let context = context.and_then(|context| context.context.clone());
    let context = context.ok_or_else(|| incomplete("the context of current-context"))?;
    let cluster = whole
        .clusters
        .iter()
        .find(|cluster| cluster.name == context.cluster);
    let cluster = cluster.and_then(|cluster| cluster.cluster.clone());
    let cluster = cluster.ok_or_else(|| incomplete("the cluster of its context"))?;
    let user = context.user.clone().unwrap_or_default();
    let user = whole.auth_infos.iter().find(|found| found.name == user);
    let user = user.and_then(|user| user.auth_info.clone()).unwrap_or_default();
    Ok(Stated {
        path: path.to_owned(),
        whole,
        cluster,
        user,
    })
}

impl Stated {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The cluster, as written; relative paths are absolute.
    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// The cluster's certificate authorities as PEM; `None` if they are not stated or cannot be read.
    pub fn authorities(&self) -> Option<Vec<u8>> {
        let data = self.cluster.certificate_authority_data.as_deref();
        part(data, self.cluster.certificate_authority.as_deref())
    }

    /// Whether the user has a certificate, readable or not.
    pub fn has_certificate(&self) -> bool {
        self.user.client_certificate.is_some() || self.user.client_certificate_data.is_some()
    }

    /// Whether certificate or key are embedded in the file.
    pub fn is_embedded(&self) -> bool {
        self.user.client_certificate_data.is_some() || self.user.client_key_data.is_some()
    }

    /// The user's certificate and key; `None` if there are none or they cannot be read.
    pub fn pair(&self) -> Option<Pair> {
        // The client's type hides the key; the raw value has it.
        let written = serde_json::to_value(&self.user).ok()?;
        let read = |data: &str, path: &str| part(written[data].as_str(), written[path].as_str());
        Some(Pair {
            chain: read("client-certificate-data", "client-certificate")?,
            key: read("client-key-data", "client-key")?,
        })
    }

    /// The user's certificate; `None` if there is none that can be read with its key.
    pub fn certificate(&self) -> Option<Certificate> {
        let pair = self.pair()?;
        let leaf = certificates(&pair.chain).ok()?.into_iter().next()?;
        super::store::fits(&leaf, &pair.key).then_some(leaf)
    }

    /// The same, with that file's certificate and key.
    pub fn with_pair(&self, pair: &Path) -> Kubeconfig {
        let mut whole = self.whole.clone();
        let context = whole
            .contexts
            .iter()
            .find(|context| Some(&context.name) == whole.current_context.as_ref());
        let user = context
            .and_then(|context| context.context.as_ref()?.user.clone())
            .unwrap_or_default();
        for named in whole.auth_infos.iter_mut().filter(|named| named.name == user) {
            let path = pair.display().to_string();
            named.auth_info = Some(AuthInfo {
                client_certificate: Some(path.clone()),
                client_key: Some(path),
                ..AuthInfo::default()
            });
        }
        whole
    }

    /// The context with the token of its token file: the client itself would include the trailing newline.
    pub fn whole(&self) -> Kubeconfig {
        let mut whole = self.whole.clone();
        for named in &mut whole.auth_infos {
            if let Some(user) = named.auth_info.take() {
                named.auth_info = Some(with_token(user));
            }
        }
        whole
    }

    /// The user as written, with data from other files embedded; `None` if it has no credentials.
    pub fn embedded_user(&self) -> Option<Value> {
        let mut written = serde_json::to_value(with_token(self.user.clone())).ok()?;
        if let Some(pair) = self.pair() {
            let fields = written.as_object_mut()?;
            fields.remove("client-certificate");
            fields.remove("client-key");
            fields.insert(
                "client-certificate-data".to_owned(),
                json!(STANDARD.encode(&pair.chain)),
            );
            fields.insert("client-key-data".to_owned(), json!(STANDARD.encode(&pair.key)));
        }
        let ways = [
            "token",
            "client-certificate-data",
            "exec",
            "auth-provider",
            "password",
        ];
        ways.iter().any(|way| !written[way].is_null()).then_some(written)
    }

    /// Whether it needs no other file and no program.
    pub(super) fn is_whole(&self) -> bool {
        self.files().is_empty() && self.user.exec.is_none() && self.user.auth_provider.is_none()
    }

    /// The files that it refers to.
    pub fn files(&self) -> Vec<PathBuf> {
        let named = [
            &self.cluster.certificate_authority,
            &self.user.client_certificate,
            &self.user.client_key,
            &self.user.token_file,
        ];
        named.into_iter().flatten().map(PathBuf::from).collect()
    }

    /// The kubeconfig of a node of this cluster whose certificate is in that file, as the kubelet writes it.
    pub fn for_node(&self, pair: &Path) -> Value {
        let mut cluster = json!({ "server": self.cluster.server });
        if self.cluster.insecure_skip_tls_verify == Some(true) {
            cluster["insecure-skip-tls-verify"] = json!(true);
        }
        let authority = [
            ("certificate-authority", &self.cluster.certificate_authority),
            (
                "certificate-authority-data",
                &self.cluster.certificate_authority_data,
            ),
            ("tls-server-name", &self.cluster.tls_server_name),
            ("proxy-url", &self.cluster.proxy_url),
        ];
        for (key, value) in authority {
            if let Some(value) = value {
                cluster[key] = json!(value);
            }
        }
        let pair = pair.display().to_string();
        let user = json!({ "client-certificate": pair, "client-key": pair });
        document(
            "default-cluster",
            &cluster,
            "default-auth",
            &user,
            "default-context",
        )
    }
}

/// A kubeconfig of one context.
pub fn document(cluster: &str, cluster_is: &Value, user: &str, user_is: &Value, context: &str) -> Value {
    json!({
        "apiVersion": "v1",
        "kind": "Config",
        "clusters": [{ "name": cluster, "cluster": cluster_is }],
        "contexts": [{ "name": context, "context": { "cluster": cluster, "user": user, "namespace": "default" } }],
        "current-context": context,
        "users": [{ "name": user, "user": user_is }],
    })
}

/// Writes a kubeconfig, with the mode for secrets.
pub fn write(path: &Path, document: &Value) -> Result<(), FileError> {
    files::write(path, text(document).as_bytes(), files::SECRET)
}

/// A value as YAML.
pub fn text(value: &Value) -> String {
    let options = serde_saphyr::ser_options! {
        // Certificates are long, and a wrapped line would change them.
        folded_wrap_chars: usize::MAX,
        prefer_block_scalars: false,
    };
    // JSON is YAML too.
    serde_saphyr::to_string_with_options(value, options).unwrap_or_else(|_| value.to_string())
}

fn with_token(user: AuthInfo) -> AuthInfo {
    let token = user
        .token_file
        .as_ref()
        .and_then(|path| std::fs::read_to_string(path).ok());
    // The client's type for tokens has no constructor, so it is parsed from text.
    let with = |token: String| {
        let mut written = serde_json::to_value(&user).ok()?;
        written["token"] = json!(token.trim());
        written.as_object_mut()?.remove("tokenFile");
        serde_json::from_value(written).ok()
    };
    token.and_then(with).unwrap_or(user)
}

/// A certificate authority as a kubeconfig holds it.
pub(super) fn encoded(pem: &str) -> String {
    STANDARD.encode(pem)
}

/// The reverse; `None` if it is missing or not text.
pub(super) fn decoded(data: Option<&str>) -> Option<String> {
    String::from_utf8(part(data, None)?).ok()
}

/// The data embedded in the file, or of the file that it names.
fn part(data: Option<&str>, path: Option<&str>) -> Option<Vec<u8>> {
    match (data.filter(|data| !data.is_empty()), path) {
        (Some(data), _) => STANDARD.decode(data).ok(),
        (None, Some(path)) => std::fs::read(path).ok(),
        (None, None) => None,
    }
}

/// Distinguishes one content of a file from another without reading it; `None` if the file does not exist.
pub type Mark = Option<(u64, u64, u64, i64, i64)>;

/// The mark of a file, following links.
pub fn mark(path: &Path) -> Mark {
    let about = std::fs::metadata(path).ok()?;
    Some((
        about.dev(),
        about.ino(),
        about.size(),
        about.mtime(),
        about.mtime_nsec(),
    ))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;
    use crate::identity::certificate::tests::Authority;

    #[test]
    fn data_and_files_are_read_alike_and_secrets_do_not_show() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        let authority = Authority::new("ca");
        let (chain, key) = authority.issue("system:node:n", -1, 60);
        std::fs::write(at("ca.crt"), &authority.pem).unwrap();
        std::fs::write(at("pair.pem"), format!("{chain}{key}")).unwrap();
        let encode = |text: &str| STANDARD.encode(text);
        let embedded = (
            json!({"server": "https://x:6443", "certificate-authority-data": encode(&authority.pem)}),
            json!({"client-certificate-data": encode(&chain), "client-key-data": encode(&key)}),
        );
        // Relative paths start at the file.
        let named = (
            json!({"server": "https://x:6443", "certificate-authority": "ca.crt"}),
            json!({"client-certificate": "pair.pem", "client-key": "pair.pem"}),
        );
        for ((cluster, user), files) in [(embedded, 0), (named, 3)] {
            let path = at("kubelet.conf");
            write(&path, &document("c", &cluster, "u", &user, "x")).unwrap();
            assert_eq!(
                std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
                0o600
            );
            let stated = read(&path).unwrap();
            assert_eq!(stated.certificate().unwrap().common_name, "system:node:n");
            assert_eq!(stated.authorities().unwrap(), authority.pem.as_bytes());
            assert_eq!(stated.is_embedded(), files == 0);
            assert_eq!(stated.files().len(), files);
            let secret = &encode(&key)[40..80];
            assert!(!format!("{stated:?} {:?}", stated.pair()).contains(secret));
            write(&at("own.conf"), &stated.for_node(&at("pair.pem"))).unwrap();
            assert_eq!(read(&at("own.conf")).unwrap().certificate(), stated.certificate());
        }
    }

    #[test]
    fn scalars_mean_what_they_mean_to_the_kubelet() {
        let text = "clusters:\n- name: c\n  cluster: {server: https://x, insecure-skip-tls-verify: y}\n\
                    users:\n- name: u\n  user: {as: \"0644\", extra: 0644}\n";
        let whole = parse(text, Path::new("/k")).unwrap();
        let cluster = whole.clusters[0].cluster.as_ref().unwrap();
        assert_eq!(cluster.insecure_skip_tls_verify, Some(true));
        let user = whole.auth_infos[0].auth_info.as_ref().unwrap();
        assert_eq!(user.impersonate.as_deref(), Some("0644"));
        assert_eq!(user.other["extra"], json!(420));
    }

    #[test]
    fn what_cannot_be_read_is_named_by_its_line_and_not_repeated() {
        for (text, line) in [
            ("a: b: geheim", 1),
            ("kind: Config\nusers:\n- {name: u, user: geheim}\n", 3),
        ] {
            let error = parse(text, Path::new("/k")).unwrap_err();
            let message = crate::model::error_chain::chain(&error);
            assert!(message.contains(&format!("from line {line} on")), "{message}");
            assert!(!message.contains("geheim"), "{message}");
        }
    }

    #[test]
    fn relative_paths_begin_at_the_file_and_bare_programs_are_looked_up() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("k");
        let check = |command: &str, expected: &str| {
            let user = json!({"tokenFile": "t", "exec": {"apiVersion": "v1", "command": command}});
            write(&path, &document("c", &json!({}), "u", &user, "x")).unwrap();
            let stated = read(&path).unwrap();
            assert_eq!(
                stated.user.token_file,
                Some(directory.path().join("t").display().to_string())
            );
            assert_eq!(stated.user.exec.unwrap().command.as_deref(), Some(expected));
        };
        check("aws", "aws");
        check("/bin/aws", "/bin/aws");
        check("./aws", &directory.path().join("./aws").display().to_string());
    }

    #[test]
    fn what_is_missing_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("k");
        let check = |document: Value, expected: &str| {
            write(&path, &document).unwrap();
            let error = read(&path).unwrap_err().to_string();
            assert!(error.contains(expected), "{error}");
        };
        check(json!({"kind": "Config"}), "current-context");
        check(json!({"current-context": "a"}), "the context of current-context");
        let contexts = json!([{"name": "a", "context": {"cluster": "c", "user": "u"}}]);
        check(
            json!({"current-context": "a", "contexts": contexts}),
            "the cluster of its context",
        );
    }
}
