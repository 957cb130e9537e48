//! Idempotency: what has been done under a key is not done again, whoever asks, whenever, and whatever went wrong meanwhile.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod conformance;
mod keys;
mod losing;
mod model;
mod road;
mod twins;
mod work;

use std::sync::Arc;

use toolpost_core::guard::replay::Memory;

async fn memory() -> (conformance::Store, ()) {
    (Arc::new(Memory::default()), ())
}

conformance!(memory);
