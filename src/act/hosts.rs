//! The file that containers see as /etc/hosts (kubelet_pods.go, `ensureHostsFile`).

use std::fmt::Write as _;
use std::fs::{self, OpenOptions, Permissions};
use std::io::{self, Write as _};
use std::net::IpAddr;
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt};
use std::path::Path;

use super::effect::Effect;
use super::failure::failure;
use super::sandbox;
use crate::cri::Runtime;
use crate::model::outcome::StepError;
use crate::model::pod::HostAlias;
use crate::model::reason;
use crate::model::request::HostsFile;

const HOST_FILE: &str = "/etc/hosts";

/// Writes the file. If it contains the addresses of the sandbox just created, they are requested from the runtime.
pub(super) async fn write(
    runtime: &Runtime,
    file: HostsFile,
    made_sandbox: Option<&str>,
) -> Result<Effect, StepError> {
    let mut ips = file.ips.clone();
    if !file.host_network
        && ips.is_empty()
        && let Some(id) = made_sandbox
    {
        ips = sandbox::addresses(runtime, id).await?;
    }
    let content = if file.host_network {
        fs::read(HOST_FILE).map(|host| host_content(&host, &file.aliases))
    } else {
        Ok(managed_content(&ips, &file.hostname, file.domain.as_deref(), &file.aliases).into_bytes())
    };
    match content.and_then(|content| replace(&file.path, &content)) {
        Ok(()) => Ok(Effect::PLAIN),
        Err(error) => {
            let message = format!("writing {}: {error}", file.path.display());
            Err(failure(reason::pod::FAILED_SYNC, message))
        }
    }
}

/// Written in place: containers have this very file mounted, so a new file would not be visible to them.
fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o644)
        .custom_flags(nix::libc::O_NOFOLLOW | nix::libc::O_NONBLOCK)
        .open(path)?;
    file.write_all(content)?;
    file.set_permissions(Permissions::from_mode(0o644))
}

fn managed_content(ips: &[IpAddr], hostname: &str, domain: Option<&str>, aliases: &[HostAlias]) -> String {
    let mut text = String::from(
        "# Kubernetes-managed hosts file.\n\
         127.0.0.1\tlocalhost\n\
         ::1\tlocalhost ip6-localhost ip6-loopback\n\
         fe00::0\tip6-localnet\n\
         fe00::0\tip6-mcastprefix\n\
         fe00::1\tip6-allnodes\n\
         fe00::2\tip6-allrouters\n",
    );
    for ip in ips {
        let _ = match domain {
            Some(domain) => writeln!(text, "{ip}\t{hostname}.{domain}\t{hostname}"),
            None => writeln!(text, "{ip}\t{hostname}"),
        };
    }
    text.push_str(&alias_content(aliases));
    text
}

fn host_content(host: &[u8], aliases: &[HostAlias]) -> Vec<u8> {
    let mut content = b"# Kubernetes-managed hosts file (host network).\n".to_vec();
    content.extend_from_slice(host);
    content.extend_from_slice(alias_content(aliases).as_bytes());
    content
}

fn alias_content(aliases: &[HostAlias]) -> String {
    if aliases.is_empty() {
        return String::new();
    }
    let mut text = String::from("\n# Entries added by HostAliases.\n");
    for alias in aliases {
        let _ = writeln!(text, "{}\t{}", alias.ip, alias.hostnames.join("\t"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use expect_test::{Expect, expect};

    fn check(ips: &[&str], domain: Option<&str>, aliases: &[HostAlias], want: Expect) {
        let ips: Vec<IpAddr> = ips.iter().map(|ip| ip.parse().unwrap()).collect();
        want.assert_eq(&managed_content(&ips, "web", domain, aliases));
    }

    #[test]
    fn a_pod_with_its_own_network() {
        check(
            &["10.244.0.5"],
            None,
            &[],
            expect![[r"
                # Kubernetes-managed hosts file.
                127.0.0.1	localhost
                ::1	localhost ip6-localhost ip6-loopback
                fe00::0	ip6-localnet
                fe00::0	ip6-mcastprefix
                fe00::1	ip6-allnodes
                fe00::2	ip6-allrouters
                10.244.0.5	web
            "]],
        );
    }

    #[test]
    fn two_addresses_a_domain_and_aliases() {
        let alias = HostAlias {
            ip: "192.0.2.7".parse().unwrap(),
            hostnames: vec!["db".into(), "db.local".into()],
        };
        check(
            &["10.244.0.5", "fd00::5"],
            Some("sub.default.svc.cluster.local"),
            &[alias],
            expect![[r"
                # Kubernetes-managed hosts file.
                127.0.0.1	localhost
                ::1	localhost ip6-localhost ip6-loopback
                fe00::0	ip6-localnet
                fe00::0	ip6-mcastprefix
                fe00::1	ip6-allnodes
                fe00::2	ip6-allrouters
                10.244.0.5	web.sub.default.svc.cluster.local	web
                fd00::5	web.sub.default.svc.cluster.local	web

                # Entries added by HostAliases.
                192.0.2.7	db	db.local
            "]],
        );
    }

    #[test]
    fn the_hosts_own_file_comes_first_with_the_hosts_network() {
        let alias = HostAlias {
            ip: "192.0.2.7".parse().unwrap(),
            hostnames: vec!["db".into()],
        };
        let content = host_content(b"127.0.0.1 localhost\n", &[alias]);
        let want = expect![[r"
            # Kubernetes-managed hosts file (host network).
            127.0.0.1 localhost

            # Entries added by HostAliases.
            192.0.2.7	db
        "]];
        want.assert_eq(std::str::from_utf8(&content).unwrap());
    }

    #[test]
    fn the_file_is_written_in_place() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("etc-hosts");
        replace(&path, b"a longer first text\n").unwrap();
        let mounted = fs::File::open(&path).unwrap();
        replace(&path, b"short\n").unwrap();
        assert_eq!(io::read_to_string(mounted).unwrap(), "short\n");
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o7777, 0o644);
    }
}
