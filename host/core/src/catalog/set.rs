//! Which tools does a session or a task bring along? They stand above those of a host: they have their own settings, a name means
//! them first, and what is learned of them is not learned of others that have the same name.

use std::borrow::Cow;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::sync::Arc;

use super::{Catalog, NAME_CHARACTERS_MAX, Origin, Selection, Tool, follow, shown};

/// What begins the digest that stands for the native tools of a set.
const NATIVE_OF: &str = "native/";

/// Tools that somebody brings along.
#[derive(Clone, Debug)]
pub struct ToolSet {
    name: SetName,
    tools: Catalog,
    below: Option<Selection>,
}

/// The name of a set of tools.
#[derive(Clone, PartialEq, Eq)]
pub struct SetName(Arc<str>);

impl ToolSet {
    /// These tools, above all of a host's. Two sets with one name are the same set to breakers, rates and idempotency keys: take the
    /// name of whose it is, such as a session's.
    ///
    /// # Errors
    /// The name is not 1 to [`NAME_CHARACTERS_MAX`] characters of `a-z`, `0-9`, `_` and `-`.
    pub fn new(name: &str, tools: Catalog) -> Result<Self, String> {
        let plain = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_' | b'-');
        if !(1..=NAME_CHARACTERS_MAX).contains(&name.len()) || !name.bytes().all(plain) {
            let name = shown(name);
            return Err(format!(
                "no set of tools can be named `{name}`: a name has 1 to {NAME_CHARACTERS_MAX} characters of a-z, 0-9, _ and -"
            ));
        }
        Ok(ToolSet { name: SetName(format!("{NATIVE_OF}{name}").into()), tools, below: Some(Selection::default()) })
    }

    /// Of the host's tools only these are there beside them.
    #[must_use]
    pub fn beside(self, chosen: Selection) -> Self {
        ToolSet { below: Some(chosen), ..self }
    }

    /// They are there in place of the host's.
    #[must_use]
    pub fn instead(self) -> Self {
        ToolSet { below: None, ..self }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &SetName {
        &self.name
    }
}

impl SetName {
    /// The name as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.strip_prefix(NATIVE_OF).unwrap_or_default()
    }

    /// What stands for the digest of a native tool of the set.
    pub(crate) fn native_digest(&self) -> &str {
        &self.0
    }
}

impl fmt::Debug for SetName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl Catalog {
    /// This catalog with a set of tools above it.
    #[must_use]
    pub(crate) fn under(&self, set: &ToolSet) -> Self {
        let ToolSet { name, tools: brought, below } = set;
        let chosen = self.tools.iter().filter(|(_, tool)| below.as_ref().is_some_and(|below| below.fits(tool)));
        let mut tools: BTreeMap<_, _> = chosen.map(|(name, tool)| (name.clone(), tool.clone())).collect();
        tools.extend(brought.tools.iter().map(|(called, tool)| (called.clone(), Arc::new(tool.of_set(name)))));
        // What the tools below may call does not change: they do not know those above.
        follow(&mut tools, Some(name));
        let alone = brought.tools.values().filter(|tool| tool.guards.exclusive);
        let alone = alone.filter_map(|tool| tool.of_set(name).component_key());
        let exclusive: BTreeSet<String> = self.exclusive.iter().cloned().chain(alone).collect();
        let below = Some((name.clone(), Arc::new(self.clone())));
        Catalog { tools: Arc::new(tools), exclusive: Arc::new(exclusive), below }
    }

    /// The catalog in which a tool finds those that it calls: a tool of the host does not see what a session has brought along, so
    /// nobody can come between it and what it was granted to call.
    #[must_use]
    pub(crate) fn seen_by(&self, tool: &Tool) -> &Self {
        match &self.below {
            Some((name, below)) if tool.set.as_ref() != Some(name) => below.seen_by(tool),
            _ => self,
        }
    }

    /// Whether a set of that name is in it.
    pub(crate) fn has_set(&self, name: &SetName) -> bool {
        self.below.as_ref().is_some_and(|(own, below)| own == name || below.has_set(name))
    }
}

impl Tool {
    /// The same tool, brought along by that set.
    fn of_set(&self, set: &SetName) -> Self {
        Tool { set: Some(set.clone()), guards: self.guards.clone().renamed(), ..self.clone() }
    }

    /// The name under which what is learned of it is kept: with that of its set, where one has brought it.
    #[must_use]
    pub(crate) fn key(&self) -> Cow<'_, str> {
        match &self.set {
            Some(set) => format!("{}/{}", set.as_str(), self.name).into(),
            None => self.name.as_str().into(),
        }
    }

    /// Whether it is the same tool as another one, and not only of the same name.
    pub(crate) fn is(&self, other: &Tool) -> bool {
        self.name == other.name && self.set == other.set
    }

    /// The same for its component, if it is of one.
    pub(crate) fn component_key(&self) -> Option<String> {
        match (&self.origin, &self.set) {
            (Origin::Component { component, .. }, Some(set)) => Some(format!("{}/{component}", set.as_str())),
            (Origin::Component { component, .. }, None) => Some(component.clone()),
            (Origin::Native, _) => None,
        }
    }
}
