//! What happens right now? One enum of events, and the one seam through which they leave the host.

use std::sync::Arc;
use std::time::Duration;

use crate::call::CallId;
use crate::effect::Effect;
use crate::tell::{CallError, ErrorKind};

/// Something that happened to a call.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A call came in.
    CallStarted {
        /// The tool that is asked for.
        tool: &'a str,
    },
    /// An attempt begins.
    AttemptStarted {
        /// Its number.
        number: u32,
    },
    /// The tool says how far it is.
    Progress {
        /// Units done.
        done: u64,
        /// Units in all, where the tool knows.
        total: Option<u64>,
        /// What it is at.
        message: Option<&'a str>,
    },
    /// The tool hands out a part of its result.
    Partial {
        /// The part.
        text: &'a str,
    },
    /// The tool writes a line to the log.
    Log {
        /// How much it matters.
        level: Level,
        /// The line.
        message: &'a str,
    },
    /// The tool passes the gate with an effect.
    Effect {
        /// The effect.
        effect: &'a Effect,
    },
    /// An attempt is over.
    AttemptEnded {
        /// Its number.
        number: u32,
        /// Why it failed, if it did.
        error: Option<&'a CallError>,
    },
    /// The call waits, and is tried again.
    Retry {
        /// The wait.
        after: Duration,
    },
    /// The call is over. This is the last word about it.
    CallEnded {
        /// The kind of failure, if it failed.
        failed: Option<ErrorKind>,
    },
}

/// How much a line of log matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum Level {
    Debug,
    Info,
    Warn,
    Error,
}

impl Level {
    /// The level as one word.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Level::Debug => "debug",
            Level::Info => "info",
            Level::Warn => "warn",
            Level::Error => "error",
        }
    }
}

/// Something that listens. It is called where the event happens, so it must not block.
pub trait Sink: Send + Sync {
    /// Takes an event in.
    fn tell(&self, call: &CallId, event: &Event<'_>);
}

/// Tells the sinks of a host about one call. Telling costs nothing where nobody listens.
#[derive(Clone)]
pub struct Teller {
    call: CallId,
    sinks: Arc<[Arc<dyn Sink>]>,
}

impl Teller {
    /// The voice of one call.
    #[must_use]
    pub fn new(call: CallId, sinks: Arc<[Arc<dyn Sink>]>) -> Self {
        Teller { call, sinks }
    }

    /// Tells every sink.
    pub fn tell(&self, event: &Event<'_>) {
        for sink in self.sinks.iter() {
            sink.tell(&self.call, event);
        }
    }
}

impl std::fmt::Debug for Teller {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Teller").field("call", &self.call).finish_non_exhaustive()
    }
}

/// A sink that writes to `tracing`, for a host that has a subscriber already.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tracing;

impl Sink for Tracing {
    fn tell(&self, call: &CallId, event: &Event<'_>) {
        let call = call.as_str();
        match event {
            Event::CallStarted { tool } => tracing::debug!(call, tool, "call started"),
            Event::AttemptStarted { number } => tracing::debug!(call, number, "attempt started"),
            Event::Progress { done, total, message } => tracing::debug!(call, done, total, message, "progress"),
            Event::Partial { text } => tracing::debug!(call, bytes = text.len(), "partial result"),
            Event::Log { level: Level::Debug, message } => tracing::debug!(call, message, "tool"),
            Event::Log { level: Level::Info, message } => tracing::info!(call, message, "tool"),
            Event::Log { level: Level::Warn, message } => tracing::warn!(call, message, "tool"),
            Event::Log { level: Level::Error, message } => tracing::error!(call, message, "tool"),
            Event::Effect { effect } => {
                tracing::info!(call, action = effect.action, target = effect.target, "effect");
            }
            Event::AttemptEnded { number, error: None } => tracing::debug!(call, number, "attempt ended"),
            Event::AttemptEnded { number, error: Some(error) } => {
                let source = error.source.as_ref().map(tracing::field::display);
                tracing::info!(call, number, kind = error.kind.name(), %error, source, "attempt failed");
            }
            Event::Retry { after } => tracing::info!(call, ?after, "tried again"),
            Event::CallEnded { failed } => tracing::debug!(call, failed = failed.map(ErrorKind::name), "call ended"),
        }
    }
}
