//! Which API server a kubeconfig leads to, so that the checkpoint of one is not used for another.

use std::path::Path;

use sha2::{Digest as _, Sha256};

use super::client;
use super::client_error::ClientError;
use super::kubeconfig;
use crate::model::api::Cluster;

/// Reads it; sends nothing.
pub async fn cluster(path: &Path) -> Result<Cluster, ClientError> {
    let config = client::configuration(kubeconfig::read(path)?.whole(), path).await?;
    let authority = config.root_cert.map_or_else(String::new, |certificates| {
        let sum = certificates
            .iter()
            .fold(Sha256::new(), |sum, der| sum.chain_update(der));
        let bytes = sum.finalize();
        bytes.iter().map(|byte| format!("{byte:02x}")).collect()
    });
    Ok(Cluster {
        server: config.cluster_url.to_string(),
        authority,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn another_server_or_authority_is_another_cluster() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kubelet.conf");
        let authority = |name: &str| {
            let own = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
            let file = directory.path().join(name);
            std::fs::write(&file, own.cert.pem()).unwrap();
            format!("certificate-authority: {}", file.display())
        };
        let read = async |server: &str, authority: &str| {
            let text = format!(
                "apiVersion: v1\nkind: Config\ncurrent-context: a\ncontexts: [{{name: a, context: {{cluster: a, user: a}}}}]\nusers: [{{name: a, user: {{}}}}]\nclusters:\n- name: a\n  cluster:\n    server: {server}\n    {authority}\n"
            );
            std::fs::write(&path, text).unwrap();
            cluster(&path).await.unwrap()
        };
        let (one, other) = (authority("one"), authority("other"));
        let first = read("https://a:6443", &one).await;
        assert_eq!(first, read("https://a:6443", &one).await);
        assert_ne!(first, read("https://b:6443", &one).await);
        assert_ne!(first, read("https://a:6443", &other).await);
        assert_eq!(read("https://a:6443", "").await.authority, "");
    }

    #[tokio::test]
    async fn what_a_broken_file_says_is_not_told() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("kubelet.conf");
        std::fs::write(&path, "kind: Config\nusers:\n- name: u\n  user: secret\n").unwrap();
        let error = cluster(&path).await.unwrap_err();
        let text = crate::model::error_chain::chain(&error);
        assert!(text.contains("cannot parse the kubeconfig"), "{text}");
        assert!(!text.contains("secret"), "{text}");
    }
}
