//! What do the author's words say? Components keep no documentation, so authors embed their WIT text.
//!
//! It is found in custom sections named `toolpost:wit`, also inside the core modules of a component (a guest puts it there
//! with a macro, and a linker strings several together, each ended by a NUL), or in a `.wit` file beside the component. The
//! text only adds words to what the component's own types say; where the two differ, the words are left out.

use toolpost_core::catalog::shape::{Field, Shape};
use wasmparser::{Parser, Payload};
use wit_parser::{
    Docs, Function, Span, Type, TypeDef, TypeDefKind, UnresolvedPackage, UnresolvedPackageGroup, WorldItem,
};

use crate::shape::FunctionShape;

/// The name of the custom section.
const SECTION: &str = "toolpost:wit";
/// The most text that is read, in bytes.
pub(crate) const TEXT_BYTES_MAX: usize = 256 << 10;
/// The longest documentation of one item that is kept, in bytes.
const ITEM_BYTES_MAX: usize = 4 << 10;
/// The deepest nesting of types in a text that is read at all: the parser works recursively.
const NESTING_MAX: usize = 100;
/// The parser works recursively along names for types, too: beyond so many there must be room for as many as fit into a
/// text.
const NAMES_MAX: usize = 200;
const STACK_BYTES: usize = 256 << 20;

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
            match parse(text) {
                Ok(group) => documentation.texts.push(Text {
                    packages: std::iter::once(group.main).chain(group.nested).collect(),
                    source: text.to_owned(),
                }),
                Err(error) => faults.push(format!("a WIT text cannot be read: {error}")),
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
        words(&before(&text.source, item.span)).or_else(|| words(&item.docs))
    }
}

fn parse(text: &str) -> Result<UnresolvedPackageGroup, String> {
    let parse = || UnresolvedPackageGroup::parse("tool.wit", text).map_err(|(_, error)| error.to_string());
    if text.matches('=').count() <= NAMES_MAX {
        return parse();
    }
    std::thread::scope(|scope| {
        let parser = std::thread::Builder::new().stack_size(STACK_BYTES);
        let parsing = parser.spawn_scoped(scope, parse).map_err(|error| error.to_string())?;
        parsing.join().unwrap_or_else(|_| Err("the parser gave up".into()))
    })
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

/// What a type is, behind all of its other names.
fn definition<'p>(package: &'p UnresolvedPackage, mut ty: &'p Type) -> Option<&'p TypeDef> {
    loop {
        let Type::Id(id) = ty else { return None };
        let definition = package.types.get(*id)?;
        match &definition.kind {
            TypeDefKind::Type(other) => ty = other,
            _ => return Some(definition),
        }
    }
}

fn annotate(package: &UnresolvedPackage, shape: &mut Shape, ty: &Type) {
    let Some(definition) = definition(package, ty) else { return };
    match (shape, &definition.kind) {
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

/// The documentation in the lines in front of an item that begins its own line. The parser keeps none for parameters, and
/// takes every comment for documentation.
fn before(source: &str, span: Span) -> Docs {
    let end = span.start() as usize;
    let start = source.floor_char_boundary(end.saturating_sub(ITEM_BYTES_MAX));
    let mut lines = source.get(start..end).unwrap_or_default().rsplit('\n');
    if !matches!(lines.next().unwrap_or_default().trim(), "" | "export") {
        return Docs::default();
    }
    let mut words: Vec<&str> = lines.map_while(|line| line.trim().strip_prefix("///")).map(str::trim).collect();
    words.reverse();
    Docs { contents: Some(words.join("\n")) }
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
