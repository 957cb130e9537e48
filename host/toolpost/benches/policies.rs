//! What do the policies around a call cost beside the bare road?
//!
//! Measured as `host/wasm/benches/road.rs` does: rows in turn, ratios and differences within a round.
//!
//! ```text
//! just bench [--only policies|callers|ledger|overload] [--quick]
//! ```
//!
//! Timing never fails the run: at the end stands which targets were met.

// How it is measured, and shown
#[path = "../../wasm/benches/road/measure.rs"]
mod measure;
#[path = "../../wasm/benches/road/options.rs"]
mod options;
#[path = "../../wasm/benches/road/table.rs"]
mod table;

// What is measured
#[path = "policies/hosts.rs"]
mod hosts;

// The groups
#[path = "policies/callers.rs"]
mod callers;
#[path = "policies/cost.rs"]
mod cost;
#[path = "policies/ledger.rs"]
mod ledger;
#[path = "policies/overload.rs"]
mod overload;

use options::Options;
use table::Table;

type Error = Box<dyn std::error::Error + Send + Sync>;
type Result<T, E = Error> = std::result::Result<T, E>;

fn main() -> Result<()> {
    let options = Options::read()?;
    let asked = |group| options.asks_for(group);
    if !["policies", "callers", "ledger", "overload"].into_iter().any(asked) {
        return Ok(());
    }
    let mut table = Table::begin()?;
    if asked("policies") {
        cost::measure(&mut table, options.quick)?;
    }
    if asked("callers") {
        callers::measure(&mut table, options.quick)?;
    }
    if asked("ledger") {
        ledger::measure(&mut table, options.quick)?;
    }
    if asked("overload") {
        overload::measure(&mut table, options.quick)?;
    }
    table.end()
}
