//! What can a tool reach? A file for each capability. Nothing is granted unless it is written down; what is linked without
//! a grant answers, and refuses.

// The outside, closed
pub(crate) mod net;
pub(crate) mod wasi;

// The call itself
mod tool;

use wasmtime::Result;
use wasmtime::component::Linker;

use crate::state::State;

/// Links everything that a component may import.
pub(crate) fn link(linker: &mut Linker<State>) -> Result<()> {
    wasi::link(linker)?;
    net::link(linker)?;
    tool::link(linker)
}
