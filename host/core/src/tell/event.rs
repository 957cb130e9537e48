//! What happens right now? One enum of events, and the one seam through which they leave the host.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crate::call::{AcceptedCall, Call, CallId};
use crate::check::approve::{Decision, Question};
use crate::effect::Effect;
use crate::secret::{Masker, Secrets};
use crate::tell::{CallError, ErrorKind, Outcome};

/// Something that happened to a call. No text in it holds a secret that the host knows: each is masked where it comes in.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub enum Event<'a> {
    /// A call came in.
    CallStarted {
        /// The call as it was made.
        call: &'a Call,
    },
    /// Its tool is known, and its arguments fit.
    CallAccepted {
        /// The call with the arguments that are judged, shown and run.
        call: &'a AcceptedCall,
    },
    /// The call waits for somebody's answer.
    Question {
        /// What is asked.
        question: &'a Question,
    },
    /// A rule, or somebody, has decided about the call.
    Decision {
        /// The decision.
        decision: &'a Decision,
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
        /// What came of it.
        outcome: &'a Outcome,
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

/// An event, and what it belongs to.
#[derive(Clone, Copy, Debug)]
pub struct Told<'a> {
    /// The number of the event in its host; the first is 1. A later event of the same call has a higher number.
    pub seq: u64,
    /// The call; none where the event is about the host itself.
    pub call: Option<&'a CallId>,
    /// What happened.
    pub event: &'a Event<'a>,
}

/// Something that listens. It is called where the event happens, so it must not block.
pub trait Sink: Send + Sync {
    /// Takes an event in.
    fn tell(&self, told: &Told<'_>);
}

/// Numbers what happens in a host, and tells every sink. Telling costs nothing where nobody listens.
#[derive(Default)]
pub struct Voice {
    secrets: Arc<Secrets>,
    sinks: Vec<Arc<dyn Sink>>,
    told: Arc<AtomicU64>,
}

impl Voice {
    /// The same, with one more sink.
    #[must_use]
    pub fn with(&self, sink: Arc<dyn Sink>) -> Self {
        let sinks = self.sinks.iter().cloned().chain([sink]).collect();
        Voice { sinks, told: self.told.clone(), secrets: self.secrets.clone() }
    }

    /// The same sinks and secrets, with numbers that go on where another voice goes on too; what that one masks stays masked.
    #[must_use]
    pub fn beside(&self, other: &Voice) -> Self {
        self.secrets.remember(&other.secrets);
        Voice { sinks: self.sinks.clone(), told: other.told.clone(), secrets: self.secrets.clone() }
    }

    /// The same, in a host that has these secrets.
    #[must_use]
    pub fn with_secrets(&self, secrets: Arc<Secrets>) -> Self {
        Voice { sinks: self.sinks.clone(), told: self.told.clone(), secrets }
    }

    /// The secrets of the host.
    #[must_use]
    pub fn secrets(&self) -> &Arc<Secrets> {
        &self.secrets
    }

    /// Tells every sink.
    pub fn tell(&self, call: Option<&CallId>, event: &Event<'_>) {
        if !self.sinks.is_empty() {
            let seq = self.told.fetch_add(1, Ordering::Relaxed) + 1;
            self.sinks.iter().for_each(|sink| sink.tell(&Told { seq, call, event }));
        }
    }
}

/// The voice of its host, about one call.
#[derive(Clone)]
pub struct Teller {
    call: CallId,
    voice: Arc<Voice>,
}

impl Teller {
    /// The voice of one call.
    #[must_use]
    pub fn new(call: CallId, voice: Arc<Voice>) -> Self {
        Teller { call, voice }
    }

    /// Tells every sink.
    pub fn tell(&self, event: &Event<'_>) {
        self.voice.tell(Some(&self.call), event);
    }

    /// The secrets of the host.
    #[must_use]
    pub fn secrets(&self) -> &Arc<Secrets> {
        &self.voice.secrets
    }

    /// What takes secrets out of what is to be told.
    #[must_use]
    pub fn masker(&self) -> Arc<Masker> {
        self.voice.secrets.masker()
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
    fn tell(&self, told: &Told<'_>) {
        let call = told.call.map(CallId::as_str);
        match told.event {
            Event::CallStarted { call: Call { tool, .. } } => tracing::debug!(call, tool, "call started"),
            Event::CallAccepted { .. } => tracing::debug!(call, "call accepted"),
            Event::Question { question } => {
                tracing::info!(
                    call,
                    question = question.id,
                    tool = question.tool,
                    why = question.why,
                    "question asked"
                );
            }
            Event::Decision { decision: Decision { what, by, why, rule, shadow, .. } } => {
                tracing::info!(call, ?what, by, why, rule, shadow, "decision");
            }
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
            Event::CallEnded { outcome } => {
                tracing::debug!(call, failed = outcome.failed().map(ErrorKind::name), "call ended");
            }
        }
    }
}
