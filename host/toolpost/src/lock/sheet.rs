//! What is a component, on one sheet: its file, what it asks for, what it is granted, what agents are told of its tools.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Deserializer, Serialize};
use toolpost_core::catalog::Origin;
use toolpost_core::catalog::grants::{GrantSettings, Grants};
use toolpost_core::catalog::outline;
use toolpost_core::catalog::shape::{Field, Shape};
use toolpost_core::check::approve::shown::escaped;
use toolpost_core::{Catalog, EffectClass, Lifetime, Tool};
use toolpost_wasm::{Component, Function, Power};

use crate::build::Said;
use crate::settings::{ComponentSettings, Settings};

/// A component. It says the same on every machine: paths are as the settings have them, secrets are names, and what
/// cannot be seen in a text of the author is written as a visible escape.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Sheet {
    /// `sha256:` and the hash of its bytes.
    pub digest: String,
    /// What its tools can do to the world with what the component is granted.
    pub effect: EffectClass,
    /// How long what its tools have in their memory lives.
    #[serde(default, skip_serializing_if = "Lifetime::is_fresh")]
    pub lifetime: Lifetime,
    /// The powers that lie in its imports, in words.
    #[serde(default)]
    pub powers: Vec<String>,
    /// What it imports.
    #[serde(default)]
    pub imports: Vec<String>,
    /// What its tools are granted, but for those that have their own grants.
    #[serde(default, skip_serializing_if = "is_nothing", deserialize_with = "recorded")]
    pub grants: Grants,
    /// The tools of locked components that they may call by that, and what these can do to the world.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub calls: BTreeMap<String, EffectClass>,
    /// Its tools, by the function behind each.
    #[serde(default)]
    pub tools: BTreeMap<String, ToolSheet>,
}

/// A tool.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ToolSheet {
    /// The name by which it is called.
    pub name: String,
    /// What it does, for the one who chooses.
    #[serde(default)]
    pub description: String,
    /// What it can do to the world.
    pub effect: EffectClass,
    /// What its powers would let it do, where an operator says in `effect` that it does something else.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reach: Option<EffectClass>,
    /// `sha256:` and the hash of the schemas of its arguments and its result.
    pub schemas: String,
    /// The outline of its arguments.
    #[serde(default)]
    pub takes: Vec<String>,
    /// The outline of its result.
    #[serde(default)]
    pub gives: Vec<String>,
    /// What it is granted, where that is something else than what its component is.
    #[serde(default, skip_serializing_if = "Option::is_none", deserialize_with = "some_recorded")]
    pub grants: Option<Grants>,
    /// The tools that it may call, where it has grants of its own.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub calls: BTreeMap<String, EffectClass>,
}

impl Sheet {
    /// A component by itself, with nothing granted and nothing said of it.
    #[must_use]
    pub fn of(component: &Component) -> Self {
        let effect = component.effect(&Grants::default());
        let tool = |function: &Function| {
            let docs = function.docs.as_deref().unwrap_or_default();
            (function.path(), ToolSheet::new(&function.name, docs, effect, &function.parameters, function.answer()))
        };
        // Also those that are tools only where a session keeps what they give out.
        let tools = component.functions_for(Lifetime::Session).map(tool).collect();
        Sheet::new(component, Grants::default(), BTreeMap::new(), tools)
    }

    /// A component as settings have it, with the tools that were made of it. What these may call is known when the catalog has all
    /// components.
    pub(crate) fn with(settings: &Settings, component: &Component, catalog: &Catalog) -> Self {
        let name = component.name.as_str();
        let nothing = ComponentSettings::default();
        // As they stand in the file: those of the tools have the paths of this machine.
        let said = settings.components.get(name).unwrap_or(&nothing);
        let (grants, lifetime) = (Grants::default().with(&said.grants), said.lifetime.lifetime());
        let said = Said { settings, name, component: said };
        let calls = |grants: &Grants| {
            let called = catalog.called_by(grants).filter(|tool| is_named(settings, tool));
            called.map(|tool| (tool.name.clone(), tool.effect)).collect::<BTreeMap<_, _>>()
        };
        let tool = |tool: &Tool| {
            let Origin::Component { component: of, function, .. } = &tool.origin else { return None };
            let own = grants.clone().with(&said.of(function).1.grants);
            // Of itself: what it reaches by others stands under `calls`.
            let reach = component.effect(&tool.grants);
            let effect = tool.said.unwrap_or(reach);
            let sheet = ToolSheet::new(&tool.name, &tool.description, reach, &tool.parameters, tool.result.as_ref());
            let reach = (effect != reach).then_some(reach);
            let calls = if own == grants { BTreeMap::new() } else { calls(&own) };
            let grants = (own != grants).then(|| own.recorded());
            (of == name).then(|| (function.clone(), ToolSheet { effect, reach, grants, calls, ..sheet }))
        };
        let tools = catalog.tools().filter_map(|made| tool(made)).collect();
        let calls = calls(&grants);
        Sheet { lifetime, ..Sheet::new(component, grants, calls, tools) }
    }

    fn new(
        component: &Component,
        grants: Grants,
        calls: BTreeMap<String, EffectClass>,
        tools: BTreeMap<String, ToolSheet>,
    ) -> Self {
        let effect = component.effect(&grants);
        let imports: Vec<String> = component.imports.iter().map(|import| import.name.clone()).collect();
        let powers = powers(&imports).into_iter().map(|(_, words)| words).collect();
        let (digest, lifetime) = (component.digest.clone(), Lifetime::Fresh);
        Sheet { digest, effect, lifetime, powers, imports, grants: grants.recorded(), calls, tools }
    }

    /// The sheet of the component by itself, whatever there is that its tools may call.
    pub(super) fn alone(&self) -> Self {
        let alone = |tool: &ToolSheet| ToolSheet { calls: BTreeMap::new(), ..tool.clone() };
        let tools = self.tools.iter().map(|(path, tool)| (path.clone(), alone(tool))).collect();
        Sheet { calls: BTreeMap::new(), tools, ..self.clone() }
    }

    /// What a tool may call.
    pub(super) fn calls_of<'s>(&'s self, tool: &'s ToolSheet) -> &'s BTreeMap<String, EffectClass> {
        if tool.grants.is_some() { &tool.calls } else { &self.calls }
    }

    /// What a tool is granted.
    pub(crate) fn grants_of<'s>(&'s self, tool: &'s ToolSheet) -> &'s Grants {
        tool.grants.as_ref().unwrap_or(&self.grants)
    }
}

impl ToolSheet {
    fn new(name: &str, description: &str, effect: EffectClass, takes: &[Field], gives: Option<&Shape>) -> Self {
        let lines = description.lines().map(escaped);
        ToolSheet {
            name: name.to_owned(),
            description: lines.collect::<Vec<_>>().join("\n"),
            effect,
            reach: None,
            schemas: outline::fingerprint(takes, gives),
            takes: outline::of_arguments(takes),
            gives: outline::of_result(gives),
            grants: None,
            calls: BTreeMap::new(),
        }
    }

    /// What its powers would let it do, and what settings say in place of it.
    pub(crate) fn reach(&self) -> (EffectClass, Option<EffectClass>) {
        self.reach.map_or((self.effect, None), |reach| (reach, Some(self.effect)))
    }
}

/// The powers that lie in imports, in words and in the order of [`Power`]. What the embedding program offers goes by its own
/// name.
pub(crate) fn powers(imports: &[String]) -> BTreeSet<(Power, String)> {
    let words = |power: Power, import: &String| match power {
        Power::Other => format!("`{}`, an interface of the embedding program", versionless(import)),
        power => power.describe().to_owned(),
    };
    let asked = imports.iter().map(|import| (Power::of(import), import));
    asked.filter(|(power, _)| *power != Power::Plumbing).map(|(power, import)| (power, words(power, import))).collect()
}

/// An interface or a function of one, whatever its version.
pub(crate) fn versionless(path: &str) -> String {
    let (interface, function) = path.split_once('#').map_or((path, None), |(one, other)| (one, Some(other)));
    let interface = interface.split('@').next().unwrap_or(interface);
    function.map_or_else(|| interface.to_owned(), |function| format!("{interface}#{function}"))
}

/// Whether a tool is of a component that settings name, and so of one that can be locked.
fn is_named(settings: &Settings, tool: &Tool) -> bool {
    matches!(&tool.origin, Origin::Component { component, .. } if settings.components.contains_key(component))
}

fn is_nothing(grants: &Grants) -> bool {
    *grants == Grants::default()
}

fn recorded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Grants, D::Error> {
    Ok(Grants::default().with(&GrantSettings::deserialize(deserializer)?).recorded())
}

fn some_recorded<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Option<Grants>, D::Error> {
    recorded(deserializer).map(Some)
}
