//! Ports on the command line.

use std::str::FromStr;

/// Ports to forward: `8080:80`, `80` for the same number, `:80` for any free one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ports {
    /// On this machine; 0: any free one.
    pub local: u16,
    /// In the pod.
    pub remote: u16,
}

impl FromStr for Ports {
    type Err = String;

    fn from_str(text: &str) -> Result<Ports, String> {
        let wrong = || format!("{text:?} is not [LOCAL:]PORT: write 8080:80, 80 or :80");
        let (local, remote) = match text.split_once(':') {
            None => (text, text),
            Some(("", remote)) => ("0", remote),
            Some(both) => both,
        };
        let number = |text: &str| text.parse::<u16>().map_err(|_| wrong());
        match (number(local)?, number(remote)?) {
            (_, 0) => Err(wrong()),
            (local, remote) => Ok(Ports { local, remote }),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_written_as_for_kubectl() {
        let check = |text: &str, expected: Option<(u16, u16)>| {
            let ports = text.parse::<Ports>().ok();
            assert_eq!(ports.map(|ports| (ports.local, ports.remote)), expected, "{text}");
        };
        check("8080:80", Some((8080, 80)));
        check("80", Some((80, 80)));
        check(":80", Some((0, 80)));
        check("0:80", Some((0, 80)));
        check("80:", None);
        check("80:0", None);
        check("0", None);
        check("x:80", None);
        check("80:65536", None);
        check("", None);
    }
}
