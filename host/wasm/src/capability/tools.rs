//! Other tools, by `toolpost:tools`. A call that a guest makes is a call like any other: it walks the whole road of the host, inside
//! of the one that is being served.
//!
//! What a tool may call is granted by name. Who called it must have the right to call that tool, too; and a tool never calls
//! what reaches further than itself. So a call has no more power than all those around it have in common.

use std::sync::Arc;

use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use toolpost_core::effect::{Intent, Passage};
use toolpost_core::{Arguments, Attempt, CallError, Effect, EffectClass, ErrorKind, Outcome, Stage, bug};
use wasmtime::Result;
use wasmtime::component::{HasData, Linker, Resource, ResourceTable};
use wasmtime_wasi::p2::{DynPollable, Pollable, subscribe};
use wasmtime_wasi::runtime::{AbortOnDropJoinHandle, spawn};

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
}

impl Handle {
    pub(crate) fn new(attempt: &Attempt) -> Self {
        Handle { attempt: attempt.clone(), places: Arc::new(Semaphore::new(RUNNING_MAX)) }
    }
}

/// What the interface works on.
pub(crate) struct View<'a> {
    pub(crate) handle: &'a Handle,
    pub(crate) table: &'a mut ResourceTable,
}

/// A call that runs, or has ended. Dropping it cancels it.
#[expect(unreachable_pub, reason = "the bindings name it")]
pub struct Running {
    task: AbortOnDropJoinHandle<Outcome>,
    ended: Option<Outcome>,
    passage: Passage,
    _place: OwnedSemaphorePermit,
}

#[async_trait::async_trait]
impl Pollable for Running {
    async fn ready(&mut self) {
        if self.ended.is_none() {
            self.ended = Some((&mut self.task).await);
        }
    }
}

impl Running {
    /// Ends it, and waits until it is told that it was cancelled. What has ended is as it is.
    async fn cancel(self) {
        let Running { task, ended, passage, _place } = self;
        match ended {
            Some(Outcome { result: Ok(_), .. }) => passage.done(),
            Some(_) => passage.failed(),
            // Whether it has come to its end meanwhile, its own report says.
            None => drop(task.cancel().await),
        }
    }

    async fn finish(mut self) -> std::result::Result<String, Failure> {
        self.ready().await;
        match self.ended.map(|outcome| outcome.result) {
            Some(Ok(output)) => {
                self.passage.done();
                Ok(output.value.to_string())
            }
            Some(Err(error)) => {
                self.passage.failed();
                Err(failure(error))
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
        let intent = Intent::from(effect(&tool)).on([tool.as_str()]).made_of([arguments.as_bytes()]);
        let passage = attempt.pass(intent).await.map_err(failure)?;
        let attempt = attempt.clone();
        let task = spawn(async move { attempt.call(tool, Arguments::Text(arguments)).await });
        Ok(Running { task, ended: None, passage, _place: place })
    }

    fn denied(&self, tool: &str) -> Failure {
        let own = &self.attempt.call.tool;
        let shown = shown(tool);
        let help = own.allowing("tools", &format!("\"{shown}\""), !own.grants.tools.is_empty());
        let why = CallError::new(ErrorKind::CapabilityDenied, Stage::Run, format!("the tool may not call `{shown}`"));
        self.attempt.refuse(effect(tool), why.clone().with_help(help));
        failure(why)
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

/// A call as an effect: what it does itself is in its own report.
fn effect(tool: &str) -> Effect {
    Effect { class: EffectClass::Reads, action: "tools.call".into(), target: shown(tool), detail: None }
}

fn failure(error: CallError) -> Failure {
    let retry_after_ms = error.retry_after.map(|span| u64::try_from(span.as_millis()).unwrap_or(u64::MAX));
    Failure { kind: error.kind.name().to_owned(), message: error.message, retry_after_ms }
}
