//! What has a tool been granted? The parts of `toolpost.toml` that open the world to it, read into what decides. Nothing is
//! granted that is not written down here.

mod compare;
mod dirs;
mod entries;
mod inject;
mod kv;
mod net;
mod only;
mod secrets;
mod sql;
mod tcp;
mod template;
mod variables;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::path::{Path, PathBuf};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize, Serializer};
use serde_json::Value;

use super::settings::{Bytes, Span};
use crate::check::authorize::Pattern;
use crate::effect::EffectClass;

pub use self::compare::{GrantChange, Way};
pub use self::dirs::{Denied, DirAccess, DirGrant, GuestPath};
pub use self::entries::NetGrants;
pub use self::inject::{Aws, Basic, Inject};
pub use self::kv::{KeyPrefix, KvAccess, KvGrant, KvName};
pub(crate) use self::net::HostPattern;
pub use self::net::{Destination, Methods, NetGrant, method_effect};
pub use self::only::Only;
pub use self::secrets::SecretGrant;
pub use self::sql::{SqlAccess, SqlGrant};
pub use self::tcp::{Endpoint, TcpGrant, host_name};
pub use self::template::{Piece, Template};
pub use self::variables::Variables;

/// Grants, where they differ from what stands above: those of a tool from its component's. A list replaces the list above
/// it, and an empty one takes everything away.
#[derive(Clone, Debug, Default, PartialEq, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct GrantSettings {
    /// Where requests over HTTP and connections over TCP may go. Default: nowhere.
    #[serde(default)]
    pub net: Option<NetGrants>,
    /// The folders that tools may use. Default: none.
    #[serde(default, deserialize_with = "dirs::in_different_places")]
    pub dirs: Option<Vec<DirGrant>>,
    /// The buckets of keys and values that tools may use. Default: none.
    #[serde(default, deserialize_with = "kv::of_different_names")]
    pub kv: Option<Vec<KvGrant>>,
    /// The databases that tools may use. Default: none.
    #[serde(default, deserialize_with = "sql::of_different_databases")]
    pub sql: Option<Vec<SqlGrant>>,
    /// Environment variables, for example { LANG = "C.UTF-8" }; `${secret:NAME}` in one is a secret that tools are shown.
    /// Default: none.
    #[serde(default)]
    pub env: Option<Variables>,
    /// Settings of the tools' own, by `wasi:config`; as `env`. Default: none.
    #[serde(default)]
    pub config: Option<Variables>,
    /// Secrets of the host that tools may sign with or be shown. Default: none.
    #[serde(default, deserialize_with = "secrets::of_different_names")]
    pub secrets: Option<Vec<SecretGrant>>,
    /// The other tools of the host that tools may call, by name; `*` stands for any characters, `?` for one. Default: none.
    #[serde(default)]
    pub tools: Option<Vec<Pattern>>,
    /// Grants of interfaces that the embedding program adds, by their names there.
    #[serde(default)]
    #[schemars(skip)]
    pub own: Option<BTreeMap<String, Value>>,
}

/// What a tool has been granted.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Grants {
    /// Where requests over HTTP and connections over TCP may go.
    #[serde(skip_serializing_if = "NetGrants::is_empty")]
    pub net: NetGrants,
    /// The folders that it may use.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub dirs: Vec<DirGrant>,
    /// The buckets of keys and values that it may use.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub kv: Vec<KvGrant>,
    /// The databases that it may use.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub sql: Vec<SqlGrant>,
    /// Its environment variables.
    #[serde(skip_serializing_if = "Variables::is_empty")]
    pub env: Variables,
    /// Settings of its own.
    #[serde(skip_serializing_if = "Variables::is_empty")]
    pub config: Variables,
    /// The secrets that it may sign with or be shown.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub secrets: Vec<SecretGrant>,
    /// The other tools that it may call.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<Pattern>,
    /// What it was granted of interfaces that the embedding program adds.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub own: BTreeMap<String, Value>,
}

impl Grants {
    /// These grants, with what settings say over them.
    #[must_use]
    pub fn with(self, settings: &GrantSettings) -> Self {
        Grants {
            net: settings.net.clone().unwrap_or(self.net),
            dirs: settings.dirs.clone().unwrap_or(self.dirs),
            kv: settings.kv.clone().unwrap_or(self.kv),
            sql: settings.sql.clone().unwrap_or(self.sql),
            env: settings.env.clone().unwrap_or(self.env),
            config: settings.config.clone().unwrap_or(self.config),
            secrets: settings.secrets.clone().unwrap_or(self.secrets),
            tools: settings.tools.clone().unwrap_or(self.tools),
            own: settings.own.clone().unwrap_or(self.own),
        }
    }

    /// How far a tool may reach with the requests over HTTP that it has been granted; nothing without such a grant.
    #[must_use]
    pub fn net_effect(&self) -> Option<EffectClass> {
        self.net.http.iter().map(|grant| grant.methods.effect()).max()
    }

    /// How far a tool may reach with the connections over TCP that it has been granted; nothing without such a grant. What it
    /// sends over one, nobody but the other side understands.
    #[must_use]
    pub fn tcp_effect(&self) -> Option<EffectClass> {
        (!self.net.tcp.is_empty()).then_some(EffectClass::Open)
    }

    /// How far a tool may reach with the folders that it has been granted; nothing without one.
    #[must_use]
    pub fn dirs_effect(&self) -> Option<EffectClass> {
        self.dirs.iter().map(|grant| grant.access.effect()).max()
    }

    /// The texts with secrets that the host sends in the tool's place, and never shows it.
    pub fn injected(&self) -> impl Iterator<Item = &Template> {
        self.net.http.iter().flat_map(|grant| grant.inject.templates())
    }

    /// All texts with secrets that the host fills in for the tool.
    pub fn templates(&self) -> impl Iterator<Item = &Template> {
        let variables = self.env.iter().chain(self.config.iter()).map(|(_, text)| text);
        self.injected().chain(variables)
    }

    /// Every secret that stands in them, by name.
    pub fn secret_names(&self) -> impl Iterator<Item = &str> {
        let handles = self.secrets.iter().map(|grant| grant.name.as_str());
        self.templates().flat_map(Template::secrets).chain(handles)
    }

    /// The secrets that the tool is shown, by name.
    #[must_use]
    pub fn shown_secrets(&self) -> BTreeSet<&str> {
        let variables = self.env.iter().chain(self.config.iter()).flat_map(|(_, text)| text.secrets());
        let handles = self.secrets.iter().filter(|grant| grant.reveal).map(|grant| grant.name.as_str());
        variables.chain(handles).collect()
    }

    /// How far a tool may reach with secrets that it works with itself: what it does depends on them.
    #[must_use]
    pub fn secrets_effect(&self) -> Option<EffectClass> {
        (!self.secrets.is_empty()).then_some(EffectClass::Reads)
    }

    /// How far a tool may reach with the buckets that it has been granted; nothing without one.
    #[must_use]
    pub fn kv_effect(&self) -> Option<EffectClass> {
        self.kv.iter().map(|grant| grant.access.effect()).max()
    }

    /// Whether it may call the tool of that name.
    #[must_use]
    pub fn calls(&self, tool: &str) -> bool {
        self.tools.iter().any(|pattern| pattern.fits(tool))
    }

    /// How far a tool may reach with the databases that it has been granted; nothing without one.
    #[must_use]
    pub fn sql_effect(&self) -> Option<EffectClass> {
        self.sql.iter().map(|grant| grant.access.effect()).max()
    }

    /// The grants, a line for each.
    #[must_use]
    pub fn lines(&self) -> Vec<String> {
        let http = self.net.http.iter().map(|grant| format!("net {grant}"));
        let net = http.chain(self.net.tcp.iter().map(|grant| format!("net {grant}")));
        let dirs = self.dirs.iter().map(|grant| format!("dirs {grant}"));
        let kv = self.kv.iter().map(|grant| format!("kv {grant}"));
        let sql = self.sql.iter().map(|grant| format!("sql {grant}"));
        let words = self.env.lines("env").chain(self.config.lines("config"));
        let secrets = self.secrets.iter().map(|grant| format!("secrets {grant}"));
        let tools = self.tools.iter().map(|pattern| format!("tools {}", pattern.as_str()));
        let own = self.own.iter().map(|(name, grant)| format!("{name} {grant}"));
        net.chain(dirs).chain(kv).chain(sql).chain(words).chain(secrets).chain(tools).chain(own).collect()
    }
}

impl GrantSettings {
    /// The same, with the paths of folders as `resolve` has them: from where a relative path counts is not known here.
    #[must_use]
    pub fn resolved(mut self, resolve: impl Fn(&Path) -> PathBuf) -> Self {
        dirs::resolved(self.dirs.as_deref_mut().unwrap_or_default(), resolve);
        self
    }
}

fn plain_bytes<S: Serializer>(bytes: &Bytes, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_u64(bytes.0)
}

fn plain_span<S: Serializer>(span: &Span, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_str(&humantime::format_duration(span.0))
}

fn shown_only(only: Option<&Only>, f: &mut fmt::Formatter<'_>) -> fmt::Result {
    only.map_or(Ok(()), |only| write!(f, " (only {only})"))
}
