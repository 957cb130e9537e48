//! What can a tool reach? A file or folder for each capability. Nothing is granted unless it is written down; what is linked without
//! a grant answers, and refuses.

// The outside, closed
pub(crate) mod wasi;

// The outside, as far as it is granted
pub(crate) mod dirs;
pub(crate) mod kv;
pub(crate) mod net;

// The call itself
mod tool;

use wasmtime::Result;
use wasmtime::component::Linker;

use crate::state::State;

/// Links everything that a component may import.
pub(crate) fn link(linker: &mut Linker<State>) -> Result<()> {
    wasi::link(linker)?;
    dirs::link(linker)?;
    net::link(linker)?;
    kv::link(linker)?;
    tool::link(linker)
}
