//! Other IPAM plugins, run as programs. `host-local` is not run this way.

use crate::delegate::Delegate;
use crate::request::Request;
use crate::types::{CniResult, Error};

/// Runs the IPAM plugin `name` for ADD.
pub fn add(request: &Request, name: &str) -> Result<CniResult, Error> {
    let answer = delegate(request, name).run(request, "ADD")?;
    CniResult::from_json(&answer, &format!("the result of IPAM plugin {name}"))
}

/// Runs the IPAM plugin `name` for `command`, which returns nothing.
pub fn call(request: &Request, name: &str, command: &str) -> Result<(), Error> {
    delegate(request, name).run(request, command).map(|_| ())
}

fn delegate<'a>(request: &'a Request, name: &'a str) -> Delegate<'a> {
    Delegate {
        field: "ipam.type",
        name,
        input: &request.input,
    }
}
