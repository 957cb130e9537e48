//! Random types, and random values of them in canonical form.

use base64::Engine as _;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Map, Value, json};
use toolpost_core::catalog::shape::{Case, Field, Handle, Integer, Label, Shape};

/// Names that are easily taken for values or for the words that shapes use themselves; all different when folded.
const NAMES: [&str; 14] =
    ["a", "b-c", "get-URL", "null", "none", "true", "no", "ok", "err", "some", "x1", "long-file-name", "value", "item"];

const INTEGERS: [Integer; 8] =
    [Integer::U8, Integer::U16, Integer::U32, Integer::U64, Integer::S8, Integer::S16, Integer::S32, Integer::S64];

pub(super) fn shape_and_value() -> impl Strategy<Value = (Shape, Value)> {
    shape().prop_flat_map(|shape| {
        let value = value(&shape);
        value.prop_map(move |value| (shape.clone(), value))
    })
}

fn names(count: std::ops::Range<usize>) -> impl Strategy<Value = Vec<&'static str>> {
    subsequence(NAMES.to_vec(), count).prop_shuffle()
}

fn shape() -> impl Strategy<Value = Shape> {
    let label = |name: &str| Label::new(name);
    let leaf = prop_oneof![
        1 => Just(Shape::Bool),
        3 => select(INTEGERS.to_vec()).prop_map(Shape::Integer),
        1 => Just(Shape::F32),
        1 => Just(Shape::F64),
        1 => Just(Shape::Char),
        2 => Just(Shape::String),
        1 => Just(Shape::Bytes),
        1 => names(1..5).prop_map(move |names| Shape::Enum(names.into_iter().map(label).collect())),
        1 => names(1..5).prop_map(move |names| Shape::Flags(names.into_iter().map(label).collect())),
        1 => (select(NAMES.to_vec()), any::<bool>())
            .prop_map(|(name, owned)| Shape::Handle(Handle { resource: name.into(), owned })),
    ];
    leaf.prop_recursive(4, 16, 4, |part| {
        let parts = || prop::collection::vec(part.clone(), 1..4);
        let side = || prop::option::of(part.clone().prop_map(Box::new));
        let fields = (names(4..5), parts()).prop_map(|(names, shapes)| {
            Shape::Record(names.into_iter().zip(shapes).map(|(name, shape)| Field::new(name, shape)).collect())
        });
        let variant = (names(4..5), parts(), 0_usize..3).prop_map(|(names, payloads, plain)| {
            let mut payloads = payloads.into_iter();
            let cases = names.iter().enumerate();
            Shape::Variant(
                cases.map(|(at, name)| Case::new(*name, if at == plain { None } else { payloads.next() })).collect(),
            )
        });
        prop_oneof![
            2 => part.clone().prop_map(|item| Shape::List(Box::new(item))),
            1 => (part.clone(), 1_usize..4).prop_map(|(item, length)| Shape::FixedList(Box::new(item), length)),
            1 => parts().prop_map(Shape::Tuple),
            2 => fields,
            2 => part.clone().prop_map(|some| Shape::Option(Box::new(some))),
            1 => variant,
            1 => (side(), side()).prop_map(|(ok, err)| Shape::Result { ok, err }),
        ]
    })
}

fn value(shape: &Shape) -> BoxedStrategy<Value> {
    match shape {
        Shape::Bool => any::<bool>().prop_map(Value::from).boxed(),
        Shape::Integer(integer) => integer_value(*integer),
        Shape::F32 => prop_oneof![
            6 => any::<f32>().prop_map(|float| json!(float.to_string().parse::<f64>().unwrap())),
            1 => select(vec!["NaN", "Infinity", "-Infinity"]).prop_map(Value::from),
        ]
        .boxed(),
        Shape::F64 => prop_oneof![
            6 => any::<f64>().prop_map(Value::from),
            1 => select(vec!["NaN", "Infinity", "-Infinity"]).prop_map(Value::from),
        ]
        .boxed(),
        Shape::Char => any::<char>().prop_map(|c| json!(c)).boxed(),
        Shape::String => {
            let tricky = vec!["", "null", "None", "[1]", "[1", "{\"a\":1}", "a, b", "true", "1", "1.0", " x ", "NaN"];
            prop_oneof![select(tricky).prop_map(Value::from), ".{0,6}".prop_map(Value::from)].boxed()
        }
        Shape::Bytes => prop::collection::vec(any::<u8>(), 0..6)
            .prop_map(|bytes| json!(base64::engine::general_purpose::STANDARD.encode(bytes)))
            .boxed(),
        Shape::List(item) => prop::collection::vec(value(item), 0..4).prop_map(Value::from).boxed(),
        Shape::FixedList(item, length) => prop::collection::vec(value(item), *length).prop_map(Value::from).boxed(),
        Shape::Tuple(items) => items.iter().map(value).collect::<Vec<_>>().prop_map(Value::from).boxed(),
        Shape::Record(fields) => {
            let keys: Vec<_> = fields.iter().map(|field| field.key.clone()).collect();
            let values: Vec<_> = fields.iter().map(|field| value(&field.shape)).collect();
            values.prop_map(move |values| keys.iter().cloned().zip(values).collect::<Map<_, _>>().into()).boxed()
        }
        Shape::Option(some) => {
            let nested = matches!(**some, Shape::Option(_));
            let some = value(some).prop_map(move |value| if nested { json!({"some": value}) } else { value });
            prop_oneof![1 => Just(Value::Null), 2 => some].boxed()
        }
        Shape::Variant(cases) => {
            let case = |case: &Case| {
                let name = case.name.clone();
                match &case.payload {
                    None => Just(json!(name)).boxed(),
                    Some(payload) => value(payload).prop_map(move |value| json!({ name.clone(): value })).boxed(),
                }
            };
            prop::strategy::Union::new(cases.iter().map(case)).boxed()
        }
        Shape::Enum(labels) => select(named(labels)).prop_map(Value::from).boxed(),
        Shape::Flags(labels) => {
            let names = named(labels);
            let count = 0..=names.len();
            subsequence(names, count).prop_map(Value::from).boxed()
        }
        Shape::Result { ok, err } => {
            let side = |name: &'static str, payload: &Option<Box<Shape>>| {
                let payload = payload.as_deref().map_or(Just(Value::Null).boxed(), value);
                payload.prop_map(move |value| json!({ name: value }))
            };
            prop_oneof![side("ok", ok), side("err", err)].boxed()
        }
        Shape::Handle(handle) => {
            let handle = handle.clone();
            any::<u128>().prop_map(move |number| json!(handle.text(number))).boxed()
        }
    }
}

fn integer_value(integer: Integer) -> BoxedStrategy<Value> {
    const EXACT_MAX: i128 = 9_007_199_254_740_991;
    let (minimum, maximum) = integer.range();
    let edges = [minimum, maximum, 0, 1, EXACT_MAX, EXACT_MAX + 1, -EXACT_MAX, -EXACT_MAX - 1];
    let edges: Vec<i128> = edges.into_iter().filter(|edge| (minimum..=maximum).contains(edge)).collect();
    prop_oneof![select(edges), minimum..=maximum]
        .prop_map(|value| match i64::try_from(value) {
            Ok(small) if value.abs() <= EXACT_MAX => json!(small),
            _ => json!(value.to_string()),
        })
        .boxed()
}

fn named(labels: &[Label]) -> Vec<String> {
    labels.iter().map(|label| label.name.clone()).collect()
}
