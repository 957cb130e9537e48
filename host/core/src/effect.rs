//! What does a running tool do to the world? The one door that each of its effects passes.
//!
//! A driver, before it does anything that the world can notice, awaits [`Gate::pass`] with the effect in hand. The gate
//! refuses when the call is over, so that nothing happens behind a result that was already told, and writes the effect
//! down, so that every outcome lists what its call did. No driver goes round it: later rules about effects (quotas, a
//! person who is asked, a dry run) have this one place.

mod intent;
mod within;

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

pub use self::intent::Intent;
pub(crate) use self::within::Within;

use crate::check::approve::Decision;
use crate::tell::{CallError, ErrorKind, InnerCall, Stage};

/// What a tool can do to the world, from harmless to not. It is derived from what a component imports and what it has been
/// granted, never from what its author claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum EffectClass {
    /// Nothing: it computes. Clocks, random numbers and log lines do not count.
    Pure,
    /// It may read what it has been granted.
    Reads,
    /// It may change what it has been granted.
    Writes,
    /// It may send to the network.
    Open,
    /// It may destroy what cannot be had back. Only an operator says so.
    Destroys,
}

impl EffectClass {
    /// Whether the world may be another one afterwards.
    #[must_use]
    pub fn may_change(self) -> bool {
        self >= EffectClass::Writes
    }

    /// The name, as in settings.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            EffectClass::Pure => "pure",
            EffectClass::Reads => "reads",
            EffectClass::Writes => "writes",
            EffectClass::Open => "open",
            EffectClass::Destroys => "destroys",
        }
    }
}

/// Something that a tool is about to do.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Effect {
    /// How far it reaches.
    pub class: EffectClass,
    /// What is done, as the capability's name and a verb: `files.write`.
    pub action: String,
    /// What it is done to: a path, a host, a key.
    pub target: String,
    /// More about it, for a reader.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub detail: Option<String>,
}

impl Effect {
    /// The action of a call of another tool. What comes of it, that call itself has: it is never more than what it did.
    pub const CALL: &str = "tools.call";

    /// Whether it is a call of another tool.
    #[must_use]
    pub fn is_call(&self) -> bool {
        self.action == Self::CALL
    }

    /// What is done to what.
    #[must_use]
    pub fn words(&self) -> String {
        format!("{} {}", self.action, self.target)
    }
}

/// What became of an effect.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Fate {
    /// It happened.
    Done,
    /// It did not happen: the driver says so.
    Failed,
    /// It did not happen: the gate, or its driver, refused it.
    Refused,
    /// It was cut off in flight; whether it happened is not known.
    Indeterminate,
}

/// An effect and what became of it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct EffectRecord {
    /// The effect.
    #[serde(flatten)]
    pub effect: Effect,
    /// The attempt that did it.
    pub attempt: u32,
    /// What became of it.
    pub fate: Fate,
}

/// The most effects of one attempt that are written down; more are counted.
pub const EFFECTS_LISTED_MAX: usize = 10_000;

/// The most that the effects in that list may say, in bytes.
pub const EFFECTS_BYTES_MAX: usize = 4 << 20;

/// Who must know before anything is changed.
pub(crate) trait Witness: Send + Sync + std::fmt::Debug {
    /// Has written down that this effect may happen, or says why it must not.
    fn before_change<'a>(&'a self, effect: &'a Effect) -> BoxFuture<'a, Result<(), CallError>>;
}

/// The door of one attempt. Clones are the same door.
#[derive(Clone, Debug)]
pub struct Gate {
    /// What has passed it; and who waits until nothing inside of the attempt runs any more.
    inner: Arc<(Mutex<Inner>, Notify)>,
    /// It is closed: by itself, or with that of an attempt around this one.
    over: CancellationToken,
    /// Of this attempt, and of those around it.
    witnesses: Vec<Arc<dyn Witness>>,
}

#[derive(Debug)]
struct Inner {
    attempt: u32,
    closed: bool,
    records: Vec<EffectRecord>,
    /// What the listed ones say, in bytes.
    listed_bytes: usize,
    unlisted: u64,
    /// How far calls inside of the attempt have gone into the world.
    inside: EffectClass,
    /// The calls inside of it that came to run, and how many more.
    calls: Vec<InnerCall>,
    calls_unlisted: u64,
    /// Calls inside of the attempt that run now, and may still change something.
    running_inside: usize,
    /// What was decided about its effects.
    decisions: Vec<Decision>,
    /// Why the attempt was first kept from something.
    refusal: Option<CallError>,
    /// What its tool asked for in vain, without being refused anything.
    hint: Option<String>,
    /// Whether a server failed it, and a breaker has counted that against the server.
    server_failed: bool,
}

/// The leave to do one effect. Tell the gate how it went; a passage that is dropped untold counts as indeterminate.
#[derive(Debug)]
#[must_use = "tell the gate how it went: `done` or `failed`"]
pub struct Passage {
    gate: Gate,
    index: Option<usize>,
}

impl Gate {
    /// The open gate of an attempt.
    #[must_use]
    pub fn new(attempt: u32) -> Self {
        let (records, inside) = (Vec::new(), EffectClass::Pure);
        let (running_inside, refusal, server_failed) = (0, None, false);
        let decisions = Vec::new();
        let inner = Inner {
            attempt,
            closed: false,
            records,
            listed_bytes: 0,
            unlisted: 0,
            inside,
            calls: Vec::new(),
            calls_unlisted: 0,
            running_inside,
            decisions,
            refusal,
            hint: None,
            server_failed,
        };
        let inner = Arc::new((Mutex::new(inner), Notify::new()));
        Gate { inner, over: CancellationToken::new(), witnesses: Vec::new() }
    }

    /// The same gate, through which nothing goes that may change something before this witness knows.
    pub(crate) fn before(&mut self, witness: Arc<dyn Witness>) {
        self.witnesses.push(witness);
    }

    /// The same gate inside of another one: the witnesses there are asked too, and when that closes, this does.
    pub(crate) fn inside_of(&mut self, around: &Gate) {
        self.witnesses.extend(around.witnesses.iter().cloned());
        self.over = around.over.child_token();
    }

    /// Asks for leave to do an effect, and writes it down.
    ///
    /// # Errors
    /// [`ErrorKind::Cancelled`] when the attempt is over. For what may change something, also what keeps it from being written
    /// down that it may have happened.
    ///
    /// # Cancel safety
    /// Dropping the future before it is ready leaves no effect; under an idempotency key it may be on record that there could
    /// have been one.
    pub async fn pass(&self, effect: Effect) -> Result<Passage, CallError> {
        let witnessed = self.witnessed(&effect).await;
        let mut inner = self.lock();
        let is_over = self.is_over(&inner);
        let fate = if is_over || witnessed.is_err() { Fate::Refused } else { Fate::Indeterminate };
        let index = inner.write_down(effect, fate);
        if is_over {
            return Err(over());
        }
        drop(inner);
        witnessed?;
        Ok(Passage { gate: self.clone(), index })
    }

    async fn witnessed(&self, effect: &Effect) -> Result<(), CallError> {
        if effect.class.may_change() && !effect.is_call() && self.check().is_ok() {
            for witness in &self.witnesses {
                witness.before_change(effect).await?;
            }
        }
        Ok(())
    }

    /// Writes down an effect that a driver refuses before it asks for leave, and why.
    pub fn refuse(&self, effect: Effect, why: CallError) {
        let mut inner = self.lock();
        inner.write_down(effect, Fate::Refused);
        inner.refusal.get_or_insert(why);
    }

    /// Notes why the attempt is kept from something that is no effect, such as the rest of an answer that is too long.
    pub fn keep_from(&self, why: CallError) {
        self.lock().refusal.get_or_insert(why);
    }

    /// Notes what would help the tool, should it fail: it looked for what it was not granted, and found nothing.
    pub fn hint(&self, help: String) {
        self.lock().hint.get_or_insert(help);
    }

    /// The reason for a failure. A tool that fails after it was refused something says so in its own words, or not at all;
    /// the caller is told the refusal, because that is what can be changed.
    #[must_use]
    pub fn explain(&self, error: CallError) -> CallError {
        let fails = matches!(error.kind, ErrorKind::ToolFailed { .. } | ErrorKind::Trapped);
        if let Some(refusal) = self.lock().refusal.clone().filter(|_| fails) {
            let message = format!("{}; the tool ended with: {}", refusal.message, error.message);
            return CallError { message, source: error.source, ..refusal };
        }
        let says = matches!(error.kind, ErrorKind::ToolFailed { .. } | ErrorKind::InvalidArguments);
        match self.lock().hint.clone().filter(|_| says) {
            Some(hint) => error.with_help(hint),
            None => error,
        }
    }

    /// Notes that a server failed the attempt, and that this was counted against the server.
    pub(crate) fn server_failed(&self) {
        self.lock().server_failed = true;
    }

    /// Whether a failure of the attempt was counted already, against a server that failed it. It must not be counted against
    /// the tool as well, or one bad server would have the tool left alone together with all the good ones that it talks to.
    ///
    /// What a tool makes of a server's failure is to say so, to trap, or to wait until its time is over. Its fuel, its memory
    /// and its output remain its own.
    pub(crate) fn is_counted(&self, error: &CallError) -> bool {
        let follows = matches!(error.kind, ErrorKind::ToolFailed { .. } | ErrorKind::Trapped | ErrorKind::TimedOut);
        follows && self.lock().server_failed
    }

    /// Asks whether the attempt still runs, for what only the host notices, such as a line of log.
    ///
    /// # Errors
    /// [`ErrorKind::Cancelled`] when the attempt is over, or one around it.
    pub fn check(&self) -> Result<(), CallError> {
        if self.is_over(&self.lock()) { Err(over()) } else { Ok(()) }
    }

    /// Closes the gate for good: from here on the attempt has no effect on the world, nor has anything inside of it.
    pub fn close(&self) {
        // First this one alone, because what is written down here is read next.
        self.lock().closed = true;
        self.over.cancel();
    }

    /// Waits until the gate is closed.
    pub(crate) async fn closed(&self) {
        self.over.cancelled().await;
    }

    fn is_over(&self, inner: &Inner) -> bool {
        inner.closed || self.over.is_cancelled()
    }

    /// Notes what was decided about an effect, and says whether it did: as many of them are listed as effects are.
    pub(crate) fn decided(&self, decision: &Decision) -> bool {
        let mut inner = self.lock();
        let is_room = inner.decisions.len() < EFFECTS_LISTED_MAX;
        if is_room {
            inner.decisions.push(decision.clone());
        }
        is_room
    }

    /// What was decided about its effects.
    pub(crate) fn decisions(&self) -> Vec<Decision> {
        self.lock().decisions.clone()
    }

    /// What the attempt did, and how many effects more than could be listed.
    #[must_use]
    pub fn records(&self) -> (Vec<EffectRecord>, u64) {
        let inner = self.lock();
        (inner.records.clone(), inner.unlisted)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Where it stands in the list; nowhere when that is full.
    fn write_down(&mut self, effect: Effect, fate: Fate) -> Option<usize> {
        let Effect { action, target, detail, .. } = &effect;
        let bytes = self.listed_bytes + action.len() + target.len() + detail.as_ref().map_or(0, String::len);
        if self.records.len() >= EFFECTS_LISTED_MAX || bytes > EFFECTS_BYTES_MAX {
            self.unlisted += 1;
            return None;
        }
        self.listed_bytes = bytes;
        self.records.push(EffectRecord { effect, attempt: self.attempt, fate });
        Some(self.records.len() - 1)
    }
}

impl Passage {
    /// The effect happened.
    pub fn done(self) {
        self.settle(Fate::Done);
    }

    /// The effect did not happen.
    pub fn failed(self) {
        self.settle(Fate::Failed);
    }

    /// The effect did not happen: the driver, which had leave, found that it must not. Why, it tells by
    /// [`Attempt::keep_from`](crate::Attempt::keep_from).
    pub fn refused(self) {
        self.settle(Fate::Refused);
    }

    /// Says more about the effect, for the report.
    pub fn with_detail(&self, detail: String) {
        let mut inner = self.gate.lock();
        if let Some(record) = self.index.and_then(|index| inner.records.get_mut(index)) {
            record.effect.detail = Some(detail);
        }
    }

    fn settle(self, fate: Fate) {
        let mut inner = self.gate.lock();
        if let Some(record) = self.index.and_then(|index| inner.records.get_mut(index)) {
            record.fate = fate;
        }
    }
}

fn over() -> CallError {
    CallError::new(ErrorKind::Cancelled, Stage::Run, "the call is over; nothing more is done for it")
}
