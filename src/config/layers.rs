//! Merges the configuration in the kubelet's order: file, drop-ins, flags; later ones win.
//!
//! Pure: takes documents and flags, returns one merged value, each key with its origin.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde_json::{Map, Value};

use super::defaults;
use super::error::ConfigError;
use super::flag::{Flag, Kind, Target};
use super::flag_value::flag_value;
use super::flags;
use super::known::check_document;
use super::own::{self, GantryConfiguration};
use super::raw::{self, KubeletConfiguration};
use crate::model::yaml::document::{self, Document, KeyPath};

/// One kind of configuration, as merged so far.
#[derive(Debug, Clone, Default)]
pub struct Layer {
    /// The merged value, still as written.
    pub value: Value,
    /// The origin of each key: `file:line` or a flag.
    pub origins: BTreeMap<KeyPath, String>,
}

impl Layer {
    /// The origin of a key or of its nearest parent; `None` for a default.
    pub fn origin(&self, path: &[String]) -> Option<&String> {
        (1..=path.len())
            .rev()
            .find_map(|length| self.origins.get(&path[..length]))
    }

    /// Whether the key is set explicitly.
    pub fn is_stated(&self, key: &str) -> bool {
        self.origins.contains_key(&[key.to_owned()][..])
    }

    /// Merges as RFC 7396 does: maps merge, lists and scalars are replaced, null removes.
    fn merge(&mut self, patch: &Value, origin: &dyn Fn(&[String]) -> String) {
        merge(&mut self.value, patch);
        let mut path = Vec::new();
        note(&mut self.origins, patch, &mut path, origin);
    }

    /// Sets one key and everything below it.
    fn set(&mut self, path: &str, value: Value, origin: String) {
        let path: KeyPath = path.split('.').map(str::to_owned).collect();
        self.origins.retain(|key, _| !key.starts_with(&path));
        let mut slot = &mut self.value;
        for key in &path {
            if !slot.is_object() {
                *slot = Value::Object(Map::new());
            }
            slot = &mut slot[key];
        }
        *slot = value;
        self.origins.insert(path, origin);
    }
}

fn merge(target: &mut Value, patch: &Value) {
    let Value::Object(patch) = patch else {
        *target = patch.clone();
        return;
    };
    if !target.is_object() {
        *target = Value::Object(Map::new());
    }
    for (key, value) in patch {
        if value.is_null() {
            target.as_object_mut().expect("made an object above").remove(key);
        } else {
            merge(&mut target[key], value);
        }
    }
}

fn note(
    origins: &mut BTreeMap<KeyPath, String>,
    value: &Value,
    path: &mut KeyPath,
    origin: &dyn Fn(&[String]) -> String,
) {
    if !path.is_empty() {
        origins.insert(path.clone(), origin(path));
    }
    let children: Vec<(String, &Value)> = match value {
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), value)).collect(),
        Value::Array(items) => items
            .iter()
            .enumerate()
            .map(|(i, item)| (i.to_string(), item))
            .collect(),
        _ => return,
    };
    for (key, child) in children {
        path.push(key);
        note(origins, child, path, origin);
        path.pop();
    }
}

/// The text of one configuration file.
#[derive(Debug, Clone)]
pub struct Text {
    /// The file, absolute.
    pub path: PathBuf,
    /// Why.
    pub text: String,
}

/// Both kinds of configuration.
#[derive(Debug, Clone, Default)]
pub struct Layers {
    /// KubeletConfiguration.
    pub kubelet: Layer,
    /// GantryConfiguration.
    pub own: Layer,
    /// Flags that were given and have no effect.
    pub unused_flags: Vec<&'static str>,
    /// Every flag that was given, with its value.
    pub given_flags: BTreeMap<&'static str, Value>,
}

/// A flag as given, with the text of each occurrence.
pub type FlagValues = (&'static Flag, Vec<String>);

impl Layers {
    /// Merges the main file, the drop-ins in the order given, and the flags.
    pub fn merge(main: Option<&Text>, dropins: &[Text], flags: &[FlagValues]) -> Result<Self, ConfigError> {
        let mut layers = Layers::default();
        if let Some(main) = main {
            layers.add(main)?;
        }
        // A drop-in's thresholds are merged over the defaults, as in the kubelet.
        if defaults::get(&layers.kubelet.value, "evictionHard").is_null() {
            let default = serde_json::json!({ "evictionHard": defaults::eviction_hard() });
            merge(&mut layers.kubelet.value, &default);
        }
        for dropin in dropins {
            layers.add(dropin)?;
        }
        // Defaults come before flags, so that a flag does not change the default of another key.
        defaults::complete(&mut layers.kubelet.value);
        for (flag, texts) in flags {
            layers.add_flag(flag, texts)?;
        }
        Ok(layers)
    }

    fn add(&mut self, file: &Text) -> Result<(), ConfigError> {
        let in_file = |line, problem| ConfigError::InFile {
            path: file.path.clone(),
            line,
            problem,
        };
        let documents = document::read(&file.text).map_err(|error| in_file(error.line, error.problem))?;
        if documents.is_empty() {
            let problem = format!("is empty; write `kind: {}` or remove the file", raw::KIND);
            return Err(in_file(1, problem));
        }
        let mut seen = Vec::new();
        for document in documents {
            let kind = document.value["kind"].as_str().unwrap_or_default().to_owned();
            if seen.contains(&kind) {
                return Err(in_file(
                    document.line,
                    format!("a second {kind} in the same file"),
                ));
            }
            match kind.as_str() {
                raw::KIND => self.add_kubelet(file, document)?,
                own::KIND => {
                    check_document::<GantryConfiguration>(&document, own::API_VERSION, &in_file)?;
                    let origin = |path: &[String]| place(&file.path, document.line_of(path));
                    self.own.merge(&document.value, &origin);
                }
                "" => {
                    let problem = format!("kind is missing; write `kind: {}`", raw::KIND);
                    return Err(in_file(document.line, problem));
                }
                other => {
                    let problem = format!("kind {other} is neither {} nor {}", raw::KIND, own::KIND);
                    return Err(in_file(document.line_of(&["kind".to_owned()]), problem));
                }
            }
            seen.push(kind);
        }
        Ok(())
    }

    fn add_kubelet(&mut self, file: &Text, mut document: Document) -> Result<(), ConfigError> {
        let in_file = |line, problem| ConfigError::InFile {
            path: file.path.clone(),
            line,
            problem,
        };
        check_document::<KubeletConfiguration>(&document, raw::API_VERSION, &in_file)?;
        absolute_paths(&mut document.value, file.path.parent().unwrap_or(Path::new("/")));
        let origin = |path: &[String]| place(&file.path, document.line_of(path));
        self.kubelet.merge(&document.value, &origin);
        Ok(())
    }

    fn add_flag(&mut self, flag: &'static Flag, texts: &[String]) -> Result<(), ConfigError> {
        let wrong = |problem| ConfigError::Flag {
            flag: flag.name.to_owned(),
            problem,
        };
        let origin = format!("--{}", flag.name);
        let value = flag_value(flag.kind, texts).map_err(wrong)?;
        // An empty text sets nothing (`--node-ip=$NODE_IP`), except for resolv.conf, where it means that there is none
        // to read.
        if value == Value::String(String::new()) && flag.name != "resolv-conf" {
            return Ok(());
        }
        self.given_flags.insert(flag.name, value.clone());
        match flag.target {
            Target::Kubelet("logging.vmodule") | Target::Unused => self.unused_flags.push(flag.name),
            Target::Kubelet(key) if flag.kind == Kind::BoolMap => {
                let gates = serde_json::json!({ key: value });
                self.kubelet.merge(&gates, &|_| origin.clone());
            }
            Target::Kubelet(key) => self.kubelet.set(key, value, origin),
            Target::Own(key) => self.own.set(key, value, origin),
            Target::Source => {}
        }
        Ok(())
    }
}

fn place(path: &Path, line: usize) -> String {
    format!("{}:{line}", path.display())
}

/// Relative paths in a file are resolved against the file's directory (`KubeletConfigurationPathRefs` of Kubernetes).
fn absolute_paths(value: &mut Value, directory: &Path) {
    let keys = [
        "/staticPodPath",
        "/tlsCertFile",
        "/tlsPrivateKeyFile",
        "/resolvConf",
    ];
    for key in keys.into_iter().chain(["/authentication/x509/clientCAFile"]) {
        if let Some(Value::String(path)) = value.pointer_mut(key)
            && !path.is_empty()
        {
            *path = directory.join(&*path).display().to_string();
        }
    }
}

/// The flag of a name.
pub fn flag(name: &str) -> Option<&'static Flag> {
    flags::all().find(|flag| flag.name == name)
}
