//! Other plugins, run as programs ("Plugin Delegation" in the specification). `host-local` and, for `flannel`, `bridge`
//! are not run this way: they are in this binary.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::request::{Request, is_plugin_name};
use crate::types::{Code, Error};

/// A plugin to be run with the environment of `request`.
#[derive(Debug, Clone, Copy)]
pub struct Delegate<'a> {
    /// The key that names it, for errors.
    pub field: &'static str,
    /// Its name.
    pub name: &'a str,
    /// Its configuration.
    pub input: &'a str,
}

impl Delegate<'_> {
    /// Runs the plugin for `command` and returns what it has written, which is a result for ADD alone.
    pub fn run(self, request: &Request, command: &str) -> Result<Value, Error> {
        let program = self.find(request)?;
        let failed =
            |error: std::io::Error| Error::new(Code::Io, format!("plugin {}: {error}", program.display()));
        let mut child = Command::new(&program)
            .env("CNI_COMMAND", command)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        if let Some(mut stdin) = child.stdin.take() {
            // If the plugin ends without reading, its answer says why.
            let _ = stdin.write_all(self.input.as_bytes());
        }
        let output = child.wait_with_output().map_err(failed)?;
        let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
        if output.status.success() {
            return Ok(answer);
        }
        let reason = answer
            .get("msg")
            .and_then(Value::as_str)
            .unwrap_or("no reason given");
        Err(Error::new(
            code_of(&answer),
            format!("plugin {} failed on {command}: {reason}", self.name),
        ))
    }

    fn find(self, request: &Request) -> Result<PathBuf, Error> {
        if !is_plugin_name(self.name) {
            return Err(Error::invalid(format!(
                "{} {:?} must be the name of a plugin, not a path",
                self.field, self.name
            )));
        }
        let found = request
            .path
            .iter()
            .map(|directory| directory.join(self.name))
            .find(|path| path.is_file());
        found.ok_or_else(|| {
            let searched: Vec<_> = request
                .path
                .iter()
                .map(|path| path.display().to_string())
                .collect();
            Error::invalid(format!(
                "{} {:?}: no such plugin in CNI_PATH ({})",
                self.field,
                self.name,
                searched.join(", ")
            ))
        })
    }
}

/// The codes that tell a runtime what to do next are passed on; any other failure is one of running the plugin.
fn code_of(answer: &Value) -> Code {
    let number = answer.get("code").and_then(Value::as_u64);
    [Code::TryAgainLater, Code::NotAvailable, Code::UnknownContainer]
        .into_iter()
        .find(|code| number == Some(u64::from(code.number())))
        .unwrap_or(Code::Io)
}
