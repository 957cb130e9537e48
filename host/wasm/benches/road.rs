//! What does the road of a call cost beside the engine that it leads to?
//!
//! Each group compares rows with its first one, measured in the same run: a batch of each row in turn, again and again, so
//! that the machine's moods hit all rows alike. A ratio is the median, over the rounds, of one batch over the batch of the
//! first row in the same round. CPU time is that of the whole process.
//!
//! ```text
//! just bench [--only road|lifetimes|sleep|load|fuel] [--quick]
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
mod hosted;
#[path = "road/raw.rs"]
mod raw;

// The groups
#[path = "road/calls.rs"]
mod calls;
#[path = "road/fuel.rs"]
mod fuel;
#[path = "road/lifetimes.rs"]
mod lifetimes;
#[path = "road/load.rs"]
mod load;
#[path = "road/sleep.rs"]
mod sleep;

use options::Options;
use table::Table;
use wasmtime::Result;

fn main() -> Result<()> {
    let options = Options::read()?;
    if let Some(side) = &options.asleep {
        return sleep::child(side);
    }
    let asked = |group| options.asks_for(group);
    if !["road", "lifetimes", "sleep", "load", "fuel"].into_iter().any(asked) {
        return Ok(());
    }
    let mut table = Table::begin()?;
    if asked("road") {
        calls::measure(&mut table, options.quick)?;
    }
    if asked("lifetimes") {
        lifetimes::measure(&mut table, options.quick)?;
    }
    if asked("sleep") {
        sleep::measure(&mut table, options.quick)?;
    }
    if asked("load") {
        load::measure(&mut table, options.quick)?;
    }
    if asked("fuel") {
        fuel::measure(&mut table, options.quick)?;
    }
    table.end()
}
