//! From settings and files to a host.
//!
//! One broken component does not take the others with it: it is named, and the others serve. A component whose settings
//! do not fit is not served at all.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use toolpost_core::catalog::cast::nearest;
use toolpost_core::catalog::settings::{LimitSettings, ToolSettings};
use toolpost_core::{Catalog, Check, Host, Limits, Sink, Tool};
use toolpost_wasm::{Component, Engine, EngineOptions, Function};

use crate::settings::{ComponentSettings, Settings};

/// A host in the making. With nothing said it has no tools, grants nothing, and keeps the default limits.
#[derive(Default)]
pub struct Builder {
    settings: Settings,
    files: Vec<PathBuf>,
    natives: Vec<Tool>,
    sinks: Vec<Arc<dyn Sink>>,
    checks: Vec<Arc<dyn Check>>,
    overrides: LimitSettings,
}

/// A host, and what was found on the way to it.
#[derive(Debug)]
pub struct Loaded {
    /// The host, with every tool that could be loaded.
    pub host: Host,
    /// The components behind its tools.
    pub components: Vec<Component>,
    /// What is wrong. The host serves without the parts that are named here.
    pub faults: Vec<Fault>,
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

impl Builder {
    /// A host with nothing in it.
    #[must_use]
    pub fn new() -> Self {
        Builder::default()
    }

    /// Takes settings.
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

    /// Adds a tool that is a function of this program.
    #[must_use]
    pub fn native(mut self, tool: Tool) -> Self {
        self.natives.push(tool);
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
        // Compiling takes seconds for a large component: not on a thread that serves others.
        match tokio::task::spawn_blocking(move || self.load_blocking(progress)).await {
            Ok(loaded) => loaded,
            Err(error) => Loaded {
                host: Host::new(Catalog::default()),
                components: Vec::new(),
                faults: vec![Fault { subject: "the host".into(), message: format!("loading failed: {error}") }],
            },
        }
    }

    fn load_blocking(mut self, mut progress: impl FnMut(&str)) -> Loaded {
        let mut faults = Vec::new();
        let mut catalog = Catalog::default();
        let mut components = Vec::new();
        let sources = self.sources(&mut faults);
        for mut tool in std::mem::take(&mut self.natives) {
            tool.limits = tool.limits.with(&self.settings.limits).with(&self.overrides);
            if let Err(collision) = catalog.add(tool) {
                faults.push(Fault { subject: format!("tool `{}`", collision.name), message: collision.to_string() });
            }
        }
        let mut limits = self.settings.host_limits();
        if !sources.is_empty() {
            match self.engine() {
                Ok(engine) => {
                    let possible = engine.max_parallel();
                    if possible < limits.max_parallel {
                        tracing::warn!(
                            "{possible} calls run at once, not {}: for more, raise the sysctl `vm.max_map_count`",
                            limits.max_parallel
                        );
                        limits.max_parallel = possible;
                    }
                    for (name, settings) in &sources {
                        progress(name);
                        match self.component(&engine, &mut catalog, name, settings) {
                            Ok(component) => components.push(component),
                            Err(message) => faults.push(Fault { subject: format!("component `{name}`"), message }),
                        }
                    }
                }
                Err(message) => faults.push(Fault { subject: "the host".into(), message }),
            }
        }
        let host = Host::new(catalog).with_limits(limits);
        let host = self.checks.into_iter().fold(host, Host::with_check);
        let host = self.sinks.into_iter().fold(host, Host::with_sink);
        Loaded { host, components, faults }
    }

    fn engine(&self) -> Result<Engine, String> {
        let defaults = EngineOptions::default();
        let host = &self.settings.host;
        let stack = host.stack.map(|bytes| usize::try_from(bytes.0).unwrap_or(usize::MAX));
        let options = EngineOptions {
            max_parallel: self.settings.host_limits().max_parallel,
            stack_bytes_max: stack.unwrap_or(defaults.stack_bytes_max),
            cache_dir: self.settings.cache_dir(),
            cache_bytes_max: host.cache_size.map_or(defaults.cache_bytes_max, |bytes| bytes.0),
            ..defaults
        };
        Engine::new(&options).map_err(|error| format!("the engine does not start: {error:#}"))
    }

    /// Every component with its name and settings: those of the settings file, then those of the files.
    fn sources(&self, faults: &mut Vec<Fault>) -> Vec<(String, ComponentSettings)> {
        let mut sources: Vec<(String, ComponentSettings)> = Vec::new();
        for (name, settings) in &self.settings.components {
            let path = self.settings.resolve(&settings.path);
            sources.push((name.clone(), ComponentSettings { path, ..settings.clone() }));
        }
        let given: Vec<PathBuf> = self.files.iter().flat_map(|path| files(path, faults)).collect();
        for path in given {
            let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            match sources.iter().find(|(other, _)| *other == name) {
                // Named in the settings and given again: the settings stand.
                Some((_, settings)) if same_file(&settings.path, &path) => {}
                Some((_, settings)) => faults.push(Fault {
                    subject: format!("component `{name}`"),
                    message: format!(
                        "both `{}` and `{}` have this name; rename a file, or give one a name in the settings",
                        settings.path.display(),
                        path.display()
                    ),
                }),
                None => sources.push((name, ComponentSettings { path, ..ComponentSettings::default() })),
            }
        }
        sources
    }

    /// Loads one component and adds its tools: all of them, or none.
    fn component(
        &self,
        engine: &Engine,
        catalog: &mut Catalog,
        name: &str,
        settings: &ComponentSettings,
    ) -> Result<Component, String> {
        let component = engine.load_file(name, &settings.path).map_err(|error| error.message)?;
        if component.functions.is_empty() {
            let why = component.refused.iter().map(|refusal| format!("`{}`: {}", refusal.function, refusal.reason));
            let why = why.collect::<Vec<_>>().join("; ");
            return Err(if why.is_empty() {
                "it exports no function".into()
            } else {
                format!("no function can be a tool: {why}")
            });
        }
        known_functions(&component, settings)?;
        let limits = Limits::default().with(&self.settings.limits).with(&settings.limits);
        let cast = settings.cast.or(self.settings.host.cast).unwrap_or_default();
        let mut extended = catalog.clone();
        let mut collisions = Vec::new();
        for function in &component.functions {
            let said = said_of(settings, function);
            if said.hidden {
                continue;
            }
            let tool =
                component.tool(function, limits, cast, &said).map_err(|why| format!("`{}`: {why}", function.path()));
            let mut tool = tool?;
            tool.limits = tool.limits.with(&self.overrides);
            if let Err(collision) = extended.add(tool) {
                collisions.push(collision.to_string());
            }
        }
        if !collisions.is_empty() {
            return Err(collisions.join("; "));
        }
        *catalog = extended;
        Ok(component)
    }
}

/// What settings say of a function, by its own name or with its interface.
fn said_of(settings: &ComponentSettings, function: &Function) -> ToolSettings {
    let said = settings.tools.get(&function.path()).or_else(|| settings.tools.get(&function.name));
    said.or_else(|| settings.tools.get(&function.name.replace('-', "_"))).cloned().unwrap_or_default()
}

/// Settings of a tool that does not exist are a mistake, and perhaps a limit that is then missing elsewhere.
fn known_functions(component: &Component, settings: &ComponentSettings) -> Result<(), String> {
    let functions = component.functions.iter().map(|function| (function.path(), function.name.clone()));
    let refused = component.refused.iter().map(|refusal| (refusal.function.clone(), refusal.function.clone()));
    let known: Vec<(String, String)> = functions.chain(refused).collect();
    for said in settings.tools.keys() {
        let fits = |(path, name): &(String, String)| said == path || said == name || *said == name.replace('-', "_");
        if !known.iter().any(fits) {
            let near = nearest(said, known.iter().map(|(_, name)| name.as_str()));
            let help = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            return Err(format!("the settings speak of its tool `{said}`, which it does not have{help}"));
        }
    }
    Ok(())
}

/// The file itself, or every component in a folder.
fn files(path: &Path, faults: &mut Vec<Fault>) -> Vec<PathBuf> {
    if !path.is_dir() {
        return vec![path.to_owned()];
    }
    let mut fault = |message: String| faults.push(Fault { subject: format!("folder `{}`", path.display()), message });
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) => {
            fault(format!("cannot be read: {error}"));
            return Vec::new();
        }
    };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "wasm"));
    files.sort();
    if files.is_empty() {
        fault("holds no `.wasm` file".into());
    }
    files
}

fn same_file(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}
