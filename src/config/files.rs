//! Reads the configuration files. The only part of this module that accesses the disk.

use std::path::{Path, PathBuf};

use super::error::ConfigError;
use super::layers::{FlagValues, Layers, Text};
use super::resolve::resolve;
use super::surroundings::ConfigContext;
use super::{Config, Role};

/// The largest configuration file that is read, in bytes.
const MAX_BYTES: u64 = 4 << 20;

/// The default file of `gantry run`; it may be absent.
pub(crate) const RUN_FILE: &str = "/etc/gantry/config.yaml";

/// The file with the Kubernetes version that the node reports, if it is not the agent's own: one line, like v1.34.2. It
/// is a file because kubeadm runs `kubelet --version` without further arguments.
pub const VERSION_FILE: &str = "/etc/gantry/kubernetes-version";

/// The key that encrypts the checkpoint of API pods. It is in /etc beside the machine's other secrets, not in the state
/// directory, so that a copy of that directory cannot be decrypted.
pub const STORE_KEY: &str = "/etc/gantry/store.key";

/// Where this process runs.
pub fn here() -> Result<ConfigContext, ConfigError> {
    let failed = |path: &str, source| ConfigError::Read {
        path: PathBuf::from(path),
        source,
    };
    let hostname = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .map_err(|source| failed("/proc/sys/kernel/hostname", source))?;
    let directory = std::env::current_dir().map_err(|source| failed(".", source))?;
    Ok(ConfigContext {
        hostname,
        directory,
        version: version(Path::new(VERSION_FILE)),
    })
}

/// The Kubernetes version that this machine is set to report, as written; empty if it is not set.
pub fn version(path: &Path) -> String {
    // An unreadable file counts as absent: unprivileged programs ask for the version too.
    std::fs::read_to_string(path).unwrap_or_default()
}

/// The configuration from the flags alone, for users that may not read the files.
pub fn load_without_file(
    role: Role,
    flags: &[FlagValues],
    context: &ConfigContext,
) -> Result<Config, ConfigError> {
    resolve(Layers::merge(None, &[], flags)?, role, context)
}

/// Reads the files that the flags point to, and resolves everything.
pub fn load(role: Role, flags: &[FlagValues], context: &ConfigContext) -> Result<Config, ConfigError> {
    let text = |name: &str| {
        let texts = flags
            .iter()
            .find(|(flag, _)| flag.name == name)
            .and_then(|(_, texts)| texts.last());
        texts.filter(|text| !text.is_empty())
    };
    let kubeconfig = text("kubeconfig").map(|path| context.directory.join(path));
    let bootstrap_kubeconfig = text("bootstrap-kubeconfig").map(|path| context.directory.join(path));
    if let (Some(bootstrap), None) = (&bootstrap_kubeconfig, &kubeconfig) {
        return Err(ConfigError::Flag {
            flag: "bootstrap-kubeconfig".to_owned(),
            problem: format!(
                "{} needs --kubeconfig, the file that is written once the node has its certificate",
                bootstrap.display()
            ),
        });
    }
    let main = match text("config") {
        Some(path) => Some(read(Path::new(path), &context.directory)?),
        None if role == Role::Run && Path::new(RUN_FILE).exists() => {
            Some(read(Path::new(RUN_FILE), Path::new("/"))?)
        }
        None => None,
    };
    let dropins = match text("config-dir") {
        Some(path) => read_dropins(Path::new(path), &context.directory)?,
        None => Vec::new(),
    };
    let mut config = resolve(Layers::merge(main.as_ref(), &dropins, flags)?, role, context)?;
    check_overlay(&config, kubeconfig.as_deref())?;
    config.paths.kubeconfig = kubeconfig;
    config.paths.bootstrap_kubeconfig = bootstrap_kubeconfig;
    Ok(config)
}

/// What connects the pods of several nodes depends on whether there is a cluster.
fn check_overlay(config: &Config, kubeconfig: Option<&Path>) -> Result<(), ConfigError> {
    let network = &config.network;
    let problem = match (&network.overlay.peers, kubeconfig) {
        (Some(peers), Some(kubeconfig)) => format!(
            "peersFile {} is for machines without a cluster, and --kubeconfig {} names one; there the Node objects say which \
             nodes there are: remove peersFile",
            peers.display(),
            kubeconfig.display()
        ),
        (None, None) if network.overlay.transport.is_some() => {
            "networkBackend, vxlanVNI, vxlanPort and directRouting have no effect without a cluster or peersFile; set one of \
             these, or remove those"
                .to_owned()
        }
        (None, Some(_)) if network.overlay.transport.is_some() && !network.pod_cidr.is_empty() => {
            "with podCIDR the pod network of a cluster's node ends at the node, so that networkBackend, vxlanVNI, vxlanPort \
             and directRouting have no effect; remove podCIDR, and the node gets the subnet that the cluster assigns to it"
                .to_owned()
        }
        _ => return Ok(()),
    };
    Err(ConfigError::Machine(problem))
}

/// Reads one file; a relative path is resolved against `directory`.
pub fn read(path: &Path, directory: &Path) -> Result<Text, ConfigError> {
    let path = directory.join(path);
    let failed = |source| ConfigError::Read {
        path: path.clone(),
        source,
    };
    let about = std::fs::metadata(&path).map_err(failed)?;
    if !about.is_file() || about.len() > MAX_BYTES {
        let problem = format!("is not a regular file of at most {MAX_BYTES} bytes");
        return Err(failed(std::io::Error::other(problem)));
    }
    let bytes = std::fs::read(&path).map_err(failed)?;
    let text = String::from_utf8(bytes).map_err(|error| {
        let valid = error.utf8_error().valid_up_to();
        let line = error.as_bytes()[..valid]
            .iter()
            .filter(|&&byte| byte == b'\n')
            .count()
            + 1;
        let problem = "is not valid UTF-8".to_owned();
        ConfigError::InFile {
            path: path.clone(),
            line,
            problem,
        }
    })?;
    Ok(Text { path, text })
}

/// Reads the drop-ins: the `*.conf` files of a directory and its subdirectories, sorted by path (KEP-3983). Other files
/// are ignored.
pub fn read_dropins(path: &Path, directory: &Path) -> Result<Vec<Text>, ConfigError> {
    let mut found = Vec::new();
    walk(&directory.join(path), &mut found)?;
    found.iter().map(|path| read(path, directory)).collect()
}

/// Walks a directory in lexical order, descending into each subdirectory in its place (Go's `filepath.WalkDir`); links
/// to directories are not followed.
fn walk(directory: &Path, found: &mut Vec<PathBuf>) -> Result<(), ConfigError> {
    let failed = |source| ConfigError::Read {
        path: directory.to_owned(),
        source,
    };
    let mut entries = std::fs::read_dir(directory)
        .and_then(|entries| entries.collect::<Result<Vec<_>, _>>())
        .map_err(failed)?;
    entries.sort_by_key(std::fs::DirEntry::file_name);
    for entry in entries {
        let path = entry.path();
        if entry.file_type().map_err(failed)?.is_dir() {
            walk(&path, found)?;
        } else if path.extension().is_some_and(|extension| extension == "conf") {
            found.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dropins_in_the_order_of_their_paths() {
        let directory = tempfile::tempdir().unwrap();
        let write = |name: &str| std::fs::write(directory.path().join(name), name).unwrap();
        std::fs::create_dir(directory.path().join("15-more")).unwrap();
        let files = [
            "20-b.conf",
            "10-a.conf",
            "note.txt",
            "15-more/99-z.conf",
            "15-more/x.yaml",
        ];
        files.into_iter().for_each(write);
        let texts = read_dropins(Path::new("."), directory.path()).unwrap();
        let names: Vec<_> = texts.iter().map(|text| text.text.as_str()).collect();
        assert_eq!(names, ["10-a.conf", "15-more/99-z.conf", "20-b.conf"]);
    }

    #[test]
    fn what_the_flags_point_to_is_read() {
        use crate::config::layers::flag;
        let directory = tempfile::tempdir().unwrap();
        let head = "apiVersion: kubelet.config.k8s.io/v1beta1\nkind: KubeletConfiguration\n";
        let write = |name: &str, body: &str| {
            std::fs::write(directory.path().join(name), format!("{head}{body}")).unwrap();
        };
        std::fs::create_dir(directory.path().join("d")).unwrap();
        write("main.yaml", "maxPods: 7\npodsPerCore: 3\n");
        write("d/10.conf", "maxPods: 8\n");
        let context = ConfigContext {
            directory: directory.path().to_owned(),
            ..here().unwrap()
        };
        let given = |name: &str, text: &str| (flag(name).unwrap(), vec![text.to_owned()]);
        let mut flags = vec![given("config", "main.yaml"), given("config-dir", "d")];
        let config = load(Role::Kubelet, &flags, &context).unwrap();
        assert_eq!((config.node.max_pods, config.node.pods_per_core), (8, Some(3)));
        flags.push(given("kubeconfig", ""));
        assert!(load(Role::Kubelet, &flags, &context).is_ok());
        flags.push(given(
            "bootstrap-kubeconfig",
            "/etc/kubernetes/bootstrap-kubelet.conf",
        ));
        let error = load(Role::Kubelet, &flags, &context).unwrap_err().to_string();
        assert!(
            error.starts_with(
                "--bootstrap-kubeconfig: /etc/kubernetes/bootstrap-kubelet.conf needs --kubeconfig"
            ),
            "{error}"
        );
        flags.push(given("kubeconfig", "k"));
        flags.retain(|(flag, texts)| flag.name != "kubeconfig" || texts != &[""]);
        let config = load(Role::Kubelet, &flags, &context).unwrap();
        assert_eq!(config.paths.kubeconfig, Some(directory.path().join("k")));
        assert!(config.paths.bootstrap_kubeconfig.is_some());
        assert_eq!(config.node.reported_version, crate::config::KUBERNETES_VERSION);
        let with_peers = [flags.clone(), vec![given("peers-file", "peers.yaml")]].concat();
        let error = load(Role::Kubelet, &with_peers, &context)
            .unwrap_err()
            .to_string();
        assert!(error.contains("is for machines without a cluster"), "{error}");
        let context = ConfigContext {
            version: "v1.34.2\n".to_owned(),
            ..context
        };
        assert_eq!(
            load(Role::Kubelet, &flags, &context)
                .unwrap()
                .node
                .reported_version,
            "v1.34.2"
        );
        flags.push(given("kubernetes-version", "v1.99.0"));
        let error = load(Role::Kubelet, &flags, &context).unwrap_err().to_string();
        assert!(error.contains("kubernetesVersion"), "{error}");
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        let directory = tempfile::tempdir().unwrap();
        let error = read(Path::new("absent.yaml"), directory.path())
            .unwrap_err()
            .to_string();
        assert!(error.contains("absent.yaml"), "{error}");
        let file = directory.path().join("latin1.yaml");
        std::fs::write(&file, b"a: 1\nb: \xe4\n").unwrap();
        let error = read(&file, directory.path()).unwrap_err().to_string();
        assert!(error.ends_with("latin1.yaml:2: is not valid UTF-8"), "{error}");
        assert!(read(directory.path(), directory.path()).is_err());
    }
}
