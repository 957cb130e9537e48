//! What does it cost to count a guest's operations? A hot loop with and without fuel.

use std::sync::Arc;

use serde_json::json;
use toolpost_core::catalog::grants::Grants;
use toolpost_wasm::EngineOptions;
use wasmtime::Result;

use crate::hosted::{Hosted, guest};
use crate::measure::{Calls, Candidate, Effort, compare};
use crate::table::Table;

/// Digits of pi: some milliseconds of work.
const PRECISION: u32 = 6;

/// Adds up a page of memory, again and again: next to nothing in each turn of the loop, so that all costs show.
const SUM: &str = r#"(component
  (core module $m
    (memory 1)
    (func (export "f") (param $rounds i32) (result i32) (local $at i32) (local $sum i32)
      (loop $round
        (local.set $at (i32.const 65532))
        (loop $next
          (local.set $sum (i32.add (local.get $sum) (i32.load (local.get $at))))
          (br_if $next (local.tee $at (i32.sub (local.get $at) (i32.const 4)))))
        (br_if $round (local.tee $rounds (i32.sub (local.get $rounds) (i32.const 1)))))
      (local.get $sum)))
  (core instance $i (instantiate $m))
  (func (export "sum") (param "rounds" u32) (result u32) (canon lift (core func $i "f"))))"#;

/// Rounds over the page: some milliseconds of work.
const ROUNDS: u32 = 1_000;

pub(crate) fn measure(table: &mut Table, quick: bool) -> Result<()> {
    let loops = [
        (format!("pi `leibniz` to {PRECISION} digits"), guest("pi")?, "it_leibniz", json!({"precision": PRECISION})),
        ("a tight loop over memory".into(), wat::parse_str(SUM)?, "it_sum", json!({"rounds": ROUNDS})),
    ];
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    for (title, bytes, tool, arguments) in loops {
        let host = |fuel| {
            let options = EngineOptions { fuel, ..EngineOptions::default() };
            Hosted::of(&options, &[("it", bytes.clone())], &Grants::default())
        };
        let (off, on) = (host(false)?, host(true)?);
        let batch = |host: Arc<Hosted>| {
            let (runtime, arguments) = (&runtime, &arguments);
            move |calls| {
                runtime.block_on(async {
                    for _ in 0..calls {
                        host.call(tool, arguments.clone()).await?;
                    }
                    Ok(())
                })
            }
        };
        let candidates = vec![Candidate::new("fuel off", batch(off)), Candidate::new("fuel on", batch(on))];
        let rows = compare(candidates, Effort { rounds: if quick { 5 } else { 25 }, calls: Calls::Exactly(2) })?;
        table.group(&format!("fuel: {title}, 1 thread"), &rows)?;
    }
    Ok(())
}
