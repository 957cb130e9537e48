//! Guests in WAT: a component around one core function, and functions that return what they are given.
//!
//! Layout and flattening are worked out here anew, from `CanonicalABI.md`, so that they check those of the host.

use std::fmt::Write as _;

use toolpost_core::catalog::shape::{Integer, Shape};

/// An allocator that never frees, and leaves no zeros in what it hands out.
pub const REALLOC: &str = r#"
    (global $end (mut i32) (i32.const 4096))
    (func (export "realloc") (param $old i32) (param $held i32) (param $align i32) (param $size i32) (result i32)
      (local $new i32)
      (if (i32.le_u (local.get $size) (local.get $held)) (then (return (local.get $old))))
      (local.set $new (i32.and
        (i32.add (global.get $end) (i32.sub (local.get $align) (i32.const 1)))
        (i32.sub (i32.const 0) (local.get $align))))
      (global.set $end (i32.add (local.get $new) (local.get $size)))
      (if (i32.gt_u (global.get $end) (i32.mul (memory.size) (i32.const 65536)))
        (then (drop (memory.grow (i32.add (i32.shr_u (local.get $size) (i32.const 16)) (i32.const 1))))))
      (memory.fill (local.get $new) (i32.const 0xa5) (local.get $size))
      (memory.copy (local.get $new) (local.get $old) (local.get $held))
      (local.get $new))"#;

/// A component with one function `f`, lifted from the core function of that name. `types` stand before it.
pub fn component(types: &str, signature: &str, core: &str) -> String {
    encoded("utf8", types, signature, core)
}

fn encoded(encoding: &str, types: &str, signature: &str, core: &str) -> String {
    format!(
        r#"(component
  {types}
  (core module $m
    (memory (export "memory") 1)
    {core})
  (core instance $i (instantiate $m))
  (func $f {signature} (canon lift (core func $i "f")
    (memory $i "memory") (realloc (func $i "realloc")) string-encoding={encoding}))
  (export "f" (func $f)))"#
    )
}

/// The same component with a resource `r`, and a function `make: func() -> r` beside its own.
pub fn with_resource(guest: &str) -> String {
    let types = r#"(component
  (type $own (resource (rep i32)))
  (export $r "r" (type $own))
  (core func $new (canon resource.new $own))"#;
    let module = r#"(core module $m
    (import "r" "new" (func $new (param i32) (result i32)))
    (func (export "make") (result i32) (call $new (i32.const 7)))"#;
    let instance = r#"(instantiate $m (with "r" (instance (export "new" (func $new)))))"#;
    let make = r#"(func $make (result (own $r)) (canon lift (core func $i "make")))
  (export "make" (func $make))
  (func $f"#;
    let guest = guest.replacen("(component", types, 1).replacen("(core module $m", module, 1);
    guest.replacen("(instantiate $m)", instance, 1).replacen("(func $f", make, 1)
}

/// The parameters that stand around the one that comes back, so that all of them go through memory.
pub const PADS: usize = 17;

/// `f: func(first: u8, x: shape, pad0: u8, ..) -> shape`, through memory on both ways: the result's place is the
/// parameter's.
pub fn echo_through_memory(shape: &Shape, encoding: &str) -> String {
    let mut types = Types::default();
    let ty = types.name(shape);
    let pads: String = (0..PADS).map(|at| format!("(param \"pad{at}\" u8) ")).collect();
    let signature = format!("(param \"first\" u8) (param \"x\" {ty}) {pads}(result {ty})");
    let place = layout(shape).1;
    let f = format!(r#"(func (export "f") (param i32) (result i32) (i32.add (local.get 0) (i32.const {place})))"#);
    encoded(encoding, &types.text, &signature, &format!("{REALLOC}\n    {f}"))
}

/// `f: func(x: shape) -> shape`, whose parameter comes as core values, at most 16.
pub fn echo_flat(shape: &Shape, encoding: &str) -> String {
    const PLACE: u32 = 1024;
    let mut types = Types::default();
    let ty = types.name(shape);
    let slots = flat(shape);
    let params: String = slots.iter().map(|core| format!("(param {}) ", core.name())).collect();
    let f = if slots.len() == 1 {
        format!("(func (export \"f\") {params}(result {}) (local.get 0))", slots[0].name())
    } else {
        let mut body = String::new();
        let values: Vec<String> = (0..slots.len()).map(|at| format!("(local.get {at})")).collect();
        store(&mut body, shape, PLACE, &values);
        format!("(func (export \"f\") {params}(result i32)\n{body}      (i32.const {PLACE}))")
    };
    let signature = format!("(param \"x\" {ty}) (result {ty})");
    encoded(encoding, &types.text, &signature, &format!("{REALLOC}\n    {f}"))
}

/// Declared types. What has a name in WIT must be exported under one before a function may use it.
#[derive(Default)]
pub struct Types {
    pub text: String,
    count: usize,
}

impl Types {
    /// The type in WAT, declared where it has to be.
    pub fn name(&mut self, shape: &Shape) -> String {
        let optional = |types: &mut Self, shape: &Option<Box<Shape>>| shape.as_ref().map(|shape| types.name(shape));
        match shape {
            Shape::Integer(integer) => integer.name().into(),
            Shape::Bytes => "(list u8)".into(),
            Shape::List(item) => format!("(list {})", self.name(item)),
            Shape::Option(some) => format!("(option {})", self.name(some)),
            Shape::Tuple(items) => {
                let items: Vec<String> = items.iter().map(|item| self.name(item)).collect();
                format!("(tuple {})", items.join(" "))
            }
            Shape::Result { ok, err } => {
                let (ok, err) = (optional(self, ok), optional(self, err));
                let err = err.map(|err| format!("(error {err})"));
                format!("(result {} {})", ok.unwrap_or_default(), err.unwrap_or_default())
            }
            Shape::Record(fields) => {
                let field = |types: &mut Self, name: &str, shape| format!("(field \"{name}\" {})", types.name(shape));
                let fields: Vec<_> = fields.iter().map(|it| field(self, &it.name, &it.shape)).collect();
                self.declare(&format!("(record {})", fields.join(" ")))
            }
            Shape::Variant(cases) => {
                let case = |types: &mut Self, name: &str, payload: &Option<Shape>| {
                    format!("(case \"{name}\" {})", payload.as_ref().map(|it| types.name(it)).unwrap_or_default())
                };
                let cases: Vec<_> = cases.iter().map(|it| case(self, &it.name, &it.payload)).collect();
                self.declare(&format!("(variant {})", cases.join(" ")))
            }
            // Of the resource that `with_resource` adds.
            Shape::Handle(_) => "(own $r)".into(),
            Shape::Enum(labels) | Shape::Flags(labels) => {
                let kind = if matches!(shape, Shape::Enum(_)) { "enum" } else { "flags" };
                let names: String = labels.iter().map(|label| format!(" \"{}\"", label.name)).collect();
                self.declare(&format!("({kind}{names})"))
            }
            plain => plain.wit(),
        }
    }

    fn declare(&mut self, definition: &str) -> String {
        let at = self.count;
        self.count += 1;
        writeln!(self.text, "(type $d{at} {definition}) (export $t{at} \"t{at}\" (type $d{at}))").unwrap();
        format!("$t{at}")
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Core {
    I32,
    I64,
    F32,
    F64,
}

impl Core {
    fn name(self) -> &'static str {
        match self {
            Core::I32 => "i32",
            Core::I64 => "i64",
            Core::F32 => "f32",
            Core::F64 => "f64",
        }
    }
}

/// The core values that stand for a value.
pub fn flat(shape: &Shape) -> Vec<Core> {
    match shape {
        Shape::Integer(Integer::U64 | Integer::S64) => vec![Core::I64],
        Shape::F32 => vec![Core::F32],
        Shape::F64 => vec![Core::F64],
        Shape::String | Shape::Bytes | Shape::List(_) => vec![Core::I32, Core::I32],
        Shape::Flags(labels) => vec![Core::I32; labels.len().div_ceil(32)],
        Shape::Tuple(items) => items.iter().flat_map(flat).collect(),
        Shape::Record(fields) => fields.iter().flat_map(|field| flat(&field.shape)).collect(),
        other => match payloads(other) {
            Some(payloads) => {
                let joined = payloads.into_iter().flatten().map(flat).fold(Vec::new(), join);
                [vec![Core::I32], joined].concat()
            }
            None => vec![Core::I32],
        },
    }
}

fn join(mut all: Vec<Core>, one: Vec<Core>) -> Vec<Core> {
    for (at, core) in one.into_iter().enumerate() {
        match all.get(at).copied() {
            None => all.push(core),
            Some(other) if other == core => {}
            Some(Core::I32 | Core::F32) if matches!(core, Core::I32 | Core::F32) => all[at] = Core::I32,
            Some(_) => all[at] = Core::I64,
        }
    }
    all
}

/// What the cases carry, for a type that has cases.
fn payloads(shape: &Shape) -> Option<Vec<Option<&Shape>>> {
    match shape {
        Shape::Option(some) => Some(vec![None, Some(some)]),
        Shape::Result { ok, err } => Some(vec![ok.as_deref(), err.as_deref()]),
        Shape::Variant(cases) => Some(cases.iter().map(|case| case.payload.as_ref()).collect()),
        Shape::Enum(labels) => Some(vec![None; labels.len()]),
        _ => None,
    }
}

/// Size and alignment in memory.
pub fn layout(shape: &Shape) -> (u32, u32) {
    match shape {
        Shape::Bool | Shape::Integer(Integer::U8 | Integer::S8) => (1, 1),
        Shape::Integer(Integer::U16 | Integer::S16) => (2, 2),
        Shape::Integer(Integer::U32 | Integer::S32) | Shape::F32 | Shape::Char | Shape::Handle(_) => (4, 4),
        Shape::Integer(Integer::U64 | Integer::S64) | Shape::F64 => (8, 8),
        Shape::String | Shape::Bytes | Shape::List(_) => (8, 4),
        Shape::Flags(labels) => match labels.len() {
            0..=8 => (1, 1),
            9..=16 => (2, 2),
            count => (u32::try_from(count.div_ceil(32) * 4).unwrap(), 4),
        },
        Shape::Tuple(items) => sequence(&items.iter().collect::<Vec<_>>()),
        Shape::Record(fields) => sequence(&fields.iter().map(|field| &field.shape).collect::<Vec<_>>()),
        other => {
            let payloads = payloads(other).unwrap();
            let tag = tag(payloads.len());
            let (sizes, aligns): (Vec<u32>, Vec<u32>) = payloads.into_iter().flatten().map(layout).unzip();
            let (size, align) = (sizes.into_iter().max().unwrap_or(0), aligns.into_iter().max().unwrap_or(1));
            let whole = tag.next_multiple_of(align) + size;
            (whole.next_multiple_of(align.max(tag)), align.max(tag))
        }
    }
}

fn tag(cases: usize) -> u32 {
    match cases {
        0..=256 => 1,
        257..=65_536 => 2,
        _ => 4,
    }
}

fn sequence(parts: &[&Shape]) -> (u32, u32) {
    let align = parts.iter().map(|part| layout(part).1).max().unwrap_or(1);
    let end =
        parts.iter().map(|part| layout(part)).fold(0, |end: u32, (size, align)| end.next_multiple_of(align) + size);
    (end.next_multiple_of(align), align)
}

/// Code that stores core values as the value that they stand for.
fn store(out: &mut String, shape: &Shape, place: u32, values: &[String]) {
    let words = |out: &mut String| {
        for (at, value) in values.iter().enumerate() {
            let place = place as usize + at * 4;
            writeln!(out, "      (i32.store offset={place} (i32.const 0) {value})").unwrap();
        }
    };
    let parts: Vec<&Shape> = match shape {
        Shape::String | Shape::Bytes | Shape::List(_) => return words(out),
        Shape::Flags(labels) if labels.len() > 16 => return words(out),
        Shape::Tuple(items) => items.iter().collect(),
        Shape::Record(fields) => fields.iter().map(|field| &field.shape).collect(),
        other => match payloads(other) {
            Some(payloads) => return store_case(out, other, &payloads, place, values),
            None => return store_scalar(out, layout(other).0, flat(other)[0], place, &values[0]),
        },
    };
    let (mut place, mut values) = (place, values);
    for part in parts {
        let (size, align) = layout(part);
        let (its, rest) = values.split_at(flat(part).len());
        place = place.next_multiple_of(align);
        store(out, part, place, its);
        (place, values) = (place + size, rest);
    }
}

fn store_scalar(out: &mut String, size: u32, core: Core, place: u32, value: &str) {
    let width = match (core, size) {
        (Core::I32, 1) => "8",
        (Core::I32, 2) => "16",
        _ => "",
    };
    writeln!(out, "      ({}.store{width} offset={place} (i32.const 0) {value})", core.name()).unwrap();
}

fn store_case(out: &mut String, shape: &Shape, payloads: &[Option<&Shape>], place: u32, values: &[String]) {
    let joined = flat(shape);
    let tag = tag(payloads.len());
    store_scalar(out, tag, Core::I32, place, &values[0]);
    let aligns = payloads.iter().flatten().map(|payload| layout(payload).1);
    let inside = place + tag.next_multiple_of(aligns.max().unwrap_or(1));
    for (case, payload) in payloads.iter().enumerate() {
        let Some(payload) = payload else { continue };
        let cores = flat(payload).into_iter().enumerate();
        let own: Vec<String> = cores.map(|(at, core)| coerce(&values[at + 1], joined[at + 1], core)).collect();
        writeln!(out, "      (if (i32.eq {} (i32.const {case})) (then", values[0]).unwrap();
        store(out, payload, inside, &own);
        writeln!(out, "      ))").unwrap();
    }
}

/// A core value of the joined type as one of the case's own.
fn coerce(value: &str, from: Core, to: Core) -> String {
    match (from, to) {
        (Core::I64, Core::I32) => format!("(i32.wrap_i64 {value})"),
        (Core::I64, Core::F32) => format!("(f32.reinterpret_i32 (i32.wrap_i64 {value}))"),
        (Core::I64, Core::F64) => format!("(f64.reinterpret_i64 {value})"),
        (Core::I32, Core::F32) => format!("(f32.reinterpret_i32 {value})"),
        (from, to) => {
            assert_eq!(from, to);
            value.to_owned()
        }
    }
}
