//! What does a component ask for? Its imports, and the power that lies in each.

use serde::Serialize;
use toolpost_core::EffectClass;
use toolpost_core::catalog::grants::Grants;

/// The power that lies in an import.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Power {
    /// None: streams to wait on, the words of Toolpost's own contract.
    Plumbing,
    /// Clocks.
    Clocks,
    /// Random numbers.
    Random,
    /// Standard input and output, which the host captures.
    Stdio,
    /// Environment variables and arguments.
    Environment,
    /// Settings of the tool's own.
    Config,
    /// Secrets, to sign with.
    Secrets,
    /// Secrets, to be shown.
    Reveal,
    /// Files.
    Files,
    /// Keys and values.
    Keys,
    /// Sockets.
    Sockets,
    /// Requests over HTTP.
    Http,
    /// Databases.
    Databases,
    /// Other tools.
    Tools,
    /// Something that the embedding program offers; the host cannot look into it.
    Other,
}

/// An import of a component.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct Import {
    /// Its name, as the component says it.
    pub name: String,
    /// The power that lies in it.
    pub power: Power,
}

impl Power {
    /// The power that lies in the interface of that name.
    #[must_use]
    pub fn of(name: &str) -> Self {
        let path = name.split('@').next().unwrap_or(name);
        match path {
            "wasi:cli/stdin" | "wasi:cli/stdout" | "wasi:cli/stderr" => Power::Stdio,
            "wasi:cli/environment" => Power::Environment,
            _ if path.starts_with("wasi:config/") => Power::Config,
            "toolpost:secrets/reveal" => Power::Reveal,
            _ if path.starts_with("toolpost:secrets/") => Power::Secrets,
            _ if path.starts_with("wasi:cli/terminal-") => Power::Stdio,
            _ if path.starts_with("wasi:cli/") => Power::Plumbing,
            _ if path.starts_with("wasi:io/") || path.starts_with("toolpost:tool/") => Power::Plumbing,
            _ if path.starts_with("wasi:clocks/") => Power::Clocks,
            _ if path.starts_with("wasi:random/") => Power::Random,
            _ if path.starts_with("wasi:filesystem/") => Power::Files,
            _ if path.starts_with("wasi:keyvalue/") || path.starts_with("toolpost:kv/") => Power::Keys,
            _ if path.starts_with("wasi:sockets/") => Power::Sockets,
            _ if path.starts_with("wasi:http/") => Power::Http,
            _ if path.starts_with("toolpost:sql/") => Power::Databases,
            _ if path.starts_with("toolpost:tools/") => Power::Tools,
            _ => Power::Other,
        }
    }

    /// What it is, in a word or two.
    #[must_use]
    pub fn describe(self) -> &'static str {
        match self {
            Power::Plumbing => "plumbing",
            Power::Clocks => "clocks",
            Power::Random => "random numbers",
            Power::Stdio => "standard input and output",
            Power::Environment => "environment and arguments",
            Power::Config => "settings of its own",
            Power::Secrets => "secrets to sign with",
            Power::Reveal => "secrets in the open",
            Power::Files => "files",
            Power::Keys => "keys and values",
            Power::Sockets => "sockets",
            Power::Http => "HTTP requests",
            Power::Databases => "databases",
            Power::Tools => "other tools",
            Power::Other => "an interface of the embedding program",
        }
    }

    /// Whether this host gives it without being asked to.
    #[must_use]
    pub fn is_given(self) -> bool {
        matches!(self, Power::Plumbing | Power::Clocks | Power::Random)
    }

    /// Whether every component has it, whatever is granted to it: what this host gives, or captures.
    #[must_use]
    pub fn is_common(self) -> bool {
        self.is_given() || self == Power::Stdio
    }

    /// Whether it is closed to a tool that has been granted this.
    #[must_use]
    pub fn is_closed(self, grants: &Grants) -> bool {
        match self {
            Power::Sockets => grants.net.tcp.is_empty(),
            Power::Environment => grants.env.is_empty(),
            Power::Config => grants.config.is_empty(),
            Power::Secrets => grants.secrets.is_empty(),
            Power::Reveal => !grants.secrets.iter().any(|grant| grant.reveal),
            Power::Files => grants.dirs.is_empty(),
            Power::Keys => grants.kv.is_empty(),
            Power::Http => grants.net.http.is_empty(),
            Power::Databases => grants.sql.is_empty(),
            Power::Tools => grants.tools.is_empty(),
            _ => false,
        }
    }

    /// What a tool can do to the world through this import, with that granted to it. Without a grant the host's own
    /// interfaces are closed; into one of the embedding program the host cannot look.
    #[must_use]
    pub fn effect(self, grants: &Grants) -> EffectClass {
        match self {
            Power::Other => EffectClass::Open,
            // How far those reach, the catalog knows, which has them all.
            Power::Tools if !grants.tools.is_empty() => EffectClass::Reads,
            Power::Files => grants.dirs_effect().unwrap_or(EffectClass::Pure),
            Power::Keys => grants.kv_effect().unwrap_or(EffectClass::Pure),
            Power::Sockets => grants.tcp_effect().unwrap_or(EffectClass::Pure),
            Power::Http => grants.net_effect().unwrap_or(EffectClass::Pure),
            Power::Databases => grants.sql_effect().unwrap_or(EffectClass::Pure),
            Power::Secrets | Power::Reveal => grants.secrets_effect().unwrap_or(EffectClass::Pure),
            _ => EffectClass::Pure,
        }
    }

    /// Whether it is open, in a word.
    #[must_use]
    pub fn state(self, grants: &Grants) -> &'static str {
        match self {
            Power::Stdio => "captured",
            power if power.is_given() => "given",
            power if power.is_closed(grants) => "closed",
            Power::Other => "open",
            _ => "granted",
        }
    }
}
