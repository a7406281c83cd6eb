//! The request of a probe or hook on the wire: all that a server can see of it is what Go's `net/http` sends for the
//! kubelet (`pkg/probe/http/request.go`), because some servers compare names case-sensitively.

use std::fmt::Display;

use bytes::Bytes;
use http_body_util::Empty;
use hyper::Request;
use hyper::header::{ACCEPT_ENCODING, CONNECTION, HOST, HeaderMap, HeaderName, HeaderValue, USER_AGENT};

use super::hop::{Hop, Purpose};
use crate::model::probe::HttpGet;

/// The user agent of a kubelet of this version, with the purpose in front: `kube-probe/1.36`.
const VERSION: &str = "1.36";

/// Headers that Go takes from elsewhere than the configured ones (`reqWriteExcludeHeader`). A GET has no body, so the
/// last three are never sent.
const NOT_WRITTEN: [&str; 5] = [
    "Host",
    "User-Agent",
    "Content-Length",
    "Transfer-Encoding",
    "Trailer",
];

/// Makes the request. The error has the wording of Go's transport.
///
/// The connection writes the names and capitalizes each word ([`canonical`] says where); the order is Go's: Host,
/// User-Agent, the others by name, then what the transport adds.
pub(super) fn request(get: &HttpGet, hop: &Hop, purpose: Purpose) -> Result<Request<Empty<Bytes>>, String> {
    let mut request = Request::builder().uri(&hop.target.path).body(Empty::new());
    let request = request.as_mut().map_err(|error| error.to_string())?;
    let stated = stated(get)?;
    let first = |name: &str| {
        let found = stated.iter().find(|header| header.name == name);
        found.map(|header| header.value.as_str())
    };
    let host = first("Host").filter(|host| hop.own_host && !host.is_empty());
    let host = host.unwrap_or(&hop.target.authority);
    let agent = match first("User-Agent") {
        Some(agent) => agent.to_owned(),
        None => format!("kube-{}/{VERSION}", purpose.name()),
    };
    let headers = request.headers_mut();
    let host = if is_host(host) { host } else { "" };
    headers.insert(HOST, value("Host", host)?);
    // Configured as empty, it is not sent.
    if !agent.is_empty() {
        headers.insert(USER_AGENT, value("User-Agent", &agent)?);
    }
    let accept = Header::new("Accept", "*/*");
    let referer = Header::new("Referer", hop.referer.as_deref().unwrap_or_default());
    let dropped = |header: &&Header| header.name == "Accept" && first("Accept") == Some("");
    let mut written: Vec<&Header> = stated.iter().filter(|header| !dropped(header)).collect();
    if first("Accept").is_none() {
        written.push(&accept);
    }
    if first("Referer").is_none_or(str::is_empty) && hop.referer.is_some() {
        written.retain(|header| header.name != "Referer");
        written.push(&referer);
    }
    written.retain(|header| !NOT_WRITTEN.contains(&header.name.as_str()));
    // A stable sort: values of one name keep their order.
    written.sort_by(|one, other| one.name.cmp(&other.name));
    for header in written {
        append(headers, &header.name, &header.value)?;
    }
    add_of_transport(headers, purpose);
    Ok(std::mem::take(request))
}

/// One configured header, with its canonical name.
struct Header {
    name: String,
    value: String,
}

impl Header {
    fn new(name: &str, value: &str) -> Header {
        Header {
            name: canonical(name),
            value: value.to_owned(),
        }
    }
}

/// The configured headers, or the error of Go's transport about the first that cannot be sent.
fn stated(get: &HttpGet) -> Result<Vec<Header>, String> {
    let mut stated = Vec::with_capacity(get.headers.len());
    for (name, text) in &get.headers {
        let header = Header::new(name, text);
        if HeaderName::try_from(name.as_str()).is_err() {
            return Err(wrong("name", &header.name));
        }
        value(&header.name, text)?;
        stated.push(header);
    }
    Ok(stated)
}

fn wrong(what: &str, name: impl Display) -> String {
    format!("net/http: invalid header field {what} {:?}", name.to_string())
}

/// A value without surrounding white space. It may contain all bytes but control characters, as in Go.
fn value(name: &str, text: &str) -> Result<HeaderValue, String> {
    let trimmed = text.trim_matches([' ', '\t', '\r', '\n']);
    // A value that trimming would make valid is rejected all the same: the check comes first.
    HeaderValue::from_bytes(text.as_bytes())
        .and_then(|_| HeaderValue::from_bytes(trimmed.as_bytes()))
        .map_err(|_| wrong("value for", name))
}

/// Adds one more value. The map holds about thirty thousand at most, and reports when it is full.
fn append(headers: &mut HeaderMap, name: &str, text: &str) -> Result<(), String> {
    let field = HeaderName::try_from(name).map_err(|_| wrong("name", name))?;
    let added = headers.try_append(field, value(name, text)?);
    added
        .map(drop)
        .map_err(|_| "net/http: too many headers".to_owned())
}

/// What the kubelet's two transports add: the one for probes closes each connection and accepts no compression, the one
/// for hooks is Go's default.
fn add_of_transport(headers: &mut HeaderMap, purpose: Purpose) {
    match purpose {
        Purpose::Probe => {
            let tokens = |name| {
                let values = headers.get_all(name).iter();
                values
                    .filter_map(|value| value.to_str().ok())
                    .flat_map(|value| value.split(','))
            };
            let has = |token: &str| tokens(CONNECTION).any(|found| found.trim().eq_ignore_ascii_case(token));
            // Go does not send the header twice, nor with an upgrade to another protocol.
            let switches = has("upgrade") && headers.contains_key(hyper::header::UPGRADE);
            if !has("close") && !switches {
                headers.append(CONNECTION, HeaderValue::from_static("close"));
            }
        }
        Purpose::Hook => {
            let stated = |name| {
                headers
                    .get(name)
                    .is_some_and(|value: &HeaderValue| !value.is_empty())
            };
            if !stated(ACCEPT_ENCODING) && !stated(hyper::header::RANGE) {
                headers.append(ACCEPT_ENCODING, HeaderValue::from_static("gzip"));
            }
        }
    }
}

/// The name as Go's `textproto.CanonicalMIMEHeaderKey` has it: the first letter of each word between hyphens is upper
/// case, the others are lower case. A name with an invalid character stays as it is.
pub(super) fn canonical(name: &str) -> String {
    if !name.bytes().all(is_token) {
        return name.to_owned();
    }
    let mut large = true;
    let letters = name.chars().map(|letter| {
        let written = match large {
            true => letter.to_ascii_uppercase(),
            false => letter.to_ascii_lowercase(),
        };
        large = letter == '-';
        written
    });
    letters.collect()
}

/// Whether the byte may be in a header's name (RFC 9110, `tchar`).
fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}

/// Whether the text is valid as a host; Go replaces any other with an empty one (`ValidHostHeader`).
fn is_host(text: &str) -> bool {
    let other = |byte: &u8| b"!$%&'()*+,-.:;=[]_~".contains(byte);
    text.bytes()
        .all(|byte| byte.is_ascii_alphanumeric() || other(&byte))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ask::http::hop::Target;
    use crate::model::probe::PortRef;
    use expect_test::{Expect, expect};

    fn asked(headers: &[(&str, &str)]) -> HttpGet {
        let headers = headers.iter();
        HttpGet {
            https: false,
            host: None,
            port: PortRef::Number(80),
            path: "/x".to_owned(),
            headers: headers
                .map(|(name, value)| (name.to_string(), value.to_string()))
                .collect(),
        }
    }

    fn hop() -> Hop {
        Hop {
            target: Target {
                https: false,
                authority: "10.0.0.7:80".to_owned(),
                path: "/x".to_owned(),
            },
            own_host: true,
            referer: None,
        }
    }

    /// The headers as the connection writes them.
    fn check(purpose: Purpose, headers: &[(&str, &str)], want: Expect) {
        let text = match request(&asked(headers), &hop(), purpose) {
            Ok(request) => {
                let headers = request.headers().iter();
                let line = |(name, value): (&HeaderName, &HeaderValue)| {
                    format!(
                        "{}: {}\n",
                        canonical(name.as_str()),
                        String::from_utf8_lossy(value.as_bytes())
                    )
                };
                headers.map(line).collect()
            }
            Err(error) => error + "\n",
        };
        want.assert_eq(&text);
    }

    #[test]
    fn names_are_canonical_as_in_go() {
        for (name, want) in [
            ("x-foo-bar", "X-Foo-Bar"),
            ("X-FOO-bAR", "X-Foo-Bar"),
            ("accept", "Accept"),
            ("etag", "Etag"),
            ("x_foo-1a-b", "X_foo-1a-B"),
            ("-x--y-", "-X--Y-"),
            ("x foo", "x foo"),
            ("x:foo", "x:foo"),
            ("ü-x", "ü-x"),
            ("", ""),
        ] {
            assert_eq!(canonical(name), want);
        }
    }

    #[test]
    fn a_probe_is_sent_as_the_kubelet_sends_it() {
        check(
            Purpose::Probe,
            &[],
            expect![[r"
                Host: 10.0.0.7:80
                User-Agent: kube-probe/1.36
                Accept: */*
                Connection: close
            "]],
        );
        check(
            Purpose::Probe,
            &[
                ("x-b", "2"),
                ("X-A", " 1 "),
                ("x-B", "3"),
                ("accept", "text/plain"),
                ("x-ü", ""),
            ],
            expect![[r#"
                net/http: invalid header field name "x-ü"
            "#]],
        );
        check(
            Purpose::Probe,
            &[
                ("x-b", "2"),
                ("X-A", " 1 "),
                ("x-B", "3"),
                ("accept", "text/plain"),
                ("z", "ü"),
            ],
            expect![[r"
                Host: 10.0.0.7:80
                User-Agent: kube-probe/1.36
                Accept: text/plain
                X-A: 1
                X-B: 2
                X-B: 3
                Z: ü
                Connection: close
            "]],
        );
        check(
            Purpose::Probe,
            &[("x-a", "one\ntwo")],
            expect![[r#"
                net/http: invalid header field value for "X-A"
            "#]],
        );
    }

    #[test]
    fn what_go_writes_from_elsewhere_is_not_sent_as_stated() {
        check(
            Purpose::Probe,
            &[
                ("host", "example.com"),
                ("HOST", "other"),
                ("user-agent", "own/1"),
                ("accept", ""),
                ("content-length", "5"),
                ("transfer-encoding", "chunked"),
                ("connection", "close"),
            ],
            expect![[r"
                Host: example.com
                User-Agent: own/1
                Connection: close
            "]],
        );
        check(
            Purpose::Probe,
            &[
                ("user-agent", ""),
                ("host", "a b/c"),
                ("connection", "Upgrade"),
                ("upgrade", "websocket"),
            ],
            expect![[r"
                Host: 
                Accept: */*
                Connection: Upgrade
                Upgrade: websocket
            "]],
        );
    }

    #[test]
    fn a_hook_is_sent_by_a_transport_that_keeps_connections_and_takes_gzip() {
        check(
            Purpose::Hook,
            &[("x-token", "t")],
            expect![[r"
                Host: 10.0.0.7:80
                User-Agent: kube-lifecycle/1.36
                Accept: */*
                X-Token: t
                Accept-Encoding: gzip
            "]],
        );
    }

    #[test]
    fn a_redirect_says_who_sent_it_and_takes_no_stated_host_to_a_named_one() {
        let next = |https, relative| {
            let mut first = hop();
            first.target.https = https;
            let hop = first.to(hop().target, relative);
            let request = request(&asked(&[("host", "example.com")]), &hop, Purpose::Probe).unwrap();
            let header = |name: HeaderName| request.headers().get(name)?.to_str().ok().map(str::to_owned);
            (header(HOST).unwrap(), header(hyper::header::REFERER))
        };
        let here = "http://10.0.0.7:80/x".to_owned();
        assert_eq!(next(false, true), ("example.com".to_owned(), Some(here.clone())));
        assert_eq!(next(false, false), ("10.0.0.7:80".to_owned(), Some(here)));
        assert_eq!(next(true, false), ("10.0.0.7:80".to_owned(), None));
    }

    #[test]
    fn more_headers_than_fit_are_an_error_and_no_panic() {
        let names: Vec<String> = (0..40_000).map(|n| format!("x-{n}")).collect();
        let headers: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), "")).collect();
        let error = request(&asked(&headers), &hop(), Purpose::Probe).unwrap_err();
        assert_eq!(error, "net/http: too many headers");
    }
}
