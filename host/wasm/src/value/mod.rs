//! JSON to component values and back, straight into and out of the guest's memory.
//!
//! wasmtime's dynamic values take 40 bytes for each byte of a `list<u8>` and a thousand times the time of a copy. So a call
//! goes through wasmtime's *typed* door instead, with parameter and result types whose shape is only known at run time:
//! [`abi`] opens that door, [`lower`] writes canonical JSON by the component's own types, [`lift`] reads it back.
//!
//! A handle stands for a resource that the guest has made. It is looked up before the call begins.
//!
//! What is lowered is the output of the cast, so it fits; where it does not, the attempt ends with an error, and nothing of
//! it reaches the tool.

// wasmtime's typed door
mod abi;

// In and out
mod lift;
mod lower;

pub(crate) use self::abi::{Answer, Held, call};
