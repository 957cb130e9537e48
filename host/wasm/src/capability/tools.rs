//! Other tools, by `toolpost:tools`. A call that a guest makes is a call like any other: it walks the whole road of the host, inside
//! of the one that is being served.
//!
//! What a tool may call is granted by name. Who called it must have the right to call that tool, too; and a tool never calls
//! what reaches further than itself. So a call has no more power than all those around it have in common.

use std::any::Any;
use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use toolpost_core::effect::{Intent, Passage};
use toolpost_core::{Arguments, Attempt, CallError, Effect, EffectClass, ErrorKind, Output, Stage, bug};
use wasmtime::Result;
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};
use wasmtime_wasi::runtime::{AbortOnDropJoinHandle, spawn};

use super::Fate;
use super::name::shown;
use crate::state::State;

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "toolpost:tools/host",
        imports: { default: async | trappable },
        with: {
            "wasi:io/poll.pollable": wasmtime_wasi::p2::DynPollable,
            "toolpost:tools/tools.running": crate::capability::tools::Running,
        },
    });
}

use bindings::toolpost::tools::tools;
use bindings::toolpost::tools::tools::Failure;

/// Calls of one attempt that run at once: each may hold an answer.
const RUNNING_MAX: usize = 32;

/// What answers that the guest has not taken yet may hold, in KiB, all of one attempt together. A single one is always kept: how
/// long it may be, the limits of the tool that gave it say.
const HELD_KIB_MAX: u32 = 16 << 10;

pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    tools::add_to_linker::<_, Tools>(linker, State::tools)
}

/// Other tools, as the linker knows them.
struct Tools;

impl HasData for Tools {
    type Data<'a> = View<'a>;
}

/// The other tools, as far as one attempt has them.
pub(crate) struct Handle {
    attempt: Attempt,
    places: Arc<Semaphore>,
    held: Held,
}

impl Handle {
    pub(crate) fn new(attempt: &Attempt) -> Self {
        let places = Arc::new(Semaphore::new(RUNNING_MAX));
        Handle { attempt: attempt.clone(), places, held: Held::default() }
    }
}

/// What the interface works on.
pub(crate) struct View<'a> {
    pub(crate) handle: &'a Handle,
    pub(crate) table: &'a mut ResourceTable,
}

/// A call that runs, or has ended. Dropping it cancels it.
#[expect(unreachable_pub, reason = "the bindings name it")]
pub struct Running(Option<Underway>);

struct Underway {
    task: AbortOnDropJoinHandle<Answer>,
    ended: Option<Answer>,
    passage: Passage,
    _place: OwnedSemaphorePermit,
}

/// What a call has come to, as its guest gets it.
struct Answer {
    text: std::result::Result<String, Failure>,
    /// Whether the call succeeded, whatever is left of its answer.
    succeeded: bool,
    _held: Option<OwnedSemaphorePermit>,
}

/// The room for answers that nobody has taken yet.
#[derive(Clone)]
struct Held(Arc<Semaphore>);

impl Default for Held {
    fn default() -> Self {
        Held(Arc::new(Semaphore::new(HELD_KIB_MAX as usize)))
    }
}

impl Held {
    /// Keeps what a call has come to. What finds no room is told as too long: the call has happened, and must not seem to run.
    fn keep(&self, result: std::result::Result<Output, CallError>) -> Answer {
        let succeeded = result.is_ok();
        let text = result.map(|output| output.value.to_string()).map_err(failure);
        let bytes = text.as_ref().map_or_else(|failure| failure.message.len(), String::len);
        let kib = u32::try_from(bytes.div_ceil(1 << 10)).unwrap_or(u32::MAX).min(HELD_KIB_MAX);
        match self.0.clone().try_acquire_many_owned(kib) {
            Ok(held) => Answer { text, succeeded, _held: Some(held) },
            Err(_) => Answer { text: Err(too_much(bytes, succeeded)), succeeded, _held: None },
        }
    }
}

fn too_much(bytes: usize, succeeded: bool) -> Failure {
    let how = if succeeded { "the call succeeded" } else { "the call failed" };
    let words = format!(
        "{how}, but its answer of {bytes} bytes finds no room beside those that were not taken yet: {} MiB",
        HELD_KIB_MAX >> 10
    );
    failure(CallError::new(ErrorKind::OutputTooLarge, Stage::Run, words).with_help("finish fewer calls at once"))
}

/// A call that runs ends with the one that made it.
pub(super) fn close(held: &mut (dyn Any + Send)) -> Option<Fate> {
    let Running(underway) = held.downcast_mut()?;
    Some(if underway.take().is_some() { Fate::Closed } else { Fate::Lasts })
}

#[async_trait::async_trait]
impl Pollable for Running {
    async fn ready(&mut self) {
        if let Some(underway) = &mut self.0 {
            underway.ready().await;
        }
    }
}

impl Running {
    async fn cancel(self) {
        if let Some(underway) = self.0 {
            underway.cancel().await;
        }
    }

    async fn finish(self) -> std::result::Result<String, Failure> {
        let over = || CallError::new(ErrorKind::Cancelled, Stage::Run, "the call that made it is over");
        self.0.ok_or_else(|| failure(over()))?.finish().await
    }
}

impl Underway {
    async fn ready(&mut self) {
        if self.ended.is_none() {
            self.ended = Some((&mut self.task).await);
        }
    }

    /// Ends it, and waits until it is told that it was cancelled. What has ended is as it is.
    async fn cancel(self) {
        let Underway { task, ended, passage, _place } = self;
        match ended {
            Some(Answer { succeeded: true, .. }) => passage.done(),
            Some(_) => passage.failed(),
            // Whether it has come to its end meanwhile, its own report says.
            None => drop(task.cancel().await),
        }
    }

    async fn finish(mut self) -> std::result::Result<String, Failure> {
        self.ready().await;
        match self.ended {
            Some(answer) => {
                if answer.succeeded {
                    self.passage.done();
                } else {
                    self.passage.failed();
                }
                answer.text
            }
            None => Err(failure(bug!(Stage::Run, "a call has ended without an outcome"))),
        }
    }
}

impl Handle {
    /// Begins a call, once the gate has let it.
    async fn start(&self, tool: String, arguments: String) -> std::result::Result<Running, Failure> {
        let attempt = &self.attempt;
        if !attempt.call.tool.grants.calls(&tool) {
            return Err(self.denied(&tool));
        }
        let place = self.places.clone().try_acquire_owned().map_err(|_| {
            let words = format!("{RUNNING_MAX} calls of one attempt run at once, and no more");
            failure(CallError::new(ErrorKind::Busy, Stage::Run, words).with_help("finish one of them first"))
        })?;
        let intent = Intent::from(self.effect(&tool)).on([tool.as_str()]).made_of([arguments.as_bytes()]);
        let passage = attempt.pass(intent).await.map_err(failure)?;
        let (id, call) = attempt.begin(tool, Arguments::Text(arguments));
        // Only now: leave that was given is for the call, whatever its id.
        passage.with_detail(id.to_string());
        let held = self.held.clone();
        let task = spawn(async move { held.keep(call.await.result) });
        Ok(Running(Some(Underway { task, ended: None, passage, _place: place })))
    }

    fn denied(&self, tool: &str) -> Failure {
        let own = &self.attempt.call.tool;
        let shown = shown(tool);
        let help = own.allowing("tools", &format!("\"{shown}\""), !own.grants.tools.is_empty());
        let why = CallError::new(ErrorKind::CapabilityDenied, Stage::Run, format!("the tool may not call `{shown}`"));
        self.attempt.refuse(self.effect(tool), why.clone().with_help(help));
        failure(why)
    }

    /// A call as an effect: it may do what its tool may. What it did is in its own report.
    fn effect(&self, tool: &str) -> Effect {
        let class = self.attempt.effect_of(tool).unwrap_or(EffectClass::Pure);
        Effect { class, action: Effect::CALL.into(), target: shown(tool), detail: None }
    }
}

type Asked<T> = Result<std::result::Result<T, Failure>>;

impl tools::Host for View<'_> {
    async fn available(&mut self) -> Result<Vec<tools::Tool>> {
        let tools = self.handle.attempt.tools();
        let told = tools.iter().map(|tool| tools::Tool {
            name: tool.name.clone(),
            description: tool.description.clone(),
            parameters: tool.input_schema().to_string(),
        });
        Ok(told.collect())
    }

    async fn start(&mut self, tool: String, arguments: String) -> Asked<Resource<Running>> {
        match self.handle.start(tool, arguments).await {
            Ok(running) => Ok(Ok(self.table.push(running)?)),
            Err(failure) => Ok(Err(failure)),
        }
    }

    async fn call(&mut self, tool: String, arguments: String) -> Asked<String> {
        match self.handle.start(tool, arguments).await {
            Ok(running) => Ok(running.finish().await),
            Err(failure) => Ok(Err(failure)),
        }
    }
}

impl tools::HostRunning for View<'_> {
    async fn subscribe(&mut self, running: Resource<Running>) -> Result<Resource<DynPollable>> {
        subscribe(self.table, running)
    }

    async fn finish(&mut self, running: Resource<Running>) -> Asked<String> {
        Ok(self.table.delete(running)?.finish().await)
    }

    async fn cancel(&mut self, running: Resource<Running>) -> Result<()> {
        self.table.delete(running)?.cancel().await;
        Ok(())
    }

    async fn drop(&mut self, running: Resource<Running>) -> Result<()> {
        self.table.delete(running)?.cancel().await;
        Ok(())
    }
}

fn failure(error: CallError) -> Failure {
    let retry_after_ms = error.retry_after.map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
    Failure { kind: error.kind.name().to_owned(), message: error.message, retry_after_ms }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]

    use super::*;

    #[test]
    fn answers_that_nobody_takes_are_held_up_to_a_bound_and_a_single_one_always() {
        let answer = |bytes: usize| Ok(Output { value: "x".repeat(bytes).into(), ..Output::default() });
        let (held, most) = (Held::default(), HELD_KIB_MAX as usize * 1024);
        let alone = held.keep(answer(2 * most));
        assert_eq!(alone.text.as_ref().unwrap().len(), 2 * most + 2);
        let beside = held.keep(answer(1));
        let told = beside.text.as_ref().unwrap_err();
        assert_eq!((told.kind.as_str(), beside.succeeded), ("output_too_large", true));
        assert_eq!(
            told.message,
            "the call succeeded, but its answer of 3 bytes finds no room beside those that were not taken yet: 16 MiB; \
             finish fewer calls at once"
        );
        drop(alone);
        let failed = CallError::new(ErrorKind::TimedOut, Stage::Run, "x".repeat(most / 2));
        let half = [held.keep(answer(most / 2 - 2)), held.keep(Err(failed.clone()))];
        assert!(half[0].text.is_ok() && half[1].text.as_ref().is_err_and(|told| told.kind == "timed_out"));
        assert!(held.keep(Err(failed)).text.is_err_and(|told| told.message.starts_with("the call failed, but")));
    }
}
