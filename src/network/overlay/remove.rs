//! Takes away what the overlay has made: a node that is to be as it was, or whose pods are connected otherwise from now on.

use std::io;
use std::path::Path;

use super::endpoint;
use super::kernel::Kernel;
use super::operation::Operation;
use super::wanted::PROTOCOL;
use super::wire::Wire;
use crate::disk::write::remove_if_there;
use crate::model::overlay::Mac;

/// Removes the overlay's device and routes. Whether there is anything, the agent's state directory says.
pub async fn remove(state_dir: &Path) -> io::Result<()> {
    let file = state_dir.join(endpoint::FILE);
    let Some(mac) = endpoint::stored(&file) else {
        return Ok(());
    };
    let wire = Wire::open()?;
    let mut kernel = wire.list().await.map_err(io::Error::other)?;
    for operation in operations(&kernel.clone(), mac) {
        wire.carry_out(&operation, &mut kernel)
            .await
            .map_err(io::Error::other)?;
    }
    remove_if_there(&file)
}

fn operations(kernel: &Kernel, mac: Mac) -> Vec<Operation> {
    let routes = kernel.routes.iter().filter(|route| route.protocol == PROTOCOL);
    let routes = routes.cloned().map(Operation::RemoveRoute);
    let devices = kernel
        .links
        .iter()
        .filter(|(_, link)| link.vxlan.is_some() && link.mac == Some(mac));
    routes
        .chain(devices.map(|(index, _)| Operation::RemoveDevice { index: *index }))
        .collect()
}
