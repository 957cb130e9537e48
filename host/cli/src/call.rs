//! `toolpost call TOOL`: one call, its result on standard output.

pub(crate) mod arguments;
mod background;

use std::io::IsTerminal as _;
use std::sync::Arc;

use clap::Args;
use futures_util::StreamExt as _;
use indicatif::ProgressBar;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;
use toolpost::core::Wanted;
use toolpost::core::catalog::settings::Span;
use toolpost::core::tell::{Piece, Streaming};
use toolpost::{Call, Content, Event, Loaded, Outcome, Output, Sink, Told};

use crate::args::{CallerArgs, LimitArgs, SourceArgs, load};
use crate::ask::{self, Terminal};
use crate::exit::{Exit, Stop};
use crate::interrupt;
use crate::print::{self, DIM};

#[derive(Debug, Args)]
pub(crate) struct CallArgs {
    /// The tool's name
    tool: String,
    #[command(flatten)]
    arguments: arguments::ArgumentArgs,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    limits: LimitArgs,
    /// Call under this idempotency key: what was done under it is answered again, and not done again
    #[arg(long, value_name = "KEY")]
    key: Option<String>,
    #[command(flatten)]
    caller: CallerArgs,
    /// Do not wait: print the id of a task that survives this command, for `toolpost task`
    #[arg(long)]
    background: bool,
    /// Wait so long, and print the id of a task behind that [default span: that of the settings, 60s]
    #[arg(long, value_name = "SPAN", num_args = 0..=1, require_equals = true, conflicts_with = "background")]
    background_after: Option<Option<Span>>,
    /// Print the whole outcome as JSON: the result or the error, and what it took
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) async fn run(args: CallArgs, verbose: u8) -> Result<Exit, Stop> {
    if args.background || args.background_after.is_some() {
        return background::run(args, verbose).await;
    }
    let bar = print::spinner();
    let sink: Arc<dyn Sink> = Arc::new(Progress { bar: bar.clone(), verbose });
    let (terminal, as_json) = (Arc::new(Terminal::default()), args.json);
    let builder = args.source.builder()?.override_limits(args.limits.settings()).sink(sink).approver(terminal.clone());
    let builder = if verbose > 1 { builder.sink(Arc::new(toolpost::core::tell::Tracing)) } else { builder };
    let loaded = load(builder).await;
    terminal.answered_elsewhere(loaded.host.approval().asks_beside());
    let call = asked(args, &loaded)?;
    print::run(&bar, format!("calling {}", call.tool));
    let unless = CancellationToken::new();
    let interrupted = interrupt::politely(unless.clone(), {
        let bar = bar.clone();
        move |line| bar.suspend(|| print::note(line))
    });
    let call = Call { wanted: Wanted { unless: Some(unless), until: None }, ..call };
    let outcome = read(loaded.host.stream(call), &bar, verbose).await?;
    drop(interrupted);
    bar.finish_and_clear();
    let told = tell(&outcome, as_json, verbose);
    loaded.host.flush().await;
    told
}

/// The call, with its arguments read as its tool takes them.
fn asked(args: CallArgs, loaded: &Loaded) -> Result<Call, Stop> {
    let arguments = match loaded.host.catalog().find(&args.tool) {
        Ok(tool) => args.arguments.read(&tool.parameters)?,
        // The host says what it knows of the name; nothing is read for a tool that is not there.
        Err(_) if loaded.faults.is_empty() => String::new(),
        // It may be one of those that could not be loaded.
        Err(unknown) => {
            let unknown = Some(unknown.to_string());
            return Err(Stop::faults(loaded.faults.iter().map(ToString::to_string).chain(unknown)));
        }
    };
    // A tool that could be loaded can be called; what is wrong with others is said, and does not stop it.
    for fault in &loaded.faults {
        print::note(print::visible(&format!("warning: {fault}")));
    }
    let call = Call::new(args.tool, arguments);
    Ok(Call { idempotency_key: args.key, ..args.caller.of(call) })
}

/// Shows on a terminal how far the tool is and what it hands out on the way, until the outcome is there. Where nobody takes in what is
/// written, the tool waits, and not the host.
async fn read(mut streaming: Streaming, bar: &ProgressBar, verbose: u8) -> Result<Outcome, Stop> {
    let shows_parts = verbose > 0 || std::io::stderr().is_terminal();
    while let Some(piece) = streaming.next().await {
        match piece {
            Piece::Progress { done, total, message, .. } => print::far(bar, done, total, message.as_deref()),
            Piece::Partial { text, .. } if shows_parts => {
                bar.suspend(|| print::note(format!("{DIM}partial{DIM:#} {}", print::visible(text.trim_end()))));
            }
            Piece::Partial { .. } => {}
            Piece::Ended(outcome) => return Ok(*outcome),
        }
    }
    Err(Stop::internal("the call has no outcome"))
}

fn tell(outcome: &Outcome, as_json: bool, verbose: u8) -> Result<Exit, Stop> {
    let exit = outcome.result.as_ref().err().map_or(Exit::Ok, |error| Exit::of(error.kind));
    if as_json {
        print::json(&whole(outcome))?;
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
        Ok(output) => {
            show(output)?;
            for note in &output.notes {
                print::note(format!("{DIM}note: {}{DIM:#}", print::visible(note)));
            }
        }
        Err(error) => print::error(format!("{}: {error}", error.kind.name())),
    }
    if verbose > 0 {
        took(outcome);
    }
    Ok(exit)
}

/// The whole outcome of a call, for a program.
pub(crate) fn whole(outcome: &Outcome) -> Value {
    let result = match &outcome.result {
        Ok(output) => json!({"output": output}),
        Err(error) => json!({"error": error}),
    };
    let mut whole = json!({"call": outcome.call, "tool": outcome.tool, "ok": outcome.result.is_ok()});
    if let (Some(whole), Value::Object(result)) = (whole.as_object_mut(), result) {
        whole.extend(result);
        whole.insert("report".into(), json!(outcome.report));
    }
    whole
}

pub(crate) fn show(output: &Output) -> Result<(), Stop> {
    if output.content.is_empty() {
        match &output.value {
            Value::Null => {}
            Value::String(text) => print::out(print::words(text))?,
            value => print::json(value)?,
        }
    }
    for part in &output.content {
        match part {
            Content::Text { text } => print::out(print::words(text))?,
            Content::Json { value } => print::json(value)?,
            Content::Image { mime_type, data } | Content::Audio { mime_type, data } => {
                print::out(format!("[{}, {}]", print::words(mime_type), print::bytes(data.len() as u64 / 4 * 3)))?;
            }
            Content::Link { uri, name, .. } => print::out(print::words(&format!("{name} <{uri}>")))?,
        }
    }
    Ok(())
}

/// What the call took, and what the tool wrote beside its result.
fn took(outcome: &Outcome) {
    for decision in &outcome.report.decisions {
        let rule = decision.rule.as_ref().map_or_else(String::new, |rule| format!(", rule {rule}"));
        let shadow = if decision.shadow { "in the shadow " } else { "" };
        let words = format!("{shadow}{} by {}{rule}", decision.what.words(), decision.by);
        print::note(format!("{DIM}{}{DIM:#}", print::visible(&words)));
    }
    if let Some(report) = &outcome.report.idempotency {
        print::note(format!("{DIM}idempotency: {}, key {}{DIM:#}", report.how.name(), report.key));
    }
    for attempt in &outcome.report.attempts {
        for (name, captured) in [("stdout", &attempt.stdout), ("stderr", &attempt.stderr)] {
            for line in captured.text.lines() {
                print::note(format!("{DIM}{name}{DIM:#} {}", print::visible(line)));
            }
            if captured.dropped_bytes > 0 {
                print::note(format!("{DIM}{name}: {} more{DIM:#}", print::bytes(captured.dropped_bytes)));
            }
        }
        let instance = attempt.instance.map_or_else(String::new, |instance| format!(", {}", instance.words()));
        print::note(format!(
            "{DIM}attempt {}: {:.3} ms, fuel {}, memory {}{instance}{DIM:#}",
            attempt.number,
            attempt.time.as_secs_f64() * 1e3,
            attempt.fuel,
            print::bytes(attempt.memory_bytes_peak)
        ));
    }
    let cost = outcome.report.usage.cost;
    if cost > 0.0 {
        print::note(format!("{DIM}cost {}{DIM:#}", (cost * 1e6).round() / 1e6));
    }
}

/// Shows with `-v` what the tool logs, and makes way for questions.
struct Progress {
    bar: ProgressBar,
    verbose: u8,
}

impl Sink for Progress {
    fn tell(&self, told: &Told<'_>) {
        match told.event {
            Event::Log { level, message } if self.verbose > 0 => {
                self.bar.suspend(|| print::note(format!("{DIM}{}{DIM:#} {}", level.name(), print::plain(message))));
            }
            // While somebody thinks, nothing moves.
            Event::Question { .. } => self.bar.finish_and_clear(),
            Event::Decision { decision } if decision.question.is_some() => {
                if decision.by != ask::who(ask::HERE) {
                    let words = format!("{} by {}", decision.what.words(), decision.by);
                    print::note(print::visible(&words));
                }
                self.bar.reset();
                print::run(&self.bar, "running".into());
            }
            _ => {}
        }
    }
}
