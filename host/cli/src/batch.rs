//! `toolpost batch FILE`: the calls of a file, at once, and their answers in the words of whoever asked.

mod plan;
mod progress;
mod report;

use std::collections::VecDeque;
use std::io::IsTerminal as _;
use std::sync::Arc;

use clap::Args;
use serde_json::{Value, json};
use toolpost::core::batch::{Batch, BatchReport, BatchSettings};
use toolpost::core::catalog::settings::Span;
use toolpost::core::dialect::{AskedCall, Bounds, Dialect, Reading};
use toolpost::{Call, Host, Outcome, Sink};

use self::progress::Progress;
use crate::args::{CallerArgs, LimitArgs, SourceArgs, load};
use crate::ask::Terminal;
use crate::call::arguments::bounded;
use crate::exit::{Exit, Stop};
use crate::interrupt;
use crate::print;

#[derive(Debug, Args)]
pub(crate) struct BatchArgs {
    /// The file with the calls; `-` for standard input
    #[arg(value_name = "FILE")]
    file: String,
    /// How the calls are written: ours (a JSON object on each line), openai, openai-responses, anthropic, gemini
    /// [default: what they look like]
    #[arg(long, value_name = "NAME", value_parser = dialect)]
    format: Option<Dialect>,
    /// How the answers are written [default: as the calls]
    #[arg(long, value_name = "NAME", value_parser = dialect)]
    out: Option<Dialect>,
    /// Print which call would wait for which, and why; nothing runs
    #[arg(long)]
    plan: bool,
    /// Print each answer when it is there, and not in the order of the calls; for `--out ours`
    #[arg(long, conflicts_with = "json")]
    unordered: bool,
    /// Print what came of the whole, also where standard error is no terminal
    #[arg(long)]
    report: bool,
    /// Calls that run at once
    #[arg(long, value_name = "CALLS", value_parser = clap::value_parser!(u32).range(1..=10_000))]
    max_parallel: Option<u32>,
    /// How long the whole may take, for example 5m
    #[arg(long, value_name = "SPAN")]
    within: Option<Span>,
    /// The first call that fails ends all: what has not begun does not begin, and what only reads is stopped
    #[arg(long)]
    fail_fast: bool,
    #[command(flatten)]
    source: SourceArgs,
    #[command(flatten)]
    limits: LimitArgs,
    #[command(flatten)]
    caller: CallerArgs,
    /// Print one JSON object: the answers, the whole outcome of every call, and what came of the whole
    #[arg(long)]
    pub(crate) json: bool,
}

fn dialect(name: &str) -> Result<Dialect, String> {
    name.parse().map_err(|error| format!("{error}"))
}

pub(crate) async fn run(args: BatchArgs, verbose: u8) -> Result<Exit, Stop> {
    let progress = Arc::new(Progress::default());
    let terminal = Arc::new(Terminal::default());
    let sink: Arc<dyn Sink> = progress.clone();
    let builder = args.source.builder()?.override_limits(args.limits.settings()).sink(sink).approver(terminal.clone());
    let builder = if verbose > 1 { builder.sink(Arc::new(toolpost::core::tell::Tracing)) } else { builder };
    let loaded = load(builder).await;
    terminal.answered_elsewhere(loaded.host.approval().asks_beside());
    for fault in &loaded.faults {
        print::note(print::visible(&format!("warning: {fault}")));
    }
    let host = loaded.host;
    let settings = args.settings(host.batches());
    let reading = args.read(&settings)?;
    for passed in &reading.passed_over {
        let what = print::many(passed.count, "part");
        print::note(format!("passed over: {what} of the kind `{}`", print::visible(&passed.kind)));
    }
    let calls = reading.calls.iter().map(|asked| asked.call().map(|call| args.caller.of(call))).collect();
    if args.plan {
        return plan::print(&host, &settings, &reading.calls, calls, args.json).await;
    }
    let told = args.answer(&host, settings, &reading, calls, &progress).await;
    host.flush().await;
    told
}

impl BatchArgs {
    fn settings(&self, of_host: BatchSettings) -> BatchSettings {
        let max_parallel = self.max_parallel.and_then(|calls| usize::try_from(calls).ok());
        BatchSettings {
            max_parallel: max_parallel.unwrap_or(of_host.max_parallel),
            time_max: self.within.map(|span| span.0).or(of_host.time_max),
            fail_fast: self.fail_fast || of_host.fail_fast,
            ..of_host
        }
    }

    fn read(&self, settings: &BatchSettings) -> Result<Reading, Stop> {
        let (what, text) = match self.file.as_str() {
            "-" => ("standard input".to_owned(), bounded("standard input", &mut std::io::stdin())?),
            path => {
                let what = format!("`{path}`");
                let file = std::fs::File::open(path);
                let mut file = file.map_err(|error| Stop::usage(format!("{what} cannot be read: {error}")))?;
                let text = bounded(&what, &mut file)?;
                (what, text)
            }
        };
        let wrong = |error: toolpost::core::dialect::DialectError| Stop::usage(format!("{what}: {error}"));
        let dialect = self.format.map_or_else(|| Dialect::detect(&text), Ok).map_err(wrong)?;
        let bounds = Bounds { calls_max: settings.max_calls, ..Bounds::default() };
        dialect.read(&text, &bounds).map_err(wrong)
    }

    async fn answer(
        &self,
        host: &Host,
        settings: BatchSettings,
        reading: &Reading,
        calls: Vec<Result<Call, toolpost::CallError>>,
        progress: &Arc<Progress>,
    ) -> Result<Exit, Stop> {
        let out = self.out.unwrap_or(reading.dialect);
        if self.unordered && out != Dialect::Ours {
            return Err(Stop::usage(
                "only answers on lines of their own can be printed as they come: add `--out ours`",
            ));
        }
        progress.begin(calls.len());
        let mut batch = host.open_batch(settings);
        // Calls begin while others are still being added, and what has begun must not be left with half of an effect.
        let interrupted = interrupt::politely(batch.canceller(), {
            let progress = progress.clone();
            move |line| progress.say(line)
        });
        for (asked, call) in reading.calls.iter().zip(calls) {
            match call {
                Ok(call) => {
                    progress.knows(&call, asked.index);
                    batch.add(call).await.map_err(|error| Stop::usage(error.to_string()))?;
                }
                Err(error) => {
                    batch.refuse(&asked.tool, error).map_err(|error| Stop::usage(error.to_string()))?;
                }
            }
        }
        let mut answers = Answers::new(reading, out);
        (answers.in_order, answers.live) = (!self.unordered, !self.json);
        while let Some(done) = batch.next().await {
            progress.ended(done.index, &done.outcome);
            answers.take(done.index, done.outcome)?;
        }
        drop(interrupted);
        progress.end();
        let report = batch.report();
        self.tell(&batch, &answers, &report)?;
        Ok(answers.exit())
    }

    fn tell(&self, batch: &Batch, answers: &Answers<'_>, report: &BatchReport) -> Result<(), Stop> {
        if self.json {
            let plan = batch.plan();
            let plan = plan::sheet(&plan);
            let outcomes: Vec<Value> = answers.outcomes().map(|(_, outcome)| crate::call::whole(outcome)).collect();
            let answers = answers.out.answers(answers.outcomes());
            print::json(&json!({"answers": answers, "outcomes": outcomes, "plan": plan, "report": report}))?;
        } else if answers.out != Dialect::Ours {
            print::json(&answers.out.answers(answers.outcomes()))?;
        }
        if self.report || !self.json && std::io::stderr().is_terminal() {
            report::print(report);
        }
        Ok(())
    }
}

/// The answers, as they come and as they go out.
struct Answers<'r> {
    out: Dialect,
    reading: &'r Reading,
    /// Whether each waits for those before it.
    in_order: bool,
    /// Whether they are printed as they come, where they stand on lines of their own.
    live: bool,
    outcomes: VecDeque<Option<Outcome>>,
    printed: usize,
}

impl<'r> Answers<'r> {
    fn new(reading: &'r Reading, out: Dialect) -> Self {
        let outcomes = reading.calls.iter().map(|_| None).collect();
        Answers { out, reading, in_order: true, live: true, outcomes, printed: 0 }
    }

    fn take(&mut self, index: usize, outcome: Outcome) -> Result<(), Stop> {
        if let Some(place) = self.outcomes.get_mut(index) {
            *place = Some(outcome);
        }
        if !self.live || self.out != Dialect::Ours {
            return Ok(());
        }
        if !self.in_order {
            return self.print(index);
        }
        while matches!(self.outcomes.get(self.printed), Some(Some(_))) {
            self.print(self.printed)?;
            self.printed += 1;
        }
        Ok(())
    }

    fn print(&self, index: usize) -> Result<(), Stop> {
        let asked = self.reading.calls.get(index);
        let outcome = self.outcomes.get(index).and_then(Option::as_ref);
        match asked.zip(outcome).and_then(|(asked, outcome)| self.out.answer(asked, outcome)) {
            Some(line) => print::out(print::words(&line.to_string())),
            None => Ok(()),
        }
    }

    fn outcomes(&self) -> impl Iterator<Item = (&AskedCall, &Outcome)> {
        self.reading.calls.iter().zip(&self.outcomes).filter_map(|(asked, outcome)| Some((asked, outcome.as_ref()?)))
    }

    /// Whether all worked; else how the first call that did not has ended.
    fn exit(&self) -> Exit {
        let failed = self.outcomes().find_map(|(_, outcome)| outcome.failed());
        failed.map_or(Exit::Ok, Exit::of)
    }
}
