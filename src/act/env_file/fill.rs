//! Values in place of their placeholders, within the bounds of what Linux passes to a program. Pure.

use k8s_cri::v1::ContainerConfig;

use crate::model::bounds;
use crate::model::env_file::{self, EnvFileKey};

/// Puts the values where the placeholders are. A variable without a value is what it was before, and gone if it was
/// nothing; `$(NAME)` then stays as it is.
pub(super) fn fill(
    container: &str,
    files: &[EnvFileKey],
    found: Vec<Option<String>>,
    config: &mut ContainerConfig,
    paths: &mut [&mut String],
) -> Result<(), String> {
    let too_long = |what: &str| bounds::exec_string_exceeded(&format!("{what} of container {container:?}"));
    let mut known = Known {
        files,
        values: Vec::with_capacity(files.len()),
    };
    let mut before_them = Total::default();
    for (file, value) in files.iter().zip(found) {
        // What was there before may contain earlier placeholders alone.
        let value = match (value, &file.before) {
            (Some(value), _) => Some(value),
            (None, Some(before)) => {
                let before = known
                    .filled(before)
                    .ok_or_else(|| too_long(&variable(&file.name)))?;
                before_them.add(before.len(), container)?;
                Some(before)
            }
            (None, None) => None,
        };
        known.values.push(value);
    }
    let mut passed = Total::default();
    config.envs.retain(|env| !known.is_absent(&env.key, &env.value));
    for env in &mut config.envs {
        let length = env.key.len() + "=".len();
        env.value = known
            .filled(&env.value)
            .filter(|value| length + value.len() < bounds::EXEC_STRING)
            .ok_or_else(|| too_long(&variable(&env.key)))?;
        passed.add(length + env.value.len(), container)?;
    }
    for word in config.command.iter_mut().chain(&mut config.args) {
        *word = known.filled(word).ok_or_else(|| too_long("an argument"))?;
        passed.add(word.len(), container)?;
    }
    for path in paths {
        if let Some(name) = known.lacking(path) {
            return Err(format!("missing value for {name}"));
        }
        **path = known.filled(path).ok_or_else(|| too_long("a subPathExpr"))?;
    }
    Ok(())
}

fn variable(name: &str) -> String {
    format!(
        "environment variable {:?}",
        bounds::shortened(name.to_owned(), 256)
    )
}

/// The size of texts as Linux passes them to a program.
#[derive(Default)]
struct Total(usize);

impl Total {
    fn add(&mut self, length: usize, container: &str) -> Result<(), String> {
        self.0 += bounds::exec_bytes(length);
        match self.0 <= bounds::EXEC_TOTAL {
            true => Ok(()),
            false => Err(bounds::exec_total_exceeded(container)),
        }
    }
}

/// The values of the first files.
struct Known<'a> {
    files: &'a [EnvFileKey],
    values: Vec<Option<String>>,
}

impl Known<'_> {
    /// The text with the values; `None` if Linux could not pass it to a program.
    fn filled(&self, text: &str) -> Option<String> {
        let mut out = String::new();
        let mut push = |part: &str| {
            out.push_str(part);
            (out.len() < bounds::EXEC_STRING).then_some(())
        };
        let mut rest = text;
        while let Some((before, index, after)) = env_file::split(rest) {
            push(before)?;
            match self.values.get(index) {
                Some(Some(value)) => push(value)?,
                _ => {
                    push("$(")?;
                    push(self.files.get(index).map_or("", |file| &file.name))?;
                    push(")")?;
                }
            }
            rest = after;
        }
        push(rest)?;
        Some(out)
    }

    /// Whether a variable is nothing but the value that its file lacks.
    fn is_absent(&self, name: &str, value: &str) -> bool {
        matches!(env_file::split(value), Some(("", index, ""))
            if self.is_lacking(index) && self.files[index].name == name)
    }

    /// Whether it is one of the files, and has no value. A text of the pod's own may look like a placeholder.
    fn is_lacking(&self, index: usize) -> bool {
        self.values.get(index).is_some_and(Option::is_none)
    }

    /// The first variable in the text without a value.
    fn lacking(&self, text: &str) -> Option<&str> {
        let mut rest = text;
        while let Some((_, index, after)) = env_file::split(rest) {
            if self.is_lacking(index) {
                return Some(&self.files[index].name);
            }
            rest = after;
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use k8s_cri::v1::KeyValue;

    use super::*;
    use crate::model::env_file::placeholder;

    fn file(name: &str, before: Option<&str>) -> EnvFileKey {
        EnvFileKey {
            name: name.to_owned(),
            root: "/v".into(),
            path: "env".into(),
            key: "k".to_owned(),
            optional: true,
            before: before.map(str::to_owned),
        }
    }

    fn config(envs: &[(&str, String)], args: &[String]) -> ContainerConfig {
        let envs = envs.iter().map(|(key, value)| KeyValue {
            key: (*key).to_owned(),
            value: value.clone(),
        });
        ContainerConfig {
            envs: envs.collect(),
            args: args.to_vec(),
            ..Default::default()
        }
    }

    fn filled(
        files: &[EnvFileKey],
        found: &[Option<&str>],
        mut config: ContainerConfig,
    ) -> Result<String, String> {
        let found = found.iter().map(|value| value.map(str::to_owned)).collect();
        fill("c", files, found, &mut config, &mut [])?;
        let envs = config.envs.iter().map(|env| format!("{}={}", env.key, env.value));
        Ok(envs.chain(config.args.clone()).collect::<Vec<_>>().join(" "))
    }

    #[test]
    fn values_are_where_the_variables_are_referred_to() {
        let files = [file("A", None), file("B", Some("x"))];
        let config = || {
            config(
                &[
                    ("A", placeholder(0)),
                    ("B", placeholder(1)),
                    ("C", placeholder(0)),
                    ("D", format!("<{}{}>", placeholder(1), placeholder(0))),
                ],
                &[format!("--a={}", placeholder(0))],
            )
        };
        let check = |found: [Option<&str>; 2], expected: &str| {
            assert_eq!(filled(&files, &found, config()).as_deref(), Ok(expected));
        };
        check([Some("1"), Some("2")], "A=1 B=2 C=1 D=<21> --a=1");
        check([Some("1"), None], "A=1 B=x C=1 D=<x1> --a=1");
        check([None, None], "B=x C=$(A) D=<x$(A)> --a=$(A)");
    }

    #[test]
    fn a_variable_without_a_value_has_the_one_of_the_file_before() {
        let before = format!("({})", placeholder(0));
        let files = [
            file("A", None),
            file("B", Some(&before)),
            file("B", Some(&placeholder(1))),
        ];
        let config = config(&[("B", placeholder(2))], &[]);
        let check = |found: [Option<&str>; 3], expected: &str| {
            assert_eq!(filled(&files, &found, config.clone()).as_deref(), Ok(expected));
        };
        check([Some("1"), None, None], "B=(1)");
        check([None, None, None], "B=($(A))");
        check([None, Some("2"), None], "B=2");
        check([None, None, Some("3")], "B=3");
    }

    #[test]
    fn a_part_of_a_volume_needs_the_value() {
        let files = [file("A", None)];
        let mut path = format!("of/{}", placeholder(0));
        let mut config = ContainerConfig::default();
        let refused = fill("c", &files, vec![None], &mut config, &mut [&mut path]);
        assert_eq!(refused, Err("missing value for A".to_owned()));
        let value = vec![Some("x".to_owned())];
        fill("c", &files, value, &mut config, &mut [&mut path]).unwrap();
        assert_eq!(path, "of/x");
    }

    #[test]
    fn a_text_that_looks_like_a_placeholder_is_no_value() {
        let forged = config(&[("A", placeholder(7))], &[]);
        assert_eq!(
            filled(&[file("B", None)], &[Some("x")], forged).as_deref(),
            Ok("A=$()")
        );
    }

    #[test]
    fn what_linux_cannot_pass_to_a_program_is_refused_before_it_is_built() {
        let value = "x".repeat(60_000);
        let files = [file("A", None)];
        let many = config(&[("B", placeholder(0).repeat(10_000))], &[]);
        let refused = filled(&files, &[Some(&value)], many).unwrap_err();
        assert!(refused.contains("environment variable \"B\""), "{refused}");
        let args = vec![placeholder(0); 200];
        let refused = filled(&files, &[Some(&value)], config(&[], &args)).unwrap_err();
        assert!(refused.contains("6291456 bytes"), "{refused}");
    }
}
