//! Values from other sources: fields of the pod, resources of its containers, objects (`pkg/fieldpath`,
//! `pkg/api/v1/resource/helpers.go`, `pkg/volume` of Kubernetes).

use std::collections::{BTreeMap, BTreeSet};
use std::net::IpAddr;

use crate::model::bounds;
use crate::model::node::NodePolicy;
use crate::model::object::content::Content;
use crate::model::object::kinds::{PodCertificate, Token, Values};
use crate::model::object::lookup::Lookup;
use crate::model::object::{ObjectKind, Objects, Payload, ProjectedFile};
use crate::model::placement::NodeMarks;
use crate::model::pod::{Container, Pod};
use crate::model::reference::{NOT_ISSUED, UNSYNCED_ANCHORS, certificate, object, token, unsynced};
use crate::model::request::{POD_IP, POD_IPS};
use crate::model::resources::Amounts;
use crate::model::service::Services;
use crate::model::value::{
    AnchorsFile, Bound, CertificateFiles, DownwardFile, DownwardValue, Field, FileSource, KeyFile, Resource,
    ResourceField, TokenFile,
};

/// The file mode of tokens and trust anchors if the pod sets a user or a group.
const OWN_MODE: u32 = 0o600;

/// The sources of values.
#[derive(Clone, Copy)]
pub(super) struct Origin<'a> {
    pub(super) pod: &'a Pod,
    pub(super) policy: &'a NodePolicy,
    pub(super) objects: &'a Objects,
    pub(super) services: &'a Services,
    /// The node's allocatable resources, which are the limit of what is not limited.
    pub(super) allocatable: &'a Amounts,
    /// The node's labels; `None`: not known.
    pub(super) node: Option<&'a NodeMarks>,
    /// The addresses of the sandbox; none until it exists.
    pub(super) ips: &'a [IpAddr],
}

/// Why a value is not available.
pub(super) enum Lack {
    /// The object or key does not exist, which may be allowed: `configmap "a" not found`.
    Missing(String),
    /// It is unknown whether it exists.
    Unread(String),
}

impl Lack {
    /// The error message.
    pub(super) fn into_text(self) -> String {
        match self {
            Lack::Missing(text) | Lack::Unread(text) => text,
        }
    }
}

impl Origin<'_> {
    /// The ConfigMap or Secret, or why it is not available.
    pub(super) fn values(&self, kind: ObjectKind, name: &str) -> Result<Values<'_>, Lack> {
        match self.objects.values(object(self.pod, kind, name)) {
            Lookup::Found(values) => Ok(values),
            Lookup::Unread(why) => Err(Lack::Unread(why.to_owned())),
            // Nothing that needs it is started before there is an answer.
            Lookup::Asked => Err(Lack::Unread(unsynced(kind))),
            Lookup::Missing => Err(Lack::Missing(format!("{} {name:?} not found", kind.word()))),
        }
    }

    /// The value of a pod field. Addresses are symbolic until there is a sandbox.
    pub(super) fn field(&self, field: &Field) -> String {
        let Origin { pod, policy, .. } = self;
        let text = |map: &BTreeMap<String, String>, key: &String| map.get(key).cloned().unwrap_or_default();
        match field {
            Field::Name => pod.name.name.clone(),
            Field::Namespace => pod.name.namespace.clone(),
            Field::Uid => pod.uid.0.clone(),
            Field::Label(key) => text(&pod.labels, key),
            Field::Annotation(key) => text(&pod.annotations, key),
            Field::Labels => lines(&pod.labels),
            Field::Annotations => lines(&pod.annotations),
            Field::NodeName => policy.name.clone(),
            Field::ServiceAccount => pod.service_account().to_owned(),
            Field::HostIp => first(&policy.host_ips),
            Field::HostIps => joined(&policy.host_ips),
            Field::PodIp if pod.namespaces.host_network => first(&policy.host_ips),
            Field::PodIps if pod.namespaces.host_network => joined(&policy.host_ips),
            Field::PodIp if self.ips.is_empty() => POD_IP.to_owned(),
            Field::PodIps if self.ips.is_empty() => POD_IPS.to_owned(),
            Field::PodIp => first(self.ips),
            Field::PodIps => joined(self.ips),
        }
    }

    /// The value of a container's resource; `own` is the container whose environment refers to it.
    pub(super) fn resource(&self, field: &ResourceField, own: Option<&Container>) -> String {
        let named = field.container.as_ref();
        let named = named.and_then(|name| self.pod.all_containers().find(|c| c.name == *name));
        let Some(container) = named.or(own) else {
            return "0".to_owned();
        };
        let amounts = match field.bound {
            Bound::Limits => &container.resources.limits,
            Bound::Requests => &container.resources.requests,
        };
        let mut amount = amount(amounts, field.resource);
        // Huge pages without a limit cannot be used at all.
        if field.bound == Bound::Limits && amount == 0 && !matches!(field.resource, Resource::HugePages(_)) {
            amount = self::amount(self.allocatable, field.resource);
        }
        let divisor = field.divisor.max(1);
        let rest = i64::from(amount % divisor > 0);
        (amount / divisor + rest).to_string()
    }

    /// The files of a volume, or why they are not available. `left` is what the volumes of the pod may still use.
    pub(super) fn files(
        &self,
        mode: u32,
        sources: &[FileSource],
        left: &mut FilesLeft,
    ) -> Result<Payload, String> {
        let mut files = Files {
            made: Payload::default(),
            left,
        };
        let mut fields = Fields::default();
        let mut errors: BTreeSet<String> = BTreeSet::new();
        let mut in_order: Vec<String> = Vec::new();
        for source in sources {
            let added = match source {
                FileSource::Object {
                    kind,
                    name,
                    items,
                    optional,
                } => self.object_files(&mut files, *kind, name, (items, mode), *optional),
                FileSource::Downward(items) => self.downward_files(&mut files, items, mode, &mut fields),
                FileSource::Token(file) => self.token_file(&mut files, file, mode),
                FileSource::Anchors(file) => self.anchors_file(&mut files, file, mode),
                FileSource::Certificate(own) => self.certificate_files(&mut files, own, mode),
            };
            match added {
                Ok(()) => {}
                // Each later source has the same.
                Err(FileError::Exceeded(message)) => return Err(message),
                Err(FileError::Lacking(error)) if errors.contains(&error) => {}
                Err(FileError::Lacking(error)) => {
                    errors.insert(error.clone());
                    in_order.push(error);
                }
            }
        }
        match in_order.len() {
            0 => Ok(files.made),
            1 => Err(in_order.remove(0)),
            _ => Err(format!("[{}]", in_order.join(", "))),
        }
    }

    fn object_files(
        &self,
        files: &mut Files<'_>,
        kind: ObjectKind,
        name: &str,
        (items, mode): (&[KeyFile], u32),
        optional: bool,
    ) -> Result<(), FileError> {
        let values = match self.values(kind, name) {
            Ok(values) => values,
            Err(Lack::Missing(_)) if optional => return Ok(()),
            Err(lack) => return Err(FileError::Lacking(lack.into_text())),
        };
        if items.is_empty() {
            for (key, content) in values.files() {
                let content = content.clone();
                files.add(key.clone(), ProjectedFile::of_root(mode, content))?;
            }
        }
        for item in items {
            let Some(content) = values.file(&item.key) else {
                if optional {
                    continue;
                }
                let what = match kind {
                    ObjectKind::ConfigMap => "configmap references non-existent config key",
                    ObjectKind::Secret => "references non-existent secret key",
                };
                return Err(FileError::Lacking(format!("{what}: {}", item.key)));
            };
            let file = ProjectedFile::of_root(item.mode.unwrap_or(mode), content.clone());
            files.add(clean(&item.path), file)?;
        }
        Ok(())
    }

    /// A token is readable only for the pod's user, if it sets one, or for the group that the volume assigns.
    fn token_file(&self, files: &mut Files<'_>, file: &TokenFile, mode: u32) -> Result<(), FileError> {
        let Origin { pod, objects, .. } = self;
        match objects.token(token(pod, file)) {
            Lookup::Found(Token { content, .. }) => {
                files.add(clean(&file.path), self.own_file(mode, content.clone()))
            }
            Lookup::Unread(why) => Err(FileError::Lacking(why.to_owned())),
            Lookup::Asked | Lookup::Missing => {
                let message = "failed to fetch token: no answer from the API server yet";
                Err(FileError::Lacking(message.to_owned()))
            }
        }
    }

    /// Trust anchors are a file even if there are none and that is allowed.
    fn anchors_file(&self, files: &mut Files<'_>, file: &AnchorsFile, mode: u32) -> Result<(), FileError> {
        let content = match self.objects.trust_bundle(&file.anchors) {
            Lookup::Found(bundle) => bundle.pem.clone(),
            Lookup::Unread(why) => return Err(FileError::Lacking(why.to_owned())),
            Lookup::Asked => return Err(FileError::Lacking(UNSYNCED_ANCHORS.to_owned())),
            Lookup::Missing if file.optional => "".into(),
            Lookup::Missing => return Err(FileError::Lacking(file.anchors.missing())),
        };
        files.add(clean(&file.path), self.own_file(mode, content))
    }

    /// The key and the certificates belong to whom a token would.
    fn certificate_files(
        &self,
        files: &mut Files<'_>,
        own: &CertificateFiles,
        mode: u32,
    ) -> Result<(), FileError> {
        let PodCertificate { key, chain } =
            match self.objects.certificate(certificate(self.pod, &own.request)) {
                Lookup::Found(found) => found,
                Lookup::Unread(why) => return Err(FileError::Lacking(why.to_owned())),
                Lookup::Asked | Lookup::Missing => {
                    return Err(FileError::Lacking(NOT_ISSUED.to_owned()));
                }
            };
        let bundle = Content::from([&*key.0, &*chain.0].concat().as_slice());
        for (path, content) in [(&own.bundle, &bundle), (&own.key, key), (&own.chain, chain)] {
            if let Some(path) = path {
                files.add(clean(path), self.own_file(mode, content.clone()))?;
            }
        }
        Ok(())
    }

    /// The mode of a file for the pod's user only, if it sets one, or for the group that the volume assigns.
    fn own_file(&self, mode: u32, content: Content) -> ProjectedFile {
        let owner = self.pod.only_user();
        let is_private = owner.is_some() || self.pod.security.fs_group.is_some();
        ProjectedFile {
            mode: if is_private { OWN_MODE } else { mode },
            owner: owner.and_then(|user| u32::try_from(user).ok()),
            content,
        }
    }

    fn downward_files<'a>(
        &self,
        files: &mut Files<'_>,
        items: &'a [DownwardFile],
        mode: u32,
        fields: &mut Fields<'a>,
    ) -> Result<(), FileError> {
        for item in items {
            let content = match &item.value {
                // All annotations, in each of ten thousand files, share one text.
                DownwardValue::Field(field) => {
                    let content = fields.0.entry(field);
                    content
                        .or_insert_with(|| self.field(field).as_str().into())
                        .clone()
                }
                DownwardValue::Resource(resource) => self.resource(resource, None).as_str().into(),
            };
            let file = ProjectedFile::of_root(item.mode.unwrap_or(mode), content);
            files.add(clean(&item.path), file)?;
        }
        Ok(())
    }
}

/// Values computed from the pod's fields so far.
#[derive(Default)]
struct Fields<'a>(BTreeMap<&'a Field, Content>);

/// How many files and bytes the volumes of a pod may still use.
#[derive(Debug)]
pub(super) struct FilesLeft {
    files: usize,
    bytes: usize,
}

impl FilesLeft {
    /// The limits of a pod before its first volume.
    pub(super) fn of_pod() -> FilesLeft {
        FilesLeft {
            files: bounds::POD_FILES,
            bytes: bounds::POD_FILE_BYTES,
        }
    }
}

/// Why the files of a volume are not available.
enum FileError {
    /// A source is missing or not available.
    Lacking(String),
    /// The pod's volumes exceed their limit.
    Exceeded(String),
}

/// The files of one volume.
struct Files<'a> {
    made: Payload,
    left: &'a mut FilesLeft,
}

impl Files<'_> {
    /// Adds a file; if two have the same path, the later one counts.
    fn add(&mut self, path: String, file: ProjectedFile) -> Result<(), FileError> {
        bounds::step();
        let files = self.left.files.checked_sub(1);
        self.left.files = files.ok_or_else(|| FileError::Exceeded(bounds::files_exceeded()))?;
        let bytes = self.left.bytes.checked_sub(file.content.0.len());
        self.left.bytes = bytes.ok_or_else(|| FileError::Exceeded(bounds::file_bytes_exceeded()))?;
        self.made.0.insert(path, file);
        Ok(())
    }
}

/// A relative path without redundant parts: `./a//b/` becomes `a/b`.
fn clean(path: &str) -> String {
    let parts = path.split('/').filter(|part| !part.is_empty() && *part != ".");
    parts.collect::<Vec<_>>().join("/")
}

fn first(ips: &[IpAddr]) -> String {
    ips.first().map(ToString::to_string).unwrap_or_default()
}

fn joined(ips: &[IpAddr]) -> String {
    ips.iter().map(ToString::to_string).collect::<Vec<_>>().join(",")
}

fn amount(amounts: &Amounts, resource: Resource) -> i64 {
    match resource {
        Resource::Cpu => amounts.cpu.map_or(0, |cpu| cpu.0),
        Resource::Memory => amounts.memory.map_or(0, |memory| memory.0),
        Resource::EphemeralStorage => amounts.ephemeral_storage.map_or(0, |storage| storage.0),
        Resource::HugePages(size) => amounts.hugepages.get(&size).map_or(0, |pages| pages.0),
    }
}

/// Labels or annotations in the format of downward API files (`FormatMap`): `key="value"`, one per line, by key.
fn lines(map: &BTreeMap<String, String>) -> String {
    let line = |(key, value): (&String, &String)| format!("{key}={}", quoted(value));
    map.iter().map(line).collect::<Vec<_>>().join("\n")
}

/// A text in the format of Go's `%q`.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len() + 2);
    out.push('"');
    for c in text.chars() {
        match c {
            '"' | '\\' => out.extend(['\\', c]),
            '\u{7}' => out.push_str("\\a"),
            '\u{8}' => out.push_str("\\b"),
            '\u{c}' => out.push_str("\\f"),
            '\n' => out.push_str("\\n"),
            '\r' => out.push_str("\\r"),
            '\t' => out.push_str("\\t"),
            '\u{b}' => out.push_str("\\v"),
            ' '..='~' => out.push(c),
            c if u32::from(c) < 0x80 => out.push_str(&format!("\\x{:02x}", u32::from(c))),
            // Characters that are not printable, and every space except the ordinary one.
            c if c.is_control() || c.is_whitespace() || c.escape_debug().len() > 1 => {
                let code = u32::from(c);
                out.push_str(&match code {
                    0..=0xffff => format!("\\u{code:04x}"),
                    _ => format!("\\U{code:08x}"),
                });
            }
            c => out.push(c),
        }
    }
    out.push('"');
    out
}

#[cfg(test)]
impl<'a> Origin<'a> {
    /// A pod on the node of the recordings, of which nothing else is known.
    pub(super) fn sample(pod: &'a Pod) -> Origin<'a> {
        use std::sync::LazyLock;

        static POLICY: LazyLock<NodePolicy> = LazyLock::new(crate::model::sample::policy);
        static OBJECTS: LazyLock<Objects> = LazyLock::new(Objects::default);
        static ALLOCATABLE: LazyLock<Amounts> = LazyLock::new(Amounts::default);
        Origin {
            pod,
            policy: &POLICY,
            objects: &OBJECTS,
            services: &Services::NoCluster,
            allocatable: &ALLOCATABLE,
            ips: &[],
            node: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use expect_test::{Expect, expect};

    use super::*;
    use crate::model::object::kinds::{self, TrustBundle};
    use crate::model::object::{Known, Object, Reference, TrustAnchors};
    use crate::model::pod::RestartPolicy;
    use crate::model::reference::key;
    use crate::model::resources::{Bytes, MilliCpu, Resources};
    use crate::model::sample;

    fn with<T>(change: impl FnOnce(&mut Pod), work: impl FnOnce(Origin<'_>) -> T) -> T {
        let mut pod = sample::pod(RestartPolicy::Always, &[], &["c"]);
        change(&mut pod);
        let key = |kind, name: &str| key(&pod, kind, name);
        let map = Object::ConfigMap(kinds::ConfigMap {
            data: [("a", "1"), ("file.txt", "hello\n")]
                .map(|(k, v)| (k.to_owned(), v.into()))
                .into(),
            binary_data: [("bin".to_owned(), [0u8, 255][..].into())].into(),
            immutable: false,
        });
        let secret = Object::Secret(kinds::Secret {
            data: [("a".to_owned(), "s".into())].into(),
            ..kinds::Secret::default()
        });
        let objects = Objects::from_iter([
            (key(ObjectKind::ConfigMap, "cm"), Known::Found(map.into())),
            (key(ObjectKind::Secret, "sec"), Known::Found(secret.into())),
            (key(ObjectKind::Secret, "asked"), Known::Asked),
        ]);
        let allocatable = Amounts {
            cpu: Some(MilliCpu(4000)),
            memory: Some(Bytes(8 << 30)),
            ..Amounts::default()
        };
        work(Origin {
            objects: &objects,
            allocatable: &allocatable,
            ..Origin::sample(&pod)
        })
    }

    #[test]
    fn fields() {
        let change = |pod: &mut Pod| {
            pod.labels = [("b", "2"), ("a", "x \"y\"\n")]
                .map(|(k, v)| (k.to_owned(), v.to_owned()))
                .into();
        };
        with(change, |origin| {
            let check = |field: Field, want: &str| assert_eq!(origin.field(&field), want, "{field:?}");
            check(Field::Name, "p");
            check(Field::Namespace, "ns");
            check(Field::Uid, "u1");
            check(Field::Label("b".to_owned()), "2");
            check(Field::Label("none".to_owned()), "");
            check(Field::Labels, "a=\"x \\\"y\\\"\\n\"\nb=\"2\"");
            check(Field::PodIp, POD_IP);
            let ips = ["10.0.0.7".parse().unwrap(), "fd00::7".parse().unwrap()];
            let there = Origin { ips: &ips, ..origin };
            assert_eq!(there.field(&Field::PodIp), "10.0.0.7");
            assert_eq!(there.field(&Field::PodIps), "10.0.0.7,fd00::7");
        });
        with(
            |pod| pod.namespaces.host_network = true,
            |origin| assert_eq!(origin.field(&Field::PodIp), origin.field(&Field::HostIp)),
        );
    }

    #[test]
    fn quotes_as_go_does() {
        let check = |text: &str, want: &str| assert_eq!(quoted(text), want);
        check("x y", "\"x y\"");
        check("a\\\"\u{7}\u{0}\u{7f}", "\"a\\\\\\\"\\a\\x00\\x7f\"");
        check("ü€😀", "\"ü€😀\"");
        check(
            "\u{a0}\u{200b}\u{feff}\u{e000}",
            "\"\\u00a0\\u200b\\ufeff\\ue000\"",
        );
    }

    #[test]
    fn resources_are_divided_and_rounded_up() {
        let limited = |pod: &mut Pod| {
            pod.containers[0].resources = Resources {
                limits: Amounts {
                    cpu: Some(MilliCpu(1200)),
                    memory: Some(Bytes((64 << 20) + 1)),
                    ..Amounts::default()
                },
                requests: Amounts::default(),
            };
        };
        let ask = |origin: Origin<'_>, bound, resource, divisor| {
            let field = ResourceField {
                container: None,
                bound,
                resource,
                divisor,
            };
            origin.resource(&field, Some(&origin.pod.containers[0]))
        };
        with(limited, |origin| {
            assert_eq!(ask(origin, Bound::Limits, Resource::Cpu, 1), "1200");
            assert_eq!(ask(origin, Bound::Limits, Resource::Cpu, 1000), "2");
            assert_eq!(ask(origin, Bound::Limits, Resource::Memory, 1 << 20), "65");
            assert_eq!(ask(origin, Bound::Requests, Resource::Memory, 1), "0");
        });
        with(
            |_| {},
            |origin| {
                // Without a limit, the node's allocatable amount is the limit.
                assert_eq!(ask(origin, Bound::Limits, Resource::Cpu, 1000), "4");
                assert_eq!(ask(origin, Bound::Limits, Resource::Memory, 1 << 30), "8");
                assert_eq!(
                    ask(origin, Bound::Limits, Resource::HugePages(Bytes(1 << 21)), 1),
                    "0"
                );
            },
        );
    }

    fn object(kind: ObjectKind, name: &str, items: &[(&str, &str)], optional: bool) -> FileSource {
        let item = |(key, path): &(&str, &str)| KeyFile {
            key: (*key).to_owned(),
            path: (*path).to_owned(),
            mode: (*path == "x").then_some(0o600),
        };
        FileSource::Object {
            kind,
            name: name.to_owned(),
            items: items.iter().map(item).collect(),
            optional,
        }
    }

    fn check(sources: &[FileSource], expected: Expect) {
        let files = with(
            |_| {},
            |origin| origin.files(0o400, sources, &mut FilesLeft::of_pod()),
        );
        let result = match files {
            Err(error) => error,
            Ok(files) => {
                let line = |(path, file): (&String, &ProjectedFile)| {
                    format!("{path} {:o} {:?}", file.mode, file.content.text())
                };
                files.0.iter().map(line).collect::<Vec<_>>().join("\n")
            }
        };
        expected.assert_eq(&result);
    }

    #[test]
    fn a_token_belongs_to_the_pods_user_or_group() {
        let file = || TokenFile {
            audience: None,
            seconds: 3607,
            path: "token".to_owned(),
        };
        let check = |known: Known, user: Option<i64>, group: Option<i64>, want: &str| {
            let change = |pod: &mut Pod| {
                pod.containers[0].security.run_as_user = user;
                pod.security.fs_group = group;
            };
            let result = with(change, |origin| {
                let objects = Objects::from_iter([(Reference::Token(token(origin.pod, &file())), known)]);
                let origin = Origin {
                    objects: &objects,
                    ..origin
                };
                let files = origin.files(0o644, &[FileSource::Token(file())], &mut FilesLeft::of_pod())?;
                let made = &files.0["token"];
                Ok::<_, String>(format!(
                    "{:o} {:?} {}",
                    made.mode,
                    made.owner,
                    made.content.text()
                ))
            });
            assert_eq!(result.unwrap_or_else(|error| error), want);
        };
        let found = || {
            Known::Found(
                Object::Token(kinds::Token {
                    content: "t".into(),
                    expires: jiff::Timestamp::MAX,
                })
                .into(),
            )
        };
        check(found(), None, None, "644 None t");
        check(found(), Some(1000), None, "600 Some(1000) t");
        check(found(), None, Some(2000), "600 None t");
        check(
            Known::Unread("failed to fetch token: x".into()),
            None,
            None,
            "failed to fetch token: x",
        );
    }

    #[test]
    fn trust_anchors_are_a_file_that_may_be_empty_where_they_are_optional() {
        let named = TrustAnchors::Named("a".to_owned());
        let signed = TrustAnchors::Signed {
            signer: "example.org/ca".to_owned(),
            labels: crate::model::object::Selection::Those(String::new()),
        };
        let check = |anchors: &TrustAnchors, known: Option<Known>, optional: bool, want: &str| {
            let result = with(
                |pod| pod.security.fs_group = Some(2000),
                |origin| {
                    let key = Reference::TrustAnchors(anchors.clone());
                    let objects = known.map(|known| (key, known)).into_iter().collect();
                    let origin = Origin {
                        objects: &objects,
                        ..origin
                    };
                    let file = AnchorsFile {
                        anchors: anchors.clone(),
                        optional,
                        path: "./a.pem".to_owned(),
                    };
                    let files =
                        origin.files(0o644, &[FileSource::Anchors(file)], &mut FilesLeft::of_pod())?;
                    let made = &files.0["a.pem"];
                    Ok::<_, String>(format!("{:o} {}", made.mode, made.content.text()))
                },
            );
            assert_eq!(result.unwrap_or_else(|error| error), want);
        };
        let bundle = TrustBundle { pem: "pem".into() };
        let found = Known::Found(Object::TrustBundle(bundle).into());
        check(&named, Some(found), false, "600 pem");
        check(&named, None, true, "600 ");
        check(&signed, None, true, "600 ");
        check(
            &named,
            None,
            false,
            "while getting ClusterTrustBundle: clustertrustbundle.certificates.k8s.io \"a\" not found",
        );
        check(
            &signed,
            None,
            false,
            "combination of signerName and labelSelector matched zero ClusterTrustBundles",
        );
        let unsynced = "ClusterTrustBundle informer has not yet synced";
        check(&signed, Some(Known::Asked), true, unsynced);
        check(&named, Some(Known::Unread("no".into())), true, "no");
    }

    #[test]
    fn files_of_objects() {
        use ObjectKind::{ConfigMap, Secret};
        check(
            &[object(ConfigMap, "cm", &[], false)],
            expect![[r#"
                a 400 "1"
                bin 400 "\0�"
                file.txt 400 "hello\n""#]],
        );
        check(
            &[
                object(ConfigMap, "cm", &[("a", "./d//a"), ("bin", "x")], false),
                object(Secret, "sec", &[], false),
            ],
            expect![[r#"
                a 400 "s"
                d/a 400 "1"
                x 600 "\0�""#]],
        );
        check(&[object(ConfigMap, "no", &[], true)], expect![""]);
        check(&[object(ConfigMap, "cm", &[("no", "x")], true)], expect![""]);
        check(
            &[object(ConfigMap, "no", &[], false)],
            expect![[r#"configmap "no" not found"#]],
        );
        check(
            &[object(Secret, "asked", &[], true)],
            expect!["failed to sync secret cache: timed out waiting for the condition"],
        );
        check(
            &[object(ConfigMap, "cm", &[("no", "x")], false)],
            expect!["configmap references non-existent config key: no"],
        );
        check(
            &[
                object(Secret, "no", &[], false),
                object(Secret, "sec", &[("no", "x")], false),
            ],
            expect![[r#"[secret "no" not found, references non-existent secret key: no]"#]],
        );
    }

    #[test]
    fn the_files_of_a_pod_are_bounded_however_they_are_named() {
        use crate::model::bounds::steps;

        let made = |sources: &[FileSource], left: &mut FilesLeft| {
            with(
                |_| {},
                |origin| origin.files(0o400, sources, left).map(|files| files.0.len()),
            )
        };
        // The same three keys, again and again.
        let sources = vec![object(ObjectKind::ConfigMap, "cm", &[], false); 100_000];
        let (steps, result) = steps::of(|| made(&sources, &mut FilesLeft::of_pod()));
        assert_eq!(result, Err(bounds::files_exceeded()));
        assert_eq!(steps, bounds::POD_FILES + 1);
        // All volumes share the same limit.
        let mut left = FilesLeft { files: 4, bytes: 100 };
        assert_eq!(made(&sources[..1], &mut left), Ok(3));
        assert_eq!(made(&sources[..1], &mut left), Err(bounds::files_exceeded()));
        let mut left = FilesLeft { files: 10, bytes: 9 };
        assert_eq!(made(&sources[..1], &mut left), Ok(3));
        assert_eq!(made(&sources[..1], &mut left), Err(bounds::file_bytes_exceeded()));
    }

    #[test]
    fn annotations_in_many_files_are_one_text() {
        let large = |pod: &mut Pod| {
            pod.annotations.insert("a".to_owned(), "x".repeat(256 << 10));
        };
        let item = |n: usize| DownwardFile {
            path: n.to_string(),
            mode: None,
            value: DownwardValue::Field(Field::Annotations),
        };
        let items = [FileSource::Downward((0..1000).map(item).collect())];
        with(large, |origin| {
            let files = origin.files(0o400, &items, &mut FilesLeft::of_pod()).unwrap().0;
            let first = &files["0"].content.0;
            assert!(files.values().all(|file| Arc::ptr_eq(&file.content.0, first)));
            assert_eq!(files.len(), 1000);
        });
    }
}
