//! Which functions of a component can be tools? All whose types JSON can carry, and those of resources where instances are kept
//! for sessions: there a handle stands for a resource.

use serde::Serialize;
use toolpost_core::Lifetime;
use toolpost_core::catalog::shape::{Field, Handle, Shape};
use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{Component as Compiled, ComponentExportIndex};

use crate::docs::Documentation;
use crate::handles;
use crate::shape::{FunctionShape, Resources, Shapes};

/// The function of a component that is no tool: it is called once for each instance, before the first call.
const SETUP: &str = "setup";

/// An exported function of a component.
#[derive(Clone, Debug)]
pub struct Function {
    /// The interface that exports it; nothing for a function of the world itself.
    pub interface: Option<String>,
    /// Its name in WIT; that of a resource has the resource's in front: `basket.add`, `basket.new` for the constructor, and
    /// `basket.drop` for what lets go of one.
    pub name: String,
    /// What its author says of it.
    pub docs: Option<String>,
    /// What it takes.
    pub parameters: Vec<Field>,
    /// What it answers with.
    pub result: Option<Shape>,
    pub(crate) does: Does,
}

/// What a function does.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Does {
    /// It calls what is exported.
    Call(ComponentExportIndex),
    /// It lets go of a resource.
    Drop,
}

/// An exported function that cannot be a tool.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Refusal {
    /// The function, with its interface.
    pub function: String,
    /// Why.
    pub reason: String,
}

/// The functions of a component.
#[derive(Default)]
pub(crate) struct Functions {
    /// Those that can be tools.
    pub(crate) tools: Vec<Function>,
    /// Those that take or give handles.
    pub(crate) handling: Vec<Function>,
    /// The one that sets up an instance.
    pub(crate) setup: Option<Function>,
    /// Those that cannot be tools anywhere.
    refused: Vec<Refusal>,
}

impl Function {
    /// The function with its interface, as the component names them.
    #[must_use]
    pub fn path(&self) -> String {
        path(self.interface.as_deref(), &self.name)
    }

    /// What it answers with when it succeeds. An `err` is no result: it is an error, in every front end.
    #[must_use]
    pub fn answer(&self) -> Option<&Shape> {
        match &self.result {
            Some(Shape::Result { ok, .. }) => ok.as_deref(),
            other => other.as_ref(),
        }
    }

    /// Why it is no tool where instances live like that; nothing where it is one.
    #[must_use]
    pub fn unfit(&self, lifetime: Lifetime) -> Option<String> {
        let handle = (lifetime != Lifetime::Session).then(|| self.handle()).flatten()?;
        Some(format!(
            "it takes or gives handles to a `{}`, which live in a session: `lifetime = \"session\"` of its component would keep \
             them there",
            handle.resource
        ))
    }

    /// The first handle that it takes or gives.
    fn handle(&self) -> Option<&Handle> {
        let shapes = self.parameters.iter().map(|field| &field.shape).chain(&self.result);
        shapes.filter_map(handles::first).next()
    }
}

fn path(interface: Option<&str>, function: &str) -> String {
    interface.map_or_else(|| function.to_owned(), |interface| format!("{interface}#{function}"))
}

impl Functions {
    /// All that a component exports, of its world and of its interfaces.
    pub(crate) fn of(engine: &wasmtime::Engine, compiled: &Compiled, documentation: &Documentation) -> Self {
        let ty = compiled.component_type();
        let exports = || ty.exports(engine).map(|(name, export)| (name, export.ty));
        let shapes = Shapes::new(Resources::of(engine, exports()));
        let mut found = Finding { shapes, documentation, functions: Functions::default() };
        let world: Vec<&str> = exports().map(|(name, _)| name).collect();
        for (name, item) in exports() {
            let parent = compiled.get_export_index(None, name);
            match item {
                ComponentItem::ComponentInstance(interface) => {
                    let exports: Vec<_> = interface.exports(engine).map(|(name, export)| (name, export.ty)).collect();
                    let names: Vec<&str> = exports.iter().map(|(name, _)| *name).collect();
                    for (function, item) in exports {
                        let index =
                            parent.as_ref().and_then(|parent| compiled.get_export_index(Some(parent), function));
                        found.export(Some(name), (function, &names), &item, index);
                    }
                }
                item => found.export(None, (name, &world), &item, parent),
            }
        }
        found.functions
    }

    /// Those that are no tools where instances live so long, and why.
    pub(crate) fn refused(&self, lifetime: Lifetime) -> Vec<Refusal> {
        // Nobody misses what lets go of what there is not.
        let exported = self.handling.iter().filter(|function| matches!(function.does, Does::Call(_)));
        let handling = exported.filter_map(|function| {
            let reason = function.unfit(lifetime)?;
            Some(Refusal { function: function.path(), reason })
        });
        self.refused.iter().cloned().chain(handling).collect()
    }
}

/// The functions that were found so far.
struct Finding<'d> {
    shapes: Shapes,
    documentation: &'d Documentation,
    functions: Functions,
}

impl Finding<'_> {
    /// An export of the world itself, or of one of its interfaces.
    fn export(
        &mut self,
        interface: Option<&str>,
        (name, others): (&str, &[&str]),
        item: &ComponentItem,
        index: Option<ComponentExportIndex>,
    ) {
        match item {
            ComponentItem::ComponentFunc(ty) => {
                let shown = shown(name, others);
                match self.function(interface, name, &shown, ty, index) {
                    Ok(function) => self.take(function),
                    Err(reason) => {
                        let function = path(interface, &shown);
                        self.functions.refused.push(Refusal { function, reason });
                    }
                }
            }
            // What another interface lends it, is dropped there.
            ComponentItem::Resource(ty) if self.shapes.resources().is_first(ty, interface) => {
                self.functions.handling.extend(drop_of(interface, name, others));
            }
            _ => {}
        }
    }

    fn function(
        &mut self,
        interface: Option<&str>,
        name: &str,
        shown: &str,
        ty: &ComponentFunc,
        index: Option<ComponentExportIndex>,
    ) -> Result<Function, String> {
        let mut shape = self.shapes.function(ty)?;
        let docs = self.documentation.describe(interface, name, &mut shape);
        let FunctionShape { parameters, result } = shape;
        let does = Does::Call(index.ok_or("the component does not export it under that name")?);
        Ok(Function { interface: interface.map(str::to_owned), name: shown.to_owned(), docs, parameters, result, does })
    }

    fn take(&mut self, function: Function) {
        let Functions { tools, handling, setup, refused } = &mut self.functions;
        match (function.handle(), function.interface.is_none() && function.name == SETUP) {
            (Some(_), true) => {
                let reason = "it sets up an instance, and settings have no handle to give to it".into();
                refused.push(Refusal { function: function.path(), reason });
            }
            (Some(_), false) => handling.push(function),
            (None, true) => *setup = Some(function),
            (None, false) => tools.push(function),
        }
    }
}

/// The name of a function as a reader has it: `[method]basket.add` is `basket.add`.
fn shown(name: &str, others: &[&str]) -> String {
    let Some((kind, name)) = name.strip_prefix('[').and_then(|name| name.split_once(']')) else {
        return name.to_owned();
    };
    if kind != "constructor" {
        return name.to_owned();
    }
    let new = format!("{name}.new");
    if has(others, &new) { format!("{name}.constructor") } else { new }
}

/// What lets go of a resource, where it has no function of that name itself.
fn drop_of(interface: Option<&str>, resource: &str, others: &[&str]) -> Option<Function> {
    let name = format!("{resource}.drop");
    let handle = Shape::Handle(Handle { resource: resource.to_owned(), owned: true });
    (!has(others, &name)).then(|| Function {
        interface: interface.map(str::to_owned),
        name,
        docs: Some(format!("Lets go of a `{resource}` that is not needed any more. Its handle is of no use then.")),
        parameters: vec![Field::new("self", handle)],
        result: None,
        does: Does::Drop,
    })
}

/// Whether a resource has a function of that name.
fn has(exports: &[&str], name: &str) -> bool {
    exports.iter().any(|export| export.split_once(']').is_some_and(|(_, other)| other == name))
}
