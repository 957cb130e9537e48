//! The state of a store: what its instance keeps, and what the call has that it serves now, with one named field for each
//! capability.
//!
//! An instance may serve several calls, one after the other, where the operator says so. Whatever a call may reach is its own
//! all the same: with its end it goes, and the next one has another. What a guest holds of it meanwhile is either a name of
//! something granted, and means what is granted to the call that uses it, or it is closed ([`capability::close`]).

use std::panic::resume_unwind;
use std::sync::Arc;

use toolpost_core::Attempt;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_config::WasiConfigVariables;
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::capability::net::client::Client;
use crate::capability::net::held::Held;
use crate::capability::wasi::Stdio;
use crate::capability::{self, Closed, Granted, Prepared};
use crate::limits::Limiter;
use crate::turn::{self, Ended, Turns};

/// What the host functions of an instance work on.
pub struct State {
    /// It goes before the table: a request that the guest has left half done must not look finished.
    serving: Option<Serving>,
    pub(crate) limiter: Limiter,
    client: Arc<Client>,
    stdio: Arc<Stdio>,
    http: WasiHttpCtx,
    held: Held,
    table: ResourceTable,
}

/// What one call has, in one attempt.
pub(crate) struct Serving {
    attempt: Attempt,
    turns: Arc<Turns>,
    // What is below is made when the guest first asks for something of it; most calls that only compute never do.
    wasi: Option<WasiCtx>,
    prepared: Prepared,
    net: Option<capability::net::Handle>,
    /// It goes before the table, in which its connections are: what the tool has not closed must not look finished.
    sockets: Option<capability::sockets::Handle>,
    /// It goes before the table, too: nothing is changed behind the end.
    dirs: Option<capability::dirs::Handle>,
    kv: Option<capability::kv::Handle>,
    sql: Option<capability::sql::Handle>,
    tools: Option<capability::tools::Handle>,
    granted: Arc<Granted>,
    /// What interfaces of the embedding program keep.
    own: http::Extensions,
}

impl Serving {
    pub(crate) fn new(attempt: Attempt, granted: &Arc<Granted>, prepared: Prepared) -> Self {
        Serving {
            wasi: None,
            prepared,
            net: None,
            sockets: None,
            dirs: None,
            kv: None,
            sql: None,
            tools: None,
            granted: granted.clone(),
            own: http::Extensions::new(),
            turns: Turns::new(attempt.started, attempt.clock.clone()),
            attempt,
        }
    }
}

impl State {
    /// That of an instance which serves nobody yet.
    pub(crate) fn new(client: &Arc<Client>) -> Self {
        State {
            serving: None,
            limiter: Limiter::default(),
            client: client.clone(),
            stdio: Arc::default(),
            http: capability::net::context(),
            held: Held::default(),
            table: ResourceTable::new(),
        }
    }

    /// From here on it serves this attempt.
    pub(crate) fn serve(&mut self, serving: Serving) {
        let (limits, meter) = (serving.attempt.call.tool.limits, &serving.attempt.meter);
        self.limiter.serve(limits.memory_bytes_max, meter.clone());
        self.table.set_max_capacity(limits.handles_max as usize);
        self.stdio.serve(&meter.stdout, &meter.stderr);
        self.serving = Some(serving);
    }

    /// It serves nobody any more. What the tool has left open is closed; says what there was.
    pub(crate) fn rest(&mut self) -> Closed {
        self.done();
        self.serving = None;
        self.limiter.rest();
        self.stdio.rest();
        capability::close(&mut self.table, &self.stdio)
    }

    /// The attempt that this store serves. A host function asks for it as it begins, and passes its gate before it has an
    /// effect on the world.
    ///
    /// An instance may serve several attempts, so keep no attempt behind the function that asks, but in a resource of the table.
    /// Such a resource is of no use when its attempt is over: its gate is closed then.
    ///
    /// # Panics
    /// Where the attempt must end at once, this unwinds through the guest to the host, which expects it: the deadline is
    /// over, or the guest calls host functions without a pause. So hold no lock of another thread when you ask.
    #[must_use]
    pub fn attempt(&self) -> &Attempt {
        let Some(serving) = &self.serving else { nobody() };
        serving.turns.enter();
        &serving.attempt
    }

    /// What an interface of the embedding program keeps for this attempt, made when it is first asked for.
    pub fn own<T: Clone + Default + Send + Sync + 'static>(&mut self) -> &mut T {
        let Some(serving) = &mut self.serving else { nobody() };
        serving.own.get_or_insert_with(T::default)
    }

    /// A host function begins.
    fn enter(&mut self) -> (&mut Serving, &mut ResourceTable, &Arc<Client>) {
        let State { serving: Some(serving), table, client, .. } = self else { nobody() };
        serving.turns.enter();
        (serving, table, client)
    }

    /// The granted connections.
    pub(crate) fn connections(&mut self) -> capability::sockets::View<'_> {
        let (Serving { attempt, sockets, .. }, table, client) = self.enter();
        let handle = sockets.get_or_insert_with(|| capability::sockets::Handle::new(attempt, client));
        capability::sockets::View { handle, table }
    }

    /// The granted folders.
    pub(crate) fn files(&mut self) -> capability::dirs::View<'_> {
        let (Serving { attempt, dirs, granted, prepared, .. }, table, _) = self.enter();
        let handle =
            dirs.get_or_insert_with(|| capability::dirs::Handle::new(attempt, &granted.roots, &prepared.meant));
        capability::dirs::View { handle, table }
    }

    /// The granted buckets.
    pub(crate) fn keys(&mut self) -> capability::kv::View<'_> {
        let (Serving { attempt, kv, granted, .. }, table, _) = self.enter();
        let handle = kv.get_or_insert_with(|| capability::kv::Handle::new(attempt, &granted.buckets));
        capability::kv::View { handle, table }
    }

    /// The granted databases.
    pub(crate) fn databases(&mut self) -> capability::sql::View<'_> {
        let (Serving { attempt, sql, granted, .. }, table, _) = self.enter();
        let handle = sql.get_or_insert_with(|| capability::sql::Handle::new(attempt, &granted.databases));
        capability::sql::View { handle, table }
    }

    /// The granted tools.
    pub(crate) fn tools(&mut self) -> capability::tools::View<'_> {
        let (Serving { attempt, tools, .. }, table, _) = self.enter();
        let handle = tools.get_or_insert_with(|| capability::tools::Handle::new(attempt));
        capability::tools::View { handle, table }
    }

    /// The granted secrets.
    pub(crate) fn secrets(&mut self) -> capability::secrets::View<'_> {
        let (Serving { attempt, .. }, table, _) = self.enter();
        capability::secrets::View { attempt, table }
    }

    /// Requests over HTTP, and what is granted of them.
    pub(crate) fn requests(&mut self) -> WasiHttpCtxView<'_> {
        let State { serving: Some(serving), table, client, http, held, .. } = self else { nobody() };
        let Serving { turns, attempt, net, .. } = serving;
        turns.enter();
        if held.is_too_much(table) {
            turn::end(Ended::Holding);
        }
        let hooks = net.get_or_insert_with(|| capability::net::Handle::new(attempt, client));
        WasiHttpCtxView { hooks, table, ctx: http }
    }

    /// Settings of the tool's own.
    pub(crate) fn config(&mut self) -> &WasiConfigVariables {
        &self.enter().0.prepared.words.config
    }

    /// The turns of the attempt.
    pub(crate) fn turns(&self) -> Arc<Turns> {
        let Some(serving) = &self.serving else { nobody() };
        serving.turns.clone()
    }

    /// The tool has given its answer.
    pub(crate) fn done(&mut self) {
        if let Some(sockets) = self.serving.as_mut().and_then(|serving| serving.sockets.as_mut()) {
            sockets.done();
        }
    }

    /// Notes the fuel that the attempt has used.
    pub(crate) fn fuel_used(&self, fuel: u64) {
        if let Some(serving) = &self.serving {
            serving.attempt.meter.fuel_used(fuel);
        }
    }
}

/// A host function was called, and no call is served. No guest runs then.
fn nobody() -> ! {
    resume_unwind(Box::new("a host function was called while no call is served"))
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let attempt = self.serving.as_ref().map(|serving| serving.attempt.number);
        f.debug_struct("State").field("attempt", &attempt).finish_non_exhaustive()
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        let State { serving: Some(serving), table, stdio, .. } = self else { nobody() };
        let Serving { turns, wasi, prepared, .. } = serving;
        turns.enter();
        let ctx = wasi.get_or_insert_with(|| capability::wasi::context(stdio, &prepared.words));
        WasiCtxView { ctx, table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        self.requests()
    }
}
