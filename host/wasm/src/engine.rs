//! The one engine: its configuration, its memory, what it links, and its cache of compiled code.
//!
//! Fuel bounds the operations of a guest and makes it yield, so that a spinning guest never holds a worker. Everything that
//! runs is pooled: an instance that was returned is cheap to hand out again. Proposals that tools do not need are off.

use std::num::NonZeroUsize;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use toolpost_core::guard::slot::AWAY_MAX;
use wasmtime::component::Linker;
use wasmtime::{Config, InstanceAllocationStrategy, PoolingAllocationConfig};

use crate::cache::Cache;
use crate::capability;
use crate::capability::dirs::driver::Driver;
use crate::capability::kv::Stores;
use crate::capability::kv::backend::KvOptions;
use crate::capability::net::client::{Client, NetOptions};
use crate::handles::Numbers;
use crate::keep::Keeper;
use crate::own::Interfaces;
use crate::state::State;

/// After that many operations a guest lets us see whether its turn is over: some tens of microseconds of computing, or some
/// tens of milliseconds where it calls the cheapest host functions, which use next to no fuel. It costs about a microsecond.
pub(crate) const YIELD_FUEL: u64 = 200_000;

/// What the host's own functions may use of a fiber's stack, beyond what the guest may.
const HOST_STACK_BYTES: usize = 1536 << 10;

/// How an engine is made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct EngineOptions {
    /// Calls that run at once; 64 by default.
    pub max_parallel: usize,
    /// Instances that are kept between calls, all components together; 64 by default.
    pub max_kept: usize,
    /// The stack of a guest in bytes; 512 KiB by default.
    pub stack_bytes_max: usize,
    /// Where compiled code is kept; nowhere by default. The folder must be the user's own.
    pub cache_dir: Option<PathBuf>,
    /// How much compiled code is kept, in bytes; 1 GiB by default.
    pub cache_bytes_max: u64,
    /// How tools that were granted the network reach it.
    pub net: NetOptions,
    /// Where keys and values are kept.
    pub kv: KvOptions,
    /// What the embedding program offers beside Toolpost's own interfaces; nothing by default.
    pub own: Interfaces,
    /// Whether operations are counted; on by default. Without it a guest that spins holds its worker until it ends: only
    /// for measuring what the counting costs.
    pub fuel: bool,
}

impl Default for EngineOptions {
    fn default() -> Self {
        EngineOptions {
            max_parallel: 64,
            max_kept: 64,
            stack_bytes_max: 512 << 10,
            cache_dir: None,
            cache_bytes_max: 1 << 30,
            net: NetOptions::default(),
            kv: KvOptions::default(),
            own: Interfaces::default(),
            fuel: true,
        }
    }
}

/// Where the memory of instances comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Allocation {
    /// From a pool that was reserved when the engine was made.
    Pooled,
    /// From the operating system, for every instance anew: slower, and without a reservation.
    OnDemand,
}

/// An engine that loads components and runs their functions.
pub struct Engine {
    pub(crate) engine: wasmtime::Engine,
    pub(crate) linker: Linker<State>,
    pub(crate) cache: Option<Cache>,
    pub(crate) fuel: bool,
    pub(crate) client: Arc<Client>,
    pub(crate) files: Arc<Driver>,
    pub(crate) stores: Arc<Stores>,
    pub(crate) keeper: Arc<Keeper>,
    pub(crate) numbers: Arc<Numbers>,
    /// The components that were loaded so far.
    pub(crate) loaded: AtomicU64,
    max_parallel: usize,
    max_kept: usize,
    allocation: Allocation,
    pub(crate) own: Interfaces,
}

impl std::fmt::Debug for Engine {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Engine").field("allocation", &self.allocation).finish_non_exhaustive()
    }
}

impl Engine {
    /// Makes an engine. Where the address space is too small for a pool, instances are allocated on demand.
    ///
    /// # Errors
    /// The machine cannot run WebAssembly code, or the folder for compiled code cannot be used.
    pub fn new(options: &EngineOptions) -> wasmtime::Result<Self> {
        Self::with_links(options, |_| Ok(()))
    }

    /// Makes an engine whose host offers more than Toolpost's own interfaces. What is linked here must ask
    /// [`State::attempt`] for leave before it has an effect on the world.
    ///
    /// # Errors
    /// As for [`Engine::new`], and whatever `link` reports.
    pub fn with_links(
        options: &EngineOptions,
        link: impl FnOnce(&mut Linker<State>) -> wasmtime::Result<()>,
    ) -> wasmtime::Result<Self> {
        let options = &within_maps(options);
        let (engine, allocation) = allocate(options)?;
        let mut linker = Linker::new(&engine);
        capability::link(&mut linker)?;
        options.own.link(&mut linker)?;
        link(&mut linker)?;
        let cache = match &options.cache_dir {
            Some(dir) => Some(Cache::open(dir, options.cache_bytes_max, &engine)?),
            None => None,
        };
        let client = Arc::new(Client::new(&options.net));
        let files = Arc::new(Driver::new());
        let stores = Arc::new(Stores::new(&options.kv));
        let EngineOptions { fuel, max_parallel, max_kept, .. } = *options;
        let (keeper, numbers) = (Keeper::new(max_kept), Arc::new(Numbers::new()));
        let (own, loaded) = (options.own.clone(), AtomicU64::new(0));
        Ok(Engine {
            engine,
            linker,
            cache,
            fuel,
            client,
            files,
            stores,
            keeper,
            numbers,
            loaded,
            max_parallel,
            max_kept,
            allocation,
            own,
        })
    }

    /// Calls that can run at once: as many as were asked for, or fewer where the operating system would run out of memory
    /// maps (`vm.max_map_count`).
    #[must_use]
    pub fn max_parallel(&self) -> usize {
        self.max_parallel
    }

    /// Where the memory of instances comes from.
    #[must_use]
    pub fn allocation(&self) -> Allocation {
        self.allocation
    }

    /// Instances that exist now; nothing where they are not pooled.
    #[must_use]
    pub fn live_instances(&self) -> Option<u64> {
        self.engine.pooling_allocator_metrics().map(|metrics| metrics.component_instances())
    }

    /// Instances that can be kept between two calls: as many as were asked for, or fewer, as for [`Engine::max_parallel`].
    #[must_use]
    pub fn max_kept(&self) -> usize {
        self.max_kept
    }

    /// Instances that are kept between two calls now.
    #[must_use]
    pub fn kept_instances(&self) -> usize {
        self.keeper.count()
    }

    /// The engine itself, for embedders that link their own interfaces.
    #[must_use]
    pub fn wasmtime(&self) -> &wasmtime::Engine {
        &self.engine
    }
}

fn allocate(options: &EngineOptions) -> wasmtime::Result<(wasmtime::Engine, Allocation)> {
    let mut config = config(options);
    config.allocation_strategy(InstanceAllocationStrategy::Pooling(pool(options)));
    match wasmtime::Engine::new(&config) {
        Ok(engine) => Ok((engine, Allocation::Pooled)),
        Err(error) => {
            tracing::warn!(%error, "no pool for instances; they are allocated on demand");
            config.allocation_strategy(InstanceAllocationStrategy::OnDemand);
            Ok((wasmtime::Engine::new(&config)?, Allocation::OnDemand))
        }
    }
}

/// As many instances as that many calls need, with those that wait for a person and have given their places to others.
fn spare(parallel: usize) -> usize {
    parallel.saturating_add(parallel / 8).saturating_add(16 + AWAY_MAX)
}

/// What is asked for, as far as the operating system has memory maps for the instances. A process that runs out of them cannot
/// even start a thread or handle a signal, so it must not come to that.
fn within_maps(options: &EngineOptions) -> EngineOptions {
    /// Measured: eight for a guest with one memory that sleeps, its stack included.
    const MAPS_PER_INSTANCE: usize = 10;
    /// What the rest of the process may need.
    const MAPS_KEPT: usize = 4_096;

    let known = std::fs::read_to_string("/proc/sys/vm/max_map_count").ok().and_then(|text| text.trim().parse().ok());
    let Some(maps) = known else { return options.clone() };
    let instances = usize::saturating_sub(maps, MAPS_KEPT) / MAPS_PER_INSTANCE;
    let max_kept = options.max_kept.min(instances / 2);
    let possible = (instances.saturating_sub(16 + AWAY_MAX + max_kept) / 9 * 8).max(1);
    EngineOptions { max_kept, max_parallel: options.max_parallel.min(possible), ..options.clone() }
}

/// The engine's settings without its allocation strategy. Public, so that a measurement can use the very same.
#[must_use]
pub fn config(options: &EngineOptions) -> Config {
    let mut config = Config::new();
    config
        .consume_fuel(options.fuel)
        .max_wasm_stack(options.stack_bytes_max)
        .async_stack_size(options.stack_bytes_max.saturating_add(HOST_STACK_BYTES))
        .wasm_backtrace_max_frames(NonZeroUsize::new(16))
        .memory_init_cow(true)
        .parallel_compilation(true)
        // Another crate of the same program may switch the feature on; calls here are made without it.
        .concurrency_support(false)
        // What a tool does not need, a hostile one cannot use. The collector and exceptions are on by default.
        .wasm_gc(false)
        .wasm_function_references(false)
        .wasm_exceptions(false)
        .gc_support(false)
        .wasm_threads(false)
        .wasm_memory64(false)
        .wasm_relaxed_simd(false);
    config
}

/// Tables of one component. One in Rust has two; those of other languages have a few more.
pub(crate) const TABLES_MAX: usize = 8;

/// Core instances of one component. One in Rust has about four, one in Python about forty.
pub(crate) const CORE_INSTANCES_MAX: usize = 128;

/// Memories of one component. One language's runtime has one, so a composition has as many as languages.
pub(crate) const MEMORIES_MAX: usize = 4;

/// Memories that fit into the address space, each with room for 4 GiB.
const MEMORIES_TOTAL_MAX: usize = 24_000;

/// A pool for that many parallel calls, whatever their components ask for: none takes the room of another.
#[must_use]
pub fn pool(options: &EngineOptions) -> PoolingAllocationConfig {
    let count = |number: usize| u32::try_from(number).unwrap_or(u32::MAX);
    let parallel = options.max_parallel.max(1);
    // An instance is given back a moment after its call has ended.
    let instances = spare(parallel).saturating_add(options.max_kept);
    let memories = (MEMORIES_TOTAL_MAX / instances).clamp(1, MEMORIES_MAX);
    let mut pool = PoolingAllocationConfig::new();
    // `pagemap_scan` would save some ten microseconds a call, and stays off: it passes by pages that were written and
    // are swapped out, and the next instance in their place would read what this one has left there (wasmtime pull request
    // 14357).
    pool.total_component_instances(count(instances))
        .total_core_instances(count(instances.saturating_mul(CORE_INSTANCES_MAX)))
        .total_stacks(count(instances))
        .total_memories(count(instances.saturating_mul(memories)))
        .total_tables(count(instances.saturating_mul(TABLES_MAX)))
        .total_gc_heaps(1)
        .max_core_instances_per_component(count(CORE_INSTANCES_MAX))
        .max_memories_per_component(count(memories))
        .max_tables_per_component(count(TABLES_MAX))
        .max_memories_per_module(count(memories))
        .max_tables_per_module(count(TABLES_MAX))
        .max_core_instance_size(4 << 20)
        .max_component_instance_size(4 << 20)
        .table_elements(50_000)
        // The limit of a call is the limiter's; this only says what a slot can hold.
        .max_memory_size(4 << 30)
        .linear_memory_keep_resident(2 << 20)
        .table_keep_resident(64 << 10)
        .max_unused_warm_slots(count(instances / 10 + 1));
    pool
}
