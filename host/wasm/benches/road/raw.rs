//! The other side of the comparison: the same guest on wasmtime itself, as somebody writes it who knows wasmtime well.

use toolpost_wasm::{EngineOptions, config, pool};
use wasmtime::component::types::ComponentItem;
use wasmtime::component::{
    Component, ComponentExportIndex, ComponentNamedList, InstancePre, Lift, Linker, Lower, ResourceTable,
};
use wasmtime::{Engine, InstanceAllocationStrategy, Result, Store, bail, format_err};
use wasmtime_wasi::{WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

/// As the host's here, and as Toolpost's.
const FUEL: u64 = 1 << 40;
const YIELD_FUEL: u64 = 200_000;

/// A component, linked once.
pub(crate) struct Raw {
    engine: Engine,
    component: Component,
    linked: InstancePre<Plain>,
}

/// The least that a store with WASI needs.
pub(crate) struct Plain {
    table: ResourceTable,
    wasi: WasiCtx,
}

impl WasiView for Plain {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.wasi, table: &mut self.table }
    }
}

/// The engine with the very settings of Toolpost's.
pub(crate) fn engine(options: &EngineOptions) -> Result<Engine> {
    let mut config = config(options);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(options)));
    Engine::new(&config)
}

/// WASI, and traps for what the component imports of Toolpost's own interfaces.
pub(crate) fn linker(engine: &Engine, component: &Component) -> Result<Linker<Plain>> {
    let mut linker = Linker::new(engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker)?;
    for (name, import) in component.component_type().imports(engine) {
        let ComponentItem::ComponentInstance(interface) = &import.ty else { continue };
        if !name.starts_with("toolpost:") {
            continue;
        }
        let mut traps = linker.instance(name)?;
        for (function, export) in interface.exports(engine) {
            if let ComponentItem::ComponentFunc(_) = export.ty {
                traps.func_new(function, |_, _, _, _| bail!("there is no host behind this measurement"))?;
            }
        }
    }
    Ok(linker)
}

impl Raw {
    pub(crate) fn new(options: &EngineOptions, bytes: &[u8]) -> Result<Self> {
        let engine = engine(options)?;
        let component = Component::from_binary(&engine, bytes)?;
        let linked = linker(&engine, &component)?.instantiate_pre(&component)?;
        Ok(Raw { engine, component, linked })
    }

    /// A function of the component's world.
    pub(crate) fn function(&self, name: &str) -> Result<ComponentExportIndex> {
        let index = self.component.get_export_index(None, name);
        index.ok_or_else(|| format_err!("the component has no function `{name}`"))
    }

    /// One call in a store of its own.
    pub(crate) async fn call<P, R>(&self, function: ComponentExportIndex, parameters: P) -> Result<R>
    where
        P: ComponentNamedList + Lower + Send + Sync,
        R: ComponentNamedList + Lift + Send + Sync + 'static,
    {
        self.call_with(WasiCtxBuilder::new().build(), function, parameters).await
    }

    /// The same, with that of WASI.
    pub(crate) async fn call_with<P, R>(
        &self,
        wasi: WasiCtx,
        function: ComponentExportIndex,
        parameters: P,
    ) -> Result<R>
    where
        P: ComponentNamedList + Lower + Send + Sync,
        R: ComponentNamedList + Lift + Send + Sync + 'static,
    {
        let plain = Plain { table: ResourceTable::new(), wasi };
        let mut store = Store::new(&self.engine, plain);
        store.set_fuel(FUEL)?;
        store.fuel_async_yield_interval(Some(YIELD_FUEL))?;
        let instance = self.linked.instantiate_async(&mut store).await?;
        let function = instance.get_typed_func::<P, R>(&mut store, function)?;
        function.call_async(&mut store, parameters).await
    }

    pub(crate) fn live_instances(&self) -> u64 {
        self.engine.pooling_allocator_metrics().map_or(0, |metrics| metrics.component_instances())
    }
}
