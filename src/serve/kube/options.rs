//! The query of a read, parsed (`ListOptions` of `k8s.io/apimachinery`). Pure.

use std::borrow::Cow;
use std::num::NonZeroUsize;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

use super::kind::Kind;
use super::selector::Selector;
use crate::serve::answer::Refusal;
use crate::serve::query::values;

/// What a client reads, and how.
#[derive(Debug, PartialEq)]
pub(super) struct Options {
    pub(super) selector: Selector,
    pub(super) mode: Mode,
    pub(super) version: Version,
    /// The most objects of one answer.
    pub(super) limit: Option<NonZeroUsize>,
    pub(super) continued: Option<Continued>,
    pub(super) include: Include,
}

/// Whether a list is followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Mode {
    List,
    Watch(Watch),
}

/// How changes are followed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Watch {
    /// For how long; `None`: until the client leaves.
    pub(super) timeout: Option<Duration>,
    pub(super) bookmarks: Bookmarks,
    pub(super) initial: Initial,
}

/// Whether the client understands versions without a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Bookmarks {
    Allowed,
    Unwanted,
}

/// Whether a watch begins with what there is (`sendInitialEvents`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Initial {
    /// If no version is stated.
    ByVersion,
    /// Always, and its end is marked.
    Marked,
    /// Never.
    Left,
}

/// The version that a read refers to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Version {
    /// The current one.
    Any,
    /// This one or a later one.
    NotOlderThan(u64),
    /// Exactly this one.
    Exactly(u64),
}

/// Where the next part of a list begins.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Continued {
    /// The version of the first part.
    pub(super) version: u64,
    /// The last object before.
    pub(super) namespace: String,
    pub(super) name: String,
}

/// How much of its object a table's row has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Include {
    None,
    Metadata,
    Object,
}

impl Continued {
    /// As a client sends it back.
    pub(super) fn encode(&self) -> String {
        URL_SAFE_NO_PAD.encode(format!("{}/{}/{}", self.version, self.namespace, self.name))
    }

    fn decode(text: &str) -> Option<Continued> {
        let text = String::from_utf8(URL_SAFE_NO_PAD.decode(text).ok()?).ok()?;
        let mut parts = text.splitn(3, '/');
        Some(Continued {
            version: parts.next()?.parse().ok()?,
            namespace: parts.next()?.to_owned(),
            name: parts.next()?.to_owned(),
        })
    }
}

/// A parameter that cannot be used.
fn invalid(name: &str, why: impl std::fmt::Display) -> Refusal {
    Refusal::BadRequest(format!("{name}: {why}"))
}

/// The options of a query about objects of this kind.
pub(super) fn parse(kind: Kind, query: &str) -> Result<Options, Refusal> {
    let query = Query(query);
    let selector = Selector::parse(
        kind,
        query.text("labelSelector").as_deref().unwrap_or_default(),
        query.text("fieldSelector").as_deref().unwrap_or_default(),
    )?;
    let continued = match query.text("continue") {
        Some(text) => {
            let continued = Continued::decode(&text);
            Some(continued.ok_or_else(|| invalid("continue", "is not one of this server"))?)
        }
        None => None,
    };
    let limit = query
        .number("limit")?
        .and_then(|limit| usize::try_from(limit).ok());
    Ok(Options {
        selector,
        mode: match query.is_set("watch") {
            true => Mode::Watch(watch(&query)?),
            false => Mode::List,
        },
        version: version(&query)?,
        limit: limit.and_then(NonZeroUsize::new),
        continued,
        include: match query.text("includeObject").as_deref() {
            None | Some("Metadata") => Include::Metadata,
            Some("None") => Include::None,
            Some("Object") => Include::Object,
            Some(_) => return Err(invalid("includeObject", "must be None, Metadata or Object")),
        },
    })
}

fn watch(query: &Query<'_>) -> Result<Watch, Refusal> {
    let seconds = query.number("timeoutSeconds")?.filter(|seconds| *seconds > 0);
    Ok(Watch {
        timeout: seconds.map(Duration::from_secs),
        bookmarks: match query.is_set("allowWatchBookmarks") {
            true => Bookmarks::Allowed,
            false => Bookmarks::Unwanted,
        },
        initial: match (query.text("sendInitialEvents"), query.is_set("sendInitialEvents")) {
            (None, _) => Initial::ByVersion,
            (Some(_), true) => Initial::Marked,
            (Some(_), false) => Initial::Left,
        },
    })
}

fn version(query: &Query<'_>) -> Result<Version, Refusal> {
    let stated = query.number("resourceVersion")?;
    let is_any = || stated.unwrap_or(0) == 0;
    match (query.text("resourceVersionMatch").as_deref(), stated) {
        (None | Some("NotOlderThan"), _) if is_any() => Ok(Version::Any),
        (None | Some("NotOlderThan"), Some(version)) => Ok(Version::NotOlderThan(version)),
        (Some("Exact"), Some(version)) if version != 0 => Ok(Version::Exactly(version)),
        (Some("Exact"), _) => Err(invalid(
            "resourceVersionMatch",
            "Exact requires a resourceVersion",
        )),
        (_, _) => Err(invalid("resourceVersionMatch", "must be Exact or NotOlderThan")),
    }
}

/// The parameters; of one that is repeated the first counts.
struct Query<'a>(&'a str);

impl Query<'_> {
    fn value(&self, name: &str) -> Option<String> {
        values(self.0, name).next().map(Cow::into_owned)
    }

    fn text(&self, name: &str) -> Option<String> {
        self.value(name).filter(|text| !text.is_empty())
    }

    fn number(&self, name: &str) -> Result<Option<u64>, Refusal> {
        let number = |text: String| {
            let number = text.parse();
            number.map_err(|_| invalid(name, format_args!("{text:?} is not a whole number from 0 on")))
        };
        self.text(name).map(number).transpose()
    }

    /// As the API server reads it (`Convert_Slice_string_To_bool` of `k8s.io/apimachinery`): whatever is not a no is a yes.
    fn is_set(&self, name: &str) -> bool {
        !matches!(self.value(name).as_deref(), None | Some("false" | "0"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ok(query: &str) -> Options {
        parse(Kind::Pod, query).unwrap()
    }

    #[test]
    fn parameters_become_options() {
        let list = ok("");
        assert_eq!(
            (list.mode, list.version, list.limit),
            (Mode::List, Version::Any, None)
        );
        assert_eq!(list.include, Include::Metadata);
        assert_eq!(ok("limit=500").limit, NonZeroUsize::new(500));
        assert_eq!(ok("limit=0").limit, None);
        assert_eq!(ok("includeObject=Object").include, Include::Object);
        assert_eq!(ok("resourceVersion=0").version, Version::Any);
        assert_eq!(ok("resourceVersion=7").version, Version::NotOlderThan(7));
        let exact = ok("resourceVersion=7&resourceVersionMatch=Exact");
        assert_eq!(exact.version, Version::Exactly(7));
        let plain = Watch {
            timeout: None,
            bookmarks: Bookmarks::Unwanted,
            initial: Initial::ByVersion,
        };
        assert_eq!(ok("watch=true").mode, Mode::Watch(plain));
        assert_eq!(ok("watch").mode, Mode::Watch(plain));
        assert_eq!(ok("watch=false&watch=true").mode, Mode::List);
        let full = Watch {
            timeout: Some(Duration::from_secs(5)),
            bookmarks: Bookmarks::Allowed,
            initial: Initial::Marked,
        };
        let query = "watch=1&timeoutSeconds=5&allowWatchBookmarks=true&sendInitialEvents=true";
        assert_eq!(ok(query).mode, Mode::Watch(full));
        let continued = Continued {
            version: 7,
            namespace: "ns".into(),
            name: "a.b".into(),
        };
        let query = format!("continue={}", continued.encode());
        assert_eq!(ok(&query).continued, Some(continued));
    }

    #[test]
    fn what_cannot_be_used_is_named() {
        let check = |query: &str, expected: &str| {
            let refused = parse(Kind::Pod, query).unwrap_err();
            assert!(matches!(refused, Refusal::BadRequest(_)), "{query}");
            assert_eq!(refused.to_string(), expected, "{query}");
        };
        check("limit=-1", "limit: \"-1\" is not a whole number from 0 on");
        check(
            "watch=1&timeoutSeconds=x",
            "timeoutSeconds: \"x\" is not a whole number from 0 on",
        );
        check(
            "resourceVersion=x",
            "resourceVersion: \"x\" is not a whole number from 0 on",
        );
        check("continue=x", "continue: is not one of this server");
        check(
            "resourceVersionMatch=Exact",
            "resourceVersionMatch: Exact requires a resourceVersion",
        );
        check(
            "resourceVersionMatch=x",
            "resourceVersionMatch: must be Exact or NotOlderThan",
        );
        check(
            "includeObject=x",
            "includeObject: must be None, Metadata or Object",
        );
        check(
            "fieldSelector=a%3Db",
            "fieldSelector: field label not supported: a",
        );
    }
}
