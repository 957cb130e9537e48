//! `toolpost.toml`: what the operator says. Reading fails closed: an unknown key or a value that does not fit is an error,
//! and all errors of a file are found together.

mod approval;
mod batch;
mod kv;
pub(crate) mod read;
mod schema;
mod secret_name;
mod sql;
mod telling;

use std::collections::BTreeMap;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;
use serde::de::{Deserializer, Error as _};
use sha2::{Digest as _, Sha256};
use toolpost_core::batch::Classes;
use toolpost_core::catalog::Keep;
use toolpost_core::catalog::grants::KvName;
use toolpost_core::catalog::lifetime::KEPT_MOST;
use toolpost_core::catalog::settings::{bytes_between, bytes_within, number_within};
use toolpost_core::check::approve::Rules;
use toolpost_core::check::authorize::Access;
use toolpost_core::check::repeat::RepeatSettings;
use toolpost_core::guard::GuardSettings;
use toolpost_core::guard::slot::Shares;
use toolpost_core::guard::usage::BudgetSettings;
use toolpost_core::{Cast, HostLimits, TaskSettings};
use toolpost_wasm::EngineOptions;

pub use self::approval::{ApprovalSettings, SecretSource, WebhookSettings};
pub use self::batch::BatchSettings;
pub use self::kv::{EmbeddedSettings, KvSettings, MemorySettings, ServerSettings, TableSettings};
pub use self::read::Fault;
pub use self::schema::schema;
pub use self::secret_name::SecretName;
pub use self::sql::{SqlKind, SqlSettings};
pub use self::telling::{LogSettings, TelemetrySettings};
pub use toolpost_core::catalog::ToolLabel;
pub use toolpost_core::catalog::grants::GrantSettings;
pub use toolpost_core::catalog::settings::{Bytes, LimitSettings, Span, ToolSettings};

/// The name under which the file is looked for.
pub const FILE_NAME: &str = "toolpost.toml";

/// The largest settings file that is read, in bytes.
pub(crate) const FILE_BYTES_MAX: u64 = 1 << 20;

/// The most calls that may run at once, and the most that may wait.
const CALLS_MOST: u64 = 1_000_000;

/// The most calls that may be inside of one another: each needs stack.
const DEPTH_MOST: u64 = 12;

/// The bounds of the stack of a running tool, in bytes.
const STACK_BYTES_LEAST: u64 = 64 << 10;
const STACK_BYTES_MOST: u64 = 64 << 20;

/// Everything that the operator says. An empty file is a valid one: it grants nothing and serves nothing.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
#[schemars(title = "toolpost.toml")]
pub struct Settings {
    /// What all calls share.
    #[serde(default)]
    pub host: HostSettings,
    /// Limits of every tool, unless its component or the tool itself has others.
    #[serde(default)]
    pub limits: LimitSettings,
    /// Rates, room, prices, breaker and retries of every tool, unless its component or the tool itself has others.
    #[serde(default)]
    pub guard: GuardSettings,
    /// Who may use which tool. Without a rule, everybody may use every tool.
    #[serde(default)]
    pub access: Access,
    /// What part of the places callers get while more calls come than can run. Without a rule, all get the same.
    #[serde(default)]
    pub share: Shares,
    /// When a session that goes round in circles is told so, and stopped.
    #[serde(default)]
    pub repeat: RepeatSettings,
    /// What is allowed, denied and asked about, and who is asked.
    #[serde(default)]
    pub approval: ApprovalSettings,
    /// How much callers and sessions may use.
    #[serde(default)]
    pub budget: BudgetSettings,
    /// How batches run.
    #[serde(default)]
    pub batch: BatchSettings,
    /// How tools may run beside others in a batch, where the operator knows better than what is derived from their powers. The
    /// first rule that fits a tool counts.
    #[serde(default)]
    pub class: Classes,
    /// How calls are run for which nobody waits.
    #[serde(default)]
    pub tasks: TaskSettings,
    /// Where the host keeps what must survive it.
    #[serde(default)]
    pub store: StoreSettings,
    /// The stores of keys and values, by the name that grants of buckets give. Without one, `default` is in the host's store.
    #[serde(default)]
    pub kv: BTreeMap<KvName, KvSettings>,
    /// How results are kept that are too long for their reader.
    #[serde(default)]
    pub artifacts: ArtifactSettings,
    /// The secrets of the host, by name: where each comes from. What is known of them is masked wherever it turns up.
    #[serde(default)]
    pub secrets: BTreeMap<String, SecretSettings>,
    /// The databases that tools can be granted, by name.
    #[serde(default)]
    pub sql: BTreeMap<String, SqlSettings>,
    /// The log of calls, which is kept in the store.
    #[serde(default)]
    pub log: LogSettings,
    /// Who else is told: a collector of traces, Prometheus.
    #[serde(default)]
    pub telemetry: TelemetrySettings,
    /// The components, by the name that begins the names of their tools.
    #[serde(default)]
    pub components: BTreeMap<String, ComponentSettings>,
    /// The file, as it was named.
    #[serde(skip)]
    file: PathBuf,
    /// The hash of the text that was read.
    #[serde(skip)]
    digest: String,
    /// The folder from which paths in the file count.
    #[serde(skip)]
    base: PathBuf,
    /// Whether they were read, from a file or a text, and are not the defaults alone.
    #[serde(skip)]
    written: bool,
    /// The line of each tool's settings, by its component and its key.
    #[serde(skip)]
    lines: BTreeMap<(String, String), usize>,
}

/// What all calls share.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostSettings {
    /// Calls that run at once, 1 to 1000000. Default 64.
    #[serde(default, deserialize_with = "number_within::<_, _, 1, CALLS_MOST>")]
    #[schemars(range(min = 1, max = CALLS_MOST))]
    pub max_parallel: Option<usize>,
    /// Calls that may wait for a place, up to 1000000. Default 1024.
    #[serde(default, deserialize_with = "number_within::<_, _, 0, CALLS_MOST>")]
    #[schemars(range(min = 0, max = CALLS_MOST))]
    pub max_waiting: Option<usize>,
    /// How long a call waits for a place before it is told to come back later. Default "30s".
    pub max_wait: Option<Span>,
    /// How many calls may be inside of one another, up to 12. Default 8.
    #[serde(default, deserialize_with = "number_within::<_, _, 0, DEPTH_MOST>")]
    #[schemars(range(min = 0, max = DEPTH_MOST))]
    pub max_depth: Option<usize>,
    /// Instances that are kept between calls, all components together, up to 10000. Default 64.
    #[serde(default, deserialize_with = "number_within::<_, _, 0, KEPT_MOST>")]
    #[schemars(range(min = 0, max = KEPT_MOST))]
    pub max_kept: Option<usize>,
    /// The stack of a running tool, "64 KiB" to "64 MiB". Default "512 KiB".
    #[serde(default, deserialize_with = "bytes_within::<_, STACK_BYTES_LEAST, STACK_BYTES_MOST>")]
    #[schemars(schema_with = "bytes_between::<STACK_BYTES_LEAST, STACK_BYTES_MOST>")]
    pub stack: Option<Bytes>,
    /// How far arguments may be from a tool's schema: strict, safe or lax. Default "safe".
    pub cast: Option<Cast>,
    /// Where compiled code is kept. Default: the user's cache folder. The folder must belong to the user alone.
    #[serde(default, deserialize_with = "folder")]
    #[schemars(with = "Option<String>", length(min = 1))]
    pub cache: Option<PathBuf>,
    /// How much compiled code is kept. Default "1 GiB".
    pub cache_size: Option<Bytes>,
    /// How much memory the results take that `guard.cache` keeps. Default "64 MiB".
    pub cached_results: Option<Bytes>,
}

/// Where the host keeps what must survive it.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct StoreSettings {
    /// The folder, in which nobody else can write. Default: one for each folder of settings, in the user's data folder.
    #[serde(default, deserialize_with = "folder")]
    #[schemars(with = "Option<String>", length(min = 1))]
    pub dir: Option<PathBuf>,
}

/// How results are kept that are too long for their reader.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ArtifactSettings {
    /// How much all of them take; the oldest make room. Default "1 GiB".
    pub quota: Option<Bytes>,
    /// How long one is kept. Default "7d".
    pub ttl: Option<Span>,
}

/// Where a secret comes from. It is read when it is needed, and again after five minutes.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SecretSettings {
    /// An environment variable of the host.
    Env(String),
    /// A file; one line break at its end is left out. A relative path counts from the folder of the settings file.
    File(PathBuf),
    /// What a program writes to standard output: its name and its arguments. It runs in the folder of the settings file, and
    /// has ten seconds.
    Command(Vec<String>),
}

/// What is said of one component.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ComponentSettings {
    /// The component's file; a relative path counts from the folder of the settings file.
    pub path: PathBuf,
    /// How far arguments may be from a tool's schema. Default: as of the host.
    pub cast: Option<Cast>,
    /// How long an instance lives, and with it what its tools have in their memory: "fresh" (one attempt), "session" (as long as
    /// the session of its caller) or "warm" (some calls of any caller). Default "fresh".
    #[serde(default)]
    pub lifetime: Keep,
    /// What each instance is set up with before its first call: the parameters of the component's function `setup`.
    #[serde(default)]
    pub setup: BTreeMap<String, serde_json::Value>,
    /// Rates, room, prices, breaker and retries of the component's tools. Default: the host's.
    #[serde(default)]
    pub guard: GuardSettings,
    /// Limits of the component's tools. Default: the host's.
    #[serde(default)]
    pub limits: LimitSettings,
    /// Words by which the component's tools are chosen, as in `toolpost list --label WORD`: 1 to 40 characters of a-z, 0-9, `_`
    /// and `-` each. Default: none.
    #[serde(default)]
    pub labels: Vec<ToolLabel>,
    /// What the component's tools may reach. Default: nothing.
    #[serde(default)]
    pub grants: GrantSettings,
    /// What is said of single tools, by the function's name in WIT, or `interface#function` where two have the same.
    #[serde(default)]
    pub tools: BTreeMap<String, ToolSettings>,
}

impl Settings {
    /// Reads a settings file.
    ///
    /// # Errors
    /// Everything that is wrong with the file.
    pub fn read(file: &Path) -> Result<Self, Vec<Fault>> {
        whole(Self::examine(file))
    }

    /// Reads settings from a text; `file` is named in faults, and relative paths count from its folder.
    ///
    /// # Errors
    /// Everything that is wrong with the text.
    pub fn parse(text: &str, file: &Path) -> Result<Self, Vec<Fault>> {
        whole(Self::of(text, file))
    }

    /// What of a settings file fits, and everything that is wrong with it: for telling an operator all at once. A host
    /// does not run on settings with faults.
    #[must_use]
    pub fn examine(file: &Path) -> (Self, Vec<Fault>) {
        match text_of(file) {
            Ok(text) => Self::of(&text, file),
            Err(message) => (Settings::default(), vec![Fault { file: file.to_owned(), line: None, message }]),
        }
    }

    fn of(text: &str, file: &Path) -> (Self, Vec<Fault>) {
        let (mut settings, faults): (Settings, _) = read::all(text, file);
        settings.lines = read::lines_of_tools(text);
        settings.digest = hex(&Sha256::digest(text));
        settings.file = file.to_owned();
        settings.base = file.parent().map(Path::to_owned).unwrap_or_default();
        settings.written = true;
        (settings, faults)
    }

    pub(crate) fn are_written(&self) -> bool {
        self.written
    }

    /// What all calls together may use.
    #[must_use]
    pub fn host_limits(&self) -> HostLimits {
        let defaults = HostLimits::default();
        HostLimits {
            max_parallel: self.host.max_parallel.unwrap_or(defaults.max_parallel),
            max_waiting: self.host.max_waiting.unwrap_or(defaults.max_waiting),
            max_wait: self.host.max_wait.map_or(defaults.max_wait, |span| span.0),
            max_depth: self.host.max_depth.unwrap_or(defaults.max_depth),
        }
    }

    /// What is asked of the engine.
    #[must_use]
    pub fn engine_options(&self) -> EngineOptions {
        let defaults = EngineOptions::default();
        let stack = self.host.stack.map(|bytes| usize::try_from(bytes.0).unwrap_or(usize::MAX));
        EngineOptions {
            max_parallel: self.host_limits().max_parallel,
            max_kept: self.host.max_kept.unwrap_or(defaults.max_kept),
            stack_bytes_max: stack.unwrap_or(defaults.stack_bytes_max),
            cache_dir: self.cache_dir(),
            cache_bytes_max: self.host.cache_size.map_or(defaults.cache_bytes_max, |bytes| bytes.0),
            ..defaults
        }
    }

    /// What they say of tools, for a set of them above a host: of all else counts what that host's settings say.
    pub(crate) fn of_set(self, host: &Settings) -> Self {
        let resolved = |from: &SecretSettings| match from {
            SecretSettings::File(file) => SecretSettings::File(host.resolve(file)),
            other => other.clone(),
        };
        let Settings { limits, guard, kv, sql, components, file, digest, base, written, lines, .. } = self;
        let cast = self.host.cast.or(host.host.cast);
        Settings {
            host: HostSettings { cast, cache: host.cache_dir(), ..host.host.clone() },
            secrets: host.secrets.iter().map(|(name, from)| (name.clone(), resolved(from))).collect(),
            limits,
            guard,
            kv,
            sql,
            components,
            file,
            digest,
            base,
            written,
            lines,
            ..Settings::default()
        }
    }

    /// The folder where compiled code is kept.
    #[must_use]
    pub fn cache_dir(&self) -> Option<PathBuf> {
        match &self.host.cache {
            Some(dir) => Some(self.base.join(dir)),
            None => dirs::cache_dir().map(|dir| dir.join("toolpost").join("compiled")),
        }
    }

    /// The folder of what is kept, where there is one.
    #[must_use]
    pub fn store_dir(&self) -> Option<PathBuf> {
        if let Some(dir) = &self.store.dir {
            return Some(self.base.join(dir));
        }
        // Settings of another folder are another host: a key that is used there is free here.
        let here = if self.base.as_os_str().is_empty() { Path::new(".") } else { &self.base };
        let here = here.canonicalize().ok()?;
        let name = here.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let hash = Sha256::digest(here.as_os_str().as_encoded_bytes());
        let hash = hex(hash.get(..8).unwrap_or_default());
        dirs::data_local_dir().map(|dir| dir.join("toolpost").join(format!("{name}-{hash}")))
    }

    /// Their version: a hash of the text that was read; empty for the defaults.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.digest
    }

    /// The file that was read, from the root; empty for the defaults.
    pub(crate) fn whole_file(&self) -> PathBuf {
        match self.written {
            true => std::path::absolute(&self.file).unwrap_or_else(|_| self.file.clone()),
            false => PathBuf::new(),
        }
    }

    /// Where the lock of their components is, if there is one: `toolpost.lock` beside `toolpost.toml`, and so for any other name.
    /// Nothing for settings that were not read.
    #[must_use]
    pub fn lock_file(&self) -> Option<PathBuf> {
        let name = self.file.file_name().filter(|_| self.written)?;
        let lock = self.file.with_extension("lock");
        // No file is its own lock.
        Some(if lock == self.file {
            self.file.with_file_name([name, ".lock".as_ref()].join("".as_ref()))
        } else {
            lock
        })
    }

    /// The line in which the settings of a component's tool begin.
    pub(crate) fn line_of_tool(&self, component: &str, tool: &str) -> Option<usize> {
        self.lines.get(&(component.to_owned(), tool.to_owned())).copied()
    }

    /// What is said of a component, with its paths from the folder that they count from.
    #[must_use]
    pub(crate) fn resolved(&self, component: &ComponentSettings) -> ComponentSettings {
        // A folder is opened for as long as the host runs, and must not depend on where the process is then.
        let folder = |path: &Path| {
            let path = self.resolve(path);
            std::path::absolute(&path).unwrap_or(path)
        };
        let mut resolved = component.clone();
        resolved.path = self.resolve(&component.path);
        resolved.grants = resolved.grants.resolved(folder);
        for tool in resolved.tools.values_mut() {
            tool.grants = std::mem::take(&mut tool.grants).resolved(folder);
        }
        resolved
    }

    /// A path as it stands in the file, from the folder that it counts from.
    #[must_use]
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.base.join(path)
    }
}

/// Reads a file of rules.
pub(crate) fn rules(file: &Path) -> Result<Rules, Vec<Fault>> {
    let fault = |message| vec![Fault { file: file.to_owned(), line: None, message }];
    let (rules, faults) = read::all(&text_of(file).map_err(fault)?, file);
    if faults.is_empty() { Ok(rules) } else { Err(faults) }
}

/// A folder that has a name. Without one it would be the folder of the settings, which is for others to write to.
fn folder<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<PathBuf>, D::Error> {
    let dir = PathBuf::deserialize(deserializer)?;
    if dir.as_os_str().is_empty() {
        return Err(D::Error::custom("expected the name of a folder; leave the key out for the default"));
    }
    Ok(Some(dir))
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn whole((settings, faults): (Settings, Vec<Fault>)) -> Result<Settings, Vec<Fault>> {
    if faults.is_empty() { Ok(settings) } else { Err(faults) }
}

fn text_of(file: &Path) -> Result<String, String> {
    let cannot = |error: std::io::Error| format!("cannot be read: {error}");
    let mut text = String::new();
    let mut bounded = std::fs::File::open(file).map_err(cannot)?.take(FILE_BYTES_MAX + 1);
    bounded.read_to_string(&mut text).map_err(cannot)?;
    if text.len() as u64 > FILE_BYTES_MAX {
        return Err(format!("is too long; settings may have {FILE_BYTES_MAX} bytes"));
    }
    Ok(text)
}
