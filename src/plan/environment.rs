//! The environment of a container (`makeEnvironmentVariables` in `pkg/kubelet/kubelet_pods.go`): `envFrom` in order,
//! then `env` in order, whose literal values may refer to earlier variables and the Services; last, the variables of
//! Services that have no value yet.

use std::collections::{BTreeMap, HashMap};

use super::content::{Lack, Origin};
use super::{service_links, volume};
use crate::model::bounds;
use crate::model::env_file::{self, EnvFileKey};
use crate::model::expand::expand;
use crate::model::object::ObjectKind;
use crate::model::pod::Container;
use crate::model::value::{EnvValue, Field};

/// Why a container that asks for the node's address cannot be created while there is none.
const NO_HOST_IP: &str = "host IP unknown: the node has no address yet";

/// The variables of a container in order, each name once, found by name.
#[derive(Debug, Default)]
pub(super) struct Environment {
    all: Vec<(String, String)>,
    places: HashMap<String, usize>,
    /// Their size as Linux passes them to a program.
    bytes: usize,
    /// Their size if none had replaced another: this much was copied.
    made: usize,
    /// The files whose values are still placeholders.
    files: Vec<EnvFileKey>,
}

/// What commands and environments may still use: of one container, and of all that one plan creates. Replaced values
/// count for the plan's limit, too.
#[derive(Debug)]
pub(super) struct Room {
    of_container: usize,
    of_plan: usize,
}

impl Room {
    /// The limits of a plan that has created nothing yet.
    pub(super) fn of_plan() -> Room {
        Room {
            of_container: bounds::EXEC_TOTAL,
            of_plan: bounds::POD_EXEC_TOTAL,
        }
    }

    /// The limits of the next container.
    pub(super) fn next(&mut self) {
        self.of_container = bounds::EXEC_TOTAL;
    }

    /// Uses room for something passed to a program.
    pub(super) fn take(&mut self, bytes: usize) -> Result<(), Exceeded> {
        self.has(bytes, bytes)?;
        self.of_container -= bytes;
        self.of_plan -= bytes;
        Ok(())
    }

    /// Uses room for something created besides.
    pub(super) fn take_of_plan(&mut self, bytes: usize) -> Result<(), Exceeded> {
        self.has(0, bytes)?;
        self.of_plan -= bytes;
        Ok(())
    }

    /// How much there is.
    pub(super) fn left(&self) -> usize {
        self.of_container.min(self.of_plan)
    }

    /// Which of the two would be exceeded first.
    fn narrower(&self) -> Exceeded {
        match self.of_container <= self.of_plan {
            true => Exceeded::Container,
            false => Exceeded::Plan,
        }
    }

    fn has(&self, of_container: usize, of_plan: usize) -> Result<(), Exceeded> {
        match () {
            () if of_container > self.of_container => Err(Exceeded::Container),
            () if of_plan > self.of_plan => Err(Exceeded::Plan),
            () => Ok(()),
        }
    }
}

/// Which limit is exceeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Exceeded {
    /// The container's limit.
    Container,
    /// The limit of the pod's containers together.
    Plan,
}

impl Exceeded {
    /// The message for the pod's owner.
    pub(super) fn message(self, container: &Container) -> String {
        match self {
            Exceeded::Container => bounds::exec_total_exceeded(&container.name),
            Exceeded::Plan => bounds::pod_exec_total_exceeded(),
        }
    }
}

impl Environment {
    /// The value of a variable.
    pub(super) fn get(&self, name: &str) -> Option<&str> {
        self.places.get(name).map(|place| self.all[*place].1.as_str())
    }

    /// The variables, in their order.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&str, &str)> {
        self.all
            .iter()
            .map(|(name, value)| (name.as_str(), value.as_str()))
    }

    /// The files whose values are still placeholders.
    pub(super) fn files(&self) -> &[EnvFileKey] {
        &self.files
    }

    /// The placeholder for a value of a file.
    fn placeholder(&mut self, file: EnvFileKey, room: &Room) -> Result<String, Exceeded> {
        let kept = file.before.as_ref().map_or(0, String::len);
        room.has(self.bytes, self.made + kept)?;
        self.made += kept;
        self.files.push(file);
        Ok(env_file::placeholder(self.files.len() - 1))
    }

    /// Adds a variable. A repeated name gets its last value, in its first position.
    fn set(&mut self, name: String, value: String, room: &Room) -> Result<(), Exceeded> {
        bounds::step();
        let own = bounds::exec_bytes(name.len() + "=".len() + value.len());
        let known = self.places.get(&name).copied();
        let bytes = match known {
            Some(place) => self.bytes - self.all[place].1.len() + value.len(),
            None => self.bytes + own,
        };
        room.has(bytes, self.made + own)?;
        (self.bytes, self.made) = (bytes, self.made + own);
        match known {
            Some(place) => self.all[place].1 = value,
            None => {
                self.places.insert(name.clone(), self.all.len());
                self.all.push((name, value));
            }
        }
        Ok(())
    }
}

#[cfg(test)]
impl<const N: usize> From<[(&str, &str); N]> for Environment {
    fn from(all: [(&str, &str); N]) -> Environment {
        let mut made = Environment::default();
        for (name, value) in all {
            made.set(name.to_owned(), value.to_owned(), &Room::of_plan())
                .unwrap();
        }
        made
    }
}

/// The environment, which uses its part of the room; or why the container cannot be created.
///
/// No key of an object is left out: since Kubernetes allows all printable characters in variable names, every key is a
/// valid name. The kubelet builds an environment of any size and lets the runtime fail with it; here the container
/// fails with the reason, and no more is built than can be passed to a program.
pub(super) fn environment(
    container: &Container,
    origin: Origin<'_>,
    room: &mut Room,
) -> Result<Environment, String> {
    let exceeded = |whose: Exceeded| whose.message(container);
    let services = service_links::variables(origin, room.left()).map_err(|lack| match lack {
        service_links::Lack::Unread => service_links::UNREAD.to_owned(),
        service_links::Lack::TooMany => bounds::services_exceeded(),
    })?;
    let mut done = Environment::default();
    for from in &container.env_from {
        let values = match origin.values(from.kind, &from.name) {
            Ok(values) => values,
            Err(Lack::Missing(_)) if from.optional => continue,
            Err(lack) => return Err(lack.into_text()),
        };
        for (key, content) in values.variables() {
            let name = format!("{}{key}", from.prefix);
            done.set(name, content.text(), room).map_err(exceeded)?;
        }
    }
    for (name, value) in &container.env {
        if let Some(value) = self::value(&mut done, &services, (name, value), container, origin, room)? {
            done.set(name.clone(), value, room).map_err(exceeded)?;
        }
    }
    for (name, value) in services {
        if done.get(&name).is_none() {
            done.set(name, value, room).map_err(exceeded)?;
        }
    }
    check_strings(&done)?;
    room.of_container -= done.bytes;
    room.of_plan -= done.made;
    Ok(done)
}

/// The value of a variable; `None` if it has none because its source is missing and may be.
fn value(
    done: &mut Environment,
    services: &BTreeMap<String, String>,
    (name, value): (&str, &EnvValue),
    container: &Container,
    origin: Origin<'_>,
    room: &Room,
) -> Result<Option<String>, String> {
    let value = match value {
        EnvValue::Text(text) => {
            let known = |wanted: &str| {
                done.get(wanted)
                    .or_else(|| services.get(wanted).map(String::as_str))
            };
            expand(text, known, room.left()).map_err(|_| room.narrower().message(container))?
        }
        // The kubelet, too, creates no container that asks for an address which is not known.
        EnvValue::Field(Field::HostIp | Field::HostIps) if origin.policy.host_ips.is_empty() => {
            return Err(NO_HOST_IP.to_owned());
        }
        EnvValue::Field(field) => origin.field(field),
        EnvValue::Resource(resource) => origin.resource(resource, Some(container)),
        EnvValue::Key {
            kind,
            name,
            key,
            optional,
        } => match value_of_key(origin, *kind, name, key) {
            Ok(value) => value,
            Err(Lack::Missing(_)) if *optional => return Ok(None),
            Err(lack) => return Err(lack.into_text()),
        },
        EnvValue::File {
            volume,
            path,
            key,
            optional,
        } => {
            let before = done.get(name).or_else(|| services.get(name).map(String::as_str));
            let file = EnvFileKey {
                name: name.to_owned(),
                root: volume::host_path(origin, volume)
                    .map_err(|_| format!("cannot find the volume {volume:?} referenced by FileKeyRef"))?,
                path: path.into(),
                key: key.clone(),
                optional: *optional,
                before: before.map(str::to_owned),
            };
            done.placeholder(file, room)
                .map_err(|whose| whose.message(container))?
        }
    };
    Ok(Some(value))
}

/// Linux passes no longer string to a program.
fn check_strings(environment: &Environment) -> Result<(), String> {
    let too_long = |(name, value): &(&str, &str)| name.len() + "=".len() + value.len() >= bounds::EXEC_STRING;
    if let Some((name, _)) = environment.iter().find(too_long) {
        let what = format!(
            "environment variable {:?}",
            bounds::shortened(name.to_owned(), 256)
        );
        return Err(bounds::exec_string_exceeded(&what));
    }
    Ok(())
}

fn value_of_key(origin: Origin<'_>, kind: ObjectKind, name: &str, key: &str) -> Result<String, Lack> {
    let content = origin.values(kind, name)?.variables().get(key);
    content.map(|content| content.text()).ok_or_else(|| {
        let namespace = &origin.pod.name.namespace;
        let message = format!("couldn't find key {key} in {} {namespace}/{name}", kind.as_str());
        Lack::Missing(message)
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use expect_test::{Expect, expect};

    use super::*;
    use crate::model::bounds::steps;
    use crate::model::object::content::Content;
    use crate::model::object::kinds;
    use crate::model::object::{Known, Object};
    use crate::model::pod::{RestartPolicy, Volume, VolumeSource};
    use crate::model::reference::key;
    use crate::model::request::POD_IP;
    use crate::model::sample;
    use crate::model::value::EnvFrom;

    fn from(prefix: &str, kind: ObjectKind, name: &str, optional: bool) -> EnvFrom {
        EnvFrom {
            prefix: prefix.to_owned(),
            kind,
            name: name.to_owned(),
            optional,
        }
    }

    fn text(text: &str) -> EnvValue {
        EnvValue::Text(text.to_owned())
    }

    fn of_key(kind: ObjectKind, name: &str, key: &str, optional: bool) -> EnvValue {
        EnvValue::Key {
            kind,
            name: name.to_owned(),
            key: key.to_owned(),
            optional,
        }
    }

    fn check(env_from: &[EnvFrom], env: &[(&str, EnvValue)], expected: Expect) {
        let result = match made(&[("A", "1"), ("bad-key", "$(A)")], env_from, env) {
            Err(error) => error,
            Ok(env) => env
                .iter()
                .map(|(k, v)| format!("{k}={v}"))
                .collect::<Vec<_>>()
                .join("\n"),
        };
        expected.assert_eq(&result.replace(POD_IP, "<ip>"));
    }

    /// The environment, with a ConfigMap `cm` of these values.
    fn made(
        map: &[(&str, &str)],
        env_from: &[EnvFrom],
        env: &[(&str, EnvValue)],
    ) -> Result<Environment, String> {
        let mut pod = sample::pod(RestartPolicy::Always, &[], &["c"]);
        pod.volumes.push(Volume {
            name: "v".to_owned(),
            source: VolumeSource::EmptyDir {
                medium: Default::default(),
                size_limit: None,
            },
        });
        pod.containers[0].env_from = env_from.to_vec();
        pod.containers[0].env = env.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
        let map = Object::ConfigMap(kinds::ConfigMap {
            data: map.iter().map(|(k, v)| ((*k).to_owned(), (*v).into())).collect(),
            binary_data: [("bin".to_owned(), "b".into())].into(),
            immutable: false,
        });
        let secret = Object::Secret(kinds::Secret {
            data: [("user".to_owned(), Content::from("u"))].into(),
            ..kinds::Secret::default()
        });
        let objects = [
            (
                key(&pod, ObjectKind::ConfigMap, "cm"),
                Known::Found(Arc::new(map)),
            ),
            (
                key(&pod, ObjectKind::Secret, "sec"),
                Known::Found(Arc::new(secret)),
            ),
            (
                key(&pod, ObjectKind::Secret, "shut"),
                Known::Unread("secrets \"shut\" is forbidden".into()),
            ),
        ];
        let origin = Origin {
            objects: &objects.into_iter().collect(),
            ..Origin::sample(&pod)
        };
        environment(&pod.containers[0], origin, &mut Room::of_plan())
    }

    use ObjectKind::{ConfigMap, Secret};

    #[test]
    fn the_last_one_counts_and_literals_see_what_stands_before() {
        check(
            &[from("", ConfigMap, "cm", false), from("S_", Secret, "sec", false)],
            &[
                ("B", text("$(A) $(S_user) $(LATER) $$(A)")),
                ("A", text("own")),
                ("LATER", text("$(A) $(IP)")),
                ("IP", EnvValue::Field(Field::PodIp)),
                ("URL", text("http://$(IP)/")),
                ("K", of_key(Secret, "sec", "user", false)),
            ],
            expect![[r#"
                A=own
                bad-key=$(A)
                S_user=u
                B=1 u $(LATER) $(A)
                LATER=own $(IP)
                IP=<ip>
                URL=http://<ip>/
                K=u"#]],
        );
    }

    #[test]
    fn what_is_missing_is_named_unless_it_may_be() {
        check(
            &[from("", ConfigMap, "no", true)],
            &[
                ("A", of_key(ConfigMap, "no", "k", true)),
                ("B", of_key(ConfigMap, "cm", "zz", true)),
                ("C", text("c")),
            ],
            expect!["C=c"],
        );
        check(
            &[from("", Secret, "no", false)],
            &[],
            expect![[r#"secret "no" not found"#]],
        );
        check(
            &[],
            &[("A", of_key(ConfigMap, "y", "k", false))],
            expect![[r#"configmap "y" not found"#]],
        );
        check(
            &[],
            &[("A", of_key(ConfigMap, "cm", "k", false))],
            expect!["couldn't find key k in ConfigMap ns/cm"],
        );
        // An unreadable object may exist: `optional` does not help.
        check(
            &[from("", Secret, "shut", true)],
            &[],
            expect![[r#"secrets "shut" is forbidden"#]],
        );
        check(
            &[],
            &[("A", of_key(Secret, "shut", "k", true))],
            expect![[r#"secrets "shut" is forbidden"#]],
        );
        // Binary data is for volumes only.
        check(
            &[],
            &[("A", of_key(ConfigMap, "cm", "bin", false))],
            expect!["couldn't find key bin in ConfigMap ns/cm"],
        );
    }

    #[test]
    fn a_value_of_a_file_is_a_placeholder_that_later_variables_refer_to() {
        let file = |volume: &str| EnvValue::File {
            volume: volume.to_owned(),
            path: "env".to_owned(),
            key: "K".to_owned(),
            optional: true,
        };
        check(
            &[],
            &[("A", file("none"))],
            expect![[r#"cannot find the volume "none" referenced by FileKeyRef"#]],
        );
        let all = [
            ("A", text("1")),
            ("A", file("v")),
            ("B", file("v")),
            ("C", text("<$(A)>")),
        ];
        let env = made(&[], &[], &all).unwrap();
        let placeholder = |index| env_file::placeholder(index);
        assert_eq!(env.get("A"), Some(&*placeholder(0)));
        assert_eq!(env.get("B"), Some(&*placeholder(1)));
        assert_eq!(env.get("C"), Some(&*format!("<{}>", placeholder(0))));
        let root = "/var/lib/kubelet/pods/u1/volumes/kubernetes.io~empty-dir/v";
        let files = env
            .files()
            .iter()
            .map(|file| (&*file.name, file.root.to_str(), file.before.as_deref()));
        assert_eq!(
            files.collect::<Vec<_>>(),
            [("A", Some(root), Some("1")), ("B", Some(root), None)]
        );
    }

    #[test]
    fn what_cannot_be_passed_to_a_program_is_refused_with_the_bound() {
        let long = "x".repeat(bounds::EXEC_STRING);
        check(
            &[],
            &[("A", text(&long)), ("B", text("b"))],
            expect![[
                r#"environment variable "A" exceeds 131072 bytes, the most that Linux passes to a program in one string: shorten it, or mount the ConfigMap or Secret as a volume"#
            ]],
        );
        // What is replaced is not passed on.
        check(&[], &[("A", text(&long)), ("A", text("a"))], expect!["A=a"]);
        let fits = "x".repeat(bounds::EXEC_STRING - "A=".len() - 1);
        let result = made(&[], &[], &[("A", text(&fits))]).unwrap();
        assert_eq!(result.get("A").map(str::len), Some(fits.len()));
        check(
            &[],
            &[("A", text(&"x".repeat(1 << 20))), ("B", text(&"$(A)".repeat(7)))],
            expect![
                "command, arguments and environment of container \"c\" exceed 6291456 bytes in total, the most that \
                 Linux passes to a program: shorten them, or mount the ConfigMap or Secret as a volume"
            ],
        );
    }

    #[test]
    fn a_map_of_many_keys_costs_a_step_for_each() {
        let keys: Vec<String> = (0..160_000).map(|n| format!("{n:06}")).collect();
        let map: Vec<(&str, &str)> = keys.iter().map(|key| (key.as_str(), "")).collect();
        let (steps, result) = steps::of(|| made(&map, &[from("", ConfigMap, "cm", false)], &[]));
        assert_eq!(result.unwrap().iter().count(), keys.len());
        assert_eq!(steps, keys.len());
        // Ten times, each time under other names: stops at the limit.
        let prefixed: Vec<_> = (0..10)
            .map(|n| from(&format!("P{n}_"), ConfigMap, "cm", false))
            .collect();
        let (steps, result) = steps::of(|| made(&map, &prefixed, &[]));
        assert!(result.unwrap_err().contains("6291456 bytes"));
        assert!(
            steps <= bounds::EXEC_TOTAL / bounds::exec_bytes("P0_000000=".len()) + 1,
            "{steps}"
        );
        // Ten thousand times under the same names, which makes it no longer.
        let again: Vec<_> = (0..10_000).map(|_| from("", ConfigMap, "cm", false)).collect();
        let (steps, result) = steps::of(|| made(&map, &again, &[]));
        assert!(result.unwrap_err().contains("67108864 bytes"));
        assert!(
            steps <= bounds::POD_EXEC_TOTAL / bounds::exec_bytes("000000=".len()) + 1,
            "{steps}"
        );
    }

    #[test]
    fn a_value_that_replaces_another_again_and_again_is_work_all_the_same() {
        let big = "x".repeat(100_000);
        let env: Vec<_> = (0..10_000)
            .map(|_| ("A", of_key(ConfigMap, "cm", "big", false)))
            .collect();
        let (steps, result) = steps::of(|| made(&[("big", &big)], &[], &env));
        assert!(result.unwrap_err().contains("67108864 bytes"));
        assert!(steps <= bounds::POD_EXEC_TOTAL / big.len() + 1, "{steps}");
    }
}
