//! Batches: which call waits for which, whose turn it is, and what comes of it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod line;
mod model;
mod plan;
mod run;
