//! Other IPAM plugins, run as programs ("Plugin Delegation" in the specification). `host-local` is not run this way.

use std::io::Write;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use serde_json::Value;

use crate::request::Request;
use crate::types::{CniResult, Code, Error};

/// Runs the IPAM plugin `name` for ADD.
pub fn add(request: &Request, name: &str) -> Result<CniResult, Error> {
    let answer = run(request, name, "ADD")?;
    CniResult::from_json(&answer, &format!("the result of IPAM plugin {name}"))
}

/// Runs the IPAM plugin `name` for `command`, which returns nothing.
pub fn call(request: &Request, name: &str, command: &str) -> Result<(), Error> {
    run(request, name, command).map(|_| ())
}

fn run(request: &Request, name: &str, command: &str) -> Result<Value, Error> {
    let program = find(request, name)?;
    let failed =
        |error: std::io::Error| Error::new(Code::Io, format!("IPAM plugin {}: {error}", program.display()));
    let mut child = Command::new(&program)
        .env("CNI_COMMAND", command)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .map_err(failed)?;
    if let Some(mut stdin) = child.stdin.take() {
        // If the plugin ends without reading, its answer says why.
        let _ = stdin.write_all(request.input.as_bytes());
    }
    let output = child.wait_with_output().map_err(failed)?;
    let answer: Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    if output.status.success() {
        return Ok(answer);
    }
    let said = answer
        .get("msg")
        .and_then(Value::as_str)
        .unwrap_or("no reason given");
    Err(Error::new(
        Code::Io,
        format!("IPAM plugin {name} failed on {command}: {said}"),
    ))
}

fn find(request: &Request, name: &str) -> Result<PathBuf, Error> {
    let found = request
        .path
        .iter()
        .map(|directory| directory.join(name))
        .find(|path| path.is_file());
    found.ok_or_else(|| {
        let searched: Vec<_> = request
            .path
            .iter()
            .map(|path| path.display().to_string())
            .collect();
        Error::invalid(format!(
            "ipam.type {name:?}: no such plugin in CNI_PATH ({})",
            searched.join(", ")
        ))
    })
}
