//! Who is watched? A tool, or a server that tools talk to: a dead server must not take with it a tool that also talks to
//! others.

use std::fmt;
use std::sync::Arc;

use serde::Serialize;

/// What a breaker watches.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
pub struct Key {
    /// The tool or the server.
    pub scope: Scope,
    /// For whom, where callers are kept apart.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tenant: Option<Arc<str>>,
}

/// A tool, a server, or something that the embedding program knows.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case", tag = "kind", content = "name")]
pub enum Scope {
    /// A tool, by its name in this host.
    Tool(Arc<str>),
    /// A server: host name and port.
    Egress(Arc<str>),
    /// Something else.
    Custom(Arc<str>),
}

impl Scope {
    /// The name without the kind.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Scope::Tool(name) | Scope::Egress(name) | Scope::Custom(name) => name,
        }
    }
}

impl Key {
    /// A tool.
    pub fn tool(name: impl Into<Arc<str>>) -> Self {
        Key { scope: Scope::Tool(name.into()), tenant: None }
    }

    /// A server, by host name and port.
    pub fn egress(authority: impl Into<Arc<str>>) -> Self {
        Key { scope: Scope::Egress(authority.into()), tenant: None }
    }

    /// Something that the embedding program knows.
    pub fn custom(name: impl Into<Arc<str>>) -> Self {
        Key { scope: Scope::Custom(name.into()), tenant: None }
    }

    /// The same, for one tenant alone.
    #[must_use]
    pub fn of_tenant(mut self, tenant: impl Into<Arc<str>>) -> Self {
        self.tenant = Some(tenant.into());
        self
    }
}

/// `tool orders_create`, `egress api.example.com:443`, `tool orders_create for acme`.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = match self.scope {
            Scope::Tool(_) => "tool",
            Scope::Egress(_) => "egress",
            Scope::Custom(_) => "custom",
        };
        write!(f, "{kind} {}", self.scope.name())?;
        self.tenant.as_ref().map_or(Ok(()), |tenant| write!(f, " for {tenant}"))
    }
}
