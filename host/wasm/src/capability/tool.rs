//! `toolpost:tool`: what a tool may know of its call, and what it may say while it is at work.

use toolpost_core::Level;
use wasmtime::Result;
use wasmtime::component::{HasSelf, Linker};

use crate::state::State;

mod bindings {
    wasmtime::component::bindgen!({
        path: "../../wit",
        world: "host",
        imports: { "toolpost:tool/progress@0.1.0.emit": async },
    });
}

use bindings::toolpost::tool::{context, log, progress, types};

pub(super) fn link(linker: &mut Linker<State>) -> Result<()> {
    types::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    context::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    progress::add_to_linker::<_, HasSelf<State>>(linker, |state| state)?;
    log::add_to_linker::<_, HasSelf<State>>(linker, |state| state)
}

impl types::Host for State {}

impl context::Host for State {
    fn call_id(&mut self) -> String {
        State::attempt(self).call.call.id.to_string()
    }

    fn attempt(&mut self) -> u32 {
        State::attempt(self).number
    }

    fn idempotency_key(&mut self) -> Option<String> {
        State::attempt(self).call.call.idempotency_key.clone()
    }

    fn deadline_ms(&mut self) -> u64 {
        let left = State::attempt(self).clock.left();
        u64::try_from(left.as_millis()).unwrap_or(u64::MAX)
    }

    /// A hash, so that a tool can tell callers apart without learning who they are.
    fn caller(&mut self) -> String {
        State::attempt(self).opaque_caller()
    }
}

impl progress::Host for State {
    fn report(&mut self, done: u64, total: Option<u64>, message: Option<String>) {
        State::attempt(self).progress(done, total, message.as_deref());
    }

    async fn emit(&mut self, text: String) {
        State::attempt(self).emit(&text).await;
    }
}

impl log::Host for State {
    fn log(&mut self, level: log::Level, message: String) {
        let level = match level {
            log::Level::Debug => Level::Debug,
            log::Level::Info => Level::Info,
            log::Level::Warn => Level::Warn,
            log::Level::Error => Level::Error,
        };
        State::attempt(self).log(level, &message);
    }
}
