//! What can be asked? The tools of a host by name, and the acceptance of arguments.

// What a tool is
pub mod shape;
mod tool;

// What it takes
pub mod cast;
pub mod json;
pub mod schema;

// From a call to an accepted call
mod accept;

// What the operator says
pub mod settings;

use std::collections::BTreeMap;
use std::sync::Arc;

pub use self::accept::{CastReport, accept};
pub use self::cast::Cast;
pub use self::tool::{Origin, Tool};
use crate::tell::{CallError, ErrorKind, Stage};

/// The longest name of a tool, in characters.
pub const NAME_CHARACTERS_MAX: usize = 40;

/// The tools of a host, by name.
#[derive(Clone, Debug, Default)]
pub struct Catalog {
    tools: BTreeMap<String, Arc<Tool>>,
}

/// Two tools want the same name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Collision {
    /// The name.
    pub name: String,
    /// The two functions.
    pub between: [String; 2],
}

impl std::fmt::Display for Collision {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let [first, second] = &self.between;
        write!(
            f,
            "two tools would be named `{}`: {first} and {second}; give one of them another name in the settings",
            self.name
        )
    }
}

impl std::error::Error for Collision {}

impl Catalog {
    /// Adds a tool.
    ///
    /// # Errors
    /// Another tool has that name already; the catalog is left as it was.
    pub fn add(&mut self, tool: Tool) -> Result<(), Collision> {
        if let Some(other) = self.tools.get(&tool.name) {
            let between = [other.origin.describe(), tool.origin.describe()];
            return Err(Collision { name: tool.name, between });
        }
        self.tools.insert(tool.name.clone(), Arc::new(tool));
        Ok(())
    }

    /// The tools, by name.
    pub fn tools(&self) -> impl Iterator<Item = &Arc<Tool>> {
        self.tools.values()
    }

    /// The tool of that name.
    ///
    /// # Errors
    /// [`ErrorKind::UnknownTool`], with the name that was most likely meant.
    pub fn find(&self, name: &str) -> Result<Arc<Tool>, CallError> {
        if let Some(tool) = self.tools.get(name) {
            return Ok(tool.clone());
        }
        let shown: String = name.chars().take(NAME_CHARACTERS_MAX * 2).flat_map(char::escape_debug).collect();
        let near = cast::nearest(name, self.tools.keys().map(String::as_str));
        let help = match near {
            Some(near) => format!("; did you mean `{near}`?"),
            None if self.tools.is_empty() => "; there are no tools".into(),
            None => String::new(),
        };
        Err(CallError::new(ErrorKind::UnknownTool, Stage::Find, format!("no tool is named `{shown}`{help}")))
    }
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
