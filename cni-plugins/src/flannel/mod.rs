//! `flannel`: turns what flannel's daemon has written about this node's subnet (`subnet.env`) into the configuration of
//! another plugin, `bridge` by default, and calls that. <https://github.com/flannel-io/cni-plugin>
//!
//! `bridge` runs in this process. The configuration that an ADD used is saved, so that its DEL undoes just that whatever
//! `subnet.env` says by then.

pub mod conf;
pub mod plan;
pub mod saved;
pub mod subnet;

use std::collections::BTreeSet;
use std::io;

use serde_json::{Value, json};

use crate::delegate::Delegate;
use crate::flannel::conf::Conf;
use crate::flannel::plan::delegate_of;
use crate::flannel::saved::Saved;
use crate::flannel::subnet::Subnet;
use crate::request::{Attachment, Request};
use crate::types::{Code, Error};
use crate::{bridge, keys};

/// Connects a pod by the delegate.
pub fn add(request: &Request) -> Result<Value, Error> {
    let conf = conf::read(request)?;
    let config = plan::config(request, &conf, &read_subnet(&conf, Code::TryAgainLater)?)?;
    let saved = Saved::new(&conf.data_dir);
    let earlier = saved.read(&request.container_id)?;
    saved.write(&request.container_id, &config.to_string())?;
    let answer = call(request, &config, "ADD");
    if answer.is_err() && delegate_of(&config) == plan::BRIDGE {
        // What `bridge` did it has taken back. Another delegate's DEL, which the runtime calls, needs the file. The first
        // error is the one to report.
        let _ = match earlier {
            Some(text) => saved.write(&request.container_id, &text),
            None => saved.remove(&request.container_id),
        };
    }
    answer
}

/// Disconnects a pod as it was connected. Without a saved configuration no ADD has got as far as its delegate.
pub fn del(request: &Request) -> Result<(), Error> {
    let conf = conf::read(request)?;
    let saved = Saved::new(&conf.data_dir);
    let Some(text) = saved.read(&request.container_id)? else {
        return Ok(saved.remove(&request.container_id)?);
    };
    // A file that a power failure left broken: what ADD would do now is the best guess.
    let config = serde_json::from_str(&text).ok().or_else(|| {
        let subnet = read_subnet(&conf, Code::Io).ok()?;
        plan::config(request, &conf, &subnet).ok()
    });
    if let Some(config) = config {
        call(request, &config, "DEL")?;
    }
    Ok(saved.remove(&request.container_id)?)
}

/// Checks by the delegate that the pod is still connected.
pub fn check(request: &Request) -> Result<(), Error> {
    let conf = conf::read(request)?;
    let text = Saved::new(&conf.data_dir).read(&request.container_id)?;
    let config = text.and_then(|text| serde_json::from_str::<Value>(&text).ok());
    let Some(mut config) = config.filter(Value::is_object) else {
        let msg = format!(
            "{} has no saved configuration in {}",
            request.container_id,
            conf.data_dir.display()
        );
        return Err(Error::new(Code::UnknownContainer, msg));
    };
    if let Some(previous) = request.config.get("prevResult") {
        config["prevResult"] = previous.clone();
    }
    call(request, &config, "CHECK").map(|_| ())
}

/// Has `bridge` set its masquerading up again, for a pod that is connected.
pub fn restore(request: &Request) -> Result<(), Error> {
    let conf = conf::read(request)?;
    let text = Saved::new(&conf.data_dir).read(&request.container_id)?;
    let config = text.and_then(|text| serde_json::from_str::<Value>(&text).ok());
    match config {
        Some(mut config) if config.is_object() && delegate_of(&config) == plan::BRIDGE => {
            if let Some(previous) = request.config.get("prevResult") {
                config["prevResult"] = previous.clone();
            }
            bridge::restore(&inner(request, &config))
        }
        _ => Ok(()),
    }
}

/// Whether ADD could work: flannel's daemon has a subnet for this node, and the delegate is ready.
pub fn status(request: &Request) -> Result<(), Error> {
    let conf = conf::read(request)?;
    let config = plan::config(request, &conf, &read_subnet(&conf, Code::NotAvailable)?)?;
    call(request, &config, "STATUS").map(|_| ())
}

/// Has the delegate collect its garbage, then removes the saved configurations of pods that no longer exist.
pub fn collect_garbage(request: &Request, valid: &[Attachment]) -> Result<(), Error> {
    let conf = conf::read(request)?;
    let saved = Saved::new(&conf.data_dir);
    let of_network = saved.of_network(&request.network)?;
    let now = read_subnet(&conf, Code::Io).and_then(|subnet| plan::config(request, &conf, &subnet));
    let config = match (now, of_network.first()) {
        (Ok(config), _) => Some(config),
        // The daemon's file is gone, but the pods it was for may be, too.
        (Err(_), Some((_, config))) => Some(config.clone()),
        (Err(_), None) => None,
    };
    if let Some(mut config) = config {
        config["cniVersion"] = json!(request.version.as_str());
        config["cni.dev/valid-attachments"] = request
            .config
            .get("cni.dev/valid-attachments")
            .cloned()
            .unwrap_or_else(|| json!([]));
        collect_by_delegate(request, &config, valid)?;
    }
    let valid: BTreeSet<&str> = valid.iter().map(|one| one.container_id.as_str()).collect();
    for (container_id, _) in of_network {
        if !valid.contains(container_id.as_str()) {
            saved.remove(&container_id)?;
        }
    }
    Ok(())
}

fn collect_by_delegate(request: &Request, config: &Value, valid: &[Attachment]) -> Result<(), Error> {
    match delegate_of(config) {
        plan::BRIDGE => bridge::collect_garbage(&inner(request, config), valid),
        _ => call(request, config, "GC").map(|_| ()),
    }
}

fn read_subnet(conf: &Conf, code: Code) -> Result<Subnet, Error> {
    Subnet::read(&conf.subnet_file).map_err(|error| {
        // Whether the file may still appear is all that a runtime can act on.
        let missing = error.kind() == io::ErrorKind::NotFound;
        Error::new(
            if missing { code } else { Code::Io },
            format!(
                "subnetFile: cannot read {}: {error}; is flannel's daemon running on this node?",
                conf.subnet_file.display()
            ),
        )
    })
}

/// The call as `bridge` would have been called.
fn inner(request: &Request, config: &Value) -> Request {
    let mut read = config.clone();
    // It may be one that the original plugin saved.
    keys::normalize(&mut read);
    Request {
        config: read,
        input: config.to_string(),
        notes: Default::default(),
        ..request.clone()
    }
}

fn call(request: &Request, config: &Value, command: &str) -> Result<Value, Error> {
    let name = delegate_of(config);
    if name != plan::BRIDGE {
        let input = config.to_string();
        let delegate = Delegate {
            field: "delegate.type",
            name,
            input: &input,
        };
        return delegate.run(request, command);
    }
    let inner = inner(request, config);
    let answer = match command {
        "ADD" => bridge::add(&inner),
        "DEL" => bridge::del(&inner).map(|()| Value::Null),
        "CHECK" => bridge::check(&inner).map(|()| Value::Null),
        _ => bridge::status(&inner).map(|()| Value::Null),
    };
    request.notes.borrow_mut().extend(inner.notes.take());
    answer
}
