//! What can a tool reach? A file or folder for each capability. Nothing is granted unless it is written down; what is linked without
//! a grant answers, and refuses.

// The outside, closed
pub(crate) mod wasi;

// The outside, as far as it is granted
pub(crate) mod dirs;
pub(crate) mod kv;
pub(crate) mod net;
pub(crate) mod secrets;
pub(crate) mod sql;
pub(crate) mod tools;
pub(crate) mod words;

// The call itself
mod tool;

use std::sync::Arc;

use wasmtime::Result;
use wasmtime::component::Linker;

use crate::state::State;

/// What a tool has been granted, opened once for all of its attempts.
pub(crate) struct Granted {
    pub(crate) roots: Arc<dirs::driver::Roots>,
    pub(crate) buckets: Arc<kv::Buckets>,
    pub(crate) databases: sql::Opened,
}

/// Links everything that a component may import.
pub(crate) fn link(linker: &mut Linker<State>) -> Result<()> {
    wasi::link(linker)?;
    dirs::link(linker)?;
    net::link(linker)?;
    kv::link(linker)?;
    sql::link(linker)?;
    secrets::link(linker)?;
    words::link(linker)?;
    tools::link(linker)?;
    tool::link(linker)
}
