//! Calls that nobody waits for: each ends exactly once, whatever becomes of its host, or it is told what it may have done.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod cancelling;
mod chaos;
mod conformance;
mod life;
mod room;
mod taking_over;
mod work;

use std::sync::Arc;

use toolpost_core::task::Memory;

async fn memory() -> (conformance::Store, ()) {
    (Arc::new(Memory::default()), ())
}

conformance!(memory);
