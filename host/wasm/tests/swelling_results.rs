//! Values take much more room as JSON than in the guest's memory. What the host holds is bounded by the limit all the same.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use common::{blocking, guest};
use serde_json::json;
use toolpost_core::ErrorKind;
use toolpost_core::catalog::settings::{Bytes, LimitSettings};

const LIMIT_KIB: usize = 512;

/// What the host may hold for each byte of the limit, at most. A `serde_json::Value` alone is 72 bytes.
const FACTOR_MAX: usize = 12;

/// Types whose values are much larger as JSON than in the guest's memory.
fn swelling_types() -> Vec<(&'static str, String, String)> {
    let declared = |definition: &str| format!("(type $x0 {definition}) (export $x \"x\" (type $x0))");
    let long = "n".repeat(10_000);
    let tuples = (0..90).fold("u8".to_owned(), |ty, _| format!("(tuple {ty})"));
    let fields: String = (0..32).map(|at| format!(" \"{}{at}\"", "f".repeat(100))).collect();
    vec![
        ("truths", String::new(), "(list bool)".into()),
        ("empty texts", String::new(), "(list string)".into()),
        ("empty lists", String::new(), "(list (list u32))".into()),
        ("tuples in tuples", String::new(), format!("(list {tuples})")),
        ("records of one field", declared("(record (field \"a\" bool))"), "(list $x)".into()),
        ("a long field name", declared(&format!("(record (field \"{long}\" u8))")), "(list $x)".into()),
        ("a long enum name", declared(&format!("(enum \"{long}\")")), "(list $x)".into()),
        ("a long case name", declared(&format!("(variant (case \"{long}\" u8))")), "(list $x)".into()),
        ("flags with long names", declared(&format!("(flags{fields})")), "(list $x)".into()),
        ("options in options", String::new(), "(list (option (option (option bool))))".into()),
        ("results", String::new(), "(list (result (result (result))))".into()),
    ]
}

#[test]
fn a_result_that_swells_as_json_is_cut_off_by_the_result_limit() {
    let limits = LimitSettings { result: Some(Bytes((LIMIT_KIB as u64) << 10)), ..LimitSettings::default() };
    let mut worst = 0;
    for (what, types, ty) in swelling_types() {
        // As many items as can be: a byte each that is all flags, or true, or some.
        for count in [40, 600, 2_000, 5_000, 8_000, 10_000, 15_000, 20_000, 30_000, LIMIT_KIB * 128 - 1] {
            let core = format!(
                r#"{}
                (func (export "f") (result i32)
                  (drop (memory.grow (i32.const 16)))
                  (memory.fill (i32.const 4096) (i32.const {}) (i32.const 0x100000))
                  (i32.store offset=256 (i32.const 0) (i32.const 4096))
                  (i32.store offset=260 (i32.const 0) (i32.const {count}))
                  (i32.const 256))"#,
                guest::REALLOC,
                if what.starts_with("flags") { -1 } else { i32::from(what.starts_with("options")) }
            );
            let guest = common::component(&guest::component(&types, &format!("(result {ty})"), &core));
            let host = common::host_of([&guest], &limits);
            let (outcome, grown) = peak_growth(|| blocking(common::call(&host, "guest_f", json!({}))));
            if let Err(error) = &outcome.result {
                assert_eq!(error.kind, ErrorKind::OutputTooLarge, "{what}: {error}");
                assert!(error.message.contains("512.0 KiB"), "{error}");
            }
            worst = worst.max(grown);
        }
    }
    common::figure(&format!("worst: {worst} KiB for a limit of {LIMIT_KIB} KiB"));
    assert!(worst < LIMIT_KIB * FACTOR_MAX, "{worst} KiB");
}

/// What the host allocates, now and at most. The memory of guests is not among it.
struct Counting;

static HELD: AtomicUsize = AtomicUsize::new(0);
static PEAK: AtomicUsize = AtomicUsize::new(0);

// SAFETY: passes everything on to the system's allocator, and only counts.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let held = HELD.fetch_add(layout.size(), Ordering::Relaxed) + layout.size();
        PEAK.fetch_max(held, Ordering::Relaxed);
        // SAFETY: the caller's promise is that of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        HELD.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// What the host held at most while it ran, beyond what it held before, in KiB.
fn peak_growth<T>(run: impl FnOnce() -> T) -> (T, usize) {
    let before = HELD.load(Ordering::Relaxed);
    PEAK.store(before, Ordering::Relaxed);
    let value = run();
    (value, PEAK.load(Ordering::Relaxed).saturating_sub(before) >> 10)
}
