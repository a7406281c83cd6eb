//! The host's resolver configuration (man 5 resolv.conf), read as the kubelet reads it
//! (`pkg/kubelet/network/dns/dns.go`). Pure.

use crate::model::pod::DnsConfig;

/// Name servers add up, the last `search` line counts alone, and of each option the last value.
///
/// Invalid lines are ignored, as by the C library; `domain` and `sortlist` are not passed on to pods.
pub fn parse(text: &str) -> DnsConfig {
    let mut config = DnsConfig::default();
    for line in text.lines() {
        let mut words = line.split_whitespace();
        match words.next() {
            Some("nameserver") => config.servers.extend(words.next().map(str::to_owned)),
            // The root domain stands for itself; any other means the same with and without its final dot.
            Some("search") => {
                config.searches = words
                    .filter(|domain| *domain != ".")
                    .map(|domain| domain.strip_suffix('.').unwrap_or(domain).to_owned())
                    .collect();
            }
            Some("options") => words.for_each(|option| set(&mut config.options, option)),
            _ => {}
        }
    }
    config
}

/// Replaces the option of that name, or appends it.
fn set(options: &mut Vec<String>, option: &str) {
    fn name(option: &str) -> &str {
        option.split(':').next().unwrap_or(option)
    }
    match options.iter_mut().find(|known| name(known) == name(option)) {
        Some(known) => *known = option.to_owned(),
        None => options.push(option.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, servers: &[&str], searches: &[&str], options: &[&str]) {
        let config = parse(text);
        assert_eq!(config.servers, servers, "{text}");
        assert_eq!(config.searches, searches, "{text}");
        assert_eq!(config.options, options, "{text}");
    }

    #[test]
    fn files() {
        check("", &[], &[], &[]);
        check(
            "# made by dhclient\nnameserver 192.0.2.1\n nameserver\t2001:db8::1 # second\nnameserver\n",
            &["192.0.2.1", "2001:db8::1"],
            &[],
            &[],
        );
        check(
            "search a.example b.example.\nsearch c.example .",
            &[],
            &["c.example"],
            &[],
        );
        check(
            "options ndots:1 edns0\r\noptions ndots:5 timeout:2\n",
            &[],
            &[],
            &["ndots:5", "edns0", "timeout:2"],
        );
        check(
            "domain example.org\nsortlist 192.0.2.0\n;nameserver 1.2.3.4\n",
            &[],
            &[],
            &[],
        );
    }
}
