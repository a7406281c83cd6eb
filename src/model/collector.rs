//! The collector of traces (`tracing` of KubeletConfiguration; `ValidateTracingConfiguration` in
//! `k8s.io/component-base/tracing/api/v1`). Pure.

use std::fmt;
use std::path::PathBuf;

use hyper::http::uri::Authority;

/// The port of a collector that is named without one, and the collector that is not named at all
/// (<https://opentelemetry.io/docs/specs/otlp/#otlpgrpc-default-port>).
const PORT: u16 = 4317;

/// Where traces go, and how many.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collector {
    /// The collector's address.
    pub address: Address,
    /// The share of traces that are sent.
    pub rate: Rate,
}

/// A collector's address (`tracing.endpoint`, in the forms that gRPC's clients have for names).
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Address {
    /// Host and port.
    Tcp(String),
    /// A socket.
    Unix(PathBuf),
}

/// Why an address cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} {problem}")]
pub struct BadAddress {
    text: String,
    problem: &'static str,
}

impl Default for Address {
    fn default() -> Address {
        Address::Tcp(format!("localhost:{PORT}"))
    }
}

impl fmt::Display for Address {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Address::Tcp(authority) => f.write_str(authority),
            Address::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

impl std::str::FromStr for Address {
    type Err = BadAddress;

    fn from_str(text: &str) -> Result<Address, BadAddress> {
        let bad = |problem| BadAddress {
            text: text.to_owned(),
            problem,
        };
        if let Some(path) = text.strip_prefix("unix:") {
            // `unix:///run/x` and `unix:/run/x` name the same socket.
            let path = path.strip_prefix("//").unwrap_or(path);
            return match path.starts_with('/') {
                true => Ok(Address::Unix(path.into())),
                false => Err(bad(
                    "must name a socket by its absolute path, as in unix:///run/collector.sock",
                )),
            };
        }
        let authority = match text.split_once("://") {
            // Another DNS server than the machine's may be named before the path.
            Some(("dns", rest)) => match rest.split_once('/') {
                Some(("", name)) => name,
                Some(_) => {
                    return Err(bad(
                        "must not name a DNS server: write dns:///HOST:PORT or HOST:PORT",
                    ));
                }
                None => rest,
            },
            Some(_) => {
                return Err(bad(
                    "has a scheme other than dns and unix: write HOST:PORT; TLS is not supported",
                ));
            }
            None => text,
        };
        let authority: Authority = authority
            .parse()
            .map_err(|_| bad("is not an address: write HOST:PORT"))?;
        if authority.host().is_empty() || authority.as_str().contains('@') {
            return Err(bad("is not an address: write HOST:PORT"));
        }
        match authority.port_u16() {
            Some(_) => Ok(Address::Tcp(authority.to_string())),
            None if authority.as_str() == authority.host() => Ok(Address::Tcp(format!("{authority}:{PORT}"))),
            None => Err(bad("is not an address: write HOST:PORT")),
        }
    }
}

/// The share of traces that are sent (`samplingRatePerMillion`), in millionths.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rate(u32);

/// All of them.
const ALL: u32 = 1_000_000;

impl Rate {
    /// `None` for 0, and for more than all.
    pub fn per_million(rate: u32) -> Option<Rate> {
        (1..=ALL).contains(&rate).then_some(Rate(rate))
    }

    /// Whether this trace is sent. Every program that sees the ID decides alike (`TraceIdRatioBased` of the OpenTelemetry
    /// specification: the last bytes of an ID are the random ones).
    pub fn takes(self, id: [u8; 16]) -> bool {
        let last = id.last_chunk().copied().map_or(0, u64::from_be_bytes);
        // Compared as fractions of the whole range.
        u128::from(last) * u128::from(ALL) < u128::from(self.0) << 64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_have_the_forms_of_grpc() {
        let check = |text: &str, expected: Result<&str, &str>| {
            let found = text.parse::<Address>();
            let found = found
                .map(|address| address.to_string())
                .map_err(|bad| bad.to_string());
            let expected = expected
                .map(str::to_owned)
                .map_err(|problem| format!("{text:?} {problem}"));
            assert_eq!(found, expected);
        };
        check("collector:4317", Ok("collector:4317"));
        check("10.0.0.7", Ok("10.0.0.7:4317"));
        check("[::1]:99", Ok("[::1]:99"));
        check("dns:///collector:1", Ok("collector:1"));
        check("dns://collector:1", Ok("collector:1"));
        check("unix:///run/c.sock", Ok("unix:/run/c.sock"));
        check("unix:/run/c.sock", Ok("unix:/run/c.sock"));
        let no_path = "must name a socket by its absolute path, as in unix:///run/collector.sock";
        check("unix:c.sock", Err(no_path));
        let no_scheme = "has a scheme other than dns and unix: write HOST:PORT; TLS is not supported";
        check("https://collector:4317", Err(no_scheme));
        check(
            "dns://8.8.8.8/collector",
            Err("must not name a DNS server: write dns:///HOST:PORT or HOST:PORT"),
        );
        for bad in [
            "",
            ":4317",
            "a b",
            "collector:x",
            "collector:",
            "user@collector:1",
            "collector:99999",
        ] {
            check(bad, Err("is not an address: write HOST:PORT"));
        }
    }

    #[test]
    fn a_rate_takes_its_share() {
        let check = |rate: u32, expected: std::ops::RangeInclusive<usize>| {
            let rate = Rate::per_million(rate).unwrap();
            let ids = (0..1000u64).map(|number| {
                let mut id = [0; 16];
                id[8..].copy_from_slice(&(number * (u64::MAX / 999)).to_be_bytes());
                id
            });
            let taken = ids.filter(|id| rate.takes(*id)).count();
            assert!(expected.contains(&taken), "{rate:?}: {taken}");
        };
        check(1_000_000, 1000..=1000);
        check(500_000, 499..=501);
        check(1000, 1..=2);
        assert_eq!(Rate::per_million(0), None);
        assert_eq!(Rate::per_million(1_000_001), None);
    }
}
