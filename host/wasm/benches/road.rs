//! What does the road of a call cost beside the engine that it leads to?
//!
//! Each group compares rows with its first one, measured in the same run: a batch of each row in turn, again and again, so
//! that the machine's moods hit all rows alike. A ratio is the median, over the rounds, of one batch over the batch of the
//! first row in the same round. CPU time is that of the whole process.
//!
//! ```text
//! cargo bench -p toolpost-wasm --bench road -- [--only road|sleep|load|fuel] [--quick]
//! ```
//!
//! Timing never fails the run: at the end stands which targets were met.

// How it is measured, and shown
#[path = "road/measure.rs"]
mod measure;
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
#[path = "road/load.rs"]
mod load;
#[path = "road/sleep.rs"]
mod sleep;

use table::Table;
use wasmtime::{Result, bail};

/// What the command line asks for.
#[derive(Debug, Default)]
struct Options {
    only: Option<String>,
    quick: bool,
    /// Set by [`sleep`] for its own child: measure the memory of that side, say it, and end.
    asleep: Option<String>,
}

const GROUPS: [&str; 4] = ["road", "sleep", "load", "fuel"];

fn main() -> Result<()> {
    let options = read(std::env::args().skip(1))?;
    if let Some(side) = &options.asleep {
        return sleep::child(side);
    }
    let asked = |group: &str| options.only.as_deref().is_none_or(|only| only == group);
    let mut table = Table::begin()?;
    if asked("road") {
        calls::measure(&mut table, options.quick)?;
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

fn read(mut words: impl Iterator<Item = String>) -> Result<Options> {
    let mut options = Options::default();
    while let Some(word) = words.next() {
        match word.as_str() {
            // `cargo bench` says so itself.
            "--bench" => {}
            "--quick" => options.quick = true,
            "--only" => options.only = words.next().filter(|group| GROUPS.contains(&group.as_str())),
            "--asleep" => options.asleep = words.next(),
            _ => bail!("`{word}` is no option; there are `--only {}` and `--quick`", GROUPS.join("|")),
        }
        if word == "--only" && options.only.is_none() {
            bail!("`--only` wants one of {}", GROUPS.join(", "));
        }
    }
    Ok(options)
}
