//! The committed components are those that their sources say.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use toolpost_tests::{prebuilt, root, sources_hash};

fn is_built_from_its_sources(guest: &str) {
    let written = std::fs::read_to_string(root().join(format!("guest-examples/prebuilt/{guest}.sources")));
    let written = written.expect("the hash of the sources stands beside the component");
    assert_eq!(written.trim(), sources_hash(guest), "`{guest}` is older than its sources: run `just guests {guest}`");
    assert!(std::fs::metadata(prebuilt(guest)).expect("the component is there").len() < 200_000, "`{guest}` is small");
}

#[test]
fn text_is_built_from_its_sources() {
    is_built_from_its_sources("text");
}

#[test]
fn pi_is_built_from_its_sources() {
    is_built_from_its_sources("pi");
}

#[test]
fn divide_is_built_from_its_sources() {
    is_built_from_its_sources("divide");
}

#[test]
fn kitchen_is_built_from_its_sources() {
    is_built_from_its_sources("kitchen");
}

#[test]
fn hostile_is_built_from_its_sources() {
    is_built_from_its_sources("hostile");
}

#[test]
fn nap_is_built_from_its_sources() {
    is_built_from_its_sources("nap");
}
