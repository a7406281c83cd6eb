//! Where one request of a GET goes, and whence it was sent there.

/// The purpose of a GET.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A probe.
    Probe,
    /// A hook.
    Hook,
}

impl Purpose {
    /// As in the user agent.
    pub(super) fn name(self) -> &'static str {
        match self {
            Purpose::Probe => "probe",
            Purpose::Hook => "lifecycle",
        }
    }
}

/// The target of a GET.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) https: bool,
    /// Host and port as in the URL: a default port that is not written does not appear in the `Host` header either.
    pub(super) authority: String,
    pub(super) path: String,
}

/// One request of a GET: the first, or one that follows a redirect.
pub(super) struct Hop {
    pub(super) target: Target,
    /// The configured `Host` applies: no redirect has named another.
    pub(super) own_host: bool,
    /// The URL that redirected here.
    pub(super) referer: Option<String>,
}

impl Hop {
    /// The next request. A URL requested over TLS is not sent as the referer without TLS (`refererForURL`).
    pub(super) fn to(self, next: Target, relative: bool) -> Hop {
        let leaves_tls = self.target.https && !next.https;
        Hop {
            own_host: self.own_host && relative,
            referer: (!leaves_tls).then(|| self.target.url()),
            target: next,
        }
    }
}

impl Target {
    pub(super) fn url(&self) -> String {
        let scheme = if self.https { "https" } else { "http" };
        format!("{scheme}://{}{}", self.authority, self.path)
    }

    /// The host alone, without the brackets of an IPv6 address.
    pub(super) fn host(&self) -> &str {
        split(&self.authority).0
    }

    pub(super) fn port(&self) -> u16 {
        let default = if self.https { 443 } else { 80 };
        split(&self.authority).1.unwrap_or(default)
    }

    /// The target of a `Location`, and whether it names no host.
    pub(super) fn redirected(&self, location: &str) -> (Target, bool) {
        let location = location.split('#').next().unwrap_or_default();
        let (https, rest) = match location.split_once("://") {
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("https") => (true, Some(rest)),
            Some((scheme, rest)) if scheme.eq_ignore_ascii_case("http") => (false, Some(rest)),
            _ => (self.https, location.strip_prefix("//")),
        };
        if let Some(rest) = rest {
            let end = rest.find(['/', '?']).unwrap_or(rest.len());
            // User information before the host is not passed on.
            let authority = rest[..end].rsplit('@').next().unwrap_or_default().to_owned();
            let path = path(&rest[end..]);
            return (
                Target {
                    https,
                    authority,
                    path,
                },
                false,
            );
        }
        let path = if location.starts_with('/') {
            path(location)
        } else {
            let own = self.path.split('?').next().unwrap_or_default();
            let dir = own.rfind('/').map_or("/", |slash| &own[..=slash]);
            path(&format!("{dir}{location}"))
        };
        (Target { path, ..self.clone() }, true)
    }
}

/// Host and port of a URL's authority.
pub(super) fn split(authority: &str) -> (&str, Option<u16>) {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, port.parse().ok()),
        _ => (authority, None),
    };
    (host.trim_matches(['[', ']']), port)
}

/// A path that is valid in a request: rooted, without a fragment, with invalid characters encoded.
pub(super) fn path(text: &str) -> String {
    let text = text.split('#').next().unwrap_or_default();
    let mut path = String::with_capacity(text.len() + 1);
    if !text.starts_with('/') {
        path.push('/');
    }
    for byte in text.bytes() {
        match byte {
            b'!' | b'#'..=b';' | b'=' | b'?'..=b'Z' | b'[' | b']' | b'_' | b'a'..=b'z' | b'~' => {
                path.push(char::from(byte));
            }
            other => path.push_str(&format!("%{other:02X}")),
        }
    }
    path
}
