//! One attempt: it runs in an instance, which is made for it and dropped behind it, or kept where the operator says so.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::Value;
use tokio::time::Instant;
use toolpost_core::batch::Ways;
use toolpost_core::catalog::shape::{Field, Shape};
use toolpost_core::{AcceptedCall, Attempt, CallError, ErrorKind, Output, Runner, Stage, bug};
use wasmtime::component::{ComponentExportIndex, InstancePre};
use wasmtime::{Result as Ran, Store, component, format_err};

use crate::answer::Answer;
use crate::capability::dirs::meant::Meant;
use crate::capability::net::client::Client;
use crate::capability::{Closed, Granted, Prepared};
use crate::engine::YIELD_FUEL;
use crate::function::Does;
use crate::handles::{Given, Handles, Numbers};
use crate::keep::{Place, Shelf};
use crate::state::{Serving, State};
use crate::trap;
use crate::turn;
use crate::value;

/// An exported function, ready to run.
pub(crate) struct Exported {
    pub(crate) part: Arc<Part>,
    pub(crate) does: Does,
    pub(crate) answer: Answer,
    pub(crate) granted: Arc<Granted>,
    /// Its parameters, where handles are among them.
    pub(crate) takes: Vec<Field>,
    /// Its result, where handles are in it.
    pub(crate) gives: Option<Shape>,
    /// What is called before the first call of an instance.
    pub(crate) setup: Option<Arc<Setup>>,
    /// Where its instances stand between two calls; nowhere, where each call has a fresh one.
    pub(crate) shelf: Option<Arc<Shelf>>,
}

/// What instances are made of.
pub(crate) struct Part {
    pub(crate) linked: Arc<InstancePre<State>>,
    pub(crate) client: Arc<Client>,
    pub(crate) numbers: Arc<Numbers>,
    pub(crate) fuel: bool,
}

/// The call that sets up an instance.
pub(crate) struct Setup {
    pub(crate) index: ComponentExportIndex,
    /// What settings say that it takes, or why that does not fit.
    pub(crate) arguments: Result<Value, String>,
    pub(crate) answer: Answer,
}

impl Exported {
    async fn attempt(&self, attempt: &Attempt) -> Result<Output, CallError> {
        let prepared = Prepared::of(attempt, &self.granted).await?;
        let Some(shelf) = &self.shelf else {
            let mut running = self.begin(None, attempt, prepared)?;
            let value = self.served(&mut running, attempt, &Given::default()).await?;
            running.instance()?.store.data_mut().done();
            return self.answer.output(value);
        };
        let mut place = shelf.place(attempt)?;
        let kept = place.instance();
        let given = match self.given(kept.as_ref(), attempt, &place) {
            Ok(given) => given,
            Err(unfit) => {
                place.put_back(kept);
                return Err(unfit);
            }
        };
        let mut running = self.begin(kept, attempt, prepared)?;
        let value = self.served(&mut running, attempt, &given).await?;
        let answer = self.answer.output(value);
        let (instance, closed) = running.rest()?;
        let note = place.keep(instance, closed, answer.is_ok());
        answer.map(|output| Output { notes: note.into_iter().chain(output.notes).collect(), ..output })
    }

    fn begin(&self, kept: Option<Instance>, attempt: &Attempt, prepared: Prepared) -> Result<Running, CallError> {
        Running::begin(self, kept, attempt, prepared).map_err(|error| trap::explain(&error, attempt))
    }

    /// The handles of the call, all of which there must be.
    fn given(&self, kept: Option<&Instance>, attempt: &Attempt, place: &Place) -> Result<Given, CallError> {
        let none = Handles::default();
        let handles = kept.map_or(&none, |instance| &instance.handles);
        if self.gives.is_some() {
            handles.has_room()?;
        }
        handles.find(&self.takes, &attempt.call.arguments, place.lost())
    }

    /// The call, turn by turn, and what it comes to.
    async fn served(&self, running: &mut Running, attempt: &Attempt, given: &Given) -> Result<Value, CallError> {
        let turns = running.instance()?.store.data().turns();
        let call = running.call(self, &attempt.call.arguments, given);
        let call = pin!(AssertUnwindSafe(call).catch_unwind());
        let called = match turn::taking(turns, call).await {
            Ok(called) => called,
            Err(ended) => return Err(trap::ended(ended, attempt)),
        };
        let mut value = called.map_err(|error| trap::explain(&error, attempt))?;
        // The words of an error may be cut: what is left of a secret then would not be known for one.
        attempt.masker().value_in(&mut value);
        Ok(value)
    }
}

impl Runner for Exported {
    fn ways<'a>(&'a self, call: &'a AcceptedCall) -> BoxFuture<'a, Option<Ways>> {
        Box::pin(Meant::ways(&call.arguments, &self.granted.roots))
    }

    fn run<'a>(&'a self, attempt: &'a Attempt) -> BoxFuture<'a, Result<Output, CallError>> {
        Box::pin(self.attempt(attempt))
    }
}

/// A store with what was made in it. It serves one call at a time, and more than one only where the operator says so.
pub(crate) struct Instance {
    store: Store<State>,
    /// Made in its first call, of whose fuel and time it is.
    guest: Option<component::Instance>,
    handles: Handles,
    born: Instant,
    calls: u64,
}

impl Instance {
    fn new(part: &Part) -> Ran<Self> {
        let mut store = Store::new(part.linked.engine(), State::new(&part.client));
        store.limiter(|state| &mut state.limiter);
        if part.fuel {
            store.fuel_async_yield_interval(Some(YIELD_FUEL))?;
        }
        Ok(Instance { store, guest: None, handles: Handles::default(), born: Instant::now(), calls: 0 })
    }

    /// When it was made.
    pub(crate) fn born(&self) -> Instant {
        self.born
    }

    /// The calls that it has served.
    pub(crate) fn calls(&self) -> u64 {
        self.calls
    }

    /// The memory that it holds.
    pub(crate) fn memory_bytes(&self) -> u64 {
        self.store.data().limiter.held()
    }

    /// The guest, set up.
    async fn guest(&mut self, exported: &Exported) -> Ran<component::Instance> {
        if let Some(guest) = self.guest {
            return Ok(guest);
        }
        let guest = exported.part.linked.instantiate_async(&mut self.store).await?;
        if let Some(setup) = &exported.setup {
            let function = guest.get_func(&mut self.store, setup.index).ok_or_else(lacks)?;
            let arguments = setup.arguments.as_ref().map_err(|why| set_up(unfit(why)))?;
            let answer = value::call(&mut self.store, function, arguments, &value::Held::new()).await?;
            setup.answer.output(answer.value).map_err(set_up)?;
        }
        self.guest = Some(guest);
        Ok(guest)
    }

    async fn call(&mut self, exported: &Exported, arguments: &Value, given: &Given) -> Ran<Value> {
        let guest = self.guest(exported).await?;
        let index = match exported.does {
            Does::Call(index) => index,
            Does::Drop => {
                if let Some(resource) = self.handles.take(given) {
                    resource.resource_drop_async(&mut self.store).await?;
                }
                return Ok(Value::Null);
            }
        };
        let function = guest.get_func(&mut self.store, index).ok_or_else(lacks)?;
        let answer = value::call(&mut self.store, function, arguments, &given.held).await?;
        self.handles.used_up(given);
        Ok(self.handles.name(exported.gives.as_ref(), answer, &exported.part.numbers))
    }
}

fn lacks() -> wasmtime::Error {
    format_err!("the instance lacks the function")
}

/// Settings that do not fit the parameters of `setup`.
fn unfit(why: &str) -> CallError {
    CallError::new(ErrorKind::ToolFailed { retryable: false }, Stage::Run, why)
}

/// The component's words about why it cannot be set up.
fn set_up(error: CallError) -> wasmtime::Error {
    let retryable = error.kind == ErrorKind::ToolFailed { retryable: true };
    let why = format!("the `setup` of its component failed: {}", error.message);
    let failed = CallError::new(ErrorKind::ToolFailed { retryable }, Stage::Run, why);
    wasmtime::Error::from(match error.retry_after {
        Some(after) => failed.retry_after(after),
        None => failed.with_help("the operator says in `setup` what it is set up with"),
    })
}

/// An instance at work. Dropping it, also in the middle of a call, notes the fuel that was used, and is the end of the instance.
struct Running {
    /// Nothing when it rests.
    instance: Option<Instance>,
    fuel: Option<u64>,
}

impl Running {
    fn begin(exported: &Exported, kept: Option<Instance>, attempt: &Attempt, prepared: Prepared) -> Ran<Self> {
        let limits = attempt.call.tool.limits;
        let mut instance = match kept {
            Some(kept) => kept,
            None => Instance::new(&exported.part)?,
        };
        let store = &mut instance.store;
        store.data_mut().serve(Serving::new(attempt.clone(), &exported.granted, prepared));
        store.set_hostcall_fuel(usize::try_from(limits.result_bytes_max).unwrap_or(usize::MAX));
        store.set_max_component_handles(limits.handles_max as usize);
        let fuel = exported.part.fuel.then_some(limits.fuel);
        if let Some(fuel) = fuel {
            store.set_fuel(fuel)?;
        }
        Ok(Running { instance: Some(instance), fuel })
    }

    fn instance(&mut self) -> Result<&mut Instance, CallError> {
        self.instance.as_mut().ok_or_else(|| bug!(Stage::Run, "an instance that rests was called"))
    }

    async fn call(&mut self, exported: &Exported, arguments: &Value, given: &Given) -> Ran<Value> {
        self.instance()?.call(exported, arguments, given).await
    }

    /// The call is over, and the instance serves nobody any more.
    fn rest(mut self) -> Result<(Instance, Closed), CallError> {
        self.note_fuel();
        let mut instance = self.instance.take().ok_or_else(|| bug!(Stage::Run, "an instance rests twice"))?;
        instance.calls += 1;
        let closed = instance.store.data_mut().rest();
        Ok((instance, closed))
    }

    fn note_fuel(&self) {
        let Some(instance) = &self.instance else { return };
        if let (Some(given), Ok(left)) = (self.fuel, instance.store.get_fuel()) {
            instance.store.data().fuel_used(given.saturating_sub(left));
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.note_fuel();
    }
}
