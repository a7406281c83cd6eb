//! The credentials for pulling an image: those of the pod's Secrets (`MakeDockerKeyring` in
//! `pkg/credentialprovider/secrets`). The node's own come after them, and are read when needed.

use std::collections::BTreeSet;

use super::content::Origin;
use crate::model::bounds;
use crate::model::object::kinds::Secret;
use crate::model::object::lookup::Lookup;
use crate::model::registry::{
    CONFIG_JSON_KEY, CONFIG_JSON_TYPE, Credential, DOCKERCFG_KEY, DOCKERCFG_TYPE, InvalidDockerConfig,
    Keyring, SecretId,
};

/// The credentials from a pod's Secrets; or which Secret is invalid, in which case no image is pulled. A Secret that is
/// missing, or of another type, is skipped; one that is listed twice is read once.
pub(super) fn keyring(origin: Origin<'_>) -> Result<Keyring, String> {
    let mut keyring = Keyring::default();
    let mut read = BTreeSet::new();
    let namespace = &origin.pod.name.namespace;
    for name in &origin.pod.pull_secrets {
        if let Lookup::Found(secret) = origin.objects.secret(namespace, name)
            && read.insert(name)
        {
            bounds::step();
            let mut own = Keyring::default();
            add(&mut own, secret).map_err(|wrong| format!("Secret {namespace}/{name} {wrong}"))?;
            let id = SecretId {
                uid: secret.uid.clone(),
                namespace: namespace.clone(),
                name: name.clone(),
            };
            keyring.add_of_secret(own, &id);
        }
    }
    Ok(keyring)
}

/// The credentials for an image, in the order in which they are tried.
pub(super) fn credentials(keyring: &Result<Keyring, String>, image: &str) -> Result<Vec<Credential>, String> {
    let found = keyring.as_ref().map_err(String::clone)?.lookup(image);
    match found.len() > bounds::CREDENTIALS {
        true => Err(bounds::credentials_exceeded()),
        false => Ok(found),
    }
}

fn add(keyring: &mut Keyring, secret: &Secret) -> Result<(), InvalidDockerConfig> {
    let content = |key: &str| {
        let content = secret.data.get(key).map(|content| &content.0);
        content.filter(|content| !content.is_empty())
    };
    match secret.secret_type.as_str() {
        CONFIG_JSON_TYPE => content(CONFIG_JSON_KEY).map_or(Ok(()), |text| keyring.add_config_json(text)),
        DOCKERCFG_TYPE => content(DOCKERCFG_KEY).map_or(Ok(()), |text| keyring.add_dockercfg(text)),
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::object::content::Content;
    use crate::model::object::{Known, Object, ObjectKind};
    use crate::model::pod::RestartPolicy;
    use crate::model::reference::key;
    use crate::model::sample;

    fn secret(of_type: &str, key: &str, text: &str) -> Known {
        Known::Found(Arc::new(Object::Secret(Secret {
            data: [(key.to_owned(), Content::from(text))].into(),
            secret_type: of_type.to_owned(),
            uid: "u".to_owned(),
            immutable: false,
        })))
    }

    /// Each by its user and its Secret.
    fn users(secrets: &[(&str, Known)], names: &[&str], image: &str) -> Result<Vec<String>, String> {
        let mut pod = sample::pod(RestartPolicy::Always, &[], &["c"]);
        pod.pull_secrets = names.iter().map(|name| (*name).to_owned()).collect();
        let objects = secrets
            .iter()
            .map(|(name, known)| (key(&pod, ObjectKind::Secret, name), known.clone()));
        let objects = objects.collect();
        let policy = sample::policy();
        let origin = Origin {
            policy: &policy,
            objects: &objects,
            ..Origin::sample(&pod)
        };
        let found = credentials(&keyring(origin), image)?;
        let described = |found: Credential| {
            let secret = found.secret.unwrap();
            assert_eq!((secret.uid.as_str(), secret.namespace.as_str()), ("u", "ns"));
            assert_eq!(
                secret.name, found.username,
                "each user has the name of its Secret"
            );
            found.username
        };
        Ok(found.into_iter().map(described).collect())
    }

    #[test]
    fn secrets_of_both_types_count_in_the_pods_order() {
        let json = |user: &str| format!(r#"{{"auths": {{"example.com": {{"username": "{user}"}}}}}}"#);
        let older = r#"{"example.com/team": {"username": "older"}, "example.com": {"username": "older"}}"#;
        let secrets = [
            ("json", secret(CONFIG_JSON_TYPE, CONFIG_JSON_KEY, &json("json"))),
            ("older", secret(DOCKERCFG_TYPE, DOCKERCFG_KEY, older)),
            ("opaque", secret("Opaque", CONFIG_JSON_KEY, &json("opaque"))),
            ("empty", secret(CONFIG_JSON_TYPE, CONFIG_JSON_KEY, "")),
            ("unread", Known::Unread("forbidden".into())),
        ];
        let check = |names: &[&str], image: &str, expected: &[&str]| {
            let found = users(&secrets, names, image).unwrap();
            assert_eq!(found, expected, "{names:?} {image}");
        };
        check(&[], "example.com/a", &[]);
        check(&["json", "older"], "example.com/a", &["json", "older"]);
        check(&["older", "json"], "example.com/a", &["older", "json"]);
        check(
            &["json", "older"],
            "example.com/team/a",
            &["older", "json", "older"],
        );
        check(
            &["gone", "unread", "opaque", "empty", "json"],
            "example.com/a",
            &["json"],
        );
        check(&["json"], "other.com/a", &[]);
    }

    #[test]
    fn one_that_is_broken_is_named_and_not_quoted() {
        let broken = [("s", secret(CONFIG_JSON_TYPE, CONFIG_JSON_KEY, "geheim"))];
        let said = users(&broken, &["s"], "example.com/a").unwrap_err();
        assert!(
            said.starts_with("Secret ns/s is not a docker configuration"),
            "{said}"
        );
        assert!(!said.contains("geheim"));
    }

    #[test]
    fn a_secret_that_is_named_again_and_again_is_read_once() {
        use crate::model::bounds::steps;

        let json = r#"{"auths": {"example.com": {"username": "u"}}}"#;
        let secrets = [("u", secret(CONFIG_JSON_TYPE, CONFIG_JSON_KEY, json))];
        let (steps, found) = steps::of(|| users(&secrets, &["u"; 1000], "example.com/a"));
        assert_eq!(found.unwrap(), ["u"]);
        assert_eq!(steps, 1);
    }

    #[test]
    fn more_credentials_for_one_image_than_are_tried_are_refused() {
        let entries: Vec<_> = (0..=bounds::CREDENTIALS)
            .map(|n| format!(r#""example.com/{}": {{"username": "u"}}"#, "a".repeat(n)))
            .collect();
        let json = format!(r#"{{"auths": {{{}}}}}"#, entries.join(","));
        let secrets = [("u", secret(CONFIG_JSON_TYPE, CONFIG_JSON_KEY, &json))];
        let found = users(
            &secrets,
            &["u"],
            &format!("example.com/{}", "a".repeat(bounds::CREDENTIALS)),
        );
        assert_eq!(found, Err(bounds::credentials_exceeded()));
        assert_eq!(users(&secrets, &["u"], "example.com/aa").unwrap().len(), 3);
    }
}
