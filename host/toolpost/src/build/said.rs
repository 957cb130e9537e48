//! What do the settings say of a component's functions, and is it about functions that it has?
//!
//! A function may be named as in WIT (`word-count`), in snake case (`word_count`), or with its interface, as the component
//! names it. Each function is spoken of once: of two entries one would go unheard.

use toolpost_core::catalog::cast::nearest;
use toolpost_core::catalog::settings::ToolSettings;
use toolpost_wasm::{Component, Function};

use crate::settings::{ComponentSettings, Settings};

/// What is said of one component.
pub(crate) struct Said<'s> {
    pub(crate) settings: &'s Settings,
    /// The component's name.
    pub(crate) name: &'s str,
    pub(crate) component: &'s ComponentSettings,
}

impl Said<'_> {
    /// What is said of a function, and where, as ` (line 7)`.
    pub(crate) fn of(&self, path: &str) -> (String, ToolSettings) {
        match self.component.tools.iter().find(|(key, _)| means(key, path)) {
            Some((key, said)) => (self.place(key), said.clone()),
            None => Default::default(),
        }
    }

    /// Settings of a tool that does not exist are a mistake, and perhaps a limit that is then missing elsewhere.
    pub(crate) fn faults(&self, component: &Component) -> Vec<String> {
        let lifetime = self.component.lifetime.lifetime();
        let functions = component.functions_for(lifetime).map(Function::path);
        let refused = component.refused_for(lifetime).map(|refusal| refusal.function.clone());
        let paths: Vec<String> = functions.chain(refused).collect();
        let unknown = self.component.tools.keys().filter(|key| !paths.iter().any(|path| means(key, path)));
        let unknown = unknown.map(|key| {
            let near = nearest(key, paths.iter().map(|path| name(path)));
            let help = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
            format!("the settings speak of its tool `{key}`{}, which it does not have{help}", self.place(key))
        });
        unknown.chain(paths.iter().filter_map(|path| self.twice(path))).collect()
    }

    fn twice(&self, path: &str) -> Option<String> {
        let keys = self.component.tools.keys().filter(|key| means(key, path));
        let keys: Vec<String> = keys.map(|key| format!("`{key}`{}", self.place(key))).collect();
        (keys.len() > 1).then(|| {
            format!("the settings speak more than once of its tool `{path}`: as {}; keep one", keys.join(" and as "))
        })
    }

    fn place(&self, key: &str) -> String {
        self.settings.line_of_tool(self.name, key).map_or_else(String::new, |line| format!(" (line {line})"))
    }
}

/// Whether a key of the settings means that function.
fn means(key: &str, path: &str) -> bool {
    key == path || key == name(path) || key == name(path).replace('-', "_")
}

/// A function's name without its interface.
fn name(path: &str) -> &str {
    path.rsplit_once('#').map_or(path, |(_, name)| name)
}
