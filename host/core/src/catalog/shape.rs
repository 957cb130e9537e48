//! What does a value look like? The WIT types that JSON can carry.
//!
//! One [`Shape`] serves the schema ([`super::schema`]), the cast ([`super::cast`]) and the conversion to component values,
//! so that they cannot disagree about what a tool accepts.

use serde_json::Value;

/// The type of a parameter or result.
#[derive(Clone, Debug, PartialEq)]
pub enum Shape {
    /// `true` or `false`.
    Bool,
    /// `u8` to `u64`, `s8` to `s64`.
    Integer(Integer),
    /// A 32-bit float.
    F32,
    /// A 64-bit float.
    F64,
    /// One Unicode scalar value.
    Char,
    /// Text.
    String,
    /// `list<u8>`: base64 in JSON.
    Bytes,
    /// Any number of one thing.
    List(Box<Shape>),
    /// Exactly so many of one thing.
    FixedList(Box<Shape>, usize),
    /// Several things in a fixed order.
    Tuple(Vec<Shape>),
    /// Several things by name.
    Record(Vec<Field>),
    /// Something or nothing.
    Option(Box<Shape>),
    /// One of several cases, at least one of them with a payload.
    Variant(Vec<Case>),
    /// One of several names.
    Enum(Vec<Label>),
    /// Any of several names.
    Flags(Vec<Label>),
    /// A result that stands inside of another value.
    Result {
        /// What `ok` carries.
        ok: Option<Box<Shape>>,
        /// What `err` carries.
        err: Option<Box<Shape>>,
    },
    /// Something that an instance keeps for its session.
    Handle(Handle),
}

/// A handle to a resource: a text that stands for what an instance keeps for its session. In JSON it is the resource's name and a
/// number that nobody can guess.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Handle {
    /// The resource, by its name in WIT.
    pub resource: String,
    /// Whether it is handed over for good, and not only lent.
    pub owned: bool,
}

/// The digits of the number in a handle: 128 bits.
const HANDLE_DIGITS: usize = 32;

/// The integer types of WIT.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[expect(missing_docs, reason = "the names are the documentation")]
pub enum Integer {
    U8,
    U16,
    U32,
    U64,
    S8,
    S16,
    S32,
    S64,
}

/// A named part of a record, or a parameter of a tool.
#[derive(Clone, Debug, PartialEq)]
pub struct Field {
    /// The name in WIT, in kebab-case.
    pub name: String,
    /// The name in JSON, in `snake_case`.
    pub key: String,
    /// What it means.
    pub docs: Option<String>,
    /// Its type.
    pub shape: Shape,
    /// What stands in for it when it is absent or null.
    pub default: Option<Value>,
}

/// A case of a variant.
#[derive(Clone, Debug, PartialEq)]
pub struct Case {
    /// The name in WIT, which is also its name in JSON.
    pub name: String,
    /// What it means.
    pub docs: Option<String>,
    /// What it carries.
    pub payload: Option<Shape>,
}

/// A case of an enum or a flag.
#[derive(Clone, Debug, PartialEq)]
pub struct Label {
    /// The name in WIT, which is also its name in JSON.
    pub name: String,
    /// What it means.
    pub docs: Option<String>,
}

impl Integer {
    /// The smallest and the largest value.
    #[must_use]
    pub const fn range(self) -> (i128, i128) {
        match self {
            Integer::U8 => (0, u8::MAX as i128),
            Integer::U16 => (0, u16::MAX as i128),
            Integer::U32 => (0, u32::MAX as i128),
            Integer::U64 => (0, u64::MAX as i128),
            Integer::S8 => (i8::MIN as i128, i8::MAX as i128),
            Integer::S16 => (i16::MIN as i128, i16::MAX as i128),
            Integer::S32 => (i32::MIN as i128, i32::MAX as i128),
            Integer::S64 => (i64::MIN as i128, i64::MAX as i128),
        }
    }

    /// Whether some values are too large for a JSON reader that keeps numbers as 64-bit floats.
    #[must_use]
    pub const fn is_wide(self) -> bool {
        matches!(self, Integer::U64 | Integer::S64)
    }

    /// The name in WIT.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Integer::U8 => "u8",
            Integer::U16 => "u16",
            Integer::U32 => "u32",
            Integer::U64 => "u64",
            Integer::S8 => "s8",
            Integer::S16 => "s16",
            Integer::S32 => "s32",
            Integer::S64 => "s64",
        }
    }
}

/// The largest integer up to which every JSON reader keeps every digit: 2^53 - 1.
pub const SAFE_INTEGER_MAX: i128 = (1 << 53) - 1;

impl Field {
    /// A field by its WIT name.
    #[must_use]
    pub fn new(name: impl Into<String>, shape: Shape) -> Self {
        let name = name.into();
        Field { key: snake_case(&name), name, docs: None, shape, default: None }
    }

    /// Says what the field means.
    #[must_use]
    pub fn docs(mut self, docs: impl Into<String>) -> Self {
        self.docs = Some(docs.into());
        self
    }

    /// Whether a value must be given.
    #[must_use]
    pub fn required(&self) -> bool {
        self.default.is_none() && !matches!(self.shape, Shape::Option(_))
    }
}

impl Case {
    /// A case by its WIT name.
    #[must_use]
    pub fn new(name: impl Into<String>, payload: Option<Shape>) -> Self {
        Case { name: name.into(), docs: None, payload }
    }
}

impl Handle {
    /// The handle with that number.
    #[must_use]
    pub fn text(&self, number: u128) -> String {
        format!("{}{number:0HANDLE_DIGITS$x}", self.begins())
    }

    /// Whether a text has the form of such a handle.
    #[must_use]
    pub fn fits(&self, text: &str) -> bool {
        let is_digit = |byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
        let digits = text.strip_prefix(&self.begins());
        digits.is_some_and(|digits| digits.len() == HANDLE_DIGITS && digits.bytes().all(is_digit))
    }

    /// What such texts look like, as a regular expression.
    #[must_use]
    pub fn pattern(&self) -> String {
        format!("^{}[0-9a-f]{{{HANDLE_DIGITS}}}$", self.begins())
    }

    fn begins(&self) -> String {
        format!("{}_", snake_case(&self.resource))
    }
}

impl Label {
    /// A name without documentation.
    #[must_use]
    pub fn new(name: impl Into<String>) -> Self {
        Label { name: name.into(), docs: None }
    }
}

impl Shape {
    /// The type as WIT writes it; what has no name there is described by its parts.
    #[must_use]
    pub fn wit(&self) -> String {
        let list = |shapes: &[Shape]| shapes.iter().map(Shape::wit).collect::<Vec<_>>().join(", ");
        let names = |labels: &[Label]| labels.iter().map(|l| l.name.as_str()).collect::<Vec<_>>().join(", ");
        match self {
            Shape::Bool => "bool".into(),
            Shape::Integer(integer) => integer.name().into(),
            Shape::F32 => "f32".into(),
            Shape::F64 => "f64".into(),
            Shape::Char => "char".into(),
            Shape::String => "string".into(),
            Shape::Bytes => "list<u8>".into(),
            Shape::List(item) => format!("list<{}>", item.wit()),
            Shape::FixedList(item, length) => format!("list<{}, {length}>", item.wit()),
            Shape::Tuple(items) => format!("tuple<{}>", list(items)),
            Shape::Record(fields) => format!("record {{ {} }}", Shape::wit_fields(fields)),
            Shape::Option(some) => format!("option<{}>", some.wit()),
            Shape::Variant(cases) => {
                let case = |case: &Case| match &case.payload {
                    Some(payload) => format!("{}({})", case.name, payload.wit()),
                    None => case.name.clone(),
                };
                format!("variant {{ {} }}", cases.iter().map(case).collect::<Vec<_>>().join(", "))
            }
            Shape::Enum(labels) => format!("enum {{ {} }}", names(labels)),
            Shape::Flags(labels) => format!("flags {{ {} }}", names(labels)),
            Shape::Result { ok, err } => match (ok, err) {
                (None, None) => "result".into(),
                (Some(ok), None) => format!("result<{}>", ok.wit()),
                (None, Some(err)) => format!("result<_, {}>", err.wit()),
                (Some(ok), Some(err)) => format!("result<{}, {}>", ok.wit(), err.wit()),
            },
            Shape::Handle(Handle { resource, owned: true }) => resource.clone(),
            Shape::Handle(Handle { resource, owned: false }) => format!("borrow<{resource}>"),
        }
    }

    /// Fields or parameters as WIT writes them.
    #[must_use]
    pub fn wit_fields(fields: &[Field]) -> String {
        fields.iter().map(|field| format!("{}: {}", field.name, field.shape.wit())).collect::<Vec<_>>().join(", ")
    }
}

/// A WIT name as JSON and models write it.
#[must_use]
pub fn snake_case(name: &str) -> String {
    let mut name = name.replace('-', "_");
    name.make_ascii_lowercase();
    name
}

/// A name without what people and models get wrong in names: case, and the kind of separator.
#[must_use]
pub fn folded(name: &str) -> String {
    name.chars().filter(|c| !matches!(c, '-' | '_' | ' ')).flat_map(char::to_lowercase).collect()
}
