//! What is another one on a sheet than it was, in words, and does it let the component do more?

use std::collections::{BTreeMap, BTreeSet};

use serde::Serialize;
use toolpost_core::catalog::grants::{Grants, Way};
use toolpost_core::catalog::outline::{self, Side};
use toolpost_core::{EffectClass, Lifetime};
use toolpost_wasm::Power;

use super::sheet::{Sheet, ToolSheet, powers, versionless};

/// What a change is about, in the order in which changes are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum About {
    /// The file.
    Digest,
    /// The powers that a component asks for.
    Powers,
    /// What it can do to the world.
    Effect,
    /// What it is granted.
    Grants,
    /// The tools that it may call.
    Calls,
    /// How long what its tools have in their memory lives.
    Memory,
    /// What it imports.
    Imports,
    /// Its tools, and what agents are told of them.
    Tools,
    /// The sheet itself: it says what is not so.
    Sheet,
}

/// One thing that is not what it was.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// What it is about.
    pub about: About,
    /// The tool, where it is one tool's.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
    /// Whether the component can do more by it.
    pub way: Way,
    /// What it is.
    pub words: String,
}

impl Change {
    fn new(about: About, way: Way, words: impl Into<String>) -> Self {
        Change { about, tool: None, way, words: words.into() }
    }

    fn of(self, tool: &str) -> Self {
        Change { tool: Some(tool.to_owned()), ..self }
    }
}

impl std::fmt::Display for Change {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match &self.tool {
            Some(tool) => write!(f, "`{tool}`: {}", self.words),
            None => f.write_str(&self.words),
        }
    }
}

impl Sheet {
    /// What is another one than on the sheet of before; all of it, where there was none. Nothing where both are the same.
    #[must_use]
    pub fn changes_since(&self, was: Option<&Sheet>) -> Vec<Change> {
        let Some(was) = was else { return self.changes_from(&Sheet::nothing(), true) };
        let mut changes = self.changes_from(was, false);
        if changes.is_empty() && self != was {
            changes.push(Change::new(About::Sheet, Way::Other, "what is written of it is not what it is"));
        }
        changes
    }

    fn nothing() -> Self {
        Sheet {
            digest: String::new(),
            effect: EffectClass::Pure,
            lifetime: Lifetime::Fresh,
            powers: Vec::new(),
            imports: Vec::new(),
            grants: Grants::default(),
            calls: BTreeMap::new(),
            tools: BTreeMap::new(),
        }
    }

    fn changes_from(&self, was: &Sheet, is_new: bool) -> Vec<Change> {
        let mut changes = Vec::new();
        if !is_new && self.digest != was.digest {
            changes.push(Change::new(About::Digest, Way::Other, format!("{}, was {}", self.digest, was.digest)));
        }
        changes.extend(powers_changed(&was.imports, &self.imports));
        changes.extend(reach_changed(was.effect, self.effect));
        changes.extend(grants_changed(&was.grants, &self.grants));
        changes.extend(calls_changed(&was.calls, &self.calls));
        changes.extend(memory_changed(was.lifetime, self.lifetime));
        if !is_new {
            changes.extend(imports_changed(&was.imports, &self.imports));
        }
        changes.extend(self.tools_changed(was));
        changes.sort_by_key(|change| change.about);
        changes
    }

    fn tools_changed(&self, was: &Sheet) -> Vec<Change> {
        let mut left: BTreeMap<&str, &ToolSheet> = was.tools.iter().map(|(path, tool)| (path.as_str(), tool)).collect();
        let mut changes = Vec::new();
        for (path, tool) in &self.tools {
            match left.remove(path.as_str()).or_else(|| self.under_another_version(path, &mut left)) {
                Some(before) => changes.extend(self.tool_changed(tool, was, before)),
                None => changes.extend(self.tool_is_new(tool, was)),
            }
        }
        let gone = |tool: &ToolSheet| Change::new(About::Tools, Way::Narrower, "gone").of(&tool.name);
        changes.extend(left.into_values().map(gone));
        changes
    }

    /// The function of before that has the same name in another version of its interface, unless it is still there.
    fn under_another_version<'w>(
        &self,
        path: &str,
        left: &mut BTreeMap<&'w str, &'w ToolSheet>,
    ) -> Option<&'w ToolSheet> {
        let is_it = |other: &&&str| versionless(other) == versionless(path) && !self.tools.contains_key(**other);
        let found = *left.keys().find(is_it)?;
        left.remove(found)
    }

    fn tool_is_new(&self, tool: &ToolSheet, was: &Sheet) -> Vec<Change> {
        let names = tool.takes.iter().filter_map(|line| line.split(':').next());
        let names: Vec<&str> = names.filter(|name| !name.contains(['.', '[', '~'])).collect();
        let says = if tool.description.is_empty() { String::new() } else { format!(": {}", quoted(tool)) };
        let new = Change::new(About::Tools, Way::Other, format!("new, takes ({}){says}", names.join(", ")));
        let (reach, said) = tool.reach();
        let mut changes = vec![new];
        // What holds for the whole component is told there. One with grants of its own may have more.
        if tool.grants.is_some() {
            changes.extend(grants_changed(&was.grants, self.grants_of(tool)));
            changes.extend(calls_changed(&was.calls, self.calls_of(tool)));
            changes.extend(reach_changed(was.effect, reach));
            changes.retain(|change| change.about == About::Tools || change.way == Way::Wider);
        }
        changes.extend(said_changed((reach, None), (reach, said)));
        changes.into_iter().map(|change| change.of(&tool.name)).collect()
    }

    fn tool_changed(&self, tool: &ToolSheet, was: &Sheet, before: &ToolSheet) -> Vec<Change> {
        let other = |words: String| Change::new(About::Tools, Way::Other, words);
        let mut changes = Vec::new();
        if tool.name != before.name {
            changes.push(other(format!("its name, was `{}`", before.name)));
        }
        if tool.description != before.description {
            changes.push(other(format!("described as {}, was {}", quoted(tool), quoted(before))));
        }
        let (now, then) = (tool.reach(), before.reach());
        if (now.0, then.0) != (self.effect, was.effect) {
            changes.extend(reach_changed(then.0, now.0));
        }
        changes.extend(said_changed(then, now));
        if tool.grants.is_some() || before.grants.is_some() {
            changes.extend(grants_changed(was.grants_of(before), self.grants_of(tool)));
            changes.extend(calls_changed(was.calls_of(before), self.calls_of(tool)));
        }
        let takes = outline::differences(Side::Arguments, &before.takes, &tool.takes);
        let gives = outline::differences(Side::Result, &before.gives, &tool.gives);
        if tool.schemas != before.schemas && takes.is_empty() && gives.is_empty() {
            changes.push(other("its schemas, in words or in an order that are not listed here".into()));
        }
        changes.extend(takes.into_iter().chain(gives).map(other));
        changes.into_iter().map(|change| change.of(&tool.name)).collect()
    }
}

/// A description on one line. No quotation mark in it looks like its end.
fn quoted(tool: &ToolSheet) -> String {
    let line = tool.description.lines().collect::<Vec<_>>().join(" ");
    format!("\"{}\"", line.replace('"', "\\\""))
}

fn powers_changed(was: &[String], is: &[String]) -> Vec<Change> {
    let (was, is) = (powers(was), powers(is));
    let change = |power: Power, way, words| {
        // What every component has is no power of this one.
        Change::new(About::Powers, if power.is_common() { Way::Other } else { way }, words)
    };
    let new = is.difference(&was).map(|(power, words)| change(*power, Way::Wider, format!("asks for {words}")));
    let gone =
        was.difference(&is).map(|(power, words)| change(*power, Way::Narrower, format!("asks no more for {words}")));
    new.chain(gone).collect()
}

fn reach_changed(was: EffectClass, is: EffectClass) -> Option<Change> {
    let (way, how) = match is.cmp(&was) {
        std::cmp::Ordering::Equal => return None,
        std::cmp::Ordering::Greater => (Way::Wider, "more"),
        std::cmp::Ordering::Less => (Way::Narrower, "less"),
    };
    Some(Change::new(About::Effect, way, format!("can do {how}: {}, was {}", is.name(), was.name())))
}

/// What calls have in common: the more of them, the more one can learn of another.
fn memory_changed(was: Lifetime, is: Lifetime) -> Option<Change> {
    let way = match is.cmp(&was) {
        std::cmp::Ordering::Equal => return None,
        std::cmp::Ordering::Greater => Way::Wider,
        std::cmp::Ordering::Less => Way::Narrower,
    };
    let words = format!("lifetime \"{}\", {}; was \"{}\"", is.name(), is.words(), was.name());
    Some(Change::new(About::Memory, way, words))
}

/// What settings say of a tool in place of what is derived. One that is said to do less than it can is asked about less.
fn said_changed(
    (was_reach, was): (EffectClass, Option<EffectClass>),
    (reach, is): (EffectClass, Option<EffectClass>),
) -> Option<Change> {
    let (is_less, words) = match (is, was) {
        (Some(is), Some(was)) if is != was => {
            (is < was, format!("the settings say that it is {}, and said {}", is.name(), was.name()))
        }
        (Some(is), None) => (is < reach, format!("the settings say that it is {}", is.name())),
        (None, Some(was)) => (was > was_reach, format!("the settings say no more that it is {}", was.name())),
        _ => return None,
    };
    let way = if is_less { Way::Wider } else { Way::Narrower };
    Some(Change::new(About::Effect, way, words))
}

fn grants_changed(was: &Grants, is: &Grants) -> Vec<Change> {
    let change =
        |change: toolpost_core::catalog::grants::GrantChange| Change::new(About::Grants, change.way, change.words);
    is.changes_since(was).into_iter().map(change).collect()
}

/// Tools that may be called now and could not be, or that can do more than they could. A tool of another name is another one.
fn calls_changed(was: &BTreeMap<String, EffectClass>, is: &BTreeMap<String, EffectClass>) -> Vec<Change> {
    let change = |way, words| Change::new(About::Calls, way, words);
    let now = is.iter().filter_map(|(name, is)| match was.get(name) {
        None => Some(change(Way::Wider, format!("may call `{name}`, which can do: {}", is.name()))),
        Some(was) if was == is => None,
        Some(was) => {
            let way = if is > was { Way::Wider } else { Way::Narrower };
            Some(change(way, format!("may call `{name}`, which can do: {}, was {}", is.name(), was.name())))
        }
    });
    let gone = was.keys().filter(|name| !is.contains_key(*name));
    now.chain(gone.map(|name| change(Way::Narrower, format!("may call `{name}` no more")))).collect()
}

/// Interfaces that came and went; of those in another version, their packages and the versions.
fn imports_changed(was: &[String], is: &[String]) -> Vec<Change> {
    let by_path = |imports: &[String]| {
        let mut versions: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
        for import in imports {
            let version = import.split_once('@').map_or("no version", |(_, version)| version);
            versions.entry(versionless(import)).or_default().insert(version.to_owned());
        }
        versions
    };
    let listed = |versions: &BTreeSet<String>| versions.iter().cloned().collect::<Vec<_>>().join(" and ");
    let (was, is) = (by_path(was), by_path(is));
    let paths: BTreeSet<&String> = was.keys().chain(is.keys()).collect();
    let mut words = Vec::new();
    // A new version of the world has new versions of everything in it: that is one change.
    let mut moved: BTreeMap<String, BTreeSet<&str>> = BTreeMap::new();
    for path in paths {
        match (was.get(path), is.get(path)) {
            (None, Some(is)) => words.push(format!("new: {path} {}", listed(is))),
            (Some(was), None) => words.push(format!("gone: {path} {}", listed(was))),
            (Some(was), Some(is)) if was != is => {
                let package = path.split('/').next().unwrap_or(path);
                moved.entry(format!("{}, was {}", listed(is), listed(was))).or_default().insert(package);
            }
            _ => {}
        }
    }
    let packages = |names: BTreeSet<&str>| names.into_iter().collect::<Vec<_>>().join(", ");
    words.extend(moved.into_iter().map(|(versions, names)| format!("{} {versions}", packages(names))));
    words.into_iter().map(|words| Change::new(About::Imports, Way::Other, words)).collect()
}
