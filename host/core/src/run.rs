//! One attempt. [`Runner`] is the seam behind which a call meets the tool; everything in front of it is policy.

mod capture;
mod contact;
mod leave;
mod meter;
mod trace;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use futures_util::future::{BoxFuture, select};
use secrecy::zeroize::Zeroizing;
use serde::de::DeserializeOwned;
use tokio::time::Instant;

pub use self::capture::Capture;
pub use self::contact::Contact;
pub(crate) use self::leave::{Leaves, Questions};
pub use self::meter::Meter;
pub use self::trace::span_id;

use crate::batch::Ways;
use crate::call::{AcceptedCall, CallerKey, PermittedCall};
use crate::catalog::grants::{Piece, Template};
use crate::clock::Clock;
use crate::effect::{Gate, Intent, Passage};
use crate::guard::replay::Hold;
use crate::inside::Ties;
use crate::secret::{Masker, Secret, SecretError, Stream};
use crate::tell::{CallError, ErrorKind, Event, Level, Output, Stage, Teller};

/// The length of a message of progress, in bytes.
const PROGRESS_BYTES_MAX: usize = 1 << 10;

/// What the smallest part of a result counts, in bytes.
const PART_BYTES_LEAST: usize = 64;

/// An effect that the operator's rules have nothing against, or somebody has allowed.
#[derive(Debug)]
pub struct Asked(Intent);

/// Runs one attempt of a permitted call.
///
/// # Cancel safety
/// The host ends an attempt by closing its gate and dropping the future. A runner must stop at once then, and do nothing
/// behind it.
pub trait Runner: Send + Sync {
    /// Where in the granted folders a call would go, by the way that is really gone: for each grant of a folder its absolute
    /// paths in the host. Where that is not known, as by default, the paths count as they are written.
    fn ways<'a>(&'a self, _call: &'a AcceptedCall) -> BoxFuture<'a, Option<Ways>> {
        Box::pin(std::future::ready(None))
    }

    /// Runs the tool once: from a fresh start, or from what [`Tool::lifetime`](crate::Tool::lifetime) says that it keeps. It is no
    /// runner's affair to see that one call of a session comes after the other; but it must not run two of them in one instance.
    fn run<'a>(&'a self, attempt: &'a Attempt) -> BoxFuture<'a, Result<Output, CallError>>;
}

/// What a tool is given to run with.
#[derive(Clone, Debug)]
pub struct Attempt {
    /// The call.
    pub call: Arc<PermittedCall>,
    /// The number of the attempt; the first is 1.
    pub number: u32,
    /// When it began.
    pub started: Instant,
    /// Its clock, which says when it is ended.
    pub clock: Clock,
    /// What it uses.
    pub meter: Arc<Meter>,
    caller_key: CallerKey,
    gate: Gate,
    teller: Teller,
    ties: Ties,
    hold: Option<Arc<Hold>>,
    /// What it has asked leave for.
    asking: Leaves,
    /// Keys that have gone along with what it does.
    forwarded: Arc<AtomicU64>,
}

impl Attempt {
    pub(crate) fn new(
        call: Arc<PermittedCall>,
        caller_key: CallerKey,
        number: u32,
        started: Instant,
        deadline: Instant,
        teller: Teller,
        ties: Ties,
    ) -> Self {
        let limits = call.tool.limits;
        let meter = Arc::new(Meter::new(&limits, teller.secrets()));
        let mut gate = Gate::new(number);
        if let Some(inside) = &call.call.inside {
            gate.inside_of(inside.gate());
        }
        if let Some(task) = &call.call.task {
            gate.before(task.witness(&call));
        }
        let (hold, forwarded) = (None, Arc::default());
        let around = call.call.inside.as_ref().map(|inside| inside.clock().clone());
        let clock = Clock::new(started, deadline, call.call.wanted.until, around);
        Attempt {
            call,
            number,
            started,
            clock,
            meter,
            caller_key,
            gate,
            teller,
            ties,
            hold,
            asking: Leaves::default(),
            forwarded,
        }
    }

    /// The attempt of a call that holds its idempotency key.
    pub(crate) fn under(mut self, hold: Option<&Arc<Hold>>) -> Self {
        if let Some(hold) = hold {
            self.gate.before(hold.clone());
            self.hold = Some(hold.clone());
        }
        self
    }

    /// How long it has taken so far, but for the time in which somebody was asked.
    pub(crate) fn took(&self) -> Duration {
        self.started.elapsed().saturating_sub(self.clock.stood())
    }

    /// The caller as the tool may see it: 32 hexadecimal digits. They are the same for one caller in one host, and tell
    /// nothing about the caller to anyone who has not the host's key.
    #[must_use]
    pub fn opaque_caller(&self) -> String {
        self.caller_key.opaque(&self.call.call.caller)
    }

    /// The key that goes along with the attempt's next request that may change something, so that a server which knows such
    /// keys does it once, however often the call is run. Each asking is for another request; every attempt of the call, also
    /// in a host that takes it over, gets the same keys in the same order. None where the call has no idempotency key.
    #[must_use]
    pub fn idempotency_key(&self) -> Option<String> {
        let hold = self.hold.as_ref()?;
        Some(hold.forwarded(self.forwarded.fetch_add(1, Ordering::Relaxed) + 1))
    }

    /// Asks for leave to have an effect on the world. Every driver does, before it acts. Where the operator's rules ask about
    /// such an effect, this waits for the answer, and the attempt's clock stands still. An [`Effect`](crate::Effect) is an
    /// intent with nothing more to it than is told.
    ///
    /// # Errors
    /// [`ErrorKind::Declined`] and [`ErrorKind::ApprovalTimedOut`] where it is not allowed; else as for [`Gate::pass`].
    ///
    /// # Cancel safety
    /// Dropping the future before it is ready leaves no trace, and takes back the question.
    pub async fn pass(&self, intent: impl Into<Intent>) -> Result<Passage, CallError> {
        let asked = self.ask(intent).await?;
        self.pass_asked(asked).await
    }

    /// The first half of [`pass`](Self::pass), for a driver that has to take something up between the two which it must not
    /// hold while a person is asked.
    ///
    /// # Errors
    /// As for [`pass`](Self::pass).
    ///
    /// # Cancel safety
    /// Dropping the future takes back the question.
    pub async fn ask(&self, intent: impl Into<Intent>) -> Result<Asked, CallError> {
        let mut intent = intent.into();
        intent.mask(&self.masker());
        match self.leave_for(&intent).await {
            Ok(()) => Ok(Asked(intent)),
            Err(why) => {
                self.refuse(intent.effect, why.clone());
                Err(why)
            }
        }
    }

    /// The second half of [`pass`](Self::pass).
    ///
    /// # Errors
    /// As for [`Gate::pass`].
    ///
    /// # Cancel safety
    /// As for [`Gate::pass`].
    pub async fn pass_asked(&self, Asked(intent): Asked) -> Result<Passage, CallError> {
        let told = intent.effect.clone();
        let passage = self.gate.pass(intent.effect).await.inspect_err(|why| {
            if why.kind != ErrorKind::Cancelled {
                self.keep_from(why.clone());
            }
        })?;
        self.teller.tell(&Event::Effect { effect: &told });
        Ok(passage)
    }

    /// Writes down that nothing comes of an effect that was asked about, because its server is left alone, or could not be
    /// reached: why is what there is to say of it.
    pub fn refuse_asked(&self, Asked(intent): Asked, why: CallError) {
        self.refuse(crate::Effect { detail: Some(why.message.clone()), ..intent.effect }, why);
    }

    /// Writes down an effect that is not granted, and why; the tool's log has the reason too. Where the tool fails on it, the
    /// caller is told the reason.
    pub fn refuse(&self, mut effect: crate::Effect, why: CallError) {
        self.masker().effect_in(&mut effect);
        self.log(Level::Warn, &why.message);
        self.gate.refuse(effect, why);
    }

    /// As [`refuse`](Self::refuse), for what is no effect, such as the rest of an answer that is too long.
    pub fn keep_from(&self, why: CallError) {
        self.log(Level::Warn, &why.message);
        self.gate.keep_from(why);
    }

    /// Whether it is over: from here on a driver does nothing for it any more.
    #[must_use]
    pub fn is_over(&self) -> bool {
        self.gate.check().is_err()
    }

    /// Notes what would help the tool, should it fail: it looked for what it was not granted, and found nothing there.
    pub fn hint(&self, help: String) {
        self.gate.hint(help);
    }

    /// Says how far the work is. Nothing is said any more once the attempt is over, or has said very much already.
    pub fn progress(&self, done: u64, total: Option<u64>, message: Option<&str>) {
        if self.gate.check().is_ok() && self.meter.progress_left.take(1) {
            let message = message.map(|message| self.masker().text(message).into_owned());
            let message = message.as_deref().map(|message| cut(message, PROGRESS_BYTES_MAX));
            self.teller.tell(&Event::Progress { done, total, message });
            if let Some(reader) = &self.call.call.reader {
                reader.progress(self.number, done, total, message);
            }
        }
    }

    /// Reports a cost of the attempt, such as what another service asks for it: it is added to what was reported before and to
    /// what settings say. Nothing is added that is no amount, nor once the attempt is over.
    pub fn report_cost(&self, cost: f64) {
        if self.gate.check().is_ok() && cost.is_finite() && cost > 0.0 {
            self.meter.costs(cost);
        }
    }

    /// Hands out a part of the result. All parts together are no longer than the result may be. Where somebody reads them as they
    /// come, this waits for a slow reader.
    ///
    /// # Cancel safety
    /// Dropping the future may leave a part half handed out.
    pub async fn emit(&self, text: &str) {
        if self.gate.check().is_err() || !self.meter.emit_left.take(text.len().max(PART_BYTES_LEAST)) {
            return;
        }
        let mut part = Vec::with_capacity(text.len());
        self.meter.with_emitted(|emitted| emitted.write(text.as_bytes(), |bytes| part.extend_from_slice(bytes)));
        if let (Some(part), Some(reader)) = (self.part(&part), &self.call.call.reader) {
            reader.part(self.number, part).await;
        }
    }

    /// The tool has ended: what it answered is masked, and what was held back of its parts is handed out.
    pub(crate) fn end(&self, result: &mut Result<Output, CallError>) {
        self.masker().result_in(result);
        let rest = self.meter.with_emitted(Stream::end);
        if let (Some(part), Some(reader)) = (self.part(&rest), &self.call.call.reader) {
            reader.last_part(self.number, part);
        }
    }

    /// Tells of a part, if there is something in it.
    fn part<'a>(&self, bytes: &'a [u8]) -> Option<&'a str> {
        // Texts are cut between characters, so that this is text again.
        let text = std::str::from_utf8(bytes).ok().filter(|text| !text.is_empty())?;
        self.teller.tell(&Event::Partial { text });
        Some(text)
    }

    /// Writes a line to the log of the call. Listeners are told as much of the log as is kept.
    pub fn log(&self, level: Level, message: &str) {
        if self.gate.check().is_ok() {
            let message = &*self.masker().text(message);
            // A message of several lines must not look like several messages.
            let line = format!("{}: {}\n", level.name(), message.replace('\n', "\n  "));
            self.meter.log.write(line.as_bytes());
            if self.meter.log_left.take(line.len()) {
                self.teller.tell(&Event::Log { level, message });
            }
        }
    }

    /// What its tool was granted of an interface that the embedding program adds, by its name there.
    ///
    /// # Errors
    /// [`ErrorKind::CapabilityDenied`] where it was granted nothing; [`ErrorKind::Internal`] where the grant is another one than the
    /// interface has read.
    pub fn own_grant<G: DeserializeOwned>(&self, name: &str) -> Result<G, CallError> {
        let tool = &self.call.tool;
        let Some(grant) = tool.grants.own.get(name) else {
            let why = format!("the tool may not use `{name}`");
            let help =
                format!("the operator can allow it with `grants.own.{name}` in `[components.{}]`", tool.component());
            return Err(CallError::new(ErrorKind::CapabilityDenied, Stage::Run, why).with_help(help));
        };
        G::deserialize(grant).map_err(|error| crate::bug!(Stage::Run, "the grant of `{name}`: {error}"))
    }

    /// What takes the secrets that the host knows out of a text. What an attempt hands to the host is masked in any case; this
    /// is for what cuts a text before that.
    #[must_use]
    pub fn masker(&self) -> Arc<Masker> {
        self.teller.masker()
    }

    /// The value of a secret that the tool has been granted.
    ///
    /// # Errors
    /// [`ErrorKind::CapabilityDenied`] where it was not granted, [`ErrorKind::Internal`] where it cannot be read.
    ///
    /// # Cancel safety
    /// As for [`Secrets::get`](crate::secret::Secrets::get).
    pub async fn secret(&self, name: &str) -> Result<Arc<Secret>, CallError> {
        if !self.call.tool.secrets.contains(name) {
            let denied = format!("the tool has not been granted the secret `{name}`");
            return Err(CallError::new(ErrorKind::CapabilityDenied, Stage::Run, denied)
                .with_help(format!("`Native::secret(\"{name}\")` would grant it")));
        }
        self.read(name).await
    }

    /// A text of the tool's grants with the values of its secrets, for what the host sends in the tool's place. The tool is
    /// never shown it.
    ///
    /// # Errors
    /// [`ErrorKind::Internal`] where the text is none of its grants', or a secret cannot be read.
    ///
    /// # Cancel safety
    /// As for [`Secrets::get`](crate::secret::Secrets::get).
    pub async fn filled(&self, template: &Template) -> Result<Zeroizing<String>, CallError> {
        if !self.call.tool.grants.templates().any(|granted| granted == template) {
            return Err(crate::bug!(Stage::Run, "a text that no grant has: {template}"));
        }
        let mut text = Zeroizing::new(String::new());
        for piece in template.pieces() {
            match piece {
                Piece::Text(plain) => text.push_str(plain),
                Piece::Secret(name) => text.push_str(self.read(name).await?.reveal()),
            }
        }
        Ok(text)
    }

    async fn read(&self, name: &str) -> Result<Arc<Secret>, CallError> {
        self.teller.secrets().get(name).await.map_err(|error| {
            let message = format!("the secret `{name}` cannot be had; the host's log says more");
            CallError::new(ErrorKind::Internal, Stage::Run, message).because(error)
        })
    }

    /// What takes secrets out of a stream of bytes on its way to the tool.
    #[must_use]
    pub fn masking(&self) -> Stream {
        Stream::new(self.teller.secrets().clone())
    }

    /// The value of a secret that a driver needs for what the tool was granted, such as the way into a database. The tool itself
    /// must never see it, nor anything that follows from it.
    ///
    /// # Errors
    /// It cannot be had; for the operator.
    ///
    /// # Cancel safety
    /// As for [`Secrets::get`](crate::secret::Secrets::get).
    pub async fn secret_of_host(&self, name: &str) -> Result<Arc<Secret>, SecretError> {
        self.teller.secrets().get(name).await
    }

    /// Masks a part of such a secret that may turn up alone, such as the password in an address.
    ///
    /// # Errors
    /// The host has too many secrets.
    pub fn mask_for_host(&self, name: &str, part: &Arc<Secret>) -> Result<(), SecretError> {
        self.teller.secrets().learn(name, part)
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.gate
    }

    pub(crate) fn ties(&self) -> &Ties {
        &self.ties
    }

    /// Waits until another call has this one's idempotency key, or its task; for ever, where that cannot be.
    pub(crate) async fn lost(&self) -> CallError {
        // Boxed, because few calls are made for a task, and calls inside of one another need little room.
        let task = self.call.call.task.as_ref().map(|task| Box::pin(task.lost()));
        match (&self.hold, task) {
            (None, None) => std::future::pending().await,
            (Some(hold), None) => hold.lost().await,
            (None, Some(task)) => task.await,
            (Some(hold), Some(task)) => select(Box::pin(hold.lost()), task).await.factor_first().0,
        }
    }
}

fn cut(text: &str, bytes_max: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes_max)).unwrap_or_default()
}
