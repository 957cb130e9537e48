//! Settings and components are read again while the host runs.
//!
//! Everything is made whole first: the settings are read, the components loaded, every tool is fitted to what is said of it.
//! Only when nothing at all is wrong with it, it takes the place of what was there, in one step ([`Host::replace`]); else
//! what was there stays in force. Calls that run go on with what they began with.
//!
//! A component whose file is the same is not compiled again. The engine goes on too, unless its own settings changed: then
//! there is another one beside it, until the last call of before has ended.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::Mutex;
use toolpost_core::Host;
use toolpost_wasm::{Component, Engine, EngineOptions};

use crate::approve::Webhook;
use crate::build::{Builder, Fault, Faults, KvStores, Listeners, Loaded};
use crate::settings::{self, Settings};
use crate::sql::Opened;

/// What a host was made of.
#[derive(Clone, Default)]
pub(crate) struct Made {
    pub(crate) builder: Builder,
    /// What was asked of the engine, and the engine; none where there is no component.
    pub(crate) engine: Option<(EngineOptions, Arc<Engine>)>,
    pub(crate) components: Vec<Arc<Component>>,
    /// Who is asked over the network; none where the settings name nobody.
    pub(crate) webhook: Option<Arc<Webhook>>,
    pub(crate) listeners: Listeners,
    pub(crate) kv: KvStores,
    pub(crate) databases: Opened,
    /// Whether there was a lock to keep to.
    pub(crate) locked: bool,
}

impl Made {
    /// The engine, if it does what is asked now. One with more room than is asked for does.
    pub(crate) fn engine_for(&self, asked: &EngineOptions) -> Option<(EngineOptions, Arc<Engine>)> {
        let same = |had: &EngineOptions| {
            let max_parallel = had.max_parallel.max(asked.max_parallel);
            *had == EngineOptions { max_parallel, ..asked.clone() }
        };
        self.engine.clone().filter(|(had, _)| same(had))
    }
}

impl std::fmt::Debug for Made {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Made").field("components", &self.components).finish_non_exhaustive()
    }
}

/// Reads settings and components again for a host that runs.
///
/// ```
/// use std::sync::Arc;
/// use toolpost::{Builder, Settings};
///
/// # #[tokio::main]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let folder = tempfile::tempdir()?;
/// # let file = folder.path().join("toolpost.toml");
/// # std::fs::write(&file, "")?;
/// let settings = Settings::read(&file).map_err(|faults| faults[0].clone())?;
/// let loaded = Builder::new().settings(settings).load().await;
/// let reloader = loaded.reloader(&file);
///
/// std::fs::write(&file, "[host]\nmax_parallel = 8")?;
/// assert_eq!(reloader.reload().await?.to_string(), "the settings are in force: 0 components, 0 tools");
///
/// std::fs::write(&file, "[host]\nmax_paralel = 8")?;
/// let faults = reloader.reload().await.unwrap_err();
/// assert!(faults.to_string().ends_with("toolpost.toml:2: unknown key `max_paralel`; did you mean `max_parallel`?"));
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct Reloader {
    host: Host,
    file: PathBuf,
    made: Mutex<Made>,
}

/// What came of reading again.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reloaded {
    /// The components that serve now.
    pub components: usize,
    /// Those of them that were loaded anew: they are new, or not the same file any more, or the engine is another one.
    pub loaded: Vec<String>,
    /// The tools.
    pub tools: usize,
    /// What the settings say and what takes effect only when the program is started again.
    pub warnings: Vec<String>,
}

impl std::fmt::Display for Reloaded {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "the settings are in force: {} components, {} tools", self.components, self.tools)?;
        if !self.loaded.is_empty() {
            let names: Vec<String> = self.loaded.iter().map(|name| format!("`{name}`")).collect();
            write!(f, "; loaded anew: {}", names.join(", "))?;
        }
        self.warnings.iter().try_for_each(|warning| write!(f, "\nwarning: {warning}"))
    }
}

impl Loaded {
    /// What reads the settings in that file, and the components, again. The host may be in use already.
    pub fn reloader(&self, file: impl Into<PathBuf>) -> Reloader {
        Reloader { host: self.host.clone(), file: file.into(), made: Mutex::new(self.made.clone()) }
    }
}

impl Reloader {
    /// The host.
    #[must_use]
    pub fn host(&self) -> &Host {
        &self.host
    }

    /// The file of the settings.
    #[must_use]
    pub fn file(&self) -> &Path {
        &self.file
    }

    /// Reads the file and every component again, and lets the host go on with them. One who asks meanwhile waits.
    ///
    /// # Errors
    /// Everything that is wrong with the settings or a component. The host goes on as before.
    ///
    /// # Cancel safety
    /// Dropping the future leaves the host as it was; a compilation goes on to its end, which only fills the cache.
    pub async fn reload(&self) -> Result<Reloaded, Faults> {
        let mut made = self.made.lock().await;
        let file = self.file.clone();
        let read = tokio::task::spawn_blocking(move || Settings::read(&file)).await;
        let settings = match read {
            Ok(Ok(settings)) => settings,
            Ok(Err(faults)) => return Err(Faults(faults.into_iter().map(Fault::from).collect())),
            Err(error) => {
                let message = format!("reading the settings failed: {error}");
                return Err(Faults(vec![Fault { subject: "the host".into(), message }]));
            }
        };
        self.go_on(&mut made, settings).await
    }

    /// As [`Reloader::reload`], for settings that are not in the file.
    ///
    /// # Errors
    /// Everything that is wrong with a component, or with what the settings say of it. The host goes on as before.
    ///
    /// # Cancel safety
    /// As for [`Reloader::reload`].
    pub async fn reload_with(&self, settings: Settings) -> Result<Reloaded, Faults> {
        let mut made = self.made.lock().await;
        self.go_on(&mut made, settings).await
    }

    async fn go_on(&self, made: &mut Made, settings: Settings) -> Result<Reloaded, Faults> {
        let warnings = made.builder.until_restart(&settings);
        let builder = made.builder.clone().settings(settings);
        let loaded = builder.load_after(made.clone(), |_| {}).await;
        if !loaded.faults.is_empty() {
            return Err(Faults(loaded.faults));
        }
        let is_known = |component: &&Arc<Component>| !made.components.iter().any(|old| Arc::ptr_eq(old, component));
        let reloaded = Reloaded {
            components: loaded.components.len(),
            loaded: loaded.components.iter().filter(is_known).map(|component| component.name.clone()).collect(),
            tools: loaded.host.catalog().tools().count(),
            warnings,
        };
        self.host.replace(&loaded.host);
        loaded.made.listeners.look_at(&self.host);
        loaded.made.kv.look_at(&loaded.host);
        *made = loaded.made;
        Ok(reloaded)
    }
}

impl Builder {
    /// What other settings say and a running host cannot follow.
    fn until_restart(&self, other: &Settings) -> Vec<String> {
        let stays = |key: &str, changed: bool| {
            changed.then(|| format!("`{key}` has changed, which takes effect when the program is started again"))
        };
        let store = self.keeps_on_disk() && self.settings.store_dir() != other.store_dir();
        [stays("store.dir", store)].into_iter().flatten().collect()
    }
}

impl From<settings::Fault> for Fault {
    fn from(fault: settings::Fault) -> Self {
        let line = fault.line.map_or_else(String::new, |line| format!(":{line}"));
        Fault { subject: format!("{}{line}", fault.file.display()), message: fault.message }
    }
}

/// Reads everything again whenever the process gets a `SIGHUP`, for as long as the future lives; `tell` is told what came of
/// it. Signals that come while it reads are one more reading behind it.
///
/// From this call on a `SIGHUP` does not end the process any more, also when the future is dropped.
///
/// # Errors
/// The signal cannot be listened to.
///
/// # Panics
/// It is called outside of a tokio runtime, or inside of one that has no I/O driver.
///
/// # Cancel safety
/// As for [`Reloader::reload`].
pub fn reload_on_sighup(
    reloader: Arc<Reloader>,
    mut tell: impl FnMut(Result<Reloaded, Faults>) + Send,
) -> std::io::Result<impl Future<Output = ()> + Send> {
    let mut hangups = signal(SignalKind::hangup())?;
    Ok(async move {
        while hangups.recv().await.is_some() {
            tell(reloader.reload().await);
        }
    })
}
