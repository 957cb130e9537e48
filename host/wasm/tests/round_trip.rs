//! What goes into a guest comes back as it was: every type, every value, both ways of passing it.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::cell::Cell;

use common::echo::{assert_all_come_back, assert_comes_back};
use common::{blocking, shapes};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

/// The same cases every time.
fn runner(cases: u32) -> TestRunner {
    let config = Config { cases, failure_persistence: None, max_shrink_iters: 500, ..Config::default() };
    TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha))
}

#[test]
fn every_value_of_every_random_type_comes_back() {
    let typed = shapes::any_shape().prop_flat_map(|shape| {
        let values = vec(shapes::value_of(&shape), 40);
        (Just(shape), values, prop::sample::select(&["utf8", "utf16", "latin1+utf16"][..]))
    });
    let (types, memory, flat) = (Cell::new(0), Cell::new(0), Cell::new(0));
    let run = runner(300).run(&typed, |(shape, values, encoding)| {
        let counts = assert_all_come_back(&shape, &values, encoding);
        memory.set(memory.get() + counts.0);
        flat.set(flat.get() + counts.1);
        types.set(types.get() + 1);
        Ok(())
    });
    run.unwrap_or_else(|error| panic!("{error}"));
    let (types, memory, flat) = (types.get(), memory.get(), flat.get());
    common::figure(&format!("{types} types; {memory} values came back through memory, {flat} as core values"));
    assert!(types >= 200 && memory + flat >= 10_000);
}

#[test]
fn every_value_comes_back_from_each_echo_of_the_kitchen() {
    let host = common::host(&["kitchen"]);
    let kitchen = common::prebuilt("kitchen");
    let mut cases = 0;
    for function in kitchen.functions.iter().filter(|function| function.name.starts_with("echo-")) {
        // An error of the contract is read as such, and not handed on as a value.
        if function.name == "echo-result-failure" {
            continue;
        }
        let shape = &function.parameters[0].shape;
        let tool = kitchen.tool_name(function);
        let check = |value| {
            blocking(assert_comes_back(&host, &tool, shape, &value));
            cases += 1;
            Ok(())
        };
        let check = std::cell::RefCell::new(check);
        runner(100).run(&shapes::value_of(shape), |value| (check.borrow_mut())(value)).unwrap();
    }
    common::figure(&format!("{cases} values came back from the kitchen"));
    assert!(cases >= 3_000);
}
