//! Random types, and random values of a type: canonical JSON, as the cast makes it.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::{Map, Number, Value, json};
use toolpost_core::catalog::cast::{canonical_integer, widen};
use toolpost_core::catalog::shape::{Case, Field, Integer, Label, Shape};

const INTEGERS: [Integer; 8] =
    [Integer::U8, Integer::U16, Integer::U32, Integer::U64, Integer::S8, Integer::S16, Integer::S32, Integer::S64];

/// Any type that JSON can carry, a few levels deep.
pub fn any_shape() -> impl Strategy<Value = Shape> {
    let integer = prop::sample::select(&INTEGERS[..]).prop_map(Shape::Integer);
    let names = |prefix: &'static str, count: usize| (0..count).map(move |at| Label::new(name(prefix, at))).collect();
    let leaf = prop_oneof![
        6 => integer,
        1 => Just(Shape::Bool),
        2 => prop_oneof![Just(Shape::F32), Just(Shape::F64)],
        1 => Just(Shape::Char),
        2 => Just(Shape::String),
        1 => Just(Shape::Bytes),
        1 => (1_usize..=32).prop_map(move |count| Shape::Flags(names("flag", count))),
        1 => (1_usize..=9).prop_map(move |count| Shape::Enum(names("name", count))),
    ];
    leaf.prop_recursive(5, 80, 6, |inner| {
        let boxed = || inner.clone().prop_map(Box::new);
        let maybe = || prop::option::of(boxed());
        let payload = prop::option::weighted(0.7, inner.clone());
        prop_oneof![
            2 => inner.clone().prop_map(list),
            1 => vec(inner.clone(), 1..7).prop_map(Shape::Tuple),
            3 => vec(inner.clone(), 1..9).prop_map(record),
            2 => vec(payload, 1..8).prop_map(variant),
            2 => boxed().prop_map(Shape::Option),
            1 => (maybe(), maybe()).prop_map(|(ok, err)| Shape::Result { ok, err }),
        ]
    })
}

fn list(item: Shape) -> Shape {
    match item {
        Shape::Integer(Integer::U8) => Shape::Bytes,
        item => Shape::List(Box::new(item)),
    }
}

pub fn record(shapes: Vec<Shape>) -> Shape {
    let fields = shapes.into_iter().enumerate();
    Shape::Record(fields.map(|(at, shape)| Field::new(name("field", at), shape)).collect())
}

pub fn variant(payloads: Vec<Option<Shape>>) -> Shape {
    let cases = payloads.into_iter().enumerate();
    Shape::Variant(cases.map(|(at, payload)| Case::new(name("case", at), payload)).collect())
}

/// Names of one word and of several, small and, as for an acronym, large.
fn name(prefix: &str, at: usize) -> String {
    match at % 3 {
        0 => format!("{prefix}{at}"),
        1 => format!("a-{prefix}{at}"),
        _ => format!("URL{at}-of-{prefix}"),
    }
}

/// A canonical value of that type.
pub fn value_of(shape: &Shape) -> BoxedStrategy<Value> {
    let items = |item: &Shape| vec(value_of(item), 0..5).prop_map(Value::Array).boxed();
    let all = |shapes: Vec<&Shape>| shapes.into_iter().map(value_of).collect::<Vec<_>>().prop_map(Value::Array).boxed();
    match shape {
        Shape::Bool => any::<bool>().prop_map(|value| json!(value)).boxed(),
        Shape::Integer(integer) => any_integer(*integer).prop_map(canonical_integer).boxed(),
        Shape::F32 => any_f32().prop_map(|value| float(widen(value))).boxed(),
        Shape::F64 => any_f64().prop_map(float).boxed(),
        Shape::Char => any::<char>().prop_map(|value| json!(value)).boxed(),
        Shape::String => any_text().prop_map(Value::String).boxed(),
        Shape::Bytes => vec(any::<u8>(), 0..40).prop_map(|bytes| json!(BASE64.encode(bytes))).boxed(),
        Shape::List(item) => items(item),
        Shape::FixedList(item, length) => all(vec![&**item; *length]),
        Shape::Tuple(parts) => all(parts.iter().collect()),
        Shape::Record(fields) => {
            let keys: Vec<String> = fields.iter().map(|field| field.key.clone()).collect();
            let values: Vec<_> = fields.iter().map(|field| value_of(&field.shape)).collect();
            let object = move |values| keys.iter().cloned().zip::<Vec<Value>>(values).collect::<Map<_, _>>().into();
            values.prop_map(object).boxed()
        }
        Shape::Option(some) => {
            let nested = matches!(**some, Shape::Option(_));
            let wrap = move |value| if nested { json!({"some": value}) } else { value };
            prop_oneof![1 => Just(Value::Null), 3 => value_of(some).prop_map(wrap)].boxed()
        }
        Shape::Variant(cases) => {
            let cases: Vec<_> = cases.iter().map(|case| case_of(&case.name, case.payload.as_ref())).collect();
            prop::strategy::Union::new(cases).boxed()
        }
        Shape::Enum(labels) => {
            let names: Vec<String> = labels.iter().map(|label| label.name.clone()).collect();
            prop::sample::select(names).prop_map(Value::String).boxed()
        }
        Shape::Flags(labels) => {
            let names: Vec<String> = labels.iter().map(|label| label.name.clone()).collect();
            let count = names.len();
            prop::sample::subsequence(names, 0..=count).prop_map(|names| json!(names)).boxed()
        }
        Shape::Result { ok, err } => {
            let side = |name: &'static str, payload: &Option<Box<Shape>>| match payload {
                Some(shape) => case_of(name, Some(shape)),
                None => Just(json!({ name: null })).boxed(),
            };
            prop_oneof![side("ok", ok), side("err", err)].boxed()
        }
        Shape::Handle(handle) => {
            let handle = handle.clone();
            any::<u128>().prop_map(move |number| json!(handle.text(number))).boxed()
        }
    }
}

fn case_of(name: &str, payload: Option<&Shape>) -> BoxedStrategy<Value> {
    let name = name.to_owned();
    match payload {
        None => Just(Value::String(name)).boxed(),
        Some(shape) => value_of(shape).prop_map(move |value| json!({ name.clone(): value })).boxed(),
    }
}

/// The ends of the range, the ends of what JSON readers keep, and anything between.
fn any_integer(integer: Integer) -> BoxedStrategy<i128> {
    let (least, most) = integer.range();
    let edges = [least, least + 1, -1, 0, 1, 255, 1 << 31, (1 << 53) - 1, 1 << 53, most / 2 + 1, most - 1, most];
    let edges: Vec<i128> = edges.into_iter().filter(|edge| (least..=most).contains(edge)).collect();
    prop_oneof![prop::sample::select(edges), least..=most].boxed()
}

fn any_f32() -> impl Strategy<Value = f32> {
    let edges =
        vec![0.0, -0.0, f32::NAN, f32::INFINITY, f32::NEG_INFINITY, f32::MIN, f32::MAX, f32::MIN_POSITIVE, 1e-45];
    prop_oneof![1 => prop::sample::select(edges), 3 => any::<u32>().prop_map(f32::from_bits)]
}

fn any_f64() -> impl Strategy<Value = f64> {
    let edges =
        vec![0.0, -0.0, f64::NAN, f64::INFINITY, f64::NEG_INFINITY, f64::MIN, f64::MAX, f64::MIN_POSITIVE, 5e-324];
    prop_oneof![1 => prop::sample::select(edges), 3 => any::<u64>().prop_map(f64::from_bits)]
}

fn float(value: f64) -> Value {
    match Number::from_f64(value) {
        Some(number) => Value::Number(number),
        None if value.is_nan() => json!("NaN"),
        None => json!(if value > 0.0 { "Infinity" } else { "-Infinity" }),
    }
}

/// Nothing, Latin letters, any characters, and a text that is not short.
fn any_text() -> impl Strategy<Value = String> {
    prop_oneof![
        1 => Just(String::new()),
        3 => "[ -~\u{a0}-\u{ff}]{0,12}",
        3 => vec(any::<char>(), 0..12).prop_map(String::from_iter),
        1 => (any::<char>(), 60_usize..80).prop_map(|(c, count)| c.to_string().repeat(count)),
    ]
}
