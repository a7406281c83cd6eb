//! Queries the container runtime for doctor over CRI, with a deadline for each call.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use k8s_cri::v1;
use k8s_cri::v1::image_service_client::ImageServiceClient;
use k8s_cri::v1::runtime_service_client::RuntimeServiceClient;
use tokio::net::UnixStream;
use tonic::Code;
use tonic::transport::{Channel, Endpoint, Uri};

use super::findings::{Runtime, RuntimeAnswer};
use crate::model::error_chain::first_cause;
use crate::model::node::CgroupDriver;

/// The timeout of one call.
const DEADLINE: Duration = Duration::from_secs(5);

/// Queries the runtime behind a socket.
pub async fn ask(socket: &Path) -> RuntimeAnswer {
    if !socket.exists() {
        return RuntimeAnswer::Absent;
    }
    let channel = match connect(socket.to_owned()).await {
        Ok(channel) => channel,
        Err(error) => return RuntimeAnswer::Silent(first_cause(&error).to_string()),
    };
    let mut runtime = RuntimeServiceClient::new(channel.clone());
    let version = match runtime
        .version(v1::VersionRequest {
            version: String::new(),
        })
        .await
    {
        Ok(version) => version.into_inner(),
        Err(status) if status.code() == Code::Unimplemented => return RuntimeAnswer::NoCri,
        Err(status) => return RuntimeAnswer::Silent(status.message().to_owned()),
    };
    // Only newer runtimes report the rest; what is missing stays unknown.
    let config_answer = runtime.runtime_config(v1::RuntimeConfigRequest {}).await.ok();
    let status = runtime.status(v1::StatusRequest { verbose: true }).await.ok();
    let images = ImageServiceClient::new(channel)
        .image_fs_info(v1::ImageFsInfoRequest {})
        .await
        .ok();
    let seen = status.and_then(|status| driver_configured(&status.into_inner().info));
    RuntimeAnswer::Answered(Runtime {
        name: version.runtime_name,
        version: version.runtime_version,
        driver_reported: config_answer.and_then(|config_answer| driver_reported(config_answer.get_ref())),
        driver_configured: seen,
        image_dir: images.and_then(|images| image_dir(images.get_ref())),
    })
}

async fn connect(socket: PathBuf) -> Result<Channel, tonic::transport::Error> {
    // The address is never resolved: the connector knows the socket.
    Endpoint::from_static("http://runtime")
        .timeout(DEADLINE)
        .connect_timeout(DEADLINE)
        .connect_with_connector(tower::service_fn(move |_: Uri| {
            let socket = socket.clone();
            async move { UnixStream::connect(socket).await.map(TokioIo::new) }
        }))
        .await
}

fn driver_reported(answer: &v1::RuntimeConfigResponse) -> Option<CgroupDriver> {
    match answer.linux?.cgroup_driver() {
        v1::CgroupDriver::Systemd => Some(CgroupDriver::Systemd),
        v1::CgroupDriver::Cgroupfs => Some(CgroupDriver::Cgroupfs),
    }
}

fn image_dir(answer: &v1::ImageFsInfoResponse) -> Option<PathBuf> {
    let file_system = answer.image_filesystems.first()?;
    Some(PathBuf::from(&file_system.fs_id.as_ref()?.mountpoint))
}

/// The cgroup driver of the default runtime, from containerd's own configuration, which a verbose CRI `Status` returns
/// as JSON under `config`. Older versions of containerd have no other way to report it.
pub fn driver_configured(info: &HashMap<String, String>) -> Option<CgroupDriver> {
    let config: serde_json::Value = serde_json::from_str(info.get("config")?).ok()?;
    let containerd = &config["containerd"];
    let name = containerd["defaultRuntimeName"].as_str().unwrap_or("runc");
    let runtime = containerd["runtimes"].get(name)?;
    let of_runtime = runtime["options"]["SystemdCgroup"].as_bool();
    let of_all = config["systemdCgroup"].as_bool();
    match of_runtime.unwrap_or(false) || of_all.unwrap_or(false) {
        true => Some(CgroupDriver::Systemd),
        false => Some(CgroupDriver::Cgroupfs),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(config: &str, expected: Option<CgroupDriver>) {
        let info = HashMap::from([("config".to_owned(), config.to_owned())]);
        assert_eq!(driver_configured(&info), expected, "{config}");
    }

    #[test]
    fn the_driver_in_containerds_configuration() {
        let with = |options: &str| {
            format!(
                r#"{{"containerd":{{"defaultRuntimeName":"runc","runtimes":{{"runc":{{"options":{options}}}}}}}}}"#
            )
        };
        check(&with(r#"{"SystemdCgroup":true}"#), Some(CgroupDriver::Systemd));
        check(&with(r#"{"SystemdCgroup":false}"#), Some(CgroupDriver::Cgroupfs));
        check(&with("null"), Some(CgroupDriver::Cgroupfs));
        check(
            r#"{"containerd":{"defaultRuntimeName":"crun","runtimes":{"runc":{}}}}"#,
            None,
        );
        check("{}", None);
        check("no json", None);
        assert_eq!(driver_configured(&HashMap::new()), None);
    }

    #[tokio::test]
    async fn sockets_that_do_not_answer() {
        let directory = tempfile::tempdir().unwrap();
        let socket = directory.path().join("c.sock");
        assert_eq!(ask(&socket).await, RuntimeAnswer::Absent);
        drop(std::os::unix::net::UnixListener::bind(&socket).unwrap());
        match ask(&socket).await {
            RuntimeAnswer::Silent(reason) => assert!(reason.contains("refused"), "{reason}"),
            other => panic!("{other:?}"),
        }
    }
}
