//! Has this been done before? Calls with the same key have their effect once, and get the same answer.
//!
//! A call gets a **key** ([`settings`], [`key`]): from its arguments, some of its fields, its id, its caller's own word, or the
//! embedder's. Under that key the [`Ledger`] holds one [`Record`], and what may be done with it stands in one table
//! ([`record`]):
//!
//! ```text
//! absent ─begin→ claimed ─first change→ effects ─complete→ done ─expiry→ absent
//!   ↑               │ release, or lease over       │ lease over, or given up
//!   └───────────────┘                              └→ unknown ─an operator says what is true→ …
//! ```
//!
//! 1. Before anybody is asked, a call **peeks**: what is done is answered from the record, at no charge.
//! 2. What is to run **claims** its key. A twin waits for the one that runs, in this process by being woken, for another
//!    process by looking again; or it is told, where settings say so.
//! 3. The claim is a lease, renewed while the ticket lives. Whoever finds it run out takes over, with a new **fence**: a
//!    number that no other claim has. Every write names its fence, so one that comes too late changes nothing, and its
//!    writer learns that it has **lost** the key.
//! 4. Before the first effect that may change something leaves the gate, that fact is durable. So a host that dies leaves one
//!    of two things: a record from which it is clear that nothing happened, or one that says *unknown*. What is unknown is
//!    never silently run again.
//!
//! **Why one store verb.** A store ([`LedgerStore`]) can get a record and swap it, if nobody else has changed it meanwhile.
//! Everything that must be decided is decided above it, once, by pure functions, and not once more in each store.

// What the operator says
pub mod settings;

// Which call is the same call?
pub mod key;

// What is written down, and what may follow it
pub mod ending;
pub mod record;

// Where it is written
pub mod book;
pub mod memory;
pub mod store;

// Who may run
mod ledger;
mod renewal;
mod ticket;

pub use book::{Asked, Book, Known, Of};
pub use ending::{Ending, Kept};
pub use key::{CallKey, Fingerprint, RecordKey};
pub use ledger::{How, LEASE, Ledger, LedgerReport, WAIT_MAX, WAITING_MAX};
pub use memory::Memory;
pub use record::{Begin, Claim, Decision, Fenced, Record, Release, Standing, State, ToolId};
pub use settings::{Idempotency, IdempotencySettings};
pub use store::{LedgerFailure, LedgerStore, Listed, Query, Seen};

pub(crate) use ending::is_readable;
pub(crate) use ledger::Claimed;
pub(crate) use ticket::{Hold, Ticket};
