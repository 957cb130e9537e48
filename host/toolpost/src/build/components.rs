//! The components of a host: which there are, and what becomes of each.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use toolpost_core::catalog::Base;
use toolpost_core::catalog::grants::Grants;
use toolpost_core::catalog::settings::ToolSettings;
use toolpost_core::{Catalog, Lifetime};
use toolpost_wasm::{Component, Engine, Source};

use super::said::Said;
use super::{Builder, Fault};
use crate::lock::{Judge, Sheet};
use crate::reload::Made;
use crate::settings::ComponentSettings;
use crate::sql::Opened;

impl Builder {
    /// Every component with its name and settings: those of the settings file, then those of the files.
    pub(super) fn sources(&self, faults: &mut Vec<Fault>) -> Vec<(String, ComponentSettings)> {
        let mut sources: Vec<(String, ComponentSettings)> = Vec::new();
        for (name, settings) in &self.settings.components {
            sources.push((name.clone(), self.settings.resolved(settings)));
        }
        let named = sources.len();
        let given: Vec<PathBuf> = self.files.iter().flat_map(|path| files(path, faults)).collect();
        for path in given {
            let name = path.file_stem().map(|stem| stem.to_string_lossy().into_owned()).unwrap_or_default();
            // Named in the settings, under this name or another one, and given again: the settings stand.
            if sources.iter().take(named).any(|(_, settings)| same_file(&settings.path, &path)) {
                continue;
            }
            match sources.iter().find(|(other, _)| *other == name) {
                Some((_, settings)) if same_file(&settings.path, &path) => {}
                Some((_, settings)) => faults.push(Fault {
                    subject: format!("component `{name}`"),
                    message: format!(
                        "both `{}` and `{}` have this name; rename a file, or give one a name in the settings",
                        settings.path.display(),
                        path.display()
                    ),
                }),
                None => sources.push((name, ComponentSettings { path, ..ComponentSettings::default() })),
            }
        }
        sources
    }

    /// Loads one component and adds its tools: all of them, or none where anything is wrong with it.
    pub(super) fn component(
        &self,
        engine: &Engine,
        judge: &Judge,
        (before, databases): (&Made, &Opened),
        catalog: &mut Catalog,
        (name, settings): (&str, &ComponentSettings),
    ) -> Result<Arc<Component>, Vec<String>> {
        // What settings do not name is granted nothing, and is in no lock.
        let judge = if self.settings.components.contains_key(name) { judge } else { &Judge::Nobody };
        let component = loaded(engine, judge, before, name, &settings.path).map_err(|why| vec![why])?;
        let (databases, lifetime) = (databases.databases(), settings.lifetime.lifetime());
        if component.functions_for(lifetime).next().is_none() {
            return Err(vec![no_function(&component, lifetime)]);
        }
        let said = Said { settings: &self.settings, name, component: settings };
        let mut faults = said.faults(&component);
        let Base { limits, guards, cast, grants, .. } = self.base();
        let mut base = Base {
            limits: limits.with(&settings.limits),
            guards: guards.with(&settings.guard),
            cast: settings.cast.unwrap_or(cast),
            grants: grants.with(&settings.grants),
            keep: settings.lifetime,
            setup: settings.setup.clone(),
        };
        if let Err(why) = component.takes(&base.grants, &databases) {
            faults.push(why);
            // It is said once, and not for each tool.
            base.grants = Grants::default();
        }
        // One of which no settings speak can be looked at; a call of it says what it has to be set up with.
        let is_named = self.settings.components.contains_key(name);
        let fits = if is_named { component.takes_setup(&base.setup) } else { Ok(()) };
        faults.extend(fits.err());
        let mut extended = catalog.clone();
        for function in component.functions_for(lifetime) {
            let path = function.path();
            let (at, said) = said.of(&path);
            if said.hidden {
                continue;
            }
            // Defaults are set afterwards, so that one that does not fit does not hide what else is wrong.
            let plain = ToolSettings { defaults: BTreeMap::new(), ..said.clone() };
            match component.tool_on(function, &base, &plain, &databases) {
                Ok(mut tool) => {
                    tool.limits = tool.limits.with(&self.overrides);
                    tool.labels.extend(settings.labels.iter().cloned());
                    let fits = tool.guards.idempotency.fits(&tool.parameters);
                    faults.extend(fits.err().map(|why| format!("`{path}`{at}: {why}")));
                    let defaults = tool.set_defaults(&said.defaults);
                    faults.extend(defaults.err().map(|why| format!("`{path}`{at}: {why}")));
                    let cache = tool.guards.cache.fits(tool.effect, tool.lifetime);
                    faults.extend(cache.err().map(|why| format!("`{path}`{at}: {why}")));
                    faults.extend(extended.add(tool).err().map(|error| error.to_string()));
                }
                Err(why) => faults.push(format!("`{path}`{at}: {why}")),
            }
        }
        if !faults.is_empty() {
            return Err(faults);
        }
        judge.judge(name, || Sheet::with(&self.settings, &component, &extended)).map_err(|why| vec![why])?;
        *catalog = extended;
        Ok(component)
    }

    /// Takes those out again that may call more than was locked.
    pub(super) fn judge_calls(
        &self,
        judge: &Judge,
        catalog: &mut Catalog,
        components: &mut Vec<Arc<Component>>,
        faults: &mut Vec<Fault>,
    ) {
        let all = catalog.clone();
        components.retain(|component| {
            let name = &component.name;
            if !self.settings.components.contains_key(name) {
                return true;
            }
            let judged = judge.judge_calls(name, || Sheet::with(&self.settings, component, &all));
            let refused = judged.map_err(|message| {
                *catalog = catalog.without(name);
                faults.push(Fault { subject: format!("component `{name}`"), message });
            });
            refused.is_ok()
        });
    }
}

/// A component from its file, or the one that was made of the same file before.
fn loaded(engine: &Engine, judge: &Judge, before: &Made, name: &str, file: &Path) -> Result<Arc<Component>, String> {
    let source = Source::read(file).map_err(|error| error.message)?;
    judge.judge_file(name, &source)?;
    let component = match before.components.iter().find(|component| component.name == name) {
        Some(before) => engine.load_source_again(before, &source),
        None => engine.load_source(name, &source).map(Arc::new),
    };
    component.map_err(|error| error.message)
}

/// Why a component without a function that can be a tool has none.
fn no_function(component: &Component, lifetime: Lifetime) -> String {
    let why = component.refused_for(lifetime).map(|refusal| format!("`{}`: {}", refusal.function, refusal.reason));
    match why.collect::<Vec<_>>().join("; ") {
        why if why.is_empty() => "it exports no function".into(),
        why => format!("no function can be a tool: {why}"),
    }
}

/// The file itself, or every component in a folder.
fn files(path: &Path, faults: &mut Vec<Fault>) -> Vec<PathBuf> {
    if !path.is_dir() {
        return vec![path.to_owned()];
    }
    let mut fault = |message: String| faults.push(Fault { subject: format!("folder `{}`", path.display()), message });
    let entries = match std::fs::read_dir(path) {
        Ok(entries) => entries,
        Err(error) => {
            fault(format!("cannot be read: {error}"));
            return Vec::new();
        }
    };
    let mut files: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
    files.retain(|file| file.extension().is_some_and(|ending| ending == "wasm"));
    files.sort();
    if files.is_empty() {
        fault("holds no `.wasm` file".into());
    }
    files
}

fn same_file(one: &Path, other: &Path) -> bool {
    match (one.canonicalize(), other.canonicalize()) {
        (Ok(one), Ok(other)) => one == other,
        _ => false,
    }
}
