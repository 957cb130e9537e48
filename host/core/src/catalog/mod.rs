//! What can be asked? The tools of a host by name, and the acceptance of arguments.

// What a tool is
mod hidden;
pub mod lifetime;
pub mod shape;
mod tool;

// What it takes
pub mod cast;
pub mod json;
pub mod outline;
pub mod schema;

// From a call to an accepted call
mod accept;

// Which of them are meant
mod selection;
mod set;

// What the operator says
pub mod grants;
pub mod settings;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

pub(crate) use self::accept::rough_size;
pub use self::accept::{CastReport, accept};
pub use self::cast::Cast;
use self::grants::Grants;
pub use self::hidden::SecretArguments;
pub use self::lifetime::{Keep, Lifetime};
pub use self::selection::{Selection, ToolLabel};
pub use self::set::{SetName, ToolSet};
pub use self::tool::{Base, Origin, Tool};
use crate::guard::Guards;
use crate::guard::slot::{ComponentRoom, Need, ToolRoom};
use crate::tell::{CallError, ErrorKind, Stage};

/// The longest name of a tool, in characters.
pub const NAME_CHARACTERS_MAX: usize = 40;

/// The tools of a host, by name. A clone costs nothing.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    tools: Arc<BTreeMap<String, Arc<Tool>>>,
    /// The components with a tool that runs alone.
    exclusive: Arc<BTreeSet<String>>,
    /// The name of the set that stands above another catalog, and that one.
    below: Option<(SetName, Arc<Catalog>)>,
}

/// A tool cannot have its name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum NameError {
    /// Two tools want the same name.
    Taken {
        /// The name.
        name: String,
        /// The two functions.
        between: [String; 2],
    },
    /// The name is not 1 to [`NAME_CHARACTERS_MAX`] characters of `a-z`, `0-9` and `_` that begin with a letter.
    Malformed {
        /// The name.
        name: String,
        /// The function.
        function: String,
    },
}

impl std::fmt::Display for NameError {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            NameError::Taken { name, between: [first, second] } => write!(
                f,
                "two tools would be named `{name}`: {first} and {second}; give one of them another name in the settings"
            ),
            NameError::Malformed { name, function } => write!(
                f,
                "{function} cannot be named `{}`: a name has 1 to {NAME_CHARACTERS_MAX} characters of a-z, 0-9 and _, and \
                 begins with a letter; give it another one in the settings",
                shown(name)
            ),
        }
    }
}

impl std::error::Error for NameError {}

impl Catalog {
    /// Adds a tool.
    ///
    /// # Errors
    /// Another tool has that name already, or the name is none for a tool; the catalog is left as it was.
    pub fn add(&mut self, tool: Tool) -> Result<(), NameError> {
        if !is_name(&tool.name) {
            return Err(NameError::Malformed { name: tool.name, function: tool.origin.describe() });
        }
        if let Some(other) = self.tools.get(&tool.name) {
            let between = [other.origin.describe(), tool.origin.describe()];
            return Err(NameError::Taken { name: tool.name, between });
        }
        if let Origin::Component { component, .. } = &tool.origin
            && tool.guards.exclusive
        {
            Arc::make_mut(&mut self.exclusive).insert(component.clone());
        }
        let tools = Arc::make_mut(&mut self.tools);
        tools.insert(tool.name.clone(), Arc::new(tool));
        follow(tools, None);
        Ok(())
    }

    /// What a call of the tool needs in order to run, beside the other tools.
    pub(crate) fn need(&self, tool: &Tool) -> Need {
        let Guards { parallel, waiting, exclusive, .. } = tool.guards;
        let component = if self.exclusive.is_empty() { None } else { tool.component_key() }
            .filter(|key| self.exclusive.contains(key));
        let parallel = if exclusive { Some(1) } else { parallel };
        let room = || ToolRoom { name: tool.key().into(), parallel, waiting };
        Need {
            tool: (parallel.is_some() || waiting.is_some()).then(room),
            component: component.map(|name| ComponentRoom { name: name.as_str().into(), alone: exclusive }),
        }
    }

    /// The tools, by name.
    pub fn tools(&self) -> impl Iterator<Item = &Arc<Tool>> {
        self.tools.values()
    }

    /// The tools that one with these grants may call, by name.
    pub fn called_by<'c>(&'c self, grants: &'c Grants) -> impl Iterator<Item = &'c Arc<Tool>> {
        self.tools().filter(|tool| grants.calls(&tool.name))
    }

    /// The catalog without the tools of a component. The others reach as far as before: no less is known of what they may call.
    #[must_use]
    pub fn without(&self, component: &str) -> Self {
        let is_other =
            |tool: &Tool| !matches!(&tool.origin, Origin::Component { component: of, .. } if of == component);
        let tools = self.tools.iter().filter(|(_, tool)| is_other(tool));
        let tools = tools.map(|(name, tool)| (name.clone(), tool.clone())).collect();
        let exclusive = self.exclusive.iter().filter(|name| *name != component).cloned().collect();
        Catalog { tools: Arc::new(tools), exclusive: Arc::new(exclusive), below: self.below.clone() }
    }

    /// The tool of that name, if there is one.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Arc<Tool>> {
        self.tools.get(name)
    }

    /// The tool of that name.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownTool`], with the name that was most likely meant.
    pub fn find(&self, name: &str) -> Result<Arc<Tool>, CallError> {
        self.find_among(name, |_| true)
    }

    /// The tool of that name, if it is one of those; the others do not exist for the one who asks.
    ///
    /// # Errors
    /// As for [`Catalog::find`].
    pub fn find_among(&self, name: &str, exists: impl Fn(&str) -> bool) -> Result<Arc<Tool>, CallError> {
        if let Some(tool) = self.tools.get(name).filter(|tool| exists(&tool.name)) {
            return Ok(tool.clone());
        }
        let shown = shown(name);
        let known = || self.tools.keys().map(String::as_str).filter(|name| exists(name));
        let help = match cast::nearest(name, known()) {
            Some(near) => format!("; did you mean `{near}`?"),
            None if known().next().is_none() => "; there are no tools".into(),
            None => String::new(),
        };
        Err(CallError::new(ErrorKind::UnknownTool, Stage::Find, format!("no tool is named `{shown}`{help}")))
    }
}

/// A tool that calls others can do what they can. So it reaches as far as the farthest of them, and that one as far as those
/// that it calls, until nothing changes any more. Only tools of that set are looked at.
fn follow(tools: &mut BTreeMap<String, Arc<Tool>>, set: Option<&SetName>) {
    loop {
        let reach =
            |caller: &Tool| tools.values().filter(|tool| caller.grants.calls(&tool.name)).map(|tool| tool.effect).max();
        let callers = tools.values().filter(|tool| tool.set.as_ref() == set && !tool.grants.tools.is_empty());
        let further = callers.filter_map(|tool| Some((tool, reach(tool)?))).find(|(tool, reach)| tool.reach < *reach);
        let Some((name, reach)) = further.map(|(tool, reach)| (tool.name.clone(), reach)) else { return };
        if let Some(tool) = tools.get_mut(&name).map(Arc::make_mut) {
            tool.reach = reach;
            tool.effect = tool.said.unwrap_or(reach);
        }
    }
}

/// Whether a tool can have this name: every client and model takes it as it is.
fn is_name(name: &str) -> bool {
    let plain = |byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    name.starts_with(|first: char| first.is_ascii_lowercase())
        && name.len() <= NAME_CHARACTERS_MAX
        && name.bytes().all(plain)
}

/// A name that nobody has checked, short and with visible escapes.
fn shown(name: &str) -> String {
    name.chars().take(NAME_CHARACTERS_MAX * 2).flat_map(char::escape_debug).collect()
}

/// The name of a tool: the component's and the function's in snake case, at most [`NAME_CHARACTERS_MAX`] characters of
/// `a-z`, `0-9` and `_`. What is longer is cut, and ends with a hash of the whole (FNV-1a, 32 bit).
#[must_use]
pub fn tool_name(component: &str, function: &str) -> String {
    let clean = |text: &str| -> String {
        shape::snake_case(text).chars().map(|c| if c.is_ascii_alphanumeric() { c } else { '_' }).collect()
    };
    let name = format!("{}_{}", clean(component), clean(function));
    if name.len() <= NAME_CHARACTERS_MAX {
        return name;
    }
    let hash = name.bytes().fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193));
    let kept: String = name.chars().take(NAME_CHARACTERS_MAX - 9).collect();
    format!("{kept}_{hash:08x}")
}
