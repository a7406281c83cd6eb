//! Validates everything that takes values from objects and from the pod: projected files, variables, parts of volumes.

use std::collections::{BTreeSet, HashMap};

use k8s_openapi::api::core::v1::{
    Container, DownwardAPIVolumeFile, EnvFromSource, EnvVarSource, FileKeySelector, KeyToPath, PodSpec,
    Volume, VolumeMount, VolumeProjection,
};

use crate::manifest::decode::object;
use crate::manifest::field_value::{self, Use};
use crate::manifest::names;
use crate::manifest::path::{Faults, FieldPath};
use crate::model::bounds;

/// The largest file mode.
const MOST_MODE: i32 = 0o777;

/// Notes what is wrong with the files of a volume.
pub(crate) fn volume(volume: &Volume, spec: &PodSpec, at: &FieldPath, faults: &mut Faults) {
    if let Some(own) = &volume.config_map {
        let at = at.field("configMap");
        mode(own.default_mode, &at.field("defaultMode"), faults);
        object_name(&own.name, &at.field("name"), faults);
        items(own.items.as_deref(), &at.field("items"), faults);
    }
    if let Some(own) = &volume.secret {
        let at = at.field("secret");
        mode(own.default_mode, &at.field("defaultMode"), faults);
        let name = own.secret_name.as_deref().unwrap_or("");
        object_name(name, &at.field("secretName"), faults);
        items(own.items.as_deref(), &at.field("items"), faults);
    }
    if let Some(own) = &volume.downward_api {
        let at = at.field("downwardAPI");
        mode(own.default_mode, &at.field("defaultMode"), faults);
        downward(own.items.as_deref(), spec, &at.field("items"), faults);
    }
    if let Some(own) = &volume.projected {
        let at = at.field("projected");
        mode(own.default_mode, &at.field("defaultMode"), faults);
        repeated_paths(own.sources.as_deref().unwrap_or(&[]), &at, faults);
        for (index, source) in own.sources.iter().flatten().enumerate() {
            let at = at.field("sources").index(index);
            let count = [
                source.config_map.is_some(),
                source.secret.is_some(),
                source.downward_api.is_some(),
                source.service_account_token.is_some(),
                source.cluster_trust_bundle.is_some(),
                source.pod_certificate.is_some(),
            ];
            match count.iter().filter(|is| **is).count() {
                1 => {}
                0 => faults.add(&at, "has no source: set configMap, secret or downwardAPI"),
                _ => faults.add(&at, "has more than one source: use a separate item for each"),
            }
            if let Some(own) = &source.config_map {
                object_name(&own.name, &at.field("configMap").field("name"), faults);
                items(
                    own.items.as_deref(),
                    &at.field("configMap").field("items"),
                    faults,
                );
            }
            if let Some(own) = &source.secret {
                object_name(&own.name, &at.field("secret").field("name"), faults);
                items(own.items.as_deref(), &at.field("secret").field("items"), faults);
            }
            if let Some(own) = &source.downward_api {
                let at = at.field("downwardAPI").field("items");
                downward(own.items.as_deref(), spec, &at, faults);
            }
        }
    }
}

/// The paths that appear more than once in a projected volume, as they are written.
fn repeated_paths(sources: &[VolumeProjection], at: &FieldPath, faults: &mut Faults) {
    let mut taken = BTreeSet::new();
    for source in sources {
        let keys = |items: &'_ Option<Vec<KeyToPath>>| -> Vec<String> {
            items.iter().flatten().map(|item| item.path.clone()).collect()
        };
        let mut paths = Vec::new();
        paths.extend(source.config_map.iter().flat_map(|own| keys(&own.items)));
        paths.extend(source.secret.iter().flat_map(|own| keys(&own.items)));
        let fields = source
            .downward_api
            .iter()
            .flat_map(|own| own.items.iter().flatten());
        paths.extend(fields.map(|item| item.path.clone()));
        paths.extend(source.service_account_token.iter().map(|own| own.path.clone()));
        paths.extend(source.cluster_trust_bundle.iter().map(|own| own.path.clone()));
        if let Some(own) = &source.pod_certificate {
            let files = [
                &own.credential_bundle_path,
                &own.key_path,
                &own.certificate_chain_path,
            ];
            paths.extend(files.into_iter().flatten().cloned());
        }
        for path in paths.into_iter().filter(|path| !path.is_empty()) {
            if taken.contains(&path) {
                faults.add(
                    at,
                    format!("{path:?} is the path of several files: paths must differ"),
                );
            }
            taken.insert(path);
        }
    }
}

fn object_name(name: &str, at: &FieldPath, faults: &mut Faults) {
    match name {
        "" => faults.add(at, "is missing: it names the object in the pod's namespace"),
        name => faults.complain(at, name, names::dns_subdomain(name)),
    }
}

fn mode(mode: Option<i32>, at: &FieldPath, faults: &mut Faults) {
    if mode.is_some_and(|mode| !(0..=MOST_MODE).contains(&mode)) {
        faults.add(at, "must be a file mode from 0 to 0777");
    }
}

/// A file's path in a volume. No part of it may start with two dots: the agent uses such names itself.
fn file_path(path: &str, at: &FieldPath, faults: &mut Faults) {
    if path.is_empty() {
        faults.add(at, "is missing: it is the path of the file in the volume");
    } else if path.starts_with('/') {
        faults.add(
            at,
            format!("{path:?} must be relative to the volume: remove the leading '/'"),
        );
    } else if path.split('/').any(|part| part == "..") || path.starts_with("..") {
        faults.add(
            at,
            format!("{path:?} must neither contain '..' nor start with it"),
        );
    } else if path.split('/').all(|part| matches!(part, "" | ".")) || path.ends_with('/') {
        faults.add(at, format!("{path:?} does not name a file"));
    } else if path.contains('\0') {
        faults.add(at, "must not contain NUL");
    }
}

/// The paths of a volume as a tree of segments, so that each segment is visited once. No file may have the path of a
/// directory.
struct Places<'a> {
    /// The node below a node, by the segment that leads there.
    below: HashMap<(usize, &'a str), usize>,
    /// Which nodes are files.
    files: Vec<bool>,
}

impl<'a> Places<'a> {
    fn none() -> Places<'a> {
        Places {
            below: HashMap::new(),
            files: vec![false],
        }
    }

    fn take(&mut self, path: &'a str, at: &FieldPath, faults: &mut Faults) {
        let (mut node, mut is_taken, mut is_new) = (0, false, false);
        for part in path.split('/').filter(|part| !matches!(*part, "" | ".")) {
            bounds::step();
            let next = *self.below.entry((node, part)).or_insert(self.files.len());
            is_new = next == self.files.len();
            if is_new {
                self.files.push(false);
            }
            node = next;
            is_taken |= self.files[node];
        }
        // An existing node that is not a file is a directory.
        if is_taken || !is_new {
            faults.warn(
                at,
                format!("{path:?} is already used by another item: paths must differ"),
            );
        }
        self.files[node] = true;
    }
}

fn items(items: Option<&[KeyToPath]>, at: &FieldPath, faults: &mut Faults) {
    let mut places = Places::none();
    for (index, item) in items.iter().copied().flatten().enumerate() {
        let at = at.index(index);
        key(&item.key, &at.field("key"), faults);
        file_path(&item.path, &at.field("path"), faults);
        places.take(&item.path, &at.field("path"), faults);
        mode(item.mode, &at.field("mode"), faults);
    }
}

fn key(key: &str, at: &FieldPath, faults: &mut Faults) {
    match key {
        "" => faults.add(at, "is missing: it is the key of the value in the object"),
        key => faults.complain(at, key, object::key_complaint(key)),
    }
}

fn downward(items: Option<&[DownwardAPIVolumeFile]>, spec: &PodSpec, at: &FieldPath, faults: &mut Faults) {
    let mut places = Places::none();
    for (index, item) in items.iter().copied().flatten().enumerate() {
        let at = at.index(index);
        file_path(&item.path, &at.field("path"), faults);
        places.take(&item.path, &at.field("path"), faults);
        mode(item.mode, &at.field("mode"), faults);
        match (&item.field_ref, &item.resource_field_ref) {
            (Some(field), None) => {
                if let Err((part, complaint)) = field_value::field(field, Use::Volume) {
                    faults.add(&at.field("fieldRef").field(part), complaint);
                }
            }
            (None, Some(resource)) => {
                let at = at.field("resourceFieldRef");
                if let Err((part, complaint)) = field_value::resource(resource, Use::Volume) {
                    faults.add(&at.field(part), complaint);
                }
                container_name(resource.container_name.as_deref(), spec, &at, faults);
            }
            (None, None) => faults.add(&at, "has no value: set fieldRef or resourceFieldRef"),
            (Some(_), Some(_)) => faults.add(
                &at.field("resourceFieldRef"),
                "cannot be set together with fieldRef: keep one of the two",
            ),
        }
    }
}

fn container_name(name: Option<&str>, spec: &PodSpec, at: &FieldPath, faults: &mut Faults) {
    let Some(name) = name.filter(|name| !name.is_empty()) else {
        return;
    };
    let mut all = spec
        .containers
        .iter()
        .chain(spec.init_containers.iter().flatten());
    if !all.any(|container| container.name == name) {
        faults.warn(
            &at.field("containerName"),
            format!("no container is named {name:?}, so the volume waits for it"),
        );
    }
}

/// Notes what is wrong with the source of a variable.
pub(crate) fn value_from(from: &EnvVarSource, spec: &PodSpec, at: &FieldPath, faults: &mut Faults) {
    let sources = [
        from.field_ref.is_some(),
        from.resource_field_ref.is_some(),
        from.config_map_key_ref.is_some(),
        from.secret_key_ref.is_some(),
        from.file_key_ref.is_some(),
    ];
    match sources.iter().filter(|is| **is).count() {
        1 => {}
        0 => faults.add(at, "has no source: set value instead"),
        _ => faults.add(at, "has more than one source: keep one of them"),
    }
    if let Some(field) = &from.field_ref
        && let Err((part, complaint)) = field_value::field(field, Use::Environment)
    {
        faults.add(&at.field("fieldRef").field(part), complaint);
    }
    if let Some(resource) = &from.resource_field_ref {
        let at = at.field("resourceFieldRef");
        if let Err((part, complaint)) = field_value::resource(resource, Use::Environment) {
            faults.add(&at.field(part), complaint);
        }
        container_name(resource.container_name.as_deref(), spec, &at, faults);
    }
    if let Some(own) = &from.config_map_key_ref {
        let at = at.field("configMapKeyRef");
        object_name(&own.name, &at.field("name"), faults);
        key(&own.key, &at.field("key"), faults);
    }
    if let Some(own) = &from.secret_key_ref {
        let at = at.field("secretKeyRef");
        object_name(&own.name, &at.field("name"), faults);
        key(&own.key, &at.field("key"), faults);
    }
    if let Some(own) = &from.file_key_ref {
        file_key(own, spec, &at.field("fileKeyRef"), faults);
    }
}

/// Notes what is wrong with a key in a file of an emptyDir.
fn file_key(own: &FileKeySelector, spec: &PodSpec, at: &FieldPath, faults: &mut Faults) {
    match own.key.as_str() {
        "" => faults.add(&at.field("key"), "is missing: name a variable of the file"),
        key => faults.complain(&at.field("key"), key, names::env_name(key)),
    }
    match own.path.as_str() {
        "" => faults.add(&at.field("path"), "is missing: name a file in the volume"),
        path if path.split('/').any(|part| part == "..") => {
            faults.add(&at.field("path"), format!("{path:?} must not contain '..'"));
        }
        path if path.contains('\0') => faults.add(&at.field("path"), "must not contain NUL"),
        _ => {}
    }
    let at = at.field("volumeName");
    let name = &own.volume_name;
    let mut volumes = spec.volumes.iter().flatten();
    match volumes.find(|volume| volume.name == *name) {
        _ if name.is_empty() => faults.add(&at, "is missing: name a volume"),
        None => faults.add(&at, format!("no volume is named {name:?}")),
        Some(volume) if volume.empty_dir.is_none() => {
            faults.add(&at, "referenced volume must be of type emptyDir");
        }
        Some(_) => {}
    }
}

/// Notes what is wrong with the whole objects in the environment.
pub(crate) fn env_from(all: &[EnvFromSource], at: &FieldPath, faults: &mut Faults) {
    for (index, from) in all.iter().enumerate() {
        let at = at.index(index);
        if let Some(prefix) = from.prefix.as_deref().filter(|prefix| !prefix.is_empty()) {
            faults.complain(&at.field("prefix"), prefix, names::env_name(prefix));
        }
        match (&from.config_map_ref, &from.secret_ref) {
            (Some(own), None) => object_name(&own.name, &at.field("configMapRef").field("name"), faults),
            (None, Some(own)) => object_name(&own.name, &at.field("secretRef").field("name"), faults),
            (None, None) => faults.add(&at, "has no source: set configMapRef or secretRef"),
            (Some(_), Some(_)) => faults.add(
                &at.field("secretRef"),
                "cannot be set together with configMapRef: use a separate item for each",
            ),
        }
    }
}

/// Notes what is wrong with the part of a volume to mount.
pub(crate) fn sub_path(mount: &VolumeMount, at: &FieldPath, faults: &mut Faults) {
    let stated = |text: &Option<String>| text.as_deref().is_some_and(|text| !text.is_empty());
    if stated(&mount.sub_path) && stated(&mount.sub_path_expr) {
        faults.add(
            &at.field("subPathExpr"),
            "cannot be set together with subPath: keep one of the two",
        );
    }
    for (field, path) in [
        ("subPath", &mount.sub_path),
        ("subPathExpr", &mount.sub_path_expr),
    ] {
        let path = path.as_deref().unwrap_or("");
        if path.starts_with('/') {
            faults.add(
                &at.field(field),
                format!("{path:?} must be relative to the volume: remove the leading '/'"),
            );
        }
        if path.split('/').any(|part| part == "..") {
            faults.add(&at.field(field), format!("{path:?} must not contain '..'"));
        }
        if path.contains('\0') {
            faults.add(&at.field(field), "must not contain NUL");
        }
    }
}

/// Notes what is wrong with where a container takes its environment from.
pub(crate) fn environment(container: &Container, spec: &PodSpec, at: &FieldPath, faults: &mut Faults) {
    env_from(
        container.env_from.as_deref().unwrap_or(&[]),
        &at.field("envFrom"),
        faults,
    );
    for (index, variable) in container.env.iter().flatten().enumerate() {
        if let Some(from) = &variable.value_from {
            let at = at.field("env").index(index).field("valueFrom");
            value_from(from, spec, &at, faults);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::bounds::steps;

    fn taken(paths: &[&str]) -> Vec<String> {
        let (mut places, mut faults) = (Places::none(), Faults::default());
        for (index, path) in paths.iter().enumerate() {
            places.take(path, &FieldPath::default().index(index), &mut faults);
        }
        faults
            .into_vec()
            .into_iter()
            .map(|fault| fault.path.to_string())
            .collect()
    }

    #[test]
    fn a_file_is_where_nothing_else_is() {
        let check = |paths: &[&str], want: &[&str]| assert_eq!(taken(paths), want, "{paths:?}");
        check(&["a", "b", "c/a", "c/b"], &[]);
        check(&["a", "./a"], &["[1]"]);
        check(&["a", "a/b"], &["[1]"]);
        check(&["a/b", "a"], &["[1]"]);
        check(&["a/b", "a//b", "a/bc"], &["[1]"]);
    }

    #[test]
    fn each_part_of_each_path_is_looked_at_once() {
        let paths: Vec<String> = (0..50_000).map(|n| format!("d/{n}")).collect();
        let paths: Vec<&str> = paths.iter().map(String::as_str).collect();
        let (steps, taken) = steps::of(|| taken(&paths));
        assert_eq!((steps, taken.len()), (100_000, 0));
        let deep = "a/".repeat(100_000) + "b";
        assert_eq!(steps::of(|| self::taken(&[&deep, &deep])).0, 200_002);
    }
}
