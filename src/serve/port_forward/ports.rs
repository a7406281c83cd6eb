//! The ports that a request names, which only a WebSocket without the tunnel does: its client opens no streams that could
//! (`NewV4Options` in `staging/src/k8s.io/cri-streaming/pkg/streaming/portforward/websocket.go`). Pure.

use crate::serve::query::values;
use crate::serve::stream::websocket::Codec;

/// How many ports one WebSocket forwards: each takes two channels.
pub(super) const MAX: usize = Codec::CHANNELS as usize / 2;

/// Why a request forwards nothing, worded as by the kubelet, which has no bound of its own.
#[derive(Debug, PartialEq, Eq, thiserror::Error)]
#[allow(missing_docs)] // the messages say it
pub(super) enum BadPorts {
    #[error("query parameter \"port\" is required")]
    Missing,
    #[error("query parameter \"port\" cannot be empty")]
    Empty,
    #[error("unable to parse {0:?} as a port")]
    Invalid(String),
    #[error("port {0:?} must be > 0")]
    Zero(String),
    #[error("more than {MAX} ports: use several connections")]
    TooMany,
}

/// The ports of a query, which may be listed in one parameter or in several.
pub(super) fn parse(query: &str) -> Result<Vec<u16>, BadPorts> {
    let mut ports = Vec::new();
    for list in values(query, "port") {
        if list.is_empty() {
            return Err(BadPorts::Empty);
        }
        for port in list.split(',') {
            // `parse` takes a sign, too.
            let digits = Some(port).filter(|port| port.bytes().all(|byte| byte.is_ascii_digit()));
            match digits.and_then(|port| port.parse().ok()) {
                Some(0) => return Err(BadPorts::Zero(list.into_owned())),
                Some(port) => ports.push(port),
                None => return Err(BadPorts::Invalid(list.into_owned())),
            }
            if ports.len() > MAX {
                return Err(BadPorts::TooMany);
            }
        }
    }
    match ports.is_empty() {
        true => Err(BadPorts::Missing),
        false => Ok(ports),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_listed_in_one_parameter_or_in_several() {
        let check = |query: &str, expected: Result<&[u16], BadPorts>| {
            assert_eq!(parse(query), expected.map(<[u16]>::to_vec), "{query}");
        };
        check("port=80", Ok(&[80]));
        check("port=80&x=1&port=443", Ok(&[80, 443]));
        check("port=80,443&port=80", Ok(&[80, 443, 80]));
        check("port=80%2C443", Ok(&[80, 443]));
        check("", Err(BadPorts::Missing));
        check("ports=80", Err(BadPorts::Missing));
        check("port=", Err(BadPorts::Empty));
        check("port=80&port", Err(BadPorts::Empty));
        check("port=0", Err(BadPorts::Zero("0".to_owned())));
        for invalid in ["80,", "http", "65536", "-1", "+80", " 80"] {
            let query = form_urlencoded::Serializer::new(String::new())
                .append_pair("port", invalid)
                .finish();
            check(&query, Err(BadPorts::Invalid(invalid.to_owned())));
        }
        let many = |count: usize| "port=1&".repeat(count);
        assert_eq!(parse(&many(MAX)).map(|ports| ports.len()), Ok(MAX));
        check(&many(MAX + 1), Err(BadPorts::TooMany));
    }
}
