//! `toolpost log`: the calls that were made, one to a line, and those that end while it looks.

use std::time::{Duration, SystemTime};

use clap::Args;
use serde_json::json;
use toolpost::Store;
use toolpost::store::log::{Filter, Logged};

use crate::args::ConfigArgs;
use crate::exit::{Exit, Stop};
use crate::print::{self, DIM};

/// How often it is looked for new calls.
const LOOK_EVERY: Duration = Duration::from_millis(250);

/// Calls that are printed at once while it follows.
const FOLLOWED_MAX: u32 = 1_000;

/// As much of an id as tells one call from the others, and how those begin that a host has given.
const ID_SHOWN: usize = 8;
const ID_BEGIN: &str = "call_";

#[derive(Debug, Args)]
pub(crate) struct LogArgs {
    /// Go on with the calls that end from now on
    #[arg(short, long)]
    follow: bool,
    /// Only calls of these tools; `*` stands for any characters
    #[arg(long, value_name = "GLOB")]
    tool: Option<String>,
    /// Only calls that failed
    #[arg(long)]
    failed: bool,
    /// The most calls, the latest ones
    #[arg(short = 'n', long, value_name = "N", default_value_t = 20)]
    limit: u32,
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON; with --follow, an object on each line
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) async fn run(args: LogArgs) -> Result<Exit, Stop> {
    let store = args.config.store()?;
    let filter = Filter { tool: args.tool.clone(), failed: args.failed, limit: args.limit };
    let has_log = store.has_log();
    // The place is read first: a call that ends in between is printed twice rather than not at all.
    let last = if has_log { store.last_written().await? } else { 0 };
    let calls = if has_log { store.calls(&filter).await? } else { Vec::new() };
    if args.follow {
        let columns = Columns::new();
        let go_on = columns.head(args.json)? && columns.print(&calls, args.json)?;
        return if go_on { follow(&store, &filter, last, &columns, args.json).await } else { Ok(Exit::Ok) };
    }
    if args.json {
        print::json(&json!({"ok": true, "calls": calls}))?;
        return Ok(Exit::Ok);
    }
    if calls.is_empty() {
        print::note(format!("{DIM}no such calls in {}{DIM:#}", store.dir().display()));
        return Ok(Exit::Ok);
    }
    let rows: Vec<[String; 9]> = calls.iter().map(cells).collect();
    // Who calls, and what was done, is said where there is anything to say.
    let says = |at: usize| rows.iter().any(|row| row.get(at).is_some_and(|cell| !cell.is_empty() && cell != "0"));
    let columns: Vec<usize> = (0..HEAD.len()).filter(|at| ![CALLER, EFFECTS].contains(at) || says(*at)).collect();
    let of =
        |row: &[&str]| columns.iter().filter_map(|at| row.get(*at).map(|&cell| cell.to_owned())).collect::<Vec<_>>();
    let head = of(&HEAD);
    let mut table = print::table(&head.iter().map(String::as_str).collect::<Vec<_>>());
    for row in &rows {
        table.add_row(of(&row.each_ref().map(String::as_str)));
    }
    print::out(print::rows(&table))?;
    let lost = store.calls_lost().await?;
    if lost > 0 {
        print::note(format!("{DIM}{lost} more calls came faster than they could be written{DIM:#}"));
    }
    Ok(Exit::Ok)
}

/// Prints what ends, until nobody reads any more.
async fn follow(store: &Store, filter: &Filter, mut last: i64, columns: &Columns, as_json: bool) -> Result<Exit, Stop> {
    let filter = Filter { limit: FOLLOWED_MAX, ..filter.clone() };
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        if !store.has_log() {
            continue;
        }
        let calls = store.calls_since(last, &filter).await?;
        last = calls.last().map_or(last, |call| call.written);
        if !columns.print(&calls, as_json)? {
            return Ok(Exit::Ok);
        }
    }
}

const HEAD: [&str; 9] = ["UTC", "call", "tool", "caller", "outcome", "took", "attempts", "fuel", "effects"];
const CALLER: usize = 3;
const EFFECTS: usize = 8;

fn cells(call: &Logged) -> [String; 9] {
    [
        clock(call.started),
        short(&call.call),
        print::words(&call.tool),
        print::words(&call.caller),
        call.outcome.clone().unwrap_or_else(|| "no end".into()),
        took(call.time),
        call.attempts.to_string(),
        call.fuel.to_string(),
        call.effects.to_string(),
    ]
}

/// Columns of a fixed width, for lines that come one by one.
struct Columns([usize; 9]);

impl Columns {
    fn new() -> Self {
        Columns([11, ID_SHOWN, 28, 12, 18, 10, 8, 12, 7])
    }

    fn head(&self, as_json: bool) -> Result<bool, Stop> {
        if as_json { Ok(true) } else { print::flow(self.line(&HEAD.map(str::to_uppercase))) }
    }

    /// Prints the calls; says whether somebody still reads.
    fn print(&self, calls: &[Logged], as_json: bool) -> Result<bool, Stop> {
        for call in calls {
            let line = if as_json { json!(call).to_string() } else { self.line(&cells(call)) };
            if !print::flow(print::words(&line))? {
                return Ok(false);
            }
        }
        Ok(true)
    }

    fn line(&self, cells: &[String; 9]) -> String {
        let cells = cells.iter().zip(self.0).map(|(cell, width)| format!(" {cell:<width$} "));
        cells.collect::<String>().trim_end().to_owned()
    }
}

/// A moment as people write it, to the second.
pub(crate) fn time(moment: SystemTime) -> String {
    let text = humantime::format_rfc3339_seconds(moment).to_string();
    text.trim_end_matches('Z').replace('T', " ")
}

/// A span with as many digits as matter.
pub(crate) fn took(span: Duration) -> String {
    let milliseconds = span.as_secs_f64() * 1e3;
    match milliseconds {
        ms if ms < 10.0 => format!("{ms:.2} ms"),
        ms if ms < 1_000.0 => format!("{ms:.0} ms"),
        ms if ms < 60_000.0 => format!("{:.1} s", ms / 1e3),
        ms => humantime::format_duration(Duration::from_secs((ms / 1e3) as u64)).to_string(),
    }
}

/// The time of a moment that is today, and else its day and the hour.
fn clock(moment: SystemTime) -> String {
    let (text, today) = (time(moment), time(SystemTime::now()));
    let part = if text.get(..10) == today.get(..10) { text.get(11..) } else { text.get(5..16) };
    part.unwrap_or(&text).to_owned()
}

fn short(id: &str) -> String {
    let id = print::words(id.strip_prefix(ID_BEGIN).unwrap_or(id));
    id.get(..id.floor_char_boundary(ID_SHOWN)).unwrap_or(&id).to_owned()
}
