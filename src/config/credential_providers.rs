//! The configuration of credential provider plugins, from `--image-credential-provider-config`: a file, or a directory
//! of such files (`pkg/credentialprovider/plugin/config.go` of Kubernetes).

use std::collections::BTreeSet;
use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde_json::Value;

use super::error::ConfigError;
use crate::model::credential_provider::{Provider, VERSIONS};
use crate::model::duration::Span;
use crate::model::registry;
use crate::model::yaml::document as yaml;

/// The kind of the document, and its group.
const KIND: &str = "CredentialProviderConfig";
const GROUP: &str = "kubelet.config.k8s.io/";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Document {
    kind: String,
    api_version: String,
    #[serde(default)]
    providers: Vec<Written>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Written {
    #[serde(default)]
    name: String,
    #[serde(default)]
    match_images: Vec<String>,
    default_cache_duration: Option<Span>,
    #[serde(default)]
    api_version: String,
    #[serde(default)]
    args: Vec<String>,
    #[serde(default)]
    env: Vec<Variable>,
    token_attributes: Option<Value>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Variable {
    name: String,
    #[serde(default)]
    value: String,
}

/// Reads the providers. `programs` is the directory with their executables, each under its provider's name.
pub fn read(config: &Path, programs: &Path) -> Result<Vec<Provider>, ConfigError> {
    let mut providers = Vec::new();
    let mut names = BTreeSet::new();
    for path in documents(config)? {
        for written in document(&path)?.providers {
            let wrong = |problem: String| wrong(&path, problem);
            if !names.insert(written.name.clone()) {
                return Err(wrong(format!("provider {:?} is listed twice", written.name)));
            }
            providers.push(provider(written, programs).map_err(wrong)?);
        }
    }
    match providers.is_empty() {
        true => Err(wrong(
            config,
            "it lists no provider: providers is empty".to_owned(),
        )),
        false => Ok(providers),
    }
}

fn wrong(path: &Path, problem: String) -> ConfigError {
    ConfigError::Providers {
        path: path.to_owned(),
        problem,
    }
}

/// The file itself, or the files of a directory, sorted by name.
fn documents(config: &Path) -> Result<Vec<PathBuf>, ConfigError> {
    let unread = |source| ConfigError::Read {
        path: config.to_owned(),
        source,
    };
    if !fs::metadata(config).map_err(unread)?.is_dir() {
        return Ok(vec![config.to_owned()]);
    }
    let mut found = Vec::new();
    for entry in fs::read_dir(config).map_err(unread)? {
        let path = entry.map_err(unread)?.path();
        let is_document = path
            .extension()
            .is_some_and(|end| ["json", "yaml", "yml"].iter().any(|known| end == *known));
        if is_document && !path.is_dir() {
            found.push(path);
        }
    }
    found.sort();
    match found.is_empty() {
        true => Err(wrong(
            config,
            "the directory contains no .yaml, .yml or .json file".to_owned(),
        )),
        false => Ok(found),
    }
}

fn document(path: &Path) -> Result<Document, ConfigError> {
    let text = fs::read_to_string(path).map_err(|source| ConfigError::Read {
        path: path.to_owned(),
        source,
    })?;
    let wrong = |problem: String| wrong(path, problem);
    let read = yaml::read_one(&text)
        .map_err(|error| wrong(format!("it is not valid YAML from line {} on", error.line)))?;
    let document: Document = read
        .typed()
        .map_err(|(path, problem)| wrong(format!("{}: {problem}", yaml::show(&path))))?;
    let version = document.api_version.strip_prefix(GROUP);
    let is_known = matches!(version, Some("v1" | "v1beta1" | "v1alpha1"));
    match document.kind == KIND && is_known {
        true => Ok(document),
        false => Err(wrong(format!("it is not a {KIND} of {GROUP}v1"))),
    }
}

fn provider(written: Written, programs: &Path) -> Result<Provider, String> {
    let name = &written.name;
    let of = |problem: &str| format!("provider {name:?}: {problem}");
    if name.is_empty() || matches!(name.as_str(), "." | "..") || name.contains(['/', ' ']) {
        return Err(of("its name must be a file name, without '/' and spaces"));
    }
    if !VERSIONS.contains(&written.api_version.as_str()) {
        return Err(of(&format!(
            "its apiVersion must be one of {}",
            VERSIONS.join(", ")
        )));
    }
    if written.match_images.is_empty() {
        return Err(of(
            "matchImages is empty; list the images that the provider has credentials for",
        ));
    }
    let odd = written
        .match_images
        .iter()
        .find(|place| !registry::is_place(place));
    if let Some(place) = odd {
        return Err(of(&format!(
            "{place:?} in matchImages is not a registry or part of one"
        )));
    }
    let holds = written
        .default_cache_duration
        .filter(|holds| holds.0 >= 0)
        .ok_or_else(|| of("defaultCacheDuration is missing or negative; write it like 10m"))?;
    if written.token_attributes.is_some() {
        return Err(of("tokenAttributes is not supported yet; omit it"));
    }
    let program = programs.join(name);
    let is_program =
        fs::metadata(&program).is_ok_and(|about| about.is_file() && about.permissions().mode() & 0o111 != 0);
    if !is_program {
        return Err(of(&format!(
            "{} is not an executable file; install it there",
            program.display()
        )));
    }
    Ok(Provider {
        program,
        api_version: written.api_version,
        images: written.match_images,
        holds: holds.unsigned(),
        arguments: written.args,
        environment: written.env.into_iter().map(|own| (own.name, own.value)).collect(),
        name: written.name,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROVIDER: &str = "- name: login
  matchImages: ['*.example.com']
  defaultCacheDuration: 10m
  apiVersion: credentialprovider.kubelet.k8s.io/v1
  args: [get]
  env: [{name: A, value: b}]
";

    fn text(provider: &str) -> String {
        format!(
            "kind: CredentialProviderConfig\napiVersion: kubelet.config.k8s.io/v1\nproviders:\n{provider}"
        )
    }

    fn program(directory: &Path, name: &str) {
        let path = directory.join(name);
        fs::write(&path, "").unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    #[test]
    fn a_file_or_a_directory_of_files() {
        let directory = tempfile::tempdir().unwrap();
        let (configs, programs) = (directory.path().join("conf"), directory.path().join("bin"));
        fs::create_dir(&configs).unwrap();
        fs::create_dir(&programs).unwrap();
        for name in ["login", "other"] {
            program(&programs, name);
        }
        let first = configs.join("1.yaml");
        fs::write(&first, text(PROVIDER)).unwrap();
        fs::write(configs.join("0.yml"), text(&PROVIDER.replace("login", "other"))).unwrap();
        fs::write(configs.join("notes"), "no configuration").unwrap();
        let one = read(&first, &programs).unwrap();
        assert_eq!(one.len(), 1);
        assert_eq!(one[0].holds.as_secs(), 600);
        assert_eq!(one[0].program, programs.join("login"));
        assert_eq!(one[0].environment, [("A".to_owned(), "b".to_owned())]);
        let names = |providers: Vec<Provider>| providers.into_iter().map(|own| own.name).collect::<Vec<_>>();
        assert_eq!(names(read(&configs, &programs).unwrap()), ["other", "login"]);
        fs::write(configs.join("2.json"), text(PROVIDER)).unwrap();
        let error = read(&configs, &programs).unwrap_err().to_string();
        assert!(error.contains("\"login\" is listed twice"), "{error}");
    }

    #[test]
    fn what_is_wrong_is_named() {
        let directory = tempfile::tempdir().unwrap();
        program(directory.path(), "login");
        let path = directory.path().join("providers.yaml");
        let check = |content: &str, expected: &str| {
            fs::write(&path, content).unwrap();
            let error = read(&path, directory.path()).unwrap_err().to_string();
            assert!(
                error.contains("providers.yaml") && error.contains(expected),
                "{error}"
            );
        };
        let with = |from: &str, to: &str| text(&PROVIDER.replace(from, to));
        check("kind: [", "not valid YAML");
        check(
            &text(PROVIDER).replace("kind: Cred", "kind: Other"),
            "not a CredentialProviderConfig",
        );
        check(
            "kind: CredentialProviderConfig\napiVersion: kubelet.config.k8s.io/v1\n",
            "no provider",
        );
        check(&with("name: login", "name: ../login"), "its name must be");
        check(
            &with("name: login", "name: absent"),
            "absent is not an executable file",
        );
        check(
            &with("credentialprovider.kubelet.k8s.io/v1", "v1"),
            "its apiVersion must be",
        );
        check(&with("['*.example.com']", "[]"), "matchImages is empty");
        check(&with("*.example.com", "a b"), "not a registry");
        check(&with("10m", "-10m"), "defaultCacheDuration");
        check(
            &with("args: [get]", "arguments: [get]"),
            "unknown field `arguments`",
        );
        check(
            &with("args: [get]", "tokenAttributes: {cacheType: Token}"),
            "tokenAttributes is not supported yet",
        );
        let error = read(&directory.path().join("absent"), directory.path()).unwrap_err();
        assert!(error.to_string().contains("cannot read"), "{error}");
    }
}
