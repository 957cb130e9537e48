//! One attempt: a store of its own, made for it and dropped behind it. Nothing that a guest did survives into another.

use std::panic::AssertUnwindSafe;
use std::pin::pin;
use std::sync::Arc;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use serde_json::Value;
use toolpost_core::batch::Ways;
use toolpost_core::catalog::shape::Shape;
use toolpost_core::{AcceptedCall, Attempt, CallError, Output, Runner};
use wasmtime::Store;
use wasmtime::component::{ComponentExportIndex, InstancePre};

use crate::answer::Answer;
use crate::capability::dirs::meant::Meant;
use crate::capability::net::client::Client;
use crate::capability::{Granted, Prepared};
use crate::engine::YIELD_FUEL;
use crate::state::State;
use crate::trap;
use crate::turn;
use crate::value;

/// An exported function, ready to run.
pub(crate) struct Exported {
    linked: Arc<InstancePre<State>>,
    index: ComponentExportIndex,
    answer: Answer,
    client: Arc<Client>,
    granted: Arc<Granted>,
    fuel: bool,
}

impl Exported {
    pub(crate) fn new(
        linked: &Arc<InstancePre<State>>,
        index: ComponentExportIndex,
        result: Option<&Shape>,
        client: &Arc<Client>,
        granted: Granted,
        fuel: bool,
    ) -> Self {
        let (client, granted) = (client.clone(), Arc::new(granted));
        Exported { linked: linked.clone(), index, answer: Answer::of(result), client, granted, fuel }
    }

    async fn attempt(&self, attempt: &Attempt) -> Result<Output, CallError> {
        let prepared = Prepared::of(attempt, &self.granted).await?;
        let mut running = Running::start(self, attempt, prepared).map_err(|error| trap::explain(&error, attempt))?;
        let turns = running.store.data().turns().clone();
        let call = pin!(AssertUnwindSafe(running.call(self, &attempt.call.arguments)).catch_unwind());
        let called = match turn::taking(turns, call).await {
            Ok(called) => called,
            Err(ended) => return Err(trap::ended(ended, attempt)),
        };
        let mut value = called.map_err(|error| trap::explain(&error, attempt))?;
        // The words of an error may be cut: what is left of a secret then would not be known for one.
        attempt.masker().value_in(&mut value);
        self.answer.output(value)
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

/// The store of an attempt. Dropping it, also in the middle of a call, notes the fuel that was used.
struct Running {
    store: Store<State>,
    fuel: Option<u64>,
}

impl Running {
    fn start(exported: &Exported, attempt: &Attempt, prepared: Prepared) -> wasmtime::Result<Self> {
        let limits = attempt.call.tool.limits;
        let state = State::new(attempt.clone(), &exported.client, &exported.granted, prepared);
        let mut store = Store::new(exported.linked.engine(), state);
        store.limiter(|state| &mut state.limiter);
        store.set_hostcall_fuel(usize::try_from(limits.result_bytes_max).unwrap_or(usize::MAX));
        store.set_max_component_handles(limits.handles_max as usize);
        if exported.fuel {
            store.set_fuel(limits.fuel)?;
            store.fuel_async_yield_interval(Some(YIELD_FUEL))?;
        }
        Ok(Running { store, fuel: exported.fuel.then_some(limits.fuel) })
    }

    async fn call(&mut self, exported: &Exported, arguments: &Value) -> wasmtime::Result<Value> {
        let instance = exported.linked.instantiate_async(&mut self.store).await?;
        let function = instance.get_func(&mut self.store, exported.index);
        let function = function.ok_or_else(|| wasmtime::format_err!("the instance lacks the function"))?;
        let answer = value::call(&mut self.store, function, arguments).await?;
        self.store.data_mut().done();
        Ok(answer)
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let (Some(given), Ok(left)) = (self.fuel, self.store.get_fuel()) {
            self.store.data().fuel_used(given.saturating_sub(left));
        }
    }
}
