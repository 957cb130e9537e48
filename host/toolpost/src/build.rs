//! From settings and files to a host.
//!
//! One broken component does not take the others with it: it is named, and the others serve. A component whose settings
//! do not fit is not served at all.

mod components;
mod kv;
mod listeners;
mod said;
mod sets;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

use serde_json::Value;
use toolpost_core::catalog::grants::Grants;
use toolpost_core::catalog::settings::LimitSettings;
use toolpost_core::catalog::{Base, Keep};
use toolpost_core::check::approve::Approver;
use toolpost_core::guard::Guards;
use toolpost_core::guard::replay::Ledger;
use toolpost_core::{Attempt, CallError, Catalog, Check, Host, Limits, Native, Secrets, Sink, Tasks, Tool};
use toolpost_wasm::{Component, Engine, EngineOptions, Interface, Interfaces};

pub(crate) use self::kv::KvStores;
pub(crate) use self::listeners::Listeners;
pub(crate) use self::said::Said;
use crate::approve;
use crate::lock::{Judge, Sheet};
use crate::reload::Made;
use crate::secrets;
use crate::settings::Settings;
use crate::sql::Opened;
use crate::store::ledger::LedgerTable;
use crate::store::tasks::TaskTable;
use crate::store::{Store, orders};

/// Makes a native tool out of the limits that its host has for every tool.
type MakeTool = Arc<dyn Fn(Base) -> Tool + Send + Sync>;

/// A host in the making. With nothing said it has no tools, grants nothing, and keeps the default limits.
#[derive(Clone, Default)]
pub struct Builder {
    pub(crate) settings: Settings,
    files: Vec<PathBuf>,
    natives: Vec<MakeTool>,
    own: Interfaces,
    sinks: Vec<Arc<dyn Sink>>,
    checks: Vec<Arc<dyn Check>>,
    approvers: Vec<Arc<dyn Approver>>,
    overrides: LimitSettings,
    keeps: Keeps,
    unlocked: bool,
    scope: Option<String>,
}

/// Where a host keeps what must survive it.
#[derive(Clone, Default)]
enum Keeps {
    /// Where its settings say. Without settings, nowhere.
    #[default]
    AsSettingsSay,
    At(Arc<Store>),
    InMemory,
}

/// A host, and what was found on the way to it.
#[derive(Debug)]
pub struct Loaded {
    /// The host, with every tool that could be loaded.
    pub host: Host,
    /// The components behind its tools.
    pub components: Vec<Arc<Component>>,
    /// What is wrong. The host serves without the parts that are named here.
    pub faults: Vec<Fault>,
    /// What it was made of, for making it again.
    pub(crate) made: Made,
}

/// Something that is wrong with a component, or with what settings say of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// The component or tool.
    pub subject: String,
    /// What is wrong with it, and what would be right.
    pub message: String,
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}: {}", self.subject, self.message)
    }
}

/// The parts of a host that could not be had.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(pub Vec<Fault>);

impl std::fmt::Display for Faults {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.0.iter().map(Fault::to_string).collect::<Vec<_>>().join("\n"))
    }
}

impl std::error::Error for Faults {}

impl Loaded {
    /// Whether a lock was kept to: what settings name and what serves is what was locked.
    #[must_use]
    pub fn is_locked(&self) -> bool {
        self.made.locked
    }

    /// What is kept of a component's instances.
    #[must_use]
    pub fn keep(&self, component: &str) -> Keep {
        self.made.builder.settings.components.get(component).map(|said| said.lifetime).unwrap_or_default()
    }

    /// The sheets of the components that the settings name, as far as they could be loaded: what a lock has of them.
    #[must_use]
    pub fn sheets(&self) -> BTreeMap<String, Sheet> {
        let (settings, catalog) = (&self.made.builder.settings, self.host.catalog());
        let named = self.components.iter().filter(|component| settings.components.contains_key(&component.name));
        named.map(|component| (component.name.clone(), Sheet::with(settings, component, &catalog))).collect()
    }
}

impl Builder {
    /// A host with nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Builder::default()
    }

    /// Takes settings. Where a lock stands beside their file ([`Settings::lock_file`]), a component that is not as it was locked is
    /// refused. What must survive this program is kept where they say, in a folder of the user's own where they say
    /// nothing.
    #[must_use]
    pub fn settings(mut self, settings: Settings) -> Self {
        self.settings = settings;
        self
    }

    /// Adds a component by its file, or every `.wasm` file of a folder. A component is named after its file.
    #[must_use]
    pub fn tools(mut self, path: impl Into<PathBuf>) -> Self {
        self.files.push(path.into());
        self
    }

    /// Adds a tool that is a function of this program. Where the tool says nothing of a limit, that of the settings holds.
    ///
    /// ```
    /// use serde_json::json;
    /// use toolpost::{Builder, Call, Native};
    ///
    /// # #[tokio::main(flavor = "current_thread")]
    /// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// let builder = Builder::new().native(Native::new("answer", "Answers"), |_| async { Ok(json!(42)) });
    /// let outcome = builder.build().await?.call(Call::new("answer", json!({}))).await;
    /// assert_eq!(outcome.result?.value, json!(42));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn native<F, R>(mut self, native: Native, function: F) -> Self
    where
        F: Fn(Attempt) -> R + Send + Sync + 'static,
        R: Future<Output = Result<Value, CallError>> + Send + 'static,
    {
        let function = Arc::new(function);
        self.natives.push(Arc::new(move |host| {
            let function = function.clone();
            native.clone().above(host).run(move |attempt| function(attempt))
        }));
        self
    }

    /// Offers tools an interface of this program's own. Settings grant it under `grants.own`; `examples/own_interface.rs` shows one.
    #[must_use]
    pub fn interface(mut self, interface: impl Interface + 'static) -> Self {
        self.own = self.own.and(Arc::new(interface));
        self
    }

    /// Adds a listener.
    #[must_use]
    pub fn sink(mut self, sink: Arc<dyn Sink>) -> Self {
        self.sinks.push(sink);
        self
    }

    /// Adds a check of this program's own.
    #[must_use]
    pub fn check(mut self, check: Arc<dyn Check>) -> Self {
        self.checks.push(check);
        self
    }

    /// Adds one who is asked whether a call may run, behind those that are there. The web hook of the settings is asked last.
    #[must_use]
    pub fn approver(mut self, approver: Arc<dyn Approver>) -> Self {
        self.approvers.push(approver);
        self
    }

    /// Keeps in this store what must survive this program, wherever the settings would.
    #[must_use]
    pub fn store(mut self, store: Arc<Store>) -> Self {
        self.keeps = Keeps::At(store);
        self
    }

    /// Keeps nothing on disk, whatever the settings say: idempotency keys, questions and long results end with this program,
    /// and there is no log. So does a host without settings.
    #[must_use]
    pub fn in_memory(mut self) -> Self {
        self.keeps = Keeps::InMemory;
        self
    }

    /// Sets by what hosts know each other that take up the same tasks: they were made in the same way, and grant the same.
    /// Without it, by the file of the settings and those of the components beside it.
    #[must_use]
    pub fn task_scope(mut self, scope: impl Into<String>) -> Self {
        self.scope = Some(scope.into());
        self
    }

    /// Takes components as they are, whatever a lock says: for looking at them. A host that calls tools keeps to it.
    #[must_use]
    pub fn without_lock(mut self) -> Self {
        self.unlocked = true;
        self
    }

    /// Sets limits that stand above all settings.
    #[must_use]
    pub fn override_limits(mut self, limits: LimitSettings) -> Self {
        self.overrides = limits;
        self
    }

    /// Makes the host; anything that is wrong is an error.
    ///
    /// # Errors
    /// Everything that is wrong.
    ///
    /// # Cancel safety
    /// Dropping the future leaves a compilation to its end, which only fills the cache.
    pub async fn build(self) -> Result<Host, Faults> {
        let loaded = self.load().await;
        if loaded.faults.is_empty() { Ok(loaded.host) } else { Err(Faults(loaded.faults)) }
    }

    /// Makes the host out of what can be loaded, and names the rest.
    ///
    /// # Cancel safety
    /// As for [`Builder::build`].
    pub async fn load(self) -> Loaded {
        self.load_with(|_| {}).await
    }

    /// As [`Builder::load`]; `progress` is told each component's name before it is loaded, which may take a while.
    ///
    /// # Cancel safety
    /// As for [`Builder::build`].
    pub async fn load_with(self, progress: impl FnMut(&str) + Send + 'static) -> Loaded {
        let store = self.opened();
        // Settings that are read again do not move it.
        let keeps = store.clone().map_or(Keeps::InMemory, Keeps::At);
        let loaded = Builder { keeps, ..self }.load_after(Made::default(), progress).await;
        loaded.made.listeners.look_at(&loaded.host);
        loaded.made.kv.look_at(&loaded.host);
        if let Some(store) = store {
            orders::follow(store, &loaded.host.breakers()).await;
        }
        loaded
    }

    /// What it keeps on disk, if anything. Nothing is read or made before there is something to keep.
    fn opened(&self) -> Option<Arc<Store>> {
        match &self.keeps {
            Keeps::At(store) => Some(store.clone()),
            Keeps::AsSettingsSay if self.settings.are_written() => {
                self.settings.store_dir().map(|dir| Arc::new(Store::at(dir)))
            }
            Keeps::AsSettingsSay | Keeps::InMemory => None,
        }
    }

    /// Whether anything is kept on disk.
    pub(crate) fn keeps_on_disk(&self) -> bool {
        matches!(self.keeps, Keeps::At(_))
    }

    /// As [`Builder::load_with`], with as much of what was made before as can be used again.
    pub(crate) async fn load_after(self, before: Made, progress: impl FnMut(&str) + Send + 'static) -> Loaded {
        let builder = self.clone();
        let secrets = self.settings.secrets.clone();
        // Compiling takes seconds for a large component: not on a thread that serves others.
        match tokio::task::spawn_blocking(move || self.load_blocking(&before, progress)).await {
            Ok(loaded) => {
                secrets::read_at_hand(&loaded.host.secrets(), &secrets).await;
                loaded
            }
            Err(error) => Loaded {
                host: Host::new(Catalog::default()),
                components: Vec::new(),
                faults: vec![Fault { subject: "the host".into(), message: format!("loading failed: {error}") }],
                made: Made { builder, ..Made::default() },
            },
        }
    }

    fn load_blocking(self, before: &Made, mut progress: impl FnMut(&str)) -> Loaded {
        let mut made = Made { builder: self.clone(), ..Made::default() };
        let store = self.opened();
        let (mut faults, mut components) = (Vec::new(), Vec::new());
        let mut catalog = Catalog::default();
        let sources = self.sources(&mut faults);
        let (kv, missing) = KvStores::new(&self.settings, store.as_ref(), &before.kv);
        faults.extend(missing.into_iter().map(|message| Fault { subject: "the settings".into(), message }));
        made.kv = kv;
        self.natives(&mut catalog, &mut faults);
        let (databases, wrong) = Opened::new(&self.settings, &before.databases);
        faults
            .extend(wrong.into_iter().map(|(name, message)| Fault { subject: format!("database `{name}`"), message }));
        made.databases = databases;
        let judge = self.judge(&mut faults);
        made.locked = matches!(judge, Judge::Lock(_));
        let mut limits = self.settings.host_limits();
        if !sources.is_empty() {
            match self.engine(before, &made.kv) {
                Ok((options, engine)) => {
                    limits.max_parallel = possible(engine.max_parallel(), limits.max_parallel, "calls run at once");
                    possible(engine.max_kept(), options.max_kept, "instances are kept");
                    made.engine = Some((options, engine.clone()));
                    for (name, settings) in &sources {
                        progress(name);
                        match self.component(&engine, &judge, (before, &made.databases), &mut catalog, (name, settings))
                        {
                            Ok(component) => components.push(component),
                            Err(messages) => faults.extend(messages.into_iter().map(|message| {
                                let subject = format!("component `{name}`");
                                Fault { subject, message }
                            })),
                        }
                    }
                }
                Err(message) => faults.push(Fault { subject: "the host".into(), message }),
            }
        }
        self.judge_calls(&judge, &mut catalog, &mut components, &mut faults);
        let tasks = self.tasks(store.as_ref());
        let secrets = self.secrets(store.as_ref(), &catalog, &mut faults);
        let (listeners, missing) = Listeners::new(&self.settings, store.as_ref(), &before.listeners);
        faults.extend(missing.into_iter().map(|message| Fault { subject: "the host".into(), message }));
        made.listeners = listeners;
        let (approval, webhook) =
            approve::approval(&self.settings, store.as_ref(), self.approvers, before.webhook.as_ref(), &mut faults);
        made.webhook = webhook;
        let host = Host::new(catalog)
            .with_approval(approval)
            .with_limits(limits)
            .with_shares(self.settings.share)
            .with_secrets(Arc::new(secrets))
            .with_access(self.settings.access)
            .with_repetition(self.settings.repeat)
            .with_budgets(self.settings.budget)
            .with_batches(self.settings.batch.with(&self.settings.class))
            .with_tasks(Arc::new(tasks));
        let host = match self.settings.host.cached_results {
            Some(bytes) => host.with_cached_results(bytes.0),
            None => host,
        };
        let host = match store {
            Some(store) => host
                .with_artifacts(Arc::new(store.artifacts(&self.settings.artifacts)))
                .with_ledger(Arc::new(Ledger::new(Arc::new(LedgerTable::new(store))))),
            None => host,
        };
        let host = self.checks.into_iter().fold(host, Host::with_check);
        let host = self.sinks.into_iter().chain(made.listeners.sinks()).fold(host, Host::with_sink);
        made.components = components.clone();
        Loaded { host, components, faults, made }
    }

    /// The calls that nobody waits for, and how this host is made.
    fn tasks(&self, store: Option<&Arc<Store>>) -> Tasks {
        let tasks = store.map_or_else(Tasks::default, |store| Tasks::new(Arc::new(TaskTable::new(store.clone()))));
        let scope = self.scope.clone().unwrap_or_else(|| {
            let files = self.files.iter().map(|file| std::path::absolute(file).unwrap_or_else(|_| file.clone()));
            let all: Vec<String> = std::iter::once(self.settings.whole_file())
                .chain(files)
                .map(|file| file.to_string_lossy().into_owned())
                .collect();
            all.join("\n")
        });
        tasks.with_settings(self.settings.tasks.clone()).made_by(scope, self.settings.version())
    }

    /// Adds the tools that are functions of this program.
    fn natives(&self, catalog: &mut Catalog, faults: &mut Vec<Fault>) {
        for make in &self.natives {
            let mut tool = make(self.base());
            tool.limits = tool.limits.with(&self.overrides);
            let unfit =
                [tool.guards.idempotency.fits(&tool.parameters), tool.guards.cache.fits(tool.effect, tool.lifetime)];
            for why in unfit.into_iter().filter_map(Result::err) {
                faults.push(Fault { subject: format!("tool `{}`", tool.name), message: why });
            }
            if let Err(error) = catalog.add(tool) {
                faults.push(Fault { subject: "a native tool".into(), message: error.to_string() });
            }
        }
    }

    /// Who says which components are those that were reviewed.
    fn judge(&self, faults: &mut Vec<Fault>) -> Judge {
        if self.unlocked {
            return Judge::Nobody;
        }
        let (judge, wrong) = Judge::beside(&self.settings);
        faults.extend(wrong);
        judge
    }

    /// The secrets of the host. Where there are secret arguments, the store has the key for hashes of them.
    fn secrets(&self, store: Option<&Arc<Store>>, catalog: &Catalog, faults: &mut Vec<Fault>) -> Secrets {
        let (secrets, wrong) = secrets::of(&self.settings);
        let fault = |message| Fault { subject: "the settings".into(), message };
        faults.extend(wrong.into_iter().map(fault));
        faults.extend(catalog.tools().flat_map(|tool| {
            let unknown = tool.grants.secret_names().filter(|name| !secrets.knows(name));
            let fault =
                |name| Fault { subject: format!("tool `{}`", tool.name), message: secrets.unknown(name).to_string() };
            unknown.map(fault).collect::<Vec<_>>()
        }));
        match store {
            Some(store) if catalog.tools().any(|tool| !tool.secret_arguments.is_empty()) => match store.key() {
                Ok(key) => secrets.with_key(key),
                Err(error) => {
                    faults.push(Fault { subject: "the host".into(), message: format!("it has no key: {error}") });
                    secrets
                }
            },
            _ => secrets,
        }
    }

    /// What holds for every tool of which nothing else is said.
    fn base(&self) -> Base {
        Base {
            limits: Limits::default().with(&self.settings.limits),
            guards: Guards::default().with(&self.settings.guard),
            cast: self.settings.host.cast.unwrap_or_default(),
            // Grants are given to components, never to whatever comes along.
            grants: Grants::default(),
            ..Base::default()
        }
    }

    fn engine(&self, before: &Made, kv: &KvStores) -> Result<(EngineOptions, Arc<Engine>), String> {
        let options = EngineOptions { kv: kv.options(), own: self.own.clone(), ..self.settings.engine_options() };
        if let Some(engine) = before.engine_for(&options) {
            return Ok(engine);
        }
        let engine = engine(&self.settings, options.clone())?;
        Ok((options, Arc::new(engine)))
    }
}

/// An engine that does what is asked, if it starts.
pub(crate) fn engine(settings: &Settings, options: EngineOptions) -> Result<Engine, String> {
    let engine = Engine::new(&options).or_else(|error| match settings.host.cache {
        // Nobody has asked for that folder: without it, components are compiled at every start.
        None if options.cache_dir.is_some() => {
            tracing::warn!(%error, "compiled code is not kept");
            Engine::new(&EngineOptions { cache_dir: None, ..options })
        }
        _ => Err(error),
    });
    engine.map_err(|error| format!("the engine does not start: {error:#}"))
}

/// As many as are asked for, or as the engine has room for.
fn possible(possible: usize, asked: usize, what: &str) -> usize {
    if possible < asked {
        tracing::warn!("{possible} {what}, not {asked}: for more, raise the sysctl `vm.max_map_count`");
    }
    possible.min(asked)
}
