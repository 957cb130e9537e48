//! The types of a component's functions as shapes. The component itself is the source, not what its author says of it.

use toolpost_core::catalog::shape::{Case, Field, Integer, Label, Shape};
use wasmtime::component::Type;
use wasmtime::component::types::ComponentFunc;

/// The most parts that the types of one function may have. Types share parts, so a small component can describe a huge one.
const PARTS_MAX: usize = 10_000;

/// What a function takes and what it answers with.
pub(crate) struct FunctionShape {
    pub(crate) parameters: Vec<Field>,
    pub(crate) result: Option<Shape>,
}

/// The shape of a function, or why it has none.
pub(crate) fn function(ty: &ComponentFunc) -> Result<FunctionShape, String> {
    if ty.async_() {
        return Err("it is an `async func`, which this host does not run".into());
    }
    let mut parts = Parts { left: PARTS_MAX };
    let mut parameters = Vec::new();
    for (name, ty) in ty.params() {
        let shape = parts.shape(&ty).map_err(|why| format!("its parameter `{name}` {why}"))?;
        parameters.push(Field::new(name, shape));
    }
    distinct(&parameters).map_err(|why| format!("it {why}"))?;
    let result =
        ty.results().next().map(|ty| parts.shape(&ty).map_err(|why| format!("its result {why}"))).transpose()?;
    Ok(FunctionShape { parameters, result })
}

struct Parts {
    left: usize,
}

impl Parts {
    fn shape(&mut self, ty: &Type) -> Result<Shape, String> {
        self.left = self.left.checked_sub(1).ok_or(format!("has more than {PARTS_MAX} parts"))?;
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
                let fields = record.fields().map(|field| Ok(Field::new(field.name, self.shape(&field.ty)?)));
                let fields = fields.collect::<Result<Vec<_>, String>>()?;
                distinct(&fields)?;
                Shape::Record(fields)
            }
            Type::Variant(variant) => {
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

    fn labels<'a>(&mut self, names: impl ExactSizeIterator<Item = &'a str>) -> Result<Vec<Label>, String> {
        self.left = self.left.checked_sub(names.len()).ok_or(format!("has more than {PARTS_MAX} parts"))?;
        Ok(names.map(Label::new).collect())
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
