//! Hardware addresses that nobody has.

use std::fs::File;

use crate::netlink::link::Mac;
use crate::types::{Code, Error};

/// A locally administered unicast address.
pub(super) fn random_mac() -> Result<Mac, Error> {
    use std::io::Read;
    let mut bytes = [0; 6];
    File::open("/dev/urandom")
        .and_then(|mut source| source.read_exact(&mut bytes))
        .map_err(|error| Error::new(Code::Io, format!("cannot read /dev/urandom: {error}")))?;
    bytes[0] = bytes[0] & 0xfe | 0x02;
    Ok(Mac(bytes))
}
