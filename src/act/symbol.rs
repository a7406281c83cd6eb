//! Symbolic addresses in the texts of a container: they are unknown when the texts are written, because the sandbox has
//! not been created yet.

use std::net::IpAddr;

use k8s_cri::v1::ContainerConfig;

use super::sandbox;
use crate::cri::Runtime;
use crate::model::outcome::StepError;
use crate::model::request::{POD_IP, POD_IPS};

/// Replaces the symbols with the sandbox's addresses; without symbols the runtime is not called.
pub(super) async fn resolve(
    runtime: &Runtime,
    sandbox: &str,
    config: &mut ContainerConfig,
    paths: &mut [&mut String],
) -> Result<(), StepError> {
    let mut texts: Vec<&mut String> = texts(config)
        .chain(paths.iter_mut().map(|path| &mut **path))
        .collect();
    texts.retain(|text| text.contains('\0'));
    if texts.is_empty() {
        return Ok(());
    }
    let ips = sandbox::addresses(runtime, sandbox).await?;
    for text in texts {
        *text = resolved(text, &ips);
    }
    Ok(())
}

fn texts(config: &mut ContainerConfig) -> impl Iterator<Item = &mut String> {
    let envs = config.envs.iter_mut().map(|env| &mut env.value);
    envs.chain(&mut config.command).chain(&mut config.args)
}

fn resolved(text: &str, ips: &[IpAddr]) -> String {
    let all: Vec<String> = ips.iter().map(ToString::to_string).collect();
    let first = all.first().map_or("", String::as_str);
    text.replace(POD_IPS, &all.join(",")).replace(POD_IP, first)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn symbols_become_addresses() {
        let ips = ["10.0.0.7".parse().unwrap(), "fd00::7".parse().unwrap()];
        let text = format!("http://{POD_IP}:80/?all={POD_IPS}&again={POD_IP}");
        assert_eq!(
            resolved(&text, &ips),
            "http://10.0.0.7:80/?all=10.0.0.7,fd00::7&again=10.0.0.7"
        );
        assert_eq!(resolved(POD_IP, &[]), "");
    }
}
