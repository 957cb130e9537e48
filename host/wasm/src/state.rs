//! The state of one attempt's store: one named field for each capability.

use std::sync::Arc;

use toolpost_core::Attempt;
use wasmtime::component::ResourceTable;
use wasmtime_wasi::{WasiCtx, WasiCtxView, WasiView};
use wasmtime_wasi_config::WasiConfigVariables;
use wasmtime_wasi_http::{WasiHttpCtx, WasiHttpCtxView, WasiHttpView};

use crate::capability::net::client::Client;
use crate::capability::{self, Granted, Prepared};
use crate::limits::Limiter;
use crate::turn::Turns;

/// What the host functions of one attempt work on.
pub struct State {
    attempt: Attempt,
    turns: Arc<Turns>,
    pub(crate) limiter: Limiter,
    // What is below is made when the guest first asks for something of it; most calls that only compute never do.
    wasi: Option<WasiCtx>,
    prepared: Prepared,
    /// It goes before the table: a request that the guest has left half done must not look finished.
    net: Option<capability::net::Handle>,
    client: Arc<Client>,
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
    http: WasiHttpCtx,
    table: ResourceTable,
}

impl State {
    pub(crate) fn new(attempt: Attempt, client: &Arc<Client>, granted: &Arc<Granted>, prepared: Prepared) -> Self {
        let limits = attempt.call.tool.limits;
        let mut table = ResourceTable::new();
        table.set_max_capacity(limits.handles_max as usize);
        State {
            limiter: Limiter::new(limits.memory_bytes_max, attempt.meter.clone()),
            wasi: None,
            prepared,
            net: None,
            client: client.clone(),
            sockets: None,
            dirs: None,
            kv: None,
            sql: None,
            tools: None,
            granted: granted.clone(),
            own: http::Extensions::new(),
            http: capability::net::context(),
            table,
            turns: Turns::new(attempt.started, attempt.clock.clone()),
            attempt,
        }
    }

    /// The attempt that this store serves. A host function asks for it as it begins, and passes its gate before it has an
    /// effect on the world.
    ///
    /// # Panics
    /// Where the attempt must end at once, this unwinds through the guest to the host, which expects it: the deadline is
    /// over, or the guest calls host functions without a pause. So hold no lock of another thread when you ask.
    #[must_use]
    pub fn attempt(&self) -> &Attempt {
        self.turns.enter();
        &self.attempt
    }

    /// What an interface of the embedding program keeps for this attempt, made when it is first asked for.
    pub fn own<T: Clone + Default + Send + Sync + 'static>(&mut self) -> &mut T {
        self.own.get_or_insert_with(T::default)
    }

    /// The granted connections.
    pub(crate) fn connections(&mut self) -> capability::sockets::View<'_> {
        self.turns.enter();
        let handle = self.sockets.get_or_insert_with(|| capability::sockets::Handle::new(&self.attempt, &self.client));
        capability::sockets::View { handle, table: &mut self.table }
    }

    /// The granted folders.
    pub(crate) fn files(&mut self) -> capability::dirs::View<'_> {
        self.turns.enter();
        let handle = self.dirs.get_or_insert_with(|| {
            capability::dirs::Handle::new(&self.attempt, &self.granted.roots, &self.prepared.meant)
        });
        capability::dirs::View { handle, table: &mut self.table }
    }

    /// The granted buckets.
    pub(crate) fn keys(&mut self) -> capability::kv::View<'_> {
        self.turns.enter();
        let handle = self.kv.get_or_insert_with(|| capability::kv::Handle::new(&self.attempt, &self.granted.buckets));
        capability::kv::View { handle, table: &mut self.table }
    }

    /// The granted databases.
    pub(crate) fn databases(&mut self) -> capability::sql::View<'_> {
        self.turns.enter();
        let handle =
            self.sql.get_or_insert_with(|| capability::sql::Handle::new(&self.attempt, &self.granted.databases));
        capability::sql::View { handle, table: &mut self.table }
    }

    /// The granted tools.
    pub(crate) fn tools(&mut self) -> capability::tools::View<'_> {
        self.turns.enter();
        let handle = self.tools.get_or_insert_with(|| capability::tools::Handle::new(&self.attempt));
        capability::tools::View { handle, table: &mut self.table }
    }

    /// The granted secrets.
    pub(crate) fn secrets(&mut self) -> capability::secrets::View<'_> {
        self.turns.enter();
        capability::secrets::View { attempt: &self.attempt, table: &mut self.table }
    }

    /// Settings of the tool's own.
    pub(crate) fn config(&mut self) -> &WasiConfigVariables {
        self.turns.enter();
        &self.prepared.words.config
    }

    /// The turns of the attempt.
    pub(crate) fn turns(&self) -> &Arc<Turns> {
        &self.turns
    }

    /// The tool has given its answer.
    pub(crate) fn done(&mut self) {
        if let Some(sockets) = &mut self.sockets {
            sockets.done();
        }
    }

    /// Notes the fuel that the attempt has used.
    pub(crate) fn fuel_used(&self, fuel: u64) {
        self.attempt.meter.fuel_used(fuel);
    }
}

impl std::fmt::Debug for State {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("State").field("attempt", &self.attempt.number).finish_non_exhaustive()
    }
}

impl WasiView for State {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        self.turns.enter();
        let ctx = self.wasi.get_or_insert_with(|| capability::wasi::context(&self.attempt, &self.prepared.words));
        WasiCtxView { ctx, table: &mut self.table }
    }
}

impl WasiHttpView for State {
    fn http(&mut self) -> WasiHttpCtxView<'_> {
        self.turns.enter();
        let hooks = self.net.get_or_insert_with(|| capability::net::Handle::new(&self.attempt, &self.client));
        WasiHttpCtxView { hooks, table: &mut self.table, ctx: &mut self.http }
    }
}
