//! The path of a request, parsed. Pure.

use super::kind::{Kind, Scope};

/// What a path names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Target {
    /// `/version`
    Version,
    /// A document that says what is served.
    Discovery(Document),
    /// A description of the objects.
    OpenApi(OpenApi),
    /// Objects.
    Objects(Place),
    /// What nodes or pods use.
    Metrics(MetricsPlace),
    /// Where a client asks what it may do.
    AccessReview,
}

/// A document that says what is served.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Document {
    /// `/api`
    CoreVersions,
    /// `/apis`
    Groups,
    /// `/apis/<group>`
    Group(Group),
    /// `/api/v1`
    Core,
    /// `/apis/<group>/<version>`
    Resources(Group),
}

/// A description of the objects, as clients look it up before they send one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OpenApi {
    /// `/openapi/v2`
    V2,
    /// `/openapi/v3`
    Paths,
    /// `/openapi/v3/api/v1`
    Core,
}

/// A group besides the core.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Group {
    Authorization,
    Events,
    Metrics,
}

impl Group {
    pub(super) const ALL: [Group; 3] = [Group::Authorization, Group::Events, Group::Metrics];

    /// The name, and the version that is served.
    pub(super) fn name(self) -> (&'static str, &'static str) {
        match self {
            Group::Authorization => ("authorization.k8s.io", "v1"),
            Group::Events => ("events.k8s.io", "v1"),
            Group::Metrics => ("metrics.k8s.io", "v1beta1"),
        }
    }

    fn named(name: &str) -> Option<Group> {
        Group::ALL.into_iter().find(|group| group.name().0 == name)
    }
}

/// The form of events: as the core has them, or as their own group has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Api {
    Core,
    Events,
}

/// Objects of a kind.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) api: Api,
    pub(super) kind: Kind,
    /// `None`: all namespaces, or none.
    pub(super) namespace: Option<String>,
    /// `None`: a collection.
    pub(super) name: Option<String>,
    pub(super) part: Part,
}

/// The part of an object that a path names.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Part {
    /// All of it.
    Whole,
    /// A stream of a pod.
    Stream(Stream),
    /// The ephemeral containers of a pod.
    EphemeralContainers,
    /// One that an API server has and this endpoint does not.
    Unserved,
}

/// The streams of a pod.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stream {
    Attach,
    Exec,
    Log,
    PortForward,
}

impl Stream {
    pub(super) const ALL: [Stream; 4] = [Stream::Attach, Stream::Exec, Stream::Log, Stream::PortForward];

    /// The name in paths.
    pub(super) fn name(self) -> &'static str {
        match self {
            Stream::Attach => "attach",
            Stream::Exec => "exec",
            Stream::Log => "log",
            Stream::PortForward => "portforward",
        }
    }
}

/// What is measured.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum MetricsPlace {
    Nodes {
        name: Option<String>,
    },
    Pods {
        namespace: Option<String>,
        name: Option<String>,
    },
}

/// What the path names; `None`: nothing that is served.
pub(super) fn parse(path: &str) -> Option<Target> {
    let path = path.strip_prefix('/')?;
    let path = path.strip_suffix('/').unwrap_or(path);
    let parts: Vec<&str> = path.split('/').take(MAX_PARTS + 1).collect();
    if parts.len() > MAX_PARTS || parts.iter().any(|part| part.is_empty()) {
        return None;
    }
    match parts.as_slice() {
        ["version"] => Some(Target::Version),
        ["openapi", "v2"] => Some(Target::OpenApi(OpenApi::V2)),
        ["openapi", "v3"] => Some(Target::OpenApi(OpenApi::Paths)),
        ["openapi", "v3", "api", "v1"] => Some(Target::OpenApi(OpenApi::Core)),
        ["api"] => Some(Target::Discovery(Document::CoreVersions)),
        ["apis"] => Some(Target::Discovery(Document::Groups)),
        ["api", "v1"] => Some(Target::Discovery(Document::Core)),
        ["api", "v1", rest @ ..] => place(Api::Core, rest).map(Target::Objects),
        ["apis", group] => Some(Target::Discovery(Document::Group(Group::named(group)?))),
        ["apis", group, version, rest @ ..] => {
            let group = Group::named(group).filter(|group| group.name().1 == *version)?;
            match (group, rest) {
                (_, []) => Some(Target::Discovery(Document::Resources(group))),
                (Group::Authorization, ["selfsubjectaccessreviews"]) => Some(Target::AccessReview),
                (Group::Authorization, _) => None,
                (Group::Events, rest) => {
                    let place = place(Api::Events, rest)?;
                    (place.kind == Kind::Event).then_some(Target::Objects(place))
                }
                (Group::Metrics, rest) => metrics(rest).map(Target::Metrics),
            }
        }
        _ => None,
    }
}

/// The most parts of a path: `api/v1/namespaces/<namespace>/pods/<name>/<part>` and some more below a proxy.
const MAX_PARTS: usize = 32;

fn place(api: Api, parts: &[&str]) -> Option<Place> {
    let (namespace, parts) = match parts {
        // Below a namespace, unless that is an object's own part.
        ["namespaces", namespace, rest @ ..] if !matches!(rest, [] | ["status" | "finalize"]) => {
            (Some(*namespace), rest)
        }
        _ => (None, parts),
    };
    let [plural, rest @ ..] = parts else { return None };
    let kind = Kind::of_plural(plural)?;
    let (name, part) = match rest {
        [] => (None, Part::Whole),
        [name] | [name, "status"] => (Some(*name), Part::Whole),
        [name, part, ..] => (Some(*name), self::part(kind, part, rest.len())),
    };
    let is_in_namespace = namespace.is_some();
    let fits = match kind.scope() {
        Scope::Cluster => !is_in_namespace,
        // All of them at once have no name.
        Scope::Namespaced => is_in_namespace || name.is_none(),
    };
    fits.then(|| Place {
        api,
        kind,
        namespace: namespace.map(str::to_owned),
        name: name.map(str::to_owned),
        part,
    })
}

fn part(kind: Kind, name: &str, depth: usize) -> Part {
    let stream = Stream::ALL.into_iter().find(|stream| stream.name() == name);
    match stream {
        Some(stream) if kind == Kind::Pod && depth == 2 => Part::Stream(stream),
        None if kind == Kind::Pod && depth == 2 && name == "ephemeralcontainers" => Part::EphemeralContainers,
        _ => Part::Unserved,
    }
}

fn metrics(parts: &[&str]) -> Option<MetricsPlace> {
    let owned = |name: &str| Some(name.to_owned());
    match *parts {
        ["nodes"] => Some(MetricsPlace::Nodes { name: None }),
        ["nodes", name] => Some(MetricsPlace::Nodes { name: owned(name) }),
        ["pods"] => Some(MetricsPlace::Pods {
            namespace: None,
            name: None,
        }),
        ["namespaces", namespace, "pods"] => Some(MetricsPlace::Pods {
            namespace: owned(namespace),
            name: None,
        }),
        ["namespaces", namespace, "pods", name] => Some(MetricsPlace::Pods {
            namespace: owned(namespace),
            name: owned(name),
        }),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths_name_objects() {
        let check = |path: &str, expected: Option<(Kind, Option<&str>, Option<&str>, Part)>| {
            let found = match parse(path) {
                Some(Target::Objects(place)) => Some(place),
                None => None,
                other => panic!("{path}: {other:?}"),
            };
            let found = found.as_ref().map(|place| {
                let (namespace, name) = (place.namespace.as_deref(), place.name.as_deref());
                (place.kind, namespace, name, place.part)
            });
            assert_eq!(found, expected, "{path}");
        };
        let whole = Part::Whole;
        check("/api/v1/pods", Some((Kind::Pod, None, None, whole)));
        check(
            "/api/v1/namespaces/ns/pods/",
            Some((Kind::Pod, Some("ns"), None, whole)),
        );
        check(
            "/api/v1/namespaces/ns/pods/p",
            Some((Kind::Pod, Some("ns"), Some("p"), whole)),
        );
        check(
            "/api/v1/namespaces/ns/pods/p/status",
            Some((Kind::Pod, Some("ns"), Some("p"), whole)),
        );
        let log = Part::Stream(Stream::Log);
        check(
            "/api/v1/namespaces/ns/pods/p/log",
            Some((Kind::Pod, Some("ns"), Some("p"), log)),
        );
        let unserved = Part::Unserved;
        check(
            "/api/v1/namespaces/ns/pods/p/binding",
            Some((Kind::Pod, Some("ns"), Some("p"), unserved)),
        );
        check(
            "/api/v1/namespaces/ns/pods/p/proxy/log",
            Some((Kind::Pod, Some("ns"), Some("p"), unserved)),
        );
        check(
            "/api/v1/namespaces/ns",
            Some((Kind::Namespace, None, Some("ns"), whole)),
        );
        check(
            "/api/v1/namespaces/pods/pods",
            Some((Kind::Pod, Some("pods"), None, whole)),
        );
        check(
            "/api/v1/namespaces/ns/status",
            Some((Kind::Namespace, None, Some("ns"), whole)),
        );
        check("/api/v1/nodes/n", Some((Kind::Node, None, Some("n"), whole)));
        check(
            "/api/v1/nodes/n/log",
            Some((Kind::Node, None, Some("n"), unserved)),
        );
        check(
            "/apis/events.k8s.io/v1/events",
            Some((Kind::Event, None, None, whole)),
        );
        check("/apis/events.k8s.io/v1/pods", None);
        check("/apis/events.k8s.io/v1beta1/events", None);
        check("/api/v1/namespaces/ns/nodes", None);
        check("/api/v1/pods/p", None);
        check("/api/v1/namespaces//pods", None);
        check("/api/v1/deployments", None);
        check("/apis/apps/v1/deployments", None);
        check("", None);
        check("//", None);
        check(&format!("/api/v1/nodes/{}", "a/".repeat(1000)), None);
    }

    #[test]
    fn paths_name_documents_and_numbers() {
        let check = |path: &str, expected: Target| assert_eq!(parse(path), Some(expected), "{path}");
        check("/version", Target::Version);
        check("/version/", Target::Version);
        check("/api", Target::Discovery(Document::CoreVersions));
        check("/api/v1", Target::Discovery(Document::Core));
        check("/apis", Target::Discovery(Document::Groups));
        check(
            "/apis/metrics.k8s.io",
            Target::Discovery(Document::Group(Group::Metrics)),
        );
        check(
            "/apis/events.k8s.io/v1",
            Target::Discovery(Document::Resources(Group::Events)),
        );
        check(
            "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews",
            Target::AccessReview,
        );
        check(
            "/apis/metrics.k8s.io/v1beta1/nodes/n",
            Target::Metrics(MetricsPlace::Nodes {
                name: Some("n".into()),
            }),
        );
        check(
            "/apis/metrics.k8s.io/v1beta1/namespaces/ns/pods",
            Target::Metrics(MetricsPlace::Pods {
                namespace: Some("ns".into()),
                name: None,
            }),
        );
    }
}
