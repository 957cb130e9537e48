//! `toolpost call TOOL`: one call, its result on standard output.

use std::io::Read as _;
use std::sync::Arc;

use clap::Args;
use indicatif::ProgressBar;
use serde_json::{Map, Value, json};
use toolpost::core::catalog::shape::{Field, Shape};
use toolpost::{Arguments, Call, CallId, Content, Event, Outcome, Output, Sink, Tool};

use crate::args::{LimitArgs, SourceArgs, load};
use crate::exit::{Exit, Stop};
use crate::print::{self, DIM};

/// The most that is read as arguments, in bytes; the host's own limit is usually smaller.
const INPUT_BYTES_MAX: u64 = 64 << 20;

#[derive(Debug, Args)]
pub(crate) struct CallArgs {
    /// The tool's name
    tool: String,
    /// Arguments as key=value, or key:=JSON; or one `-` to read a JSON object from standard input
    #[arg(value_name = "KEY=VALUE", conflicts_with = "args")]
    pairs: Vec<String>,
    /// Arguments as a JSON object; @FILE reads it from a file
    #[arg(long, value_name = "JSON")]
    args: Option<String>,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    limits: LimitArgs,
    /// Print the whole outcome as JSON: the result or the error, and what it took
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: CallArgs, verbose: u8) -> Result<Exit, Stop> {
    let bar = print::spinner();
    let sink: Arc<dyn Sink> = Arc::new(Progress { bar: bar.clone(), verbose });
    let builder = args.source.builder()?.override_limits(args.limits.settings()).sink(sink);
    let builder = if verbose > 1 { builder.sink(Arc::new(toolpost::core::tell::Tracing)) } else { builder };
    let loaded = load(builder).await;
    // A tool that could be loaded can be called; what is wrong with others is said, and does not stop it.
    let Ok(tool) = loaded.host.catalog().find(&args.tool) else {
        let unknown = loaded.host.catalog().find(&args.tool).err().map(|error| error.to_string());
        return Err(Stop::faults(loaded.faults.iter().map(ToString::to_string).chain(unknown)));
    };
    for fault in &loaded.faults {
        print::note(format!("warning: {fault}"));
    }
    bar.set_message(format!("calling {}", args.tool));
    let arguments = arguments(&args, &tool)?;
    let outcome = loaded.host.call(Call::new(&args.tool, arguments)).await;
    bar.finish_and_clear();
    tell(&outcome, args.json, verbose)
}

fn arguments(args: &CallArgs, tool: &Tool) -> Result<Arguments, Stop> {
    let read = |what: &str, from: &mut dyn std::io::Read| {
        let mut text = String::new();
        let read = from.take(INPUT_BYTES_MAX).read_to_string(&mut text);
        read.map_err(|error| Stop::usage(format!("{what} cannot be read: {error}")))?;
        Ok(Arguments::Text(text))
    };
    match (&args.args, args.pairs.as_slice()) {
        (Some(text), _) => match text.strip_prefix('@') {
            Some(path) => {
                let file = std::fs::File::open(path);
                let mut file = file.map_err(|error| Stop::usage(format!("`{path}` cannot be read: {error}")))?;
                read(&format!("`{path}`"), &mut file)
            }
            None => Ok(Arguments::Text(text.clone())),
        },
        (None, [dash]) if dash == "-" => read("standard input", &mut std::io::stdin()),
        (None, pairs) => {
            let mut object = Map::new();
            for written in pairs {
                let (key, value) = pair(written, &tool.parameters)?;
                if object.insert(key.clone(), value).is_some() {
                    return Err(Stop::usage(format!("`{key}` is given twice")));
                }
            }
            Ok(Arguments::Value(Value::Object(object)))
        }
    }
}

/// `key=value` in the parameter's own type, or `key:=JSON`.
fn pair(written: &str, parameters: &[Field]) -> Result<(String, Value), Stop> {
    let form = || {
        Stop::usage(format!("`{written}` is no argument; write key=value, key:=JSON, or one `-` for standard input"))
    };
    let (key, text) = written.split_once('=').ok_or_else(form)?;
    if let Some(key) = key.strip_suffix(':') {
        let value = serde_json::from_str(text);
        return Ok((key.to_owned(), value.map_err(|error| Stop::usage(format!("`{key}` is no JSON: {error}")))?));
    }
    let field = parameters.iter().find(|field| field.key == key || field.name == key);
    let shape = field.map(|field| match &field.shape {
        Shape::Option(some) => some,
        shape => shape,
    });
    // Text stays text where text is wanted; elsewhere what is JSON is taken as JSON.
    let is_text = matches!(shape, None | Some(Shape::String | Shape::Char | Shape::Bytes | Shape::Enum(_)));
    let value = if is_text { None } else { serde_json::from_str(text).ok() };
    Ok((key.to_owned(), value.unwrap_or_else(|| json!(text))))
}

fn tell(outcome: &Outcome, as_json: bool, verbose: u8) -> Result<Exit, Stop> {
    let exit = outcome.result.as_ref().err().map_or(Exit::Ok, |error| Exit::of(error.kind));
    if as_json {
        let result = match &outcome.result {
            Ok(output) => json!({"output": output}),
            Err(error) => json!({"error": error}),
        };
        let mut whole = json!({"call": outcome.call, "tool": outcome.tool, "ok": outcome.result.is_ok()});
        if let (Some(whole), Value::Object(result)) = (whole.as_object_mut(), result) {
            whole.extend(result);
            whole.insert("report".into(), json!(outcome.report));
        }
        print::json(&whole)?;
        return Ok(exit);
    }
    for change in &outcome.report.cast.changes {
        print::note(format!(
            "{DIM}cast {}: {} to {}{DIM:#}",
            print::visible(&change.pointer),
            print::visible(&change.from),
            change.to
        ));
    }
    match &outcome.result {
        Ok(output) => show(output),
        Err(error) => print::error(format!("{}: {error}", error.kind.name())),
    }
    if verbose > 0 {
        took(outcome);
    }
    Ok(exit)
}

fn show(output: &Output) {
    if output.content.is_empty() {
        match &output.value {
            Value::Null => {}
            Value::String(text) => print::out(print::words(text)),
            value => print::out(serde_json::to_string_pretty(value).unwrap_or_default()),
        }
    }
    for part in &output.content {
        match part {
            Content::Text { text } => print::out(print::words(text)),
            Content::Json { value } => print::out(serde_json::to_string_pretty(value).unwrap_or_default()),
            Content::Image { mime_type, data } | Content::Audio { mime_type, data } => {
                print::out(format!("[{}, {}]", print::words(mime_type), print::bytes(data.len() as u64 / 4 * 3)));
            }
            Content::Link { uri, name, .. } => print::out(print::words(&format!("{name} <{uri}>"))),
        }
    }
}

/// What the call took, and what the tool wrote beside its result.
fn took(outcome: &Outcome) {
    for attempt in &outcome.report.attempts {
        for (name, captured) in [("stdout", &attempt.stdout), ("stderr", &attempt.stderr)] {
            for line in captured.text.lines() {
                print::note(format!("{DIM}{name}{DIM:#} {}", print::visible(line)));
            }
            if captured.dropped_bytes > 0 {
                print::note(format!("{DIM}{name}: {} more{DIM:#}", print::bytes(captured.dropped_bytes)));
            }
        }
        print::note(format!(
            "{DIM}attempt {}: {:.3} ms, fuel {}, memory {}{DIM:#}",
            attempt.number,
            attempt.time.as_secs_f64() * 1e3,
            attempt.fuel,
            print::bytes(attempt.memory_bytes_peak)
        ));
    }
}

/// Shows on a terminal how far the tool is, and with `-v` what it logs.
struct Progress {
    bar: ProgressBar,
    verbose: u8,
}

impl Sink for Progress {
    fn tell(&self, _: &CallId, event: &Event<'_>) {
        match event {
            Event::Progress { done, total, message } => {
                let total = total.map_or_else(String::new, |total| format!(" of {total}"));
                let message = message.map_or_else(String::new, |message| format!(", {message}"));
                self.bar.set_message(plain(&format!("{done}{total}{message}")));
            }
            Event::Log { level, message } if self.verbose > 0 => {
                self.bar.suspend(|| print::note(format!("{DIM}{}{DIM:#} {}", level.name(), plain(message))));
            }
            _ => {}
        }
    }
}

/// A tool's words without what would move the cursor or change the terminal.
fn plain(text: &str) -> String {
    text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}
