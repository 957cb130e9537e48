//! What happens right now? One enum of events, and the one seam through which they leave the host.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::BoxFuture;
use serde::Serialize;

use crate::call::{AcceptedCall, Call, CallId};
use crate::check::approve::{Decision, Question};
use crate::effect::Effect;
use crate::guard::breaker::{Key, News};
use crate::secret::{Masker, Secrets};
use crate::tell::{AttemptReport, ErrorKind, Outcome, milliseconds};

/// Something that happened to a call, or to the host itself. No text in it holds a secret that the host knows: each is masked
/// where it comes in.
///
/// As JSON it is an object with its name under `event`; calls and outcomes are left out, because only the one who keeps
/// them knows what has to be masked.
#[derive(Clone, Debug, Serialize)]
#[serde(tag = "event", rename_all = "snake_case")]
#[non_exhaustive]
pub enum Event<'a> {
    /// A call came in.
    CallStarted {
        /// The call as it was made.
        #[serde(skip)]
        call: &'a Call,
    },
    /// Its tool is known, and its arguments fit.
    CallAccepted {
        /// The call with the arguments that are judged, shown and run.
        #[serde(skip)]
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
        /// What it took, and why it failed if it did.
        #[serde(flatten)]
        report: &'a AttemptReport,
    },
    /// The call waits, and is tried again.
    Retry {
        /// The wait.
        #[serde(rename = "after_ms", serialize_with = "milliseconds")]
        after: Duration,
        /// What is left for the retries of this caller and tool, in tokens.
        #[serde(rename = "budget_left")]
        tokens_left: u32,
    },
    /// A breaker changed, or refused calls. It belongs to no call.
    Breaker {
        /// What it watches.
        key: &'a Key,
        /// What it did.
        news: &'a News,
    },
    /// The call is over. This is the last word about it.
    CallEnded {
        /// What came of it.
        #[serde(skip)]
        outcome: &'a Outcome,
    },
}

/// How much a line of log matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
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
    /// The number of the event with which the call began: a caller may give one id to two calls. 0 where there is no call.
    pub begun: u64,
    /// What happened.
    pub event: &'a Event<'a>,
}

/// Something that listens. It is called where the event happens, so it must not block.
pub trait Sink: Send + Sync {
    /// Takes an event in.
    fn tell(&self, told: &Told<'_>);

    /// Waits until all that was told is where it goes, for a sink that does not do everything at once. The wait is bounded.
    ///
    /// # Cancel safety
    /// Dropping the future stops the waiting, and nothing else.
    fn flush(&self) -> BoxFuture<'_, ()> {
        Box::pin(std::future::ready(()))
    }
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

    /// Tells every sink something that is about no call.
    pub fn tell(&self, event: &Event<'_>) {
        self.say(None, 0, event);
    }

    /// Waits for every sink, at once.
    ///
    /// # Cancel safety
    /// As for [`Sink::flush`].
    pub async fn flush(&self) {
        futures_util::future::join_all(self.sinks.iter().map(|sink| sink.flush())).await;
    }

    /// Says it, and which number it had; 0 where nobody listens.
    fn say(&self, call: Option<&CallId>, begun: u64, event: &Event<'_>) -> u64 {
        if self.sinks.is_empty() {
            return 0;
        }
        let seq = self.told.fetch_add(1, Ordering::Relaxed) + 1;
        let begun = if matches!(event, Event::CallStarted { .. }) { seq } else { begun };
        self.sinks.iter().for_each(|sink| sink.tell(&Told { seq, call, begun, event }));
        seq
    }
}

/// The voice of its host, about one call.
#[derive(Clone)]
pub struct Teller {
    call: CallId,
    begun: u64,
    voice: Arc<Voice>,
}

impl Teller {
    /// The voice of a call that comes in now.
    #[must_use]
    pub fn start(call: &Call, voice: Arc<Voice>) -> Self {
        let begun = voice.say(Some(&call.id), 0, &Event::CallStarted { call });
        Teller { call: call.id.clone(), begun, voice }
    }

    /// Tells every sink.
    pub fn tell(&self, event: &Event<'_>) {
        self.voice.say(Some(&self.call), self.begun, event);
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
            Event::AttemptEnded { report: AttemptReport { number, error: None, .. } } => {
                tracing::debug!(call, number, "attempt ended");
            }
            Event::AttemptEnded { report: AttemptReport { number, error: Some(error), .. } } => {
                let source = error.source.as_ref().map(tracing::field::display);
                tracing::info!(call, number, kind = error.kind.name(), %error, source, "attempt failed");
            }
            Event::Retry { after, tokens_left } => tracing::info!(call, ?after, tokens_left, "tried again"),
            Event::Breaker { key, news: News::Changed(change) } => {
                tracing::info!(%key, from = change.from.name(), to = change.to.name(), cause = ?change.cause, "breaker");
            }
            Event::Breaker { key, news: News::Refused { refusal, calls, .. } } => {
                tracing::info!(%key, refusal = refusal.name(), calls, "breaker refused");
            }
            Event::CallEnded { outcome } => {
                tracing::debug!(call, failed = outcome.failed().map(ErrorKind::name), "call ended");
            }
        }
    }
}
