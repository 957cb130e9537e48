//! What can a tool reach? A file or folder for each capability. Nothing is granted unless it is written down; what is linked without
//! a grant answers, and refuses.

// The outside, closed
pub(crate) mod wasi;

// The outside, as far as it is granted
pub(crate) mod dirs;
pub(crate) mod kv;
pub(crate) mod net;
pub(crate) mod secrets;
pub(crate) mod sockets;
pub(crate) mod sql;
pub(crate) mod tools;
pub(crate) mod words;

// Words of guests, in messages
mod name;

// The call itself
mod tool;

use std::sync::Arc;

use toolpost_core::{Attempt, CallError};
use wasmtime::Result;
use wasmtime::component::Linker;

use crate::state::State;

/// What a tool has been granted, opened once for all of its attempts.
pub(crate) struct Granted {
    pub(crate) roots: Arc<dirs::driver::Roots>,
    pub(crate) buckets: Arc<kv::Buckets>,
    pub(crate) databases: sql::Opened,
}

/// What is found out for one attempt before its tool runs, as it takes time.
pub(crate) struct Prepared {
    pub(crate) words: words::Words,
    pub(crate) meant: dirs::meant::Meant,
}

impl Prepared {
    /// # Errors
    /// A secret cannot be had that the tool is given in words.
    ///
    /// # Cancel safety
    /// Dropping the future leaves nothing behind.
    pub(crate) async fn of(attempt: &Attempt, granted: &Granted) -> std::result::Result<Self, CallError> {
        let words = words::Words::of(attempt).await?;
        Ok(Prepared { words, meant: dirs::meant::Meant::by(attempt, &granted.roots).await })
    }
}

/// Links everything that a component may import.
pub(crate) fn link(linker: &mut Linker<State>) -> Result<()> {
    wasi::link(linker)?;
    dirs::link(linker)?;
    net::link(linker)?;
    sockets::link(linker)?;
    kv::link(linker)?;
    sql::link(linker)?;
    secrets::link(linker)?;
    words::link(linker)?;
    tools::link(linker)?;
    tool::link(linker)
}
