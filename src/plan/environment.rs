//! The environment of a container (`makeEnvironmentVariables` in `pkg/kubelet/kubelet_pods.go`): `envFrom` in order,
//! then `env` in order, whose literal values see what stands before them and the Services; last, of the Services, what
//! has no value yet.

use super::content::{Lack, Origin};
use super::service_links;
use crate::model::expand;
use crate::model::object::ObjectKind;
use crate::model::pod::Container;
use crate::model::value::EnvValue;

/// The environment, a name once; or why the container cannot be created.
///
/// A name given twice has its last value, in its first place. Every key that an object can have is a name that a
/// variable can have since Kubernetes allows all printable characters in it, so none is left out.
pub(super) fn environment(
    container: &Container,
    origin: Origin<'_>,
) -> Result<Vec<(String, String)>, String> {
    let services = service_links::variables(origin)?;
    let mut done: Vec<(String, String)> = Vec::new();
    for from in &container.env_from {
        let object = match origin.object(from.kind, &from.name) {
            Ok(object) => object,
            Err(Lack::Missing(_)) if from.optional => continue,
            Err(lack) => return Err(lack.into_text()),
        };
        for (key, content) in &object.data {
            set(&mut done, format!("{}{key}", from.prefix), content.text());
        }
    }
    for (name, value) in &container.env {
        let value = match value {
            EnvValue::Text(text) => expand::expand(text, |wanted| {
                let own = expand::value_of(&done, wanted);
                own.or_else(|| services.get(wanted).map(String::as_str))
            }),
            EnvValue::Field(field) => origin.field(field),
            EnvValue::Resource(resource) => origin.resource(resource, Some(container)),
            EnvValue::Key {
                kind,
                name,
                key,
                optional,
            } => match value_of_key(origin, *kind, name, key) {
                Ok(value) => value,
                Err(Lack::Missing(_)) if *optional => continue,
                Err(lack) => return Err(lack.into_text()),
            },
        };
        set(&mut done, name.clone(), value);
    }
    for (name, value) in services {
        if expand::value_of(&done, &name).is_none() {
            done.push((name, value));
        }
    }
    Ok(done)
}

fn value_of_key(origin: Origin<'_>, kind: ObjectKind, name: &str, key: &str) -> Result<String, Lack> {
    let content = origin.object(kind, name)?.data.get(key);
    content.map(|content| content.text()).ok_or_else(|| {
        let namespace = &origin.pod.name.namespace;
        let message = format!("couldn't find key {key} in {} {namespace}/{name}", kind.as_str());
        Lack::Missing(message)
    })
}

fn set(done: &mut Vec<(String, String)>, name: String, value: String) {
    match done.iter_mut().find(|(known, _)| *known == name) {
        Some(entry) => entry.1 = value,
        None => done.push((name, value)),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use expect_test::{Expect, expect};

    use super::*;
    use crate::model::object::{Known, Object, Objects};
    use crate::model::pod::RestartPolicy;
    use crate::model::reference::key;
    use crate::model::resources::Amounts;
    use crate::model::sample;
    use crate::model::step::POD_IP;
    use crate::model::value::{EnvFrom, Field};

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
        let mut pod = sample::pod(RestartPolicy::Always, &[], &["c"]);
        pod.containers[0].env_from = env_from.to_vec();
        pod.containers[0].env = env.iter().map(|(k, v)| ((*k).to_owned(), v.clone())).collect();
        let object = |pairs: &[(&str, &str)]| {
            Known::Found(Arc::new(Object {
                data: pairs
                    .iter()
                    .map(|(k, v)| ((*k).to_owned(), (*v).into()))
                    .collect(),
                binary: [("bin".to_owned(), "b".into())].into(),
                ..Object::default()
            }))
        };
        let map = object(&[("A", "1"), ("bad-key", "$(A)")]);
        let secret = object(&[("user", "u")]);
        let objects = [
            (key(&pod, ObjectKind::ConfigMap, "cm"), map),
            (key(&pod, ObjectKind::Secret, "sec"), secret),
            (
                key(&pod, ObjectKind::Secret, "shut"),
                Known::Unread("secrets \"shut\" is forbidden".into()),
            ),
        ];
        let origin = Origin {
            pod: &pod,
            policy: &sample::policy(),
            objects: &Objects(objects.into()),
            services: &Default::default(),
            allocatable: &Amounts::default(),
            ips: &[],
        };
        let told = match environment(&pod.containers[0], origin) {
            Err(error) => error,
            Ok(env) => env
                .iter()
                .map(|(k, v)| format!("{k}={v}"))
                .collect::<Vec<_>>()
                .join("\n"),
        };
        expected.assert_eq(&told.replace(POD_IP, "<ip>"));
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
        // What cannot be read may be there: that it may be missing does not help.
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
        // Bytes are for volumes only.
        check(
            &[],
            &[("A", of_key(Secret, "sec", "bin", false))],
            expect!["couldn't find key bin in Secret ns/sec"],
        );
    }
}
