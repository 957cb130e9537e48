//! `toolpost completions SHELL`: a completion script on standard output.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::args::Cli;
use crate::exit::{Exit, Stop};

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

#[expect(clippy::unnecessary_wraps, reason = "every subcommand has this form")]
pub(crate) fn run(args: &CompletionsArgs) -> Result<Exit, Stop> {
    clap_complete::generate(args.shell, &mut Cli::command(), "toolpost", &mut std::io::stdout());
    Ok(Exit::Ok)
}
