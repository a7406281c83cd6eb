//! The pods of the API server as a file, from which they are started where it cannot be asked.
//!
//! [`stored`] is the content and who may be started from it (pure), [`entry`] an object in it, [`seal`] encrypts it, and
//! [`store`] has the disk.

pub mod stored;
mod entry;
pub mod seal;
pub mod store;
