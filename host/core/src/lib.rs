//! The policy of Toolpost: how a tool call is judged, guarded, run and told.
//!
//! A call is a value that moves one way, `call -> catalog -> check -> guard -> run -> tell`, and [`Host::call`] is where
//! this road begins:
//!
//! 1. the **catalog** finds the tool, and *accepts* the arguments: reads, repairs and casts them, once, into the very
//!    value that is judged, shown and run;
//! 2. the **check** room says whether the call may run, before anything is held;
//! 3. the **guards** keep it safe while it runs: budgets, rates, its idempotency key, a place among the calls that run at
//!    once;
//! 4. **run** makes an attempt behind the seam [`Runner`], to its end or its deadline; a server that it sends to must be well
//!    ([`run::Contact`]), and each effect on the world passes the attempt's gate ([`effect`]), which closes before the outcome
//!    is told;
//! 5. **tell** hands out the [`Outcome`]: the output or a [`CallError`], and the report of what it took.
//!
//! A call that nobody waits for is a [`task`]: it is on record before it begins, and survives its caller and its host.
//!
//! Nothing here names an engine, opens a file or a socket, or reads the environment.
//!
//! ```
//! use serde_json::json;
//! use toolpost_core::{Call, Catalog, EffectClass, Host, Native, catalog::shape::Shape};
//!
//! # #[tokio::main(flavor = "current_thread")]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! let greet = Native::new("greet", "Greets somebody")
//!     .parameter("name", Shape::String)
//!     .returns(Shape::String)
//!     .effect(EffectClass::Pure)
//!     .run(|attempt| async move {
//!         let name = attempt.call.arguments["name"].as_str().unwrap_or_default().to_owned();
//!         Ok(json!(format!("Hello, {name}!")))
//!     });
//! let mut catalog = Catalog::default();
//! catalog.add(greet)?;
//! let host = Host::new(catalog);
//!
//! let outcome = host.call(Call::new("greet", json!({"name": "Ann"}))).await;
//! assert_eq!(outcome.result?.value, json!("Hello, Ann!"));
//!
//! let outcome = host.call(Call::new("great", json!({}))).await;
//! assert_eq!(outcome.result.unwrap_err().to_string(), "no tool is named `great`; did you mean `greet`?");
//! # Ok(())
//! # }
//! ```

// What was asked
pub mod call;
pub mod inside;

// How it was written
pub mod dialect;

// What nobody may see
pub mod secret;

// What can be asked
pub mod catalog;
pub mod limits;

// May it run?
pub mod check;

// Keep it safe while it runs
pub mod guard;
mod owners;

// Many of them
pub mod batch;

// The road
mod clock;
mod deadline;
pub mod host;

// Run it
mod attempts;
pub mod effect;
pub mod native;
pub mod run;

// What came of it
pub mod tell;

// Run it while nobody waits
pub mod task;

pub use batch::{Batch, BatchReport, BatchSettings};
pub use call::{AcceptedCall, Arguments, Call, CallId, Caller, PermittedCall, Wanted};
pub use catalog::{Cast, Catalog, Lifetime, Tool};
pub use check::Check;
pub use clock::{Clock, STANDS_MAX};
pub use effect::{Effect, EffectClass, Gate};
pub use host::Host;
pub use limits::{HostLimits, Limits};
pub use native::Native;
pub use run::{Asked, Attempt, Runner};
pub use secret::{Masker, Secret, Secrets};
pub use task::{CallOrTask, Task, TaskId, TaskSettings, Tasks};
pub use tell::{Artifacts, CallError, Content, ErrorKind, Event, Level, Outcome, Output, Report, Sink, Stage, Told};
