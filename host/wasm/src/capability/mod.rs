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

// Words of guests, in messages, and as paths
mod climb;
mod name;

// The call itself
mod tool;

use std::sync::Arc;

use toolpost_core::{Attempt, CallError};
use wasmtime::Result;
use wasmtime::component::{Linker, ResourceTable};

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

/// What becomes of something that a guest holds when its call is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    /// It is good for the next call: it names what is granted, and nothing stands behind it.
    Lasts,
    /// It was open, and is closed. Who asks it for something is told so.
    Closed,
}

/// What guests have left.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Closed {
    /// What was closed.
    pub(crate) open: usize,
    /// What cannot be looked into. Its call is over, and it cannot do anything any more.
    pub(crate) unknown: usize,
    /// What is good for the next call, and takes up room there.
    pub(crate) lasting: usize,
}

/// Closes what a call has left open. Nothing in the table changes its type: what a guest waits for is found by that.
pub(crate) fn close(table: &mut ResourceTable, stdio: &wasi::Stdio) -> Closed {
    let mut closed = Closed::default();
    for held in table.iter_mut() {
        let fate = wasi::close(held, stdio)
            .or_else(|| dirs::close(held))
            .or_else(|| kv::close(held))
            .or_else(|| sql::close(held))
            .or_else(|| secrets::close(held))
            .or_else(|| net::close(held))
            .or_else(|| sockets::close(held))
            .or_else(|| tools::close(held));
        match fate {
            Some(Fate::Lasts) => closed.lasting += 1,
            Some(Fate::Closed) => closed.open += 1,
            None => closed.unknown += 1,
        }
    }
    closed
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
