//! What does it cost to count a guest's operations? A hot loop with and without fuel.

use std::sync::Arc;

use serde_json::json;
use toolpost_wasm::EngineOptions;
use wasmtime::Result;

use crate::hosted::Hosted;
use crate::measure::{Calls, Candidate, Effort, compare};
use crate::table::Table;

/// Digits of pi: some milliseconds of work.
const PRECISION: u32 = 6;

pub(crate) fn measure(table: &mut Table, quick: bool) -> Result<()> {
    let host = |fuel| Hosted::new(&EngineOptions { fuel, ..EngineOptions::default() }, &["pi"]);
    let (off, on) = (host(false)?, host(true)?);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
    let batch = |host: Arc<Hosted>| {
        let runtime = &runtime;
        move |calls| {
            runtime.block_on(async {
                for _ in 0..calls {
                    host.call("pi_leibniz", json!({"precision": PRECISION})).await?;
                }
                Ok(())
            })
        }
    };
    let candidates = vec![Candidate::new("fuel off", batch(off)), Candidate::new("fuel on", batch(on))];
    let rows = compare(candidates, Effort { rounds: if quick { 5 } else { 25 }, calls: Calls::Exactly(2) })?;
    table.group(&format!("fuel: pi `leibniz` to {PRECISION} digits, 1 thread"), &rows)
}
