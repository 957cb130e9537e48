//! What do all policies together add to the CPU time of a call?

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Runtime;

use crate::Result;
use crate::hosts::{Hosted, Road};
use crate::measure::{Calls, Candidate, Effort, compare};
use crate::table::Table;

/// What they may add, in microseconds.
const MICROSECONDS_MAX: f64 = 10.0;

pub(crate) fn measure(table: &mut Table, quick: bool) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let roads = [
        ("(a) the bare road", Road::Bare),
        ("(b) access, rules, repetition, budgets, rates, breaker, retry", Road::Guarded),
        ("(c) and events, metrics", Road::Told),
        ("(d) and a ledger in memory: every policy", Road::Keyed),
        ("(e) the same, of a tool that may change something", Road::Changing),
    ];
    let mut candidates = Vec::new();
    for (name, road) in roads {
        let hosted = runtime.block_on(Hosted::on(road))?;
        candidates.push(one_after_the_other(name, &runtime, hosted));
    }
    let effort = Effort { rounds: if quick { 20 } else { 100 }, calls: Calls::For(Duration::from_millis(20)) };
    let rows = compare(candidates, effort)?;
    table.group("policies: text `word-count` of 100 bytes, 1 thread", &rows)?;
    if let (Some(bare), Some(all)) = (rows.first(), rows.get(3)) {
        table.target("(d)-(a), CPU of a call", MICROSECONDS_MAX, all.cpu - bare.cpu, " us");
    }
    Ok(())
}

pub(crate) fn one_after_the_other<'a>(name: &str, runtime: &'a Runtime, hosted: Arc<Hosted>) -> Candidate<'a> {
    Candidate::new(name, move |calls| {
        runtime.block_on(async {
            for _ in 0..calls {
                black_box(hosted.call().await?);
            }
            Ok(())
        })
    })
}
