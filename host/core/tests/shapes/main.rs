//! The laws of casting, over random types and random values of them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod arbitrary;
mod damage;

use std::sync::Arc;

use proptest::prelude::*;
use serde_json::{Value, json};
use toolpost_core::catalog::accept;
use toolpost_core::catalog::shape::Shape;
use toolpost_core::{AcceptedCall, Arguments, Call, CallError, Cast, EffectClass, Native, Tool};

const MODES: [Cast; 3] = [Cast::Strict, Cast::Safe, Cast::Lax];

/// A tool with the one parameter `value`.
fn tool(mode: Cast, shape: &Shape) -> Tool {
    let tool = Native::new("tool", "").parameter("value", shape.clone()).effect(EffectClass::Pure).cast(mode);
    tool.run(|_| async { Ok(Value::Null) })
}

fn cast(mode: Cast, shape: &Shape, arguments: impl Into<Arguments>) -> Result<AcceptedCall, CallError> {
    accept(Arc::new(tool(mode, shape)), Call::new("tool", arguments))
}

/// The value is canonical: in every mode it is accepted, and given back as it is.
fn check_canonical(shape: &Shape, arguments: &Value) -> Result<(), TestCaseError> {
    for mode in MODES {
        for given in [Arguments::Value(arguments.clone()), Arguments::Text(arguments.to_string())] {
            match cast(mode, shape, given) {
                Ok(accepted) => {
                    prop_assert_eq!(&accepted.arguments, arguments, "{:?} for {}", mode, shape.wit());
                    prop_assert!(accepted.cast.is_empty(), "{mode:?} for {}: {:?}", shape.wit(), accepted.cast);
                }
                Err(error) => prop_assert!(false, "{mode:?} for {}: {error}", shape.wit()),
            }
        }
    }
    Ok(())
}

fn config(cases: u32) -> ProptestConfig {
    ProptestConfig { cases, failure_persistence: None, ..ProptestConfig::default() }
}

proptest! {
    #![proptest_config(config(8_000))]

    #[test]
    fn a_canonical_value_is_given_back_unchanged_in_every_mode((shape, value) in arbitrary::shape_and_value()) {
        check_canonical(&shape, &json!({"value": value}))?;
    }

    #[test]
    fn each_mode_accepts_what_the_one_before_it_accepts_as_the_same_value(
        (shape, value) in arbitrary::shape_and_value(),
        seeds in prop::collection::vec(any::<u64>(), 1..4),
    ) {
        let damaged = seeds.into_iter().fold(json!({"value": value}), damage::somewhere);
        let [strict, safe, lax] = MODES.map(|mode| cast(mode, &shape, damaged.clone()));
        let name = shape.wit();
        if let Ok(strict) = &strict {
            prop_assert!(strict.cast.is_empty(), "strict changed {damaged} for {name}: {:?}", strict.cast);
            let safe = safe.as_ref().map_err(|error| TestCaseError::fail(format!("safe: {error}")))?;
            prop_assert!(safe.cast.is_empty(), "safe changed {damaged} for {name}: {:?}", safe.cast);
        }
        if let Ok(safe) = &safe {
            let lax = lax.as_ref().map_err(|error| TestCaseError::fail(format!("lax: {error}")))?;
            prop_assert_eq!(&lax.cast, &safe.cast, "{} for {}", damaged, name);
        }
        let accepted = [strict, safe, lax].into_iter().flatten().map(|accepted| accepted.arguments);
        let accepted: Vec<Value> = accepted.collect();
        for pair in accepted.windows(2) {
            prop_assert_eq!(&pair[0], &pair[1], "{} for {}", damaged, name);
        }
        // Casting is idempotent: what came out needs no cast, in any mode.
        if let Some(arguments) = accepted.first() {
            check_canonical(&shape, arguments)?;
        }
    }
}

proptest! {
    #![proptest_config(config(5_000))]

    #[test]
    fn the_schema_accepts_a_canonical_value_and_of_its_mutants_just_those_that_strict_accepts(
        (shape, value) in arbitrary::shape_and_value(),
        seeds in prop::collection::vec(any::<u64>(), 4),
    ) {
        let schema = tool(Cast::Strict, &shape).input_schema();
        let validator = jsonschema::draft202012::new(&schema).expect("a schema of its dialect");
        let arguments = json!({"value": value});
        prop_assert!(validator.is_valid(&arguments), "{arguments} against {schema}");
        for seed in seeds {
            let mutant = damage::one_scalar(arguments.clone(), seed);
            let strict = cast(Cast::Strict, &shape, mutant.clone()).map(|accepted| accepted.arguments);
            prop_assert_eq!(validator.is_valid(&mutant), strict.is_ok(), "{}: {:?} against {}", mutant, strict, schema);
        }
    }
}

#[test]
fn damage_reaches_every_mode_and_its_limits() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    // How often each mode accepts damaged values: if one of them starved, the laws above would say nothing.
    let mut runner = TestRunner::deterministic();
    let mut accepted = [0_u32; 4];
    for seed in 0..2_000_u64 {
        let (shape, value) = arbitrary::shape_and_value().new_tree(&mut runner).unwrap().current();
        let damaged = damage::somewhere(json!({"value": value}), seed.wrapping_mul(0x9E37_79B9_7F4A_7C15));
        let first = MODES.iter().position(|mode| cast(*mode, &shape, damaged.clone()).is_ok());
        accepted[first.unwrap_or(3)] += 1;
    }
    assert!(accepted.iter().all(|count| *count >= 100), "strict, safe, lax, none: {accepted:?}");
}
