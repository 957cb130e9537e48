//! What do the author's words say? Components keep no documentation, so authors embed their WIT text.
//!
//! It is found in custom sections named `toolpost:wit`, also inside the core modules of a component (a guest puts it there
//! with a macro, and a linker strings several together, each ended by a NUL), or in a `.wit` file beside the component. The
//! text only adds words to what the component's own types say; where the two differ, the words are left out.

use toolpost_core::catalog::shape::{Field, Shape};
use wasmparser::{Parser, Payload};
use wit_parser::{Docs, Function, Span, Type, TypeDefKind, UnresolvedPackage, UnresolvedPackageGroup, WorldItem};

use crate::shape::FunctionShape;

/// The name of the custom section.
const SECTION: &str = "toolpost:wit";
/// The most text that is read, in bytes.
pub(crate) const TEXT_BYTES_MAX: usize = 1 << 20;
/// The longest documentation of one item that is kept, in bytes.
const ITEM_BYTES_MAX: usize = 4 << 10;
/// The deepest nesting of types in a text that is read at all: the parser works recursively.
const NESTING_MAX: usize = 100;

/// The documentation of a component.
#[derive(Default)]
pub(crate) struct Documentation {
    texts: Vec<Text>,
}

/// One WIT text, and what the parser made of it.
struct Text {
    packages: Vec<UnresolvedPackage>,
    source: String,
}

/// The WIT texts inside of a component. A section that cannot be read is none.
pub(crate) fn embedded(component: &[u8]) -> Vec<String> {
    let mut texts = Vec::new();
    let mut left = TEXT_BYTES_MAX;
    for payload in Parser::new(0).parse_all(component) {
        match payload {
            Ok(Payload::CustomSection(section)) if section.name() == SECTION => {
                for text in section.data().split(|byte| *byte == 0) {
                    left = left.saturating_sub(text.len());
                    match std::str::from_utf8(text) {
                        Ok(text) if left > 0 && !text.trim().is_empty() => texts.push(text.to_owned()),
                        _ => {}
                    }
                }
            }
            Ok(_) => {}
            Err(_) => break,
        }
    }
    texts
}

impl Documentation {
    /// Reads WIT texts. One that is not WIT is left out, and named in what comes second.
    pub(crate) fn read<'a>(texts: impl IntoIterator<Item = &'a str>) -> (Self, Vec<String>) {
        let mut documentation = Documentation::default();
        let mut faults = Vec::new();
        for text in texts {
            if nesting(text) > NESTING_MAX {
                faults.push(format!("a WIT text nests types deeper than {NESTING_MAX} levels"));
                continue;
            }
            match UnresolvedPackageGroup::parse("tool.wit", text) {
                Ok(group) => documentation.texts.push(Text {
                    packages: std::iter::once(group.main).chain(group.nested).collect(),
                    source: text.to_owned(),
                }),
                Err((_, error)) => faults.push(format!("a WIT text cannot be read: {error}")),
            }
        }
        (documentation, faults)
    }

    /// Adds the author's words to a function's types, and gives what he says of the function itself.
    pub(crate) fn describe(
        &self,
        interface: Option<&str>,
        function: &str,
        shape: &mut FunctionShape,
    ) -> Option<String> {
        let packages = self.texts.iter().flat_map(|text| text.packages.iter().map(move |package| (text, package)));
        let (text, package, item) = packages.into_iter().find_map(|(text, package)| {
            let item = match interface {
                Some(interface) => exported_by_interface(package, interface, function),
                None => exported_by_world(package, function),
            };
            item.map(|item| (text, package, item))
        })?;
        for field in &mut shape.parameters {
            if let Some(parameter) = item.params.iter().find(|parameter| parameter.name == field.name) {
                annotate_field(package, field, &parameter.ty, &before(&text.source, parameter.span));
            }
        }
        if let (Some(shape), Some(ty)) = (&mut shape.result, &item.result) {
            annotate(package, shape, ty);
        }
        words(&item.docs)
    }
}

fn exported_by_world<'p>(package: &'p UnresolvedPackage, function: &str) -> Option<&'p Function> {
    package.worlds.iter().flat_map(|(_, world)| world.exports.values()).find_map(|item| match item {
        WorldItem::Function(item) if item.name == function => Some(item),
        _ => None,
    })
}

/// `interface` is `namespace:package/name@version`, or a plain name for an interface that a world defines in place.
fn exported_by_interface<'p>(package: &'p UnresolvedPackage, interface: &str, function: &str) -> Option<&'p Function> {
    let path = interface.split('@').next().unwrap_or(interface);
    let Some((owner, name)) = path.split_once('/') else {
        let mut inline = package.worlds.iter().flat_map(|(_, world)| &world.exports);
        return inline.find_map(|(key, item)| match (key, item) {
            (wit_parser::WorldKey::Name(name), WorldItem::Interface { id, .. }) if name == path => {
                package.interfaces.get(*id)?.functions.get(function)
            }
            _ => None,
        });
    };
    if owner != format!("{}:{}", package.name.namespace, package.name.name) {
        return None;
    }
    let mut interfaces = package.interfaces.iter();
    interfaces.find(|(_, item)| item.name.as_deref() == Some(name))?.1.functions.get(function)
}

fn annotate_field(package: &UnresolvedPackage, field: &mut Field, ty: &Type, docs: &Docs) {
    annotate(package, &mut field.shape, ty);
    // What is said of the type stands in where nothing is said of the field.
    field.docs = words(docs).or_else(|| match ty {
        Type::Id(id) => words(&package.types.get(*id)?.docs),
        _ => None,
    });
}

fn annotate(package: &UnresolvedPackage, shape: &mut Shape, ty: &Type) {
    let Type::Id(id) = ty else { return };
    let Some(definition) = package.types.get(*id) else { return };
    match (shape, &definition.kind) {
        (shape, TypeDefKind::Type(ty)) => annotate(package, shape, ty),
        (Shape::Record(fields), TypeDefKind::Record(record)) => {
            for field in fields {
                if let Some(known) = record.fields.iter().find(|known| known.name == field.name) {
                    annotate_field(package, field, &known.ty, &known.docs);
                }
            }
        }
        (Shape::Variant(cases), TypeDefKind::Variant(variant)) => {
            for case in cases {
                let Some(known) = variant.cases.iter().find(|known| known.name == case.name) else { continue };
                case.docs = words(&known.docs);
                if let (Some(shape), Some(ty)) = (&mut case.payload, &known.ty) {
                    annotate(package, shape, ty);
                }
            }
        }
        (Shape::Enum(labels), TypeDefKind::Enum(names)) => {
            for label in labels {
                let known = names.cases.iter().find(|known| known.name == label.name);
                label.docs = known.and_then(|known| words(&known.docs));
            }
        }
        (Shape::Flags(labels), TypeDefKind::Flags(flags)) => {
            for label in labels {
                let known = flags.flags.iter().find(|known| known.name == label.name);
                label.docs = known.and_then(|known| words(&known.docs));
            }
        }
        (Shape::List(item), TypeDefKind::List(ty)) | (Shape::Option(item), TypeDefKind::Option(ty)) => {
            annotate(package, item, ty);
        }
        (Shape::FixedList(item, _), TypeDefKind::FixedLengthList(ty, _)) => annotate(package, item, ty),
        (Shape::Tuple(items), TypeDefKind::Tuple(tuple)) => {
            for (item, ty) in items.iter_mut().zip(&tuple.types) {
                annotate(package, item, ty);
            }
        }
        (Shape::Result { ok, err }, TypeDefKind::Result(result)) => {
            for (side, ty) in [(ok, &result.ok), (err, &result.err)] {
                if let (Some(shape), Some(ty)) = (side, ty) {
                    annotate(package, shape, ty);
                }
            }
        }
        _ => {}
    }
}

/// The documentation in front of a place in the text. The parser keeps that of everything but parameters.
fn before(source: &str, span: Span) -> Docs {
    let front = source.get(..span.start() as usize).unwrap_or_default();
    let mut lines: Vec<&str> = Vec::new();
    for line in front.rsplit('\n').skip(1) {
        match line.trim().strip_prefix("///") {
            Some(words) => lines.push(words.trim()),
            None => break,
        }
    }
    lines.reverse();
    Docs { contents: Some(lines.join("\n")) }
}

fn words(docs: &Docs) -> Option<String> {
    let text = docs.contents.as_deref()?.trim();
    let text = text.get(..text.floor_char_boundary(ITEM_BYTES_MAX))?;
    (!text.is_empty()).then(|| text.to_owned())
}

/// How deep types are nested in a text, at most.
fn nesting(text: &str) -> usize {
    let mut depth = 0_usize;
    let mut deepest = 0;
    for byte in text.bytes() {
        match byte {
            b'<' | b'(' | b'{' => depth += 1,
            b'>' | b')' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        deepest = deepest.max(depth);
    }
    deepest
}
