//! What does it cost that keys are on the disk? A call with a key is two commits, each of them durable: the claim, before the
//! tool runs, and the answer, before it is told. What commits at the same time shares a write of the disk.

use std::fs::File;
use std::io::Write as _;

use crate::Result;
use crate::callers::{Times, at_once};
use crate::hosts::{Hosted, Road};
use crate::measure::{Calls, Candidate, Effort, compare};
use crate::table::Table;

pub(crate) fn measure(table: &mut Table, quick: bool) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    for (callers, calls) in [(1, 100), (64, 2_000), (1_000, 5_000)] {
        // On the disk of the build, and not where a system keeps its temporary files in memory.
        let folder = tempfile::tempdir_in(env!("CARGO_TARGET_TMPDIR"))?;
        let (kept, forgotten) = (Times::default(), Times::default());
        let file = File::create(folder.path().join("probe"))?;
        let candidates = vec![
            synced(file),
            at_once("(b) SQLite", &runtime, runtime.block_on(Hosted::kept_in(folder.path()))?, callers, kept.clone()),
            at_once(
                "(c) in memory",
                &runtime,
                runtime.block_on(Hosted::on(Road::Changing))?,
                callers,
                forgotten.clone(),
            ),
        ];
        let effort = Effort { rounds: if quick { 2 } else { 5 }, calls: Calls::Exactly(calls) };
        let mut rows = compare(candidates, effort)?;
        for (row, times) in rows.iter_mut().skip(1).zip([&kept, &forgotten]) {
            row.note = times.words();
        }
        table.group(&format!("ledger: every policy, callers at once: {callers}; 2 threads"), &rows)?;
    }
    Ok(())
}

/// What the disk itself takes.
fn synced(mut file: File) -> Candidate<'static> {
    Candidate::new("(a) one block of 4 KiB, written and synced", move |calls| {
        for _ in 0..calls {
            file.write_all(&[1; 4096])?;
            file.sync_data()?;
        }
        Ok(())
    })
}
