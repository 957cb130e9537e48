//! What is done when nobody waits for it? Tasks: calls that were written down before they were made, and that survive the
//! one who made them, and the host.
//!
//! 1. A task is **filed** ([`Host::spawn`](crate::Host::spawn)): it is durable before its caller has its id. The id is hard to
//!    guess; it and the caller's name are what it takes to look at the task, to wait for it and to cancel it.
//! 2. A host **takes it up** and makes the call, on the road of every call. The host has a lease, and each run a **fence**: a
//!    number that no other run has, which stands behind everything that the run writes.
//! 3. Before each effect that may change something leaves the gate, it is on the list of the task. So whatever happens to
//!    the host, the list has everything that may have been done.
//! 4. Progress and partial output are kept as they come; what came of it is kept for a while.
//! 5. A task whose host is **gone** is taken over by the next one. Where nothing may have changed, it is made again; else its
//!    call's idempotency key says what is true; a call without one is **unknown** then, with its effects listed. Each is made
//!    again only so often: a task that kills its host does not do so for ever.
//!
//! What may follow what stands in one table ([`record`]). A store ([`TaskStore`]) decides nothing but who was first.
//!
//! **Why a task is not a record of the ledger.** The ledger says whether an effect may happen under a key; a call that only
//! reads has none there, and one with a key of its own shares it with others. A task is one call, with or without a key, and
//! ends in any way that a call can end. So it has a fence of its own, and asks the ledger wherever there is a key to ask for.

// What the operator says
pub mod settings;

// What was asked, and under which name
mod id;

// What is written down, and what may follow it
pub mod ending;
pub mod record;

// Where it is written
mod book;
pub mod memory;
pub mod store;

// What runs, and keeps the right to
mod hold;
mod lease;
mod verdict;
mod work;

// For those who ask
mod desk;
mod host;

pub use desk::{Cancelled, Sheet, Tasks};
pub use ending::{Ended, How};
pub use hold::InTask;
pub use host::{CallOrTask, Task};
pub use id::TaskId;
pub use memory::Memory;
pub use record::{CancelAsked, HostId, Record, Request, Standing, State};
pub use settings::TaskSettings;
pub use store::{
    Asked, Filed, Listed, Look, Looking, Notes, Progress, Query, Room, Seen, TaskFailure, TaskStore, Touch, Words,
};
