//! The types of a component's functions as shapes. The component itself is the source, not what its author says of it.

use toolpost_core::catalog::shape::{Case, Field, Handle, Integer, Label, Shape};
use wasmtime::Engine;
use wasmtime::component::types::{ComponentFunc, ComponentItem};
use wasmtime::component::{ResourceType, Type};

/// The most parts that the types of one function may have. Types share parts, so a small component can describe a huge one.
const PARTS_MAX: usize = 10_000;

/// The most text that the names in all types of a component may be, each counted wherever its type is used; and how many
/// bytes a part counts beside its name.
const BYTES_MAX: usize = 16 << 20;
const PART_BYTES: usize = 64;

/// What a function takes and what it answers with.
pub(crate) struct FunctionShape {
    pub(crate) parameters: Vec<Field>,
    pub(crate) result: Option<Shape>,
}

/// The resources that a component exports, each with its name and the interface that defines it.
#[derive(Default)]
pub(crate) struct Resources(Vec<(ResourceType, String, Option<String>)>);

impl Resources {
    pub(crate) fn of<'e>(engine: &Engine, exports: impl Iterator<Item = (&'e str, ComponentItem)>) -> Self {
        let mut found = Resources::default();
        for (name, item) in exports {
            match item {
                ComponentItem::Resource(ty) => found.add(ty, name, None),
                ComponentItem::ComponentInstance(interface) => {
                    for (resource, export) in interface.exports(engine) {
                        if let ComponentItem::Resource(ty) = export.ty {
                            found.add(ty, resource, Some(name));
                        }
                    }
                }
                _ => {}
            }
        }
        found
    }

    /// What one interface uses of another is the same resource.
    fn add(&mut self, ty: ResourceType, name: &str, interface: Option<&str>) {
        if !self.0.iter().any(|(known, ..)| *known == ty) {
            self.0.push((ty, name.to_owned(), interface.map(str::to_owned)));
        }
    }

    /// Whether a resource is that interface's own, and none before it has its name.
    pub(crate) fn is_first(&self, ty: &ResourceType, interface: Option<&str>) -> bool {
        let own = self.0.iter().find(|(known, ..)| known == ty);
        own.is_some_and(|(.., defines)| defines.as_deref() == interface) && self.name(ty).is_ok()
    }

    /// The name under which handles to a resource are known.
    fn name(&self, ty: &ResourceType) -> Result<&str, String> {
        let Some((_, name, _)) = self.0.iter().find(|(known, ..)| known == ty) else {
            return Err("is or holds a resource of an interface that it imports, which nobody can be given".into());
        };
        match self.0.iter().find(|(_, other, _)| other == name) {
            Some((first, ..)) if first == ty => Ok(name),
            _ => Err(format!(
                "is or holds a `{name}`, and another interface of the component has a resource of that name"
            )),
        }
    }
}

/// The shapes of the functions of one component.
pub(crate) struct Shapes {
    bytes_left: usize,
    resources: Resources,
}

impl Shapes {
    pub(crate) fn new(resources: Resources) -> Self {
        Shapes { bytes_left: BYTES_MAX, resources }
    }

    pub(crate) fn resources(&self) -> &Resources {
        &self.resources
    }

    /// The shape of a function, or why it has none.
    pub(crate) fn function(&mut self, ty: &ComponentFunc) -> Result<FunctionShape, String> {
        if ty.async_() {
            return Err("it is an `async func`, which this host does not run".into());
        }
        let Shapes { bytes_left, resources } = self;
        let mut parts = Parts { left: PARTS_MAX, bytes_left, resources };
        let mut parameters = Vec::new();
        for (name, ty) in ty.params() {
            parts.count([name])?;
            let shape = parts.shape(&ty).map_err(|why| format!("its parameter `{name}` {why}"))?;
            parameters.push(Field::new(name, shape));
        }
        distinct(&parameters).map_err(|why| format!("it {why}"))?;
        let result =
            ty.results().next().map(|ty| parts.shape(&ty).map_err(|why| format!("its result {why}"))).transpose()?;
        Ok(FunctionShape { parameters, result })
    }
}

struct Parts<'a> {
    left: usize,
    bytes_left: &'a mut usize,
    resources: &'a Resources,
}

impl Parts<'_> {
    /// Counts parts by their names; what has none counts as one with an empty name.
    fn count<'n>(&mut self, names: impl IntoIterator<Item = &'n str>) -> Result<(), String> {
        for name in names {
            self.left = self.left.checked_sub(1).ok_or(format!("has more than {PARTS_MAX} parts"))?;
            let bytes = PART_BYTES + name.len();
            *self.bytes_left = self
                .bytes_left
                .checked_sub(bytes)
                .ok_or("comes after others whose types are as large as those of one component may be")?;
        }
        Ok(())
    }

    fn shape(&mut self, ty: &Type) -> Result<Shape, String> {
        self.count([""])?;
        Ok(match ty {
            Type::Bool => Shape::Bool,
            Type::U8 => Shape::Integer(Integer::U8),
            Type::U16 => Shape::Integer(Integer::U16),
            Type::U32 => Shape::Integer(Integer::U32),
            Type::U64 => Shape::Integer(Integer::U64),
            Type::S8 => Shape::Integer(Integer::S8),
            Type::S16 => Shape::Integer(Integer::S16),
            Type::S32 => Shape::Integer(Integer::S32),
            Type::S64 => Shape::Integer(Integer::S64),
            Type::Float32 => Shape::F32,
            Type::Float64 => Shape::F64,
            Type::Char => Shape::Char,
            Type::String => Shape::String,
            Type::List(list) if list.ty() == Type::U8 => Shape::Bytes,
            Type::List(list) => Shape::List(self.boxed(&list.ty())?),
            Type::FixedLengthList(list) => Shape::FixedList(self.boxed(&list.ty())?, list.len() as usize),
            Type::Tuple(tuple) => Shape::Tuple(tuple.types().map(|ty| self.shape(&ty)).collect::<Result<_, _>>()?),
            Type::Record(record) => {
                self.count(record.fields().map(|field| field.name))?;
                let fields = record.fields().map(|field| Ok(Field::new(field.name, self.shape(&field.ty)?)));
                let fields = fields.collect::<Result<Vec<_>, String>>()?;
                distinct(&fields)?;
                Shape::Record(fields)
            }
            Type::Variant(variant) => {
                self.count(variant.cases().map(|case| case.name))?;
                let case = |case: wasmtime::component::types::Case<'_>| {
                    Ok(Case::new(case.name, case.ty.map(|ty| self.shape(&ty)).transpose()?))
                };
                Shape::Variant(variant.cases().map(case).collect::<Result<_, String>>()?)
            }
            Type::Enum(names) => Shape::Enum(self.labels(names.names())?),
            Type::Flags(flags) => Shape::Flags(self.labels(flags.names())?),
            Type::Option(option) => Shape::Option(self.boxed(&option.ty())?),
            Type::Result(result) => Shape::Result {
                ok: result.ok().map(|ty| self.boxed(&ty)).transpose()?,
                err: result.err().map(|ty| self.boxed(&ty)).transpose()?,
            },
            Type::Own(ty) => self.handle(ty, true)?,
            Type::Borrow(ty) => self.handle(ty, false)?,
            Type::Stream(_) => return Err("is or holds a stream, which JSON cannot carry".into()),
            Type::Future(_) => return Err("is or holds a future, which JSON cannot carry".into()),
            Type::ErrorContext => return Err("is or holds an error-context, which JSON cannot carry".into()),
            Type::Map(_) => return Err("is or holds a map, which this host does not know".into()),
        })
    }

    fn handle(&self, ty: &ResourceType, owned: bool) -> Result<Shape, String> {
        Ok(Shape::Handle(Handle { resource: self.resources.name(ty)?.to_owned(), owned }))
    }

    fn boxed(&mut self, ty: &Type) -> Result<Box<Shape>, String> {
        self.shape(ty).map(Box::new)
    }

    fn labels<'a>(&mut self, names: impl Iterator<Item = &'a str>) -> Result<Vec<Label>, String> {
        let names: Vec<&str> = names.collect();
        self.count(names.iter().copied())?;
        Ok(names.into_iter().map(Label::new).collect())
    }
}

/// Two WIT names may become one JSON name; then nobody could say which is meant.
fn distinct(fields: &[Field]) -> Result<(), String> {
    let mut seen = std::collections::HashMap::new();
    for field in fields {
        if let Some(other) = seen.insert(&field.key, &field.name) {
            return Err(format!(
                "has two fields that are both `{}` in JSON: `{other}` and `{}`",
                field.key, field.name
            ));
        }
    }
    Ok(())
}
