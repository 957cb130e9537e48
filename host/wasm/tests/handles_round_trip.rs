//! A handle in any place of any type: what it stands for goes into the guest and comes back, under another handle.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::cell::Cell;
use std::collections::BTreeSet;

use common::keep::{Said, call_in, instance, value};
use common::{blocking, guest, shapes};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};
use serde_json::{Map, Value, json};
use toolpost_core::Host;
use toolpost_core::catalog::shape::{Field, Handle, Shape};
use toolpost_core::check::repeat::RepeatSettings;

/// The same cases every time.
fn runner(cases: u32) -> TestRunner {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 500, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

fn resource() -> Shape {
    Shape::Handle(Handle { resource: "r".into(), owned: true })
}

/// The type with handles in the place of some of its leaves.
fn with_handles(shape: Shape) -> Shape {
    let boxed = |shape: Box<Shape>| Box::new(with_handles(*shape));
    match shape {
        Shape::Integer(_) | Shape::Char | Shape::Bool => resource(),
        Shape::List(item) => Shape::List(boxed(item)),
        Shape::Option(some) => Shape::Option(boxed(some)),
        Shape::Tuple(items) => Shape::Tuple(items.into_iter().map(with_handles).collect()),
        Shape::Record(fields) => {
            Shape::Record(fields.into_iter().map(|it| Field { shape: with_handles(it.shape), ..it }).collect())
        }
        Shape::Variant(mut cases) => {
            cases.iter_mut().for_each(|case| case.payload = case.payload.take().map(with_handles));
            Shape::Variant(cases)
        }
        Shape::Result { ok, err } => Shape::Result { ok: ok.map(boxed), err: err.map(boxed) },
        plain => plain,
    }
}

/// Every text in a value that is a handle.
fn handles(value: &mut Value, to: &mut impl FnMut(&mut String)) {
    match value {
        Value::String(text) if text.starts_with("r_") && text.len() == 34 => to(text),
        Value::Array(items) => items.iter_mut().for_each(|item| handles(item, to)),
        Value::Object(members) => members.values_mut().for_each(|member| handles(member, to)),
        _ => {}
    }
}

/// As it is but for the handles.
fn plain(mut value: Value) -> Value {
    handles(&mut value, &mut |text| *text = "a handle".into());
    value
}

/// The value with handles that stand for something, and these.
async fn made(host: &Host, mut value: Value) -> (Value, Vec<String>) {
    let mut count = 0;
    handles(&mut value, &mut |_| count += 1);
    let mut new = Vec::new();
    for _ in 0..count {
        let made = self::value(&call_in(host, "s", "guest_make", json!({})).await);
        new.push(made.as_str().unwrap().to_owned());
    }
    let mut next = new.iter();
    handles(&mut value, &mut |text| text.clone_from(next.next().unwrap()));
    (value, new)
}

async fn comes_back(host: &Host, shape: &Shape, given: Value) -> usize {
    let (given, old) = made(host, given).await;
    let parameters = host.catalog().find("guest_f").unwrap().parameters.clone();
    let argument = |field: &Field| if field.key == "x" { given.clone() } else { json!(0xee) };
    let arguments: Map<_, _> = parameters.iter().map(|field| (field.key.clone(), argument(field))).collect();
    let outcome = call_in(host, "s", "guest_f", arguments.into()).await;
    let retired = instance(&outcome).retired;
    let mut came = match (shape, outcome.result) {
        (Shape::Result { .. }, Ok(output)) => json!({"ok": output.value}),
        (Shape::Result { .. }, Err(error)) => {
            json!({"err": error.detail.unwrap_or_else(|| panic!("{}", error.message))})
        }
        (_, result) => result.unwrap_or_else(|error| panic!("{error} for {}", shape.wit())).value,
    };
    assert_eq!((plain(came.clone()), retired), (plain(given.clone()), None), "{}", shape.wit());
    let mut new = Vec::new();
    handles(&mut came, &mut |text| new.push(text.clone()));
    assert_eq!(old.iter().chain(&new).collect::<BTreeSet<_>>().len(), 2 * old.len());
    for handle in old.iter().chain(&new) {
        let gone = call_in(host, "s", "guest_r_drop", json!({"self": handle})).await;
        assert_eq!(gone.result.is_ok(), new.contains(handle), "{:?}", gone.result);
    }
    old.len()
}

#[test]
fn what_every_handle_in_every_value_of_every_random_type_stands_for_comes_back() {
    let typed =
        shapes::any_shape().prop_map(with_handles).prop_filter("it holds a handle", |shape| shape.wit().contains('r'));
    let typed = typed.prop_flat_map(|shape| {
        let values = vec(shapes::value_of(&shape), 4);
        (Just(shape), values)
    });
    let (types, count) = (Cell::new(0), Cell::new(0));
    let run = runner(150).run(&typed, |(shape, values)| {
        let flat = (guest::flat(&shape).len() <= 16).then(|| (guest::echo_flat(&shape, "utf8"), shape.clone()));
        // A single core value is not returned through memory: it gets company.
        let pair = Shape::Tuple(vec![shape.clone(), resource()]);
        let memory = (guest::echo_through_memory(&pair, "utf8"), pair);
        for (wat, of) in flat.into_iter().chain([memory]) {
            let component = common::component(&guest::with_resource(&wat));
            // Many calls of this session are to fail.
            let patient = RepeatSettings { failures: usize::MAX, ..RepeatSettings::default() };
            let host = Said::keeping(json!("session")).host(&component).with_repetition(patient);
            for value in &values {
                let other = resource_text();
                let value = if of == shape { value.clone() } else { json!([value, other]) };
                count.set(count.get() + blocking(comes_back(&host, &of, value)));
            }
        }
        types.set(types.get() + 1);
        Ok(())
    });
    run.unwrap_or_else(|error| panic!("{error}"));
    common::figure(&format!("{} types; {} handles came back", types.get(), count.get()));
    assert!(types.get() >= 100 && count.get() >= 1_000);
}

/// Some handle, in whose place another one will be put.
fn resource_text() -> String {
    format!("r_{:032x}", 1)
}
