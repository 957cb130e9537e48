//! Runs agents' tools as WebAssembly components: they can do what they are allowed to do, and nothing else.
//!
//! A [`Builder`] makes a [`Host`] out of component files, native functions and settings; [`Host::call`] runs a [`Call`].
//!
//! ```
//! use serde_json::json;
//! use toolpost::{Builder, Call};
//!
//! # #[tokio::main]
//! # async fn main() -> Result<(), Box<dyn std::error::Error>> {
//! # let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/../../guest-examples/prebuilt");
//! # let path = |name: &str| format!("{folder}/{name}");
//! let host = Builder::new().tools(path("text.wasm")).build().await?;
//!
//! let outcome = host.call(Call::new("text_word_count", json!({"text": "one two"}))).await;
//! assert_eq!(outcome.result?.value["words"], json!(2));
//! println!("it took {} of fuel", outcome.report.attempts[0].fuel);
//! # Ok(())
//! # }
//! ```
//!
//! The policy (what a call is, how it is judged, guarded, run and told) is in [`core`]; the mechanism (components, their
//! types, their instances) in [`wasm`].

// What the operator says
pub mod settings;

// What was reviewed
pub mod lock;

// What must not be written down
pub mod mask;

// What is kept on disk
pub mod store;

// What nobody may see
mod secrets;

// What tools keep
pub mod kv;
// What tools can be granted beside files and the network
mod sql;

// Who is asked
pub mod approve;

// Who else is told
pub mod telemetry;

// From settings and files to a host
mod build;

// And again, while it runs
mod reload;

pub use toolpost_core as core;
pub use toolpost_wasm as wasm;

pub use build::{Builder, Fault, Faults, Loaded};
pub use reload::{Reloaded, Reloader, reload_on_sighup};
pub use secrets::mask_panics;
pub use settings::Settings;
pub use store::Store;
pub use toolpost_core::{
    Arguments, Artifacts, Attempt, Call, CallError, CallId, CallOrTask, Caller, Cast, Catalog, Check, Content, Effect,
    EffectClass, ErrorKind, Event, Host, HostLimits, Level, Limits, Native, Outcome, Output, Report, Secret, Secrets,
    Sink, Stage, Task, TaskId, TaskSettings, Tasks, Told, Tool,
};

// The README's example is a test.
#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
mod readme {}
