//! The hashes that identify pods and containers: the UID of a static pod and the hash of a container.

use k8s_openapi::api::core::v1::Pod;

use super::{go_defaults, go_print};

/// The UID of a static pod: 32 hexadecimal digits that depend only on content, node and file, and equal the kubelet's
/// (`applyDefaults` of `pkg/kubelet/config/common.go`), so that gantry and the kubelet take over each other's static
/// pods. The content is the object as written, without what only an API server writes. The number of the document is
/// not part of it: inserting a document before it does not change the pod, and one file cannot have two pods of one
/// name.
///
/// Stable but different from the kubelet's: the UID of a pod with pod-level resources (`spec.resources`) that have
/// limits without requests, and of a pod with a quantity that is an unquoted number with an exponent.
pub(crate) fn static_pod_uid(content: &Pod, node_name: &str, file: &str) -> String {
    let mut json = serde_json::to_value(content).expect("Kubernetes objects serialize to JSON");
    go_defaults::apply(&mut json);
    let mut hash = Fnv128a::new();
    hash.write(go_print::pod(&json).as_bytes());
    hash.write(b"host:");
    hash.write(node_name.as_bytes());
    hash.write(b"file:");
    hash.write(file.as_bytes());
    format!("{:032x}", hash.0)
}

/// FNV-1a of 128 bits, like the kubelet. No secret depends on it.
struct Fnv128a(u128);

impl Fnv128a {
    fn new() -> Fnv128a {
        Fnv128a(0x6c62_272e_07bb_0142_62b8_2175_6295_c58d)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 ^= u128::from(*byte);
            self.0 = self.0.wrapping_mul(0x0000_0000_0100_0000_0000_0000_0000_013b);
        }
    }
}

/// The kubelet's hash of a container (`HashContainer`, `pkg/kubelet/container/helpers.go`): FNV-1a of 32 bits over how
/// Go's spew prints the bytes of the JSON of name and image. A container whose hash differs from the label of the
/// running one is restarted, so this must be exact for gantry and the kubelet to take over each other's pods.
pub(crate) fn container_hash(name: &str, image: &str) -> u32 {
    let json = format!(r#"{{"image":{},"name":{}}}"#, go_json(image), go_json(name));
    let mut printed = String::from("([]uint8)[");
    for (index, byte) in json.bytes().enumerate() {
        if index > 0 {
            printed.push(' ');
        }
        printed.push_str(&byte.to_string());
    }
    printed.push(']');
    printed.bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    })
}

/// A JSON string as Go writes it, with HTML characters escaped.
fn go_json(text: &str) -> String {
    let json = serde_json::to_string(text).expect("a string serializes to JSON");
    json.replace('<', "\\u003c")
        .replace('>', "\\u003e")
        .replace('&', "\\u0026")
        .replace('\u{2028}', "\\u2028")
        .replace('\u{2029}', "\\u2029")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn container_hashes_are_the_kubelets() {
        // Recorded from a kubelet v1.36.2.
        for (name, hash) in [
            ("a", "f7b32fdd"),
            ("b", "59980bb8"),
            ("c", "78725ff3"),
            ("i1", "782ffca6"),
            ("i2", "45ca54f0"),
            ("side", "a4273b99"),
        ] {
            let own = container_hash(name, "docker.io/library/busybox:1.35");
            assert_eq!(format!("{own:x}"), hash, "{name}");
        }
    }

    #[test]
    fn the_uid_follows_content_node_and_file() {
        let mut pod = Pod::default();
        pod.metadata.name = Some("web".into());
        let uid = static_pod_uid(&pod, "n", "/m/web.yaml");
        assert_eq!(uid.len(), 32);
        assert_eq!(uid, static_pod_uid(&pod.clone(), "n", "/m/web.yaml"));
        assert_ne!(uid, static_pod_uid(&pod, "o", "/m/web.yaml"));
        assert_ne!(uid, static_pod_uid(&pod, "n", "/m/web2.yaml"));
        pod.metadata.namespace = Some("x".into());
        assert_ne!(uid, static_pod_uid(&pod, "n", "/m/web.yaml"));
    }

    #[test]
    fn the_hash_of_128_bits_is_fnv_1a() {
        let mut hash = Fnv128a::new();
        hash.write(b"a");
        assert_eq!(format!("{:032x}", hash.0), "d228cb696f1a8caf78912b704e4a8964");
    }
}
