//! What is a call inside of another call? One that a running tool makes: it walks the whole road, and shares with the
//! attempt around it what must not be had twice.
//!
//! - **caller and session**: it is made in the name of the one who called first;
//! - **time**: it ends with the attempt around it, at the latest;
//! - **place**: it runs in the place of the attempt around it, while that waits (see [`crate::guard::slot`]);
//! - **retries**: there is one count for all layers, because retry loops inside of one another multiply;
//! - **effects**: what it did, the attempt around it did too, and is not tried again where that must not be.
//!
//! So that this ends: calls go only so deep, only so many of one tree of calls are there at once, none is inside of one that is the
//! same, and what only reads cannot change anything by calling what can.

use std::fmt;
use std::future::poll_fn;
use std::pin::pin;
use std::sync::Arc;
use std::task::Poll;

use futures_util::FutureExt as _;
use futures_util::future::{BoxFuture, Either, pending};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, oneshot};

use crate::attempts::Guarding;
use crate::call::{AcceptedCall, Call, CallId, PermittedCall};
use crate::catalog::Tool;
use crate::clock::Clock;
use crate::effect::{EffectClass, Gate};
use crate::guard::retry::CallRetries;
use crate::guard::slot::{Around, Seat, Slots};
use crate::host::HostRef;
use crate::run::{Attempt, Leaves, Questions};
use crate::tell::{CallError, ErrorKind, Outcome, Report, Stage};

/// Why nothing more is done for a call inside of another one that has ended.
const OVER: &str = "the call around it is over";

/// What an attempt holds ready for the calls inside of it.
#[derive(Clone, Debug)]
pub(crate) struct Ties {
    pub(crate) host: HostRef,
    pub(crate) retries: CallRetries,
    pub(crate) seat: Seat,
    /// What somebody has allowed, of all attempts of the call.
    pub(crate) leaves: Leaves,
    pub(crate) tree: Arc<Tree>,
}

/// The most calls inside of one outermost attempt that are there at once, however deep: where each may make some at once, their number
/// grows with every level.
pub const TREE_CALLS_MAX: usize = 256;

/// What an attempt that is inside of no other shares with all calls inside of it, however deep.
#[derive(Debug)]
pub(crate) struct Tree {
    pub(crate) questions: Questions,
    places: Arc<Semaphore>,
}

impl Default for Tree {
    fn default() -> Self {
        Tree { questions: Questions::default(), places: Arc::new(Semaphore::new(TREE_CALLS_MAX)) }
    }
}

/// What a call has from the attempt around it. Only [`Attempt::child`] makes one.
#[derive(Clone)]
pub struct Inside(Arc<Shared>);

struct Shared {
    call: Arc<PermittedCall>,
    clock: Clock,
    gate: Gate,
    ties: Ties,
    /// The call's place in the tree; without one it is refused.
    place: Option<OwnedSemaphorePermit>,
}

impl Inside {
    pub(crate) fn of(attempt: &Attempt) -> Self {
        let Attempt { call, clock, .. } = attempt;
        let (gate, ties) = (attempt.gate().clone(), attempt.ties().clone());
        let place = ties.tree.places.clone().try_acquire_owned().ok();
        Inside(Arc::new(Shared { call: call.clone(), clock: clock.clone(), gate, ties, place }))
    }

    /// The call around it.
    #[must_use]
    pub fn parent(&self) -> &CallId {
        &self.0.call.call.id
    }

    /// The clock of the attempt around it.
    pub(crate) fn clock(&self) -> &Clock {
        &self.0.clock
    }

    pub(crate) fn gate(&self) -> &Gate {
        &self.0.gate
    }

    pub(crate) fn retries(&self) -> &CallRetries {
        &self.0.ties.retries
    }

    pub(crate) fn tree(&self) -> &Arc<Tree> {
        &self.0.ties.tree
    }

    pub(crate) fn around(&self) -> Around {
        self.0.ties.seat.around()
    }

    /// Ends a call with the attempt around it. What may change something runs in a task of its own, and ends there by
    /// [`ended_around`].
    pub(crate) async fn bound(&self, id: CallId, tool: String, road: impl Future<Output = Outcome>) -> Outcome {
        tokio::select! {
            biased;
            () = self.0.gate.closed() => over(id, tool, OVER),
            outcome = road => outcome,
        }
    }

    /// Waits for what is decided about a call inside. Where that takes its time, somebody thinks: the attempt around it gives back
    /// its place meanwhile, and its clock stands still.
    ///
    /// # Cancel safety
    /// Dropping the future is the end of that.
    pub(crate) async fn stands_still<T>(&self, guarding: &Arc<Guarding>, deciding: impl Future<Output = T>) -> T {
        let mut deciding = pin!(deciding);
        if let Poll::Ready(decided) = poll_fn(|task| Poll::Ready(deciding.as_mut().poll(task))).await {
            return decided;
        }
        let (decided, is_decided) = oneshot::channel::<()>();
        let (around, guarding) = (self.clone(), guarding.clone());
        // In a task of its own, so that whoever stepped out steps in again, also where nobody waits for this any more.
        let standing = tokio::spawn(async move {
            let away = around.0.ties.seat.step_out(&guarding.slots);
            let standing = around.0.clock.stop();
            let _ = is_decided.await;
            if let Some(away) = away {
                away.step_in(&guarding.slots).await;
            }
            drop(standing);
        });
        let answer = deciding.await;
        drop(decided);
        let _ = standing.await;
        answer
    }

    /// The tools of the calls around it, the outermost first.
    pub(crate) fn tools(&self) -> Vec<&str> {
        let mut tools: Vec<&str> = self.outwards().map(|around| around.tool.name.as_str()).collect();
        tools.reverse();
        tools
    }

    /// The calls around it, the innermost first.
    fn outwards(&self) -> impl Iterator<Item = &PermittedCall> {
        std::iter::successors(Some(self), |inside| inside.0.call.call.inside.as_ref()).map(|inside| &*inside.0.call)
    }
}

/// The outcome of a call for which nothing more is done.
pub(crate) fn over(call: CallId, tool: String, why: &str) -> Outcome {
    Outcome { call, tool, result: Err(nothing_more(why)), report: Report::default() }
}

fn nothing_more(why: &str) -> CallError {
    CallError::new(ErrorKind::Cancelled, Stage::Run, why).with_help("nothing more is done for it")
}

/// How an attempt ends whose call is inside of one that has ended; nothing where that runs, or there is none.
pub(crate) fn is_over_around(attempt: &Attempt) -> Option<CallError> {
    let around = attempt.call.call.inside.as_ref()?;
    around.gate().check().is_err().then(|| nothing_more(OVER))
}

/// Waits until the attempt is over inside of which this one runs; for ever, where there is none. Boxed, because few have one.
pub(crate) fn ended_around(attempt: &Attempt) -> impl Future<Output = CallError> + Unpin + '_ {
    match &attempt.call.call.inside {
        Some(around) => Either::Left(Box::pin(around.gate().closed().map(|()| nothing_more(OVER)))),
        None => Either::Right(pending()),
    }
}

/// Whether a call may be made where it is.
///
/// # Errors
/// It is too deep, it is one too many, it is inside of itself, or the call around it only reads.
pub(crate) fn judge(call: &AcceptedCall, slots: &Slots) -> Result<(), CallError> {
    let Some(inside) = &call.call.inside else { return Ok(()) };
    let max_depth = slots.limits().max_depth;
    let refuse = |kind, words: String| Err(CallError::new(kind, Stage::Check, words));
    if inside.outwards().count() > max_depth {
        let words = format!("calls inside of one another go no deeper than {max_depth}: {}", chain(inside, call));
        return refuse(ErrorKind::QuotaExceeded, format!("{words}; raise `host.max_depth` if they should"));
    }
    if inside.0.place.is_none() {
        let words = format!(
            "{TREE_CALLS_MAX} calls inside of the first one are there at once already: {}",
            chain(inside, call)
        );
        return refuse(ErrorKind::Busy, format!("{words}; wait for some of them first"));
    }
    let same = |around: &PermittedCall| around.tool.is(&call.tool) && around.arguments == call.arguments;
    if inside.outwards().any(same) {
        let words = format!("this call would be inside of itself: {}", chain(inside, call));
        return refuse(ErrorKind::RepeatedCall, format!("{words}; call it with other arguments, or not at all"));
    }
    let (own, around) = (call.tool.effect, &inside.0.call.tool);
    if own > EffectClass::Pure && around.effect < own.min(EffectClass::Writes) {
        let (tool, own) = (&call.tool.name, own.name());
        let words = format!("`{}` has the effect `{}`, and calls `{tool}`, which", around.name, around.effect.name());
        let help = format!("set `effect = \"{own}\"` for `{}` to allow it", around.name);
        return refuse(ErrorKind::CapabilityDenied, format!("{words} has the effect `{own}`; {help}"));
    }
    Ok(())
}

/// The names of the tools, the outermost first.
fn chain(inside: &Inside, call: &AcceptedCall) -> String {
    [inside.tools().as_slice(), &[&call.tool.name]].concat().join(" > ")
}

impl Attempt {
    /// A call inside of this attempt: by the same caller, in the same session. [`crate::Host::call`] runs it.
    #[must_use]
    pub fn child(&self, tool: impl Into<String>, arguments: impl Into<crate::Arguments>) -> Call {
        let inside = Inside::of(self);
        let Call { caller, traceparent, .. } = &self.call.call;
        let (parent, traceparent) = (Some(inside.parent().clone()), traceparent.clone());
        Call { parent, traceparent, inside: Some(inside), ..Call::new(tool, arguments) }.by(caller.clone())
    }

    /// The tools that it was granted and that its caller may use. A native tool may call every tool by its name.
    #[must_use]
    pub fn tools(&self) -> Vec<Arc<Tool>> {
        let Some(host) = self.ties().host.host() else { return Vec::new() };
        let mut tools = host.tools_of(&self.call.call.caller);
        tools.retain(|tool| self.call.tool.grants.calls(&tool.name));
        tools
    }

    /// Calls another tool of the same host. There is always an outcome.
    ///
    /// ```
    /// use serde_json::json;
    /// use toolpost_core::{Call, Catalog, Host, Native};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let mut catalog = Catalog::default();
    /// catalog.add(Native::new("six", "Answers 6").run(|_| async { Ok(json!(6)) }))?;
    /// catalog.add(Native::new("seven_times", "Answers 42").run(|attempt| async move {
    ///     let six = attempt.call("six", json!({})).await.result?.value;
    ///     Ok(json!(six.as_u64().unwrap_or_default() * 7))
    /// }))?;
    /// let outcome = Host::new(catalog).call(Call::new("seven_times", json!({}))).await;
    /// assert_eq!(outcome.result?.value, json!(42));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Cancel safety
    /// As for [`crate::Host::call`]; the end of the attempt also ends it.
    pub fn call(&self, tool: impl Into<String>, arguments: impl Into<crate::Arguments>) -> BoxFuture<'static, Outcome> {
        self.begin(tool, arguments).1
    }

    /// As [`call`](Self::call), with the id that the call has. Nothing is done before the future is awaited.
    pub fn begin(
        &self,
        tool: impl Into<String>,
        arguments: impl Into<crate::Arguments>,
    ) -> (CallId, BoxFuture<'static, Outcome>) {
        let call = self.child(tool, arguments);
        let (id, tool) = (call.id.clone(), call.tool.clone());
        let (around, host) = (call.inside.clone(), self.ties().host.clone());
        // Boxed, so that a tool which calls another one is not as large as the whole road, and here, so that the room which the
        // road takes before it is in its box is not taken for as long as it is walked.
        let road = host.host().map(|host| Box::pin(host.walk(call)));
        let given = id.clone();
        let outcome = Box::pin(async move {
            match road.zip(around) {
                Some((road, around)) => around.bound(given, tool, road).await,
                None => over(given, tool, "the host is gone"),
            }
        });
        (id, outcome)
    }

    /// How far a tool of the host reaches; nothing where there is none of that name.
    #[must_use]
    pub fn effect_of(&self, tool: &str) -> Option<EffectClass> {
        Some(self.ties().host.host()?.catalog().get(tool)?.effect)
    }
}

impl fmt::Debug for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Inside").field(self.parent()).finish()
    }
}
