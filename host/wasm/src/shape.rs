//! The types of a component's functions as shapes. The component itself is the source, not what its author says of it.

use toolpost_core::catalog::shape::{Case, Field, Integer, Label, Shape};
use wasmtime::component::Type;
use wasmtime::component::types::ComponentFunc;

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

/// The shapes of the functions of one component.
pub(crate) struct Shapes {
    bytes_left: usize,
}

impl Default for Shapes {
    fn default() -> Self {
        Shapes { bytes_left: BYTES_MAX }
    }
}

impl Shapes {
    /// The shape of a function, or why it has none.
    pub(crate) fn function(&mut self, ty: &ComponentFunc) -> Result<FunctionShape, String> {
        if ty.async_() {
            return Err("it is an `async func`, which this host does not run".into());
        }
        let mut parts = Parts { left: PARTS_MAX, bytes_left: &mut self.bytes_left };
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
            Type::Own(_) | Type::Borrow(_) => {
                return Err("is or holds a resource, which lives no longer than one call".into());
            }
            Type::Stream(_) => return Err("is or holds a stream, which JSON cannot carry".into()),
            Type::Future(_) => return Err("is or holds a future, which JSON cannot carry".into()),
            Type::ErrorContext => return Err("is or holds an error-context, which JSON cannot carry".into()),
            Type::Map(_) => return Err("is or holds a map, which this host does not know".into()),
        })
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
