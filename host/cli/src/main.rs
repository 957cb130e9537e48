//! `toolpost`: look at a component's tools and powers, and call one. One file for each subcommand.

// What all subcommands share
mod args;
mod exit;
mod print;

// How it is stopped
mod interrupt;

// What changed
mod changes;

// Whoever is asked
mod ask;
mod question;

// The subcommands
mod approvals;
mod artifact;
mod batch;
mod breakers;
mod call;
mod check;
mod completions;
mod diff;
mod inspect;
mod ledger;
mod list;
mod lock;
mod log;
mod rules;
mod show;
mod task;

use clap::Parser;

use crate::args::{Cli, Command};
use crate::exit::Exit;

/// A call takes and gives back hundreds of small pieces of memory, often on different threads.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

#[tokio::main]
async fn main() -> std::process::ExitCode {
    let cli = Cli::parse();
    print::listen(cli.verbose);
    let as_json = cli.command.as_json();
    let ended = match cli.command {
        Command::Inspect(args) => inspect::run(args).await,
        Command::List(args) => list::run(args).await,
        Command::Call(args) => call::run(args, cli.verbose).await,
        Command::Batch(args) => batch::run(args, cli.verbose).await,
        Command::Check(args) => check::run(args).await,
        Command::Diff(args) => diff::run(args).await,
        Command::Lock(args) => lock::run(args).await,
        Command::Approvals(args) => approvals::run(args).await,
        Command::Rules(args) => rules::run(args).await,
        Command::Ledger(args) => ledger::run(args).await,
        Command::Artifact(args) => artifact::run(args).await,
        Command::Log(args) => log::run(args).await,
        Command::Show(args) => show::run(args).await,
        Command::Task(args) => task::run(args, cli.verbose).await,
        Command::TaskHost(args) => task::serve::run(args).await,
        Command::Breakers(args) => breakers::run(args).await,
        Command::Completions(args) => completions::run(&args),
    };
    ended.unwrap_or_else(|stop| Exit::told(&stop, as_json)).into()
}
