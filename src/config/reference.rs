//! The table of keys for people: `docs/configuration.md` is what [`reference`] writes.

use super::gates::gates;
use super::raw::KubeletConfiguration;
use super::supported::{Class, KEYS};
use super::tested::TESTED;

const HEAD: &str = "# Every key of KubeletConfiguration

KubeletConfiguration v1.36 (`kubelet.config.k8s.io/v1beta1`), and what gantry does with each key. It is written from the
table in the code: `UPDATE_EXPECT=1 make test-suite` writes it again.

- **acted on**: the value is used, as in the kubelet unless the README says otherwise. The test beside it is an example of
  its use, not a proof for every value; the suite checks that a test of that name exists. The test
  `a_stated_value_reaches_its_place` shows only that the value is read into the settings from which it is used.
- **refused**: any value but the default prevents the start, with an error that names the key and its remedy.
- **without meaning**: no value makes a difference to pods or the node, for the reason given.
- **no effect yet**: a value other than the default is named in a warning at the start.

A key stands for the keys below it. Keys that do not exist are errors, with file and line.

| key | what gantry does | test |
|---|---|---|
";

const GATES: &str = "
## Feature gates

`featureGates` is acted on for these. Other names are named in a warning and change nothing: what they would enable is
rejected where a pod or a key requests it.

| gate | stage | default |
|---|---|---|
";

const FLAGS: &str = "
## A flag without a key

`--runtime-cgroups` is without meaning: the kubelet measures the runtime's cgroup by it, and gantry measures that of the
process that listens at the runtime's socket.
";

/// The document.
pub fn reference() -> String {
    let mut text = HEAD.to_owned();
    for (key, class) in KEYS {
        let (what, test) = match class {
            Class::Supported => (
                "acted on".to_owned(),
                test(key).map_or(String::new(), |test| format!("`{test}`")),
            ),
            Class::Refused(why) => (format!("refused: {why}"), String::new()),
            Class::Meaningless(why) => (format!("without meaning: {why}"), String::new()),
            Class::Harmless(why) => (format!("no effect yet: {why}"), String::new()),
        };
        text += &format!("| `{key}` | {what} | {test} |\n");
    }
    text += GATES;
    for gate in gates(&KubeletConfiguration::default()) {
        let state = if gate.enabled { "on" } else { "off" };
        text += &format!("| `{}` | {:?} | {state} |\n", gate.name, gate.stage);
    }
    text + FLAGS
}

/// The supported keys, each with its test; `None`: it has none.
pub fn supported_keys() -> impl Iterator<Item = (&'static str, Option<&'static str>)> {
    let supported = KEYS.iter().filter(|(_, class)| *class == Class::Supported);
    supported.map(|(key, _)| (*key, test(key)))
}

/// The keys that have a test.
pub fn tested_keys() -> impl Iterator<Item = &'static str> {
    TESTED.iter().map(|(key, _)| *key)
}

fn test(key: &str) -> Option<&'static str> {
    let found = TESTED.iter().find(|(tested, _)| *tested == key);
    found.map(|(_, test)| *test)
}
