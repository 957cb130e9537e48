//! The mechanism of Toolpost: components become tools, and an attempt of a call becomes an instance on wasmtime.
//!
//! An [`Engine`] loads a [`Component`]; its [`Function`]s are [`Tool`](toolpost_core::Tool)s that a
//! [`Host`](toolpost_core::Host) calls. Every attempt has a store of its own, with fuel, memory, handles and results
//! bounded, and with nothing granted that is not written down: no files, no environment, no network. This is the only package that names wasmtime.

// The engine
mod cache;
mod engine;
mod ours;
mod own;

// A file becomes tools
mod component;
mod docs;
mod function;
mod import;
mod shape;
mod source;
mod weigh;

// Signatures of requests
pub mod aws;

// An attempt becomes an instance
mod answer;
mod capability;
mod handles;
mod instance;
mod keep;
mod limits;
mod state;
mod trap;
mod turn;
mod value;

pub use capability::kv::backend as kv;
pub use capability::kv::memory::Memory;
pub use capability::net::address::Resolver;
pub use capability::net::client::NetOptions;
pub use capability::sql::backend as sql;
pub use component::{Component, LoadError};
pub use engine::{Allocation, Engine, EngineOptions, config, pool};
pub use function::{Function, Refusal};
pub use import::{Import, Power};
pub use ours::{is_ours, is_owned};
pub use own::{Interface, Interfaces};
pub use source::{COMPONENT_BYTES_MAX, Source};
pub use state::State;
/// For the interfaces of an embedding program.
pub use wasmtime;
