//! Databases: what every kind of them does for a tool in the same way, what none of them lets it do, and what becomes of it when
//! something goes wrong. The servers are real ones: see `tests/services.sh`.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    unreachable_pub,
    reason = "tests"
)]

mod ground;

// What every kind does
mod conformance;

// What none lets a tool do
mod attacks;

// What bounds a tool
mod bounds;

// An order, by the guest `database`
mod orders;
