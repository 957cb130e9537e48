//! `toolpost ledger`: what was done under which idempotency key, and what is not known of it.

use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use clap::{Args, Subcommand, ValueEnum};
use comfy_table::{Cell, Color};
use serde_json::{Value, json};
use toolpost::Output;
use toolpost::core::guard::replay::settings::TTL;
use toolpost::core::guard::replay::{Book, Decision, Ending, Kept, LedgerFailure, Query, Record, RecordKey, Standing};
use toolpost::store::ledger::LedgerTable;

use crate::args::ConfigArgs;
use crate::exit::{Exit, Stop};
use crate::print::{self, DIM, styled};

/// Characters of a key's hash that are shown in a table. As many name it, unless another one begins so too.
const HASH_SHOWN: usize = 10;

#[derive(Debug, Args)]
pub(crate) struct LedgerArgs {
    #[command(subcommand)]
    what: What,
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the keys, the last changed first
    List(ListArgs),
    /// Show all that is known of a key
    Show(KeyArgs),
    /// Say what is true of a call whose outcome is not known
    Resolve(ResolveArgs),
    /// Forget a key: the next call with it runs as if there had been none
    Forget(KeyArgs),
}

#[derive(Debug, Args)]
struct ListArgs {
    /// Only those of a tool
    #[arg(long, value_name = "NAME")]
    tool: Option<String>,
    /// Only those in a state
    #[arg(long, value_parser = state, value_name = "STATE")]
    state: Option<Standing>,
    /// At most so many
    #[arg(long, default_value_t = 50, value_name = "COUNT")]
    limit: usize,
}

#[derive(Debug, Args)]
struct KeyArgs {
    /// The key, or the beginning of its hash
    key: String,
}

#[derive(Debug, Args)]
struct ResolveArgs {
    #[command(flatten)]
    key: KeyArgs,
    /// What is true
    #[arg(value_enum)]
    truth: Truth,
    /// What the call answered, as JSON
    #[arg(long, value_name = "JSON")]
    result: Option<String>,
    /// Why it failed
    #[arg(long, value_name = "TEXT", conflicts_with = "result")]
    message: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, ValueEnum)]
enum Truth {
    /// It did not happen, or may happen twice: the next call runs it again
    Rerun,
    /// It happened; later calls are answered so
    Done,
    /// It did not happen, and is not to; later calls are answered so
    Failed,
}

fn state(name: &str) -> Result<Standing, String> {
    let names = Standing::ALL.map(Standing::name);
    let found = Standing::ALL.into_iter().find(|standing| standing.name() == name);
    found.ok_or_else(|| format!("expected one of {}", names.join(", ")))
}

pub(crate) async fn run(args: LedgerArgs) -> Result<Exit, Stop> {
    let book = Book::new(Arc::new(LedgerTable::new(args.config.store()?)));
    match args.what {
        What::List(said) => list(&book, said, args.json).await,
        What::Show(said) => show(&book, &said, args.json).await,
        What::Resolve(said) => resolve(&book, &said, args.json).await,
        What::Forget(said) => forget(&book, &said, args.json).await,
    }
}

async fn list(book: &Book, args: ListArgs, as_json: bool) -> Result<Exit, Stop> {
    let query = Query { tool: args.tool, standing: args.state, limit: args.limit, hash: None };
    let listed = book.list(&query).await.map_err(unusable)?;
    if as_json {
        let records: Vec<Value> =
            listed.records.iter().map(|(key, record)| sheet(key, record, listed.now_ms)).collect();
        print::json(&json!({"ok": true, "records": records}))?;
        return Ok(Exit::Ok);
    }
    let mut table = print::table(&["key", "tool", "state", "caller", "changed", "first effect"]);
    for (key, record) in &listed.records {
        let standing = record.standing(listed.now_ms);
        let shown = key.hash().get(..HASH_SHOWN).unwrap_or(key.hash());
        let changed = format!("{} ago", span(listed.now_ms.saturating_sub(record.changed_ms)));
        let effect = record.first_effect.as_deref().unwrap_or_default();
        let words = |text: &str| Cell::new(print::words(text));
        table.add_row(vec![
            Cell::new(shown),
            Cell::new(&record.claim.tool.name),
            coloured(standing),
            words(&record.claim.caller),
            Cell::new(changed),
            words(effect),
        ]);
    }
    if table.is_empty() {
        print::note("no key is remembered");
    } else {
        print::out(print::rows(&table))?;
    }
    Ok(Exit::Ok)
}

fn coloured(standing: Standing) -> Cell {
    let cell = Cell::new(standing.name());
    if styled(DIM) != DIM {
        return cell;
    }
    match standing {
        Standing::Running => cell.fg(Color::Cyan),
        Standing::Left => cell.fg(Color::DarkGrey),
        Standing::Unknown => cell.fg(Color::Yellow),
        Standing::Done => cell.fg(Color::Green),
        Standing::Failed => cell.fg(Color::Red),
    }
}

async fn show(book: &Book, args: &KeyArgs, as_json: bool) -> Result<Exit, Stop> {
    let (key, record, now) = find(book, &args.key).await?;
    let ending = record.ending().map(Kept::ending).transpose().map_err(unusable)?;
    if as_json {
        let mut whole = json!({"ok": true, "record": sheet(&key, &record, now)});
        if let (Some(ending), Some(record)) = (ending, whole.get_mut("record").and_then(Value::as_object_mut)) {
            record.insert("ending".into(), json!(ending));
        }
        print::json(&whole)?;
        return Ok(Exit::Ok);
    }
    let line = |name: &str, text: &str| print::out(format!("{name:<13}{}", print::words(text)));
    let since = |at: u64| format!("{} ({} ago)", instant(at), span(now.saturating_sub(at)));
    line("key", key.as_str())?;
    line("state", &format!("{}: {}", record.standing(now).name(), meaning(record.standing(now))))?;
    line("tool", &record.claim.tool.name)?;
    if let Some(digest) = &record.claim.tool.digest {
        line("component", digest)?;
    }
    line("caller", &record.claim.caller)?;
    line("call", record.claim.call.as_str())?;
    line("claimed", &since(record.created_ms))?;
    line("changed", &since(record.changed_ms))?;
    line("forgotten", &format!("{} (in {})", instant(record.expires_ms), span(record.expires_ms.saturating_sub(now))))?;
    if let Some(effect) = &record.first_effect {
        line("first effect", effect)?;
    }
    match ending {
        Some(Ending::Ok { output: Some(output) }) => {
            print::out("answer")?;
            print::json(&output.value)
        }
        Some(Ending::Ok { output: None }) => line("answer", "not kept"),
        Some(Ending::Failed { message, .. }) => line("failure", &message),
        None => Ok(()),
    }?;
    Ok(Exit::Ok)
}

fn meaning(standing: Standing) -> &'static str {
    match standing {
        Standing::Running => "its call runs",
        Standing::Left => "nobody runs it; the next call does",
        Standing::Unknown => "it may have had its effect; `toolpost ledger resolve` says what is true",
        Standing::Done => "it was done; the next call gets the same answer",
        Standing::Failed => "the tool failed for good; the next call is told the same",
    }
}

async fn resolve(book: &Book, args: &ResolveArgs, as_json: bool) -> Result<Exit, Stop> {
    let decision = decision(args)?;
    let (key, ..) = find(book, &args.key.key).await?;
    match book.resolve(&key, &decision, TTL).await.map_err(unusable)? {
        Some(Standing::Unknown) => {}
        Some(standing) => {
            let what = format!("`{key}` is not unknown but {}: {}", standing.name(), meaning(standing));
            return Err(Stop { exit: Exit::Policy, lines: vec![what] });
        }
        None => return Err(gone(&args.key.key)),
    }
    let next = match args.truth {
        Truth::Rerun => "the next call with this key runs it again",
        Truth::Done | Truth::Failed => "calls with this key get this answer for 24 hours",
    };
    if as_json {
        print::json(&json!({"ok": true, "key": key}))?;
    } else {
        print::out(format!("{key}: {next}"))?;
    }
    Ok(Exit::Ok)
}

fn decision(args: &ResolveArgs) -> Result<Decision, Stop> {
    let misplaced = |option: &str, truth: &str| Stop::usage(format!("`{option}` goes with `{truth}`"));
    match (args.truth, &args.result, &args.message) {
        (Truth::Rerun | Truth::Failed, Some(_), _) => Err(misplaced("--result", "done")),
        (Truth::Rerun | Truth::Done, _, Some(_)) => Err(misplaced("--message", "failed")),
        (Truth::Rerun, None, None) => Ok(Decision::Rerun),
        (Truth::Done, result, None) => {
            let value = result.as_deref().map(serde_json::from_str).transpose();
            let value = value.map_err(|error| Stop::usage(format!("the result is no JSON: {error}")))?;
            let output = value.map(|value| Output { value, ..Output::default() });
            Ok(Decision::Ended(Kept::ok(output.as_ref())))
        }
        (Truth::Failed, None, message) => {
            let message = message.clone().unwrap_or_else(|| "an operator says that it has failed".into());
            Ok(Decision::Ended(Kept::failed(&message, None)))
        }
    }
}

async fn forget(book: &Book, args: &KeyArgs, as_json: bool) -> Result<Exit, Stop> {
    let (key, ..) = find(book, &args.key).await?;
    match book.forget(&key).await.map_err(unusable)? {
        None => return Err(gone(&args.key)),
        Some(Standing::Running) => {
            let line = format!("`{key}` is not forgotten: its call runs");
            return Err(Stop { exit: Exit::Policy, lines: vec![line] });
        }
        Some(_) => {}
    }
    if as_json {
        print::json(&json!({"ok": true, "key": key}))?;
    } else {
        print::out(format!("{key}: forgotten"))?;
    }
    Ok(Exit::Ok)
}

/// The record of a key that is given whole, or by the beginning of its hash.
async fn find(book: &Book, given: &str) -> Result<(RecordKey, Record, u64), Stop> {
    let key = match RecordKey::of_text(given).filter(|_| given.contains('/')) {
        Some(key) => key,
        None => {
            let query = Query { hash: Some(given.to_owned()), limit: 2, ..Query::default() };
            let records = book.list(&query).await.map_err(unusable)?.records;
            match records.as_slice() {
                [] => return Err(gone(given)),
                [(key, _)] => key.clone(),
                _ => return Err(Stop::usage(format!("more than one key begins with `{given}`; give more of it"))),
            }
        }
    };
    match book.get(&key).await.map_err(unusable)? {
        (Some(record), now) => Ok((key, record, now)),
        (None, _) => Err(gone(given)),
    }
}

fn gone(given: &str) -> Stop {
    Stop::usage(format!("no key `{given}` is remembered; `toolpost ledger list` shows those that are"))
}

fn unusable(failure: LedgerFailure) -> Stop {
    Stop { exit: Exit::Internal, lines: vec![failure.to_string()] }
}

/// All about a record, for a program, but for what its call answered.
fn sheet(key: &RecordKey, record: &Record, now_ms: u64) -> Value {
    json!({
        "key": key,
        "state": record.standing(now_ms).name(),
        "tool": record.claim.tool.name,
        "component": record.claim.tool.digest,
        "caller": record.claim.caller,
        "call": record.claim.call,
        "claimed": instant(record.created_ms),
        "changed": instant(record.changed_ms),
        "forgotten": instant(record.expires_ms),
        "first_effect": record.first_effect,
    })
}

fn instant(ms: u64) -> String {
    let at = UNIX_EPOCH.checked_add(Duration::from_millis(ms)).unwrap_or(SystemTime::UNIX_EPOCH);
    humantime::format_rfc3339_seconds(at).to_string()
}

/// A span in its two largest units.
fn span(ms: u64) -> String {
    let span = humantime::format_duration(Duration::from_secs(ms / 1_000)).to_string();
    span.split(' ').take(2).collect::<Vec<_>>().join(" ")
}
