//! What does it cost a tool to reach the world through the host, beside what reaches it without one?
//!
//! Measured as `road.rs` does: rows in turn, ratios within a round.
//!
//! - `fetch`: one request after the other to a service in this process, over HTTP/1.1 on loopback. Both sides are clients of
//!   the same service, on the same runtime of two threads, and each keeps its connection. One is the client of `hyper-util`.
//!   The other is a whole call of the tool `fetch`: its arguments are checked, an instance is made and dropped, the request is
//!   judged and passes the gate, the guest reads the answer, and the answer becomes JSON. Or an instance that is warm serves it.
//! - `files`: the guest `disk` writes and reads by plain `std::fs`; on one side through the host's own files with a grant to
//!   write, on the other through those of `wasmtime-wasi`. It is one call either way, so the instance does not count.
//!
//! ```text
//! just bench [--only fetch|files] [--quick]
//! ```
//!
//! Timing never fails the run: at the end stands which targets were met.

// How it is measured, and shown
#[path = "road/measure.rs"]
mod measure;
#[path = "road/options.rs"]
mod options;
#[path = "road/table.rs"]
mod table;

// What is measured
#[path = "road/hosted.rs"]
#[expect(dead_code, reason = "the other benchmark uses the rest")]
mod hosted;
#[path = "road/raw.rs"]
#[expect(dead_code, reason = "the other benchmark uses the rest")]
mod raw;

// The groups
#[path = "capabilities/fetch.rs"]
mod fetch;
#[path = "capabilities/files.rs"]
mod files;

use options::Options;
use table::Table;
use wasmtime::Result;

fn main() -> Result<()> {
    let options = Options::read()?;
    let asked = |group| options.asks_for(group);
    if !["fetch", "files"].into_iter().any(asked) {
        return Ok(());
    }
    let mut table = Table::begin()?;
    if asked("fetch") {
        fetch::measure(&mut table, options.quick)?;
    }
    if asked("files") {
        files::measure(&mut table, options.quick)?;
    }
    table.end()
}
