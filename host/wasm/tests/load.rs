//! A file becomes tools, or an error that says why it does not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::path::Path;
use std::sync::Arc;

use common::door;
use common::{blocking, call, component, engine, load, prebuilt, prebuilt_file};
use serde_json::json;
use toolpost_core::catalog::grants::Grants;
use toolpost_core::catalog::settings::{LimitSettings, ToolSettings};
use toolpost_core::catalog::{Origin, shape::Shape};
use toolpost_core::{EffectClass, Tool};
use toolpost_wasm::{COMPONENT_BYTES_MAX, Component, Power};

fn tools(component: &Component) -> Vec<Tool> {
    let settings = ToolSettings::default();
    let tool = |function| component.tool(function, &common::strict(), &settings).unwrap();
    component.functions.iter().map(tool).collect()
}

/// The message with which a component does not load.
fn refused(wat: &str) -> String {
    load(engine(), wat).expect_err("it is to be refused").message
}

/// `f: func(a: u32) -> u32`, which gives back what it takes; `sections` stand beside it, `inside` in its core module.
fn echo(sections: &str, inside: &str) -> String {
    format!(
        r#"(component {sections}
      (core module $m {inside} (func (export "f") (param i32) (result i32) (local.get 0)))
      (core instance $i (instantiate $m))
      (func $f (param "a" u32) (result u32) (canon lift (core func $i "f")))
      (export "f" (func $f)))"#
    )
}

const WORDS: &str =
    "package a:b; world w { /// Hands it back.\\nexport f: func(/// What to hand back.\\na: u32) -> u32; }";

fn words(other: &str) -> String {
    WORDS.replace("Hands", other)
}

fn section(text: &str) -> String {
    format!(r#"(@custom "toolpost:wit" "{text}")"#)
}

#[test]
fn every_exported_function_is_a_tool_with_its_authors_words() {
    let text = prebuilt("text");
    let tools = tools(&text);
    let names: Vec<_> = tools.iter().map(|tool| (&*tool.name, &*tool.description)).collect();
    assert_eq!(
        names,
        [
            ("text_word_count", "Counts the words, lines and characters of a text."),
            ("text_echo", "Returns the text unchanged. Useful to see whether tools can be reached at all."),
            ("text_replace", "Replaces every match of a regular expression in a text and returns the new text."),
        ]
    );
    let Some(Shape::Record(counts)) = &tools[0].result else { panic!("{:?}", tools[0].result) };
    assert_eq!(counts[0].docs.as_deref(), Some("Runs of characters between white space."));
    assert_eq!(tools[2].result, Some(Shape::String), "an `err` is no result");
    assert!(text.refused.is_empty() && text.warnings.is_empty());
}

#[test]
fn words_are_found_in_the_component_and_in_core_modules_however_deep() {
    let cases = [
        ("in the component", echo(&section(WORDS), "")),
        ("in its core module", echo("", &section(WORDS))),
        ("in a module of a nested component", echo(&format!("(component (core module {}))", section(WORDS)), "")),
        ("behind another text", echo("", &section(&format!("package x:y; world z {{ }}\\00{WORDS}\\00")))),
    ];
    for (place, wat) in cases {
        let guest = component(&wat);
        let function = &guest.functions[0];
        assert_eq!(function.docs.as_deref(), Some("Hands it back."), "{place}");
        assert_eq!(guest.warnings, [] as [&str; 0], "{place}");
    }
}

#[test]
fn a_text_beside_the_component_serves_where_there_is_none_inside() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("it.wit"), words("Beside:").replace("\\n", "\n")).unwrap();
    for (wat, wanted) in
        [(echo("", ""), "Beside: it back."), (echo(&section(&words("Inside:")), ""), "Inside: it back.")]
    {
        let file = dir.path().join("it.wasm");
        std::fs::write(&file, wat::parse_str(&wat).unwrap()).unwrap();
        let guest = engine().load_file("it", &file).unwrap();
        assert_eq!(guest.functions[0].docs.as_deref(), Some(wanted));
    }
}

#[test]
fn words_that_are_no_wit_are_a_warning_and_the_tool_serves() {
    let deep = format!("package a:b; world w {{ export f: func(a: {}u8{}); }}", "list<".repeat(200), ">".repeat(200));
    for (text, warning) in
        [("world {", "a WIT text cannot be read: "), (&deep, "a WIT text nests types deeper than 100")]
    {
        let guest = component(&echo(&section(text), ""));
        assert_eq!((guest.functions.len(), guest.functions[0].docs.as_ref()), (1, None));
        assert_eq!(guest.warnings.len(), 1);
        assert!(guest.warnings[0].starts_with(warning), "{:?}", guest.warnings);
    }
    // Bytes that are no text at all say nothing.
    let guest = component(&echo(&section("\\ff\\fe"), ""));
    assert_eq!((guest.functions[0].docs.as_ref(), guest.warnings.len()), (None, 0));
}

#[test]
fn words_of_something_else_are_left_out() {
    let other = "package a:b; world w { /// Of g.\\nexport g: func(); } interface i { /// Of f.\\nf: func(a: u32); }";
    let guest = component(&echo(&section(other), ""));
    assert_eq!(guest.functions[0].docs, None);
    // The types are the component's own, whatever the text says.
    let lie = "package a:b; world w { /// Of f.\\nexport f: func(b: string) -> string; }";
    let guest = component(&echo(&section(lie), ""));
    assert_eq!(guest.functions[0].docs.as_deref(), Some("Of f."));
    assert_eq!(
        (&*guest.functions[0].parameters[0].name, &guest.functions[0].result.as_ref().unwrap().wit()[..]),
        ("a", "u32")
    );
}

#[test]
fn functions_of_an_interface_are_tools_too() {
    let text = "package test:it@1.2.0; interface api { /// Doubles.\\ndouble: func(a: u32) -> u32; }";
    let wat = format!(
        r#"(component {}
      (core module $m
        (func (export "d") (param i32) (result i32) (i32.mul (local.get 0) (i32.const 2)))
        (func (export "t") (param i32) (result i32) (i32.mul (local.get 0) (i32.const 3))))
      (core instance $i (instantiate $m))
      (func $d (param "a" u32) (result u32) (canon lift (core func $i "d")))
      (func $t (param "a" u32) (result u32) (canon lift (core func $i "t")))
      (instance $api (export "double" (func $d)))
      (export "test:it/api@1.2.0" (instance $api))
      (export "triple" (func $t)))"#,
        section(text)
    );
    let guest = component(&wat);
    let seen: Vec<_> = guest.functions.iter().map(|function| (function.path(), function.docs.as_deref())).collect();
    assert_eq!(seen, [("test:it/api@1.2.0#double".to_owned(), Some("Doubles.")), ("triple".to_owned(), None)]);
    let host = common::host_of([&guest], &LimitSettings::default());
    for (tool, wanted) in [("guest_double", 14), ("guest_triple", 21)] {
        assert_eq!(blocking(call(&host, tool, json!({"a": 7}))).result.unwrap().value, json!(wanted));
    }
    let origin = Origin::Component {
        component: "guest".into(),
        digest: guest.digest.clone(),
        function: "test:it/api@1.2.0#double".into(),
    };
    assert_eq!(tools(&guest)[0].origin, origin);
}

const HANDLES: &str = "it takes or gives handles to a `thing`, which live in a session: `lifetime = \"session\"` of its component \
                       would keep them there";

#[test]
fn what_json_cannot_carry_is_refused_by_name_and_the_rest_serves() {
    let wat = r#"(component
      (core module $m
        (func (export "f") (result i32) (i32.const 7))
        (func (export "g") (param i32)))
      (core instance $i (instantiate $m))
      (type $thing' (resource (rep i32)))
      (export $thing "thing" (type $thing'))
      (func $f (result u32) (canon lift (core func $i "f")))
      (func $make (result (own $thing)) (canon lift (core func $i "f")))
      (func $take (param "it" (borrow $thing)) (canon lift (core func $i "g")))
      (func $twice (param "some-name" u32) (param "some-Name" u32) (canon lift (core func $i "h")))
      (export "f" (func $f))
      (export "make" (func $make))
      (export "[constructor]thing" (func $make))
      (export "take" (func $take)))"#
        .replace(
            "(func $twice (param \"some-name\" u32) (param \"some-Name\" u32) (canon lift (core func $i \"h\")))",
            "",
        );
    let guest = component(&wat);
    let refused: Vec<_> = guest.refused.iter().map(|it| (&*it.function, &*it.reason)).collect();
    assert_eq!(refused, [("make", HANDLES), ("thing.new", HANDLES), ("take", HANDLES),]);
    let tools = tools(&guest);
    assert_eq!(tools.iter().map(|tool| &*tool.name).collect::<Vec<_>>(), ["guest_f"]);
    let mut catalog = toolpost_core::Catalog::default();
    tools.into_iter().for_each(|tool| catalog.add(tool).unwrap());
    let outcome = blocking(call(&toolpost_core::Host::new(catalog), "guest_f", json!({})));
    assert_eq!(outcome.result.unwrap().value, json!(7));
}

#[test]
fn the_effect_of_a_component_follows_from_what_it_imports() {
    let import = |name: &str| component(&format!(r#"(component (import "{name}" (instance)))"#));
    let cases = [
        ("wasi:cli/environment@0.2.6", Power::Environment),
        ("wasi:clocks/wall-clock@0.2.0", Power::Clocks),
        ("wasi:random/random@0.2.3", Power::Random),
        ("wasi:filesystem/types@0.2.6", Power::Files),
        ("wasi:sockets/tcp@0.2.6", Power::Sockets),
        ("wasi:http/types@0.2.6", Power::Http),
        ("wasi:cli/stdout@0.2.6", Power::Stdio),
        ("toolpost:tool/log@0.1.0", Power::Plumbing),
    ];
    for (name, power) in cases {
        let guest = import(name);
        let seen: Vec<_> = guest.imports.iter().map(|import| (&*import.name, import.power)).collect();
        assert_eq!(seen, [(name, power)]);
        assert_eq!(guest.effect(&Grants::default()), EffectClass::Pure, "{name}: nothing is granted");
    }
    assert_eq!(component("(component)").effect(&Grants::default()), EffectClass::Pure);
}

#[test]
fn what_an_embedder_links_makes_a_tool_open_unless_an_operator_says_otherwise() {
    let engine = door::engine(&Arc::default());
    let guest = load(&engine, door::GUEST).unwrap();
    let seen: Vec<_> = guest.imports.iter().map(|import| (&*import.name, import.power)).collect();
    assert_eq!((guest.effect(&Grants::default()), seen), (EffectClass::Open, vec![("test:host/door", Power::Other)]));
    for (said, wanted) in [(None, EffectClass::Open), (Some(EffectClass::Reads), EffectClass::Reads)] {
        let settings = ToolSettings { effect: said, ..ToolSettings::default() };
        let tool = guest.tool(&guest.functions[0], &common::strict(), &settings).unwrap();
        assert_eq!(tool.effect, wanted);
    }
    // An engine without the link does not know the interface.
    assert_eq!(refused(door::GUEST), "it imports `test:host/door`, which this host does not offer");
}

#[test]
fn an_import_that_the_host_does_not_offer_is_refused_by_name() {
    let function = r#"(instance (export "f" (func)))"#;
    let import = |name: &str| format!(r#"(import "{name}" {function})"#);
    assert_eq!(
        refused(&format!("(component {})", import("acme:sql/db@1.0.0"))),
        "it imports `acme:sql/db@1.0.0`, which this host does not offer"
    );
    let both = format!("(component {} {})", import("acme:sql/db"), import("acme:mail/send"));
    assert_eq!(refused(&both), "it imports `acme:mail/send`, `acme:sql/db`, which this host does not offer");
    // What is offered is not named beside what is not.
    let engine = door::engine(&Arc::default());
    let wat =
        format!(r#"(component (import "test:host/door" (instance (export "act" (func)))) {})"#, import("acme:sql/db"));
    assert_eq!(load(&engine, &wat).unwrap_err().message, "it imports `acme:sql/db`, which this host does not offer");
    // An interface that is offered, without a function that is wanted of it.
    let wat = r#"(component (import "test:host/door" (instance (export "knock" (func)))))"#;
    let message = load(&engine, wat).unwrap_err().message;
    assert!(message.starts_with("it asks for an interface in a form that this host does not offer: "), "{message}");
    assert!(message.contains("`test:host/door`") && message.contains("`knock`"), "{message}");
}

#[test]
fn an_interface_of_another_version_is_refused_by_name() {
    for name in ["wasi:cli/environment@0.9.0", "toolpost:tool/context@2.0.0"] {
        let message = refused(&format!(r#"(component (import "{name}" (instance (export "call-id" (func)))))"#));
        assert!(message.contains(&format!("`{name}`")), "{message}");
    }
}

#[test]
fn what_is_no_component_is_refused_with_what_it_is() {
    let refused = |bytes: &[u8]| engine().load("it", bytes, None).unwrap_err().message;
    assert_eq!(refused(b""), "it is empty");
    for garbage in [&b"garbage"[..], b"\0", b"\0asm", b"\x7fELF\x02\x01\x01\0", &[0xff; 1_000]] {
        assert_eq!(refused(garbage), "it is no WebAssembly component", "{garbage:?}");
    }
    let core = wat::parse_str("(module (func (export \"f\")))").unwrap();
    assert!(refused(&core).starts_with("it is a core module, not a component; build it for `wasm32-wasip2`"));
    let component = wat::parse_str(echo("", "")).unwrap();
    let compiled = engine().wasmtime().precompile_component(&component).unwrap();
    assert!(refused(&compiled).starts_with("it is compiled code, which is never taken from others"));
    let invalid = refused(&[&component[..], b"\xff"].concat());
    assert!(invalid.starts_with("it is no valid component: "), "{invalid}");
}

#[test]
fn a_component_that_was_cut_off_anywhere_is_refused_and_harms_nothing() {
    let whole = wat::parse_str(echo(&section(WORDS), "")).unwrap();
    let mut loaded = 0;
    for length in 1..whole.len() {
        match engine().load("it", &whole[..length], None) {
            Err(error) => assert!(error.message.starts_with("it is no "), "{length}: {error}"),
            // A component may end behind any of its sections.
            Ok(_) => loaded += 1,
        }
    }
    assert!(loaded < 12, "{loaded} of {}", whole.len());
    let text = std::fs::read(prebuilt_file("text")).unwrap();
    let error = engine().load("it", &text[..text.len() / 2], None).unwrap_err();
    assert!(error.message.starts_with("it is no valid component: "), "{error}");
}

#[test]
fn a_component_with_any_byte_damaged_is_loaded_or_refused_but_never_a_panic() {
    let whole = wat::parse_str(echo(&section(WORDS), "(memory 1)")).unwrap();
    let mut refused = 0;
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x15;
        refused += usize::from(engine().load("it", &damaged, None).is_err());
    }
    assert!(refused > whole.len() / 4, "{refused} of {}", whole.len());
}

#[test]
fn a_file_that_cannot_be_used_is_named_with_the_reason() {
    let dir = tempfile::tempdir().unwrap();
    let refused = |name: &str, length: u64| {
        let file = dir.path().join(name);
        std::fs::File::create(&file).unwrap().set_len(length).unwrap();
        let message = engine().load_file("it", &file).unwrap_err().message;
        let shown = format!("`{}` ", file.display());
        message.strip_prefix(&shown).unwrap_or_else(|| panic!("{message}")).to_owned()
    };
    assert_eq!(refused("empty.wasm", 0), "cannot be used: it is empty");
    assert_eq!(refused("zeros.wasm", 100), "cannot be used: it is no WebAssembly component");
    // Sparse: it has that length without taking the room.
    let large = COMPONENT_BYTES_MAX + 1;
    assert_eq!(
        refused("large.wasm", large),
        format!("cannot be read: it is longer than the {COMPONENT_BYTES_MAX} bytes that are read")
    );
    let endless = engine().load_file("it", Path::new("/dev/zero")).unwrap_err();
    assert_eq!(endless.message, "`/dev/zero` cannot be read: it is no file");
    for absent in [dir.path().join("absent.wasm"), dir.path().to_owned()] {
        let message = engine().load_file("it", &absent).unwrap_err().message;
        assert!(message.starts_with(&format!("`{}` cannot be read: ", absent.display())), "{message}");
    }
}

#[test]
fn the_digest_is_the_hash_of_the_bytes_and_nothing_else() {
    use sha2::{Digest, Sha256};
    let bytes = wat::parse_str(echo("", "")).unwrap();
    let (one, two) = (engine().load("one", &bytes, None).unwrap(), engine().load("two", &bytes, Some(WORDS)).unwrap());
    let hash: String = Sha256::digest(&bytes).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!((&one.digest, &two.digest), (&format!("sha256:{hash}"), &one.digest));
    assert_eq!(one.bytes, bytes.len() as u64);
    assert_ne!(component(&echo("(@custom \"x\" \"y\")", "")).digest, one.digest);
}
