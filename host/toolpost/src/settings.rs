//! `toolpost.toml`: what the operator says. Reading fails closed: an unknown key or a value that does not fit is an error,
//! and all errors of a file are found together.

mod read;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::Deserialize;
use toolpost_core::catalog::settings::{Bytes, LimitSettings, ToolSettings};
use toolpost_core::{Cast, HostLimits};

pub use self::read::Fault;

/// The name under which the file is looked for.
pub const FILE_NAME: &str = "toolpost.toml";

/// The largest settings file that is read, in bytes.
const FILE_BYTES_MAX: u64 = 1 << 20;

/// Everything that the operator says. An empty file is a valid one: it grants nothing and serves nothing.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Settings {
    /// What all calls share.
    #[serde(default)]
    pub host: HostSettings,
    /// Limits of every tool, unless its component or the tool itself has others.
    #[serde(default)]
    pub limits: LimitSettings,
    /// The components, by the name that begins the names of their tools.
    #[serde(default)]
    pub components: BTreeMap<String, ComponentSettings>,
    /// The folder from which paths in the file count.
    #[serde(skip)]
    base: PathBuf,
}

/// What all calls share.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HostSettings {
    /// Calls that run at once. Default 64.
    pub max_parallel: Option<usize>,
    /// Calls that may wait for a place. Default 1024.
    pub max_waiting: Option<usize>,
    /// The stack of a running tool. Default "512 KiB".
    pub stack: Option<Bytes>,
    /// How far arguments may be from a tool's schema: strict, safe or lax. Default safe.
    pub cast: Option<Cast>,
    /// Where compiled code is kept. Default: the user's cache folder. The folder must belong to the user alone.
    pub cache: Option<PathBuf>,
    /// How much compiled code is kept. Default "1 GiB".
    pub cache_size: Option<Bytes>,
}

/// What is said of one component.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ComponentSettings {
    /// The component's file; a relative path counts from the folder of the settings file.
    pub path: PathBuf,
    /// How far arguments may be from a tool's schema.
    pub cast: Option<Cast>,
    /// Limits of the component's tools.
    #[serde(default)]
    pub limits: LimitSettings,
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
        let whole = |message: String| vec![Fault { file: file.to_owned(), line: None, message }];
        let length = std::fs::metadata(file).map_err(|error| whole(format!("cannot be read: {error}")))?.len();
        if length > FILE_BYTES_MAX {
            return Err(whole(format!("is {length} bytes long; settings may have {FILE_BYTES_MAX}")));
        }
        let text = std::fs::read_to_string(file).map_err(|error| whole(format!("cannot be read: {error}")))?;
        Self::parse(&text, file)
    }

    /// Reads settings from a text; `file` is named in faults, and relative paths count from its folder.
    ///
    /// # Errors
    /// Everything that is wrong with the text.
    pub fn parse(text: &str, file: &Path) -> Result<Self, Vec<Fault>> {
        let mut settings: Settings = read::all(text, file)?;
        settings.base = file.parent().map(Path::to_owned).unwrap_or_default();
        Ok(settings)
    }

    /// What all calls together may use.
    #[must_use]
    pub fn host_limits(&self) -> HostLimits {
        let defaults = HostLimits::default();
        HostLimits {
            max_parallel: self.host.max_parallel.unwrap_or(defaults.max_parallel),
            max_waiting: self.host.max_waiting.unwrap_or(defaults.max_waiting),
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

    /// A path as it stands in the file, from the folder that it counts from.
    #[must_use]
    pub fn resolve(&self, path: &Path) -> PathBuf {
        self.base.join(path)
    }
}
