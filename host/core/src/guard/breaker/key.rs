//! Who is watched? A tool, or a server as one tool knows it: a dead server must not take with it a tool that also talks to
//! others, and what one tool has done to a server is not held against the other tools.

use std::fmt;
use std::sync::Arc;

use serde::ser::SerializeMap;
use serde::{Serialize, Serializer};

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
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Scope {
    /// A tool, by its name in this host.
    Tool(Arc<str>),
    /// A server that a tool sends to.
    Egress {
        /// The tool, by its name in this host.
        tool: Arc<str>,
        /// Host name and port of the server: `shop.example.com:443`.
        authority: Arc<str>,
    },
    /// Something else.
    Custom(Arc<str>),
}

impl Scope {
    /// The kind as one word: `tool`, `egress` or `custom`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Scope::Tool(_) => "tool",
            Scope::Egress { .. } => "egress",
            Scope::Custom(_) => "custom",
        }
    }

    /// What is well or not, without the kind: the tool, or the authority of the server.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Scope::Tool(name) | Scope::Egress { authority: name, .. } | Scope::Custom(name) => name,
        }
    }
}

impl Key {
    /// A tool.
    pub fn tool(name: impl Into<Arc<str>>) -> Self {
        Key { scope: Scope::Tool(name.into()), tenant: None }
    }

    /// A server that a tool sends to, by host name and port.
    pub fn egress(tool: impl Into<Arc<str>>, authority: impl Into<Arc<str>>) -> Self {
        Key { scope: Scope::Egress { tool: tool.into(), authority: authority.into() }, tenant: None }
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

    /// The key that is printed so; one of a single tenant is not read.
    ///
    /// ```
    /// use toolpost_core::guard::breaker::Key;
    ///
    /// let key = Key::parse("egress orders_create shop.example.com:443");
    /// assert_eq!(key, Some(Key::egress("orders_create", "shop.example.com:443")));
    /// assert_eq!(Key::parse("egress shop.example.com:443"), None);
    /// ```
    #[must_use]
    pub fn parse(printed: &str) -> Option<Self> {
        // Neither tools nor authorities have spaces in their names.
        let word = |text: &str| !text.is_empty() && !text.contains(' ');
        match printed.split_once(' ')? {
            ("tool", name) => word(name).then(|| Key::tool(name)),
            ("egress", names) => {
                let (tool, authority) = names.split_once(' ')?;
                (word(tool) && word(authority)).then(|| Key::egress(tool, authority))
            }
            ("custom", name) => Some(Key::custom(name)),
            _ => None,
        }
    }
}

/// `tool orders_create`, `egress orders_create shop.example.com:443`, `tool orders_create for acme`.
impl fmt::Display for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ", self.scope.kind())?;
        if let Scope::Egress { tool, .. } = &self.scope {
            write!(f, "{tool} ")?;
        }
        f.write_str(self.scope.name())?;
        self.tenant.as_ref().map_or(Ok(()), |tenant| write!(f, " for {tenant}"))
    }
}

/// `{"kind": "egress", "tool": "orders_create", "authority": "shop.example.com:443"}`.
impl Serialize for Scope {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(None)?;
        map.serialize_entry("kind", self.kind())?;
        match self {
            Scope::Tool(tool) => map.serialize_entry("tool", tool)?,
            Scope::Egress { tool, authority } => {
                map.serialize_entry("tool", tool)?;
                map.serialize_entry("authority", authority)?;
            }
            Scope::Custom(name) => map.serialize_entry("name", name)?,
        }
        map.end()
    }
}
