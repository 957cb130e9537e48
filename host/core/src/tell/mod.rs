//! What came of it? The outcome of a call, its errors, and the events on the way.

// What is told at the end
mod error;
mod outcome;

// How much of it, and where the rest is
pub mod artifact;
mod truncate;

// What is told meanwhile
mod breakers;
mod event;
mod span;
mod stream;

// From one to the other
mod trail;

pub use self::artifact::{ArtifactError, Artifacts};
pub(crate) use self::breakers::Herald;
pub use self::error::{CallError, ErrorKind, Fault, Rule, Stage};
pub use self::event::{Event, Level, Sink, Teller, Told, Tracing, Voice};
pub(crate) use self::outcome::milliseconds;
pub use self::outcome::{AttemptReport, Captured, Content, InnerCall, InstanceReport, Outcome, Output, Report};
pub(crate) use self::span::CallSpan;
pub use self::stream::{Piece, Reader, Streaming};
pub(crate) use self::trail::Trail;
pub use self::truncate::Truncated;
