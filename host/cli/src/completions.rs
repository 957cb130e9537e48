//! `toolpost completions SHELL`: a completion script on standard output.

use clap::{Args, CommandFactory};
use clap_complete::Shell;

use crate::args::Cli;
use crate::exit::{Exit, Stop};
use crate::print;

#[derive(Debug, Args)]
pub(crate) struct CompletionsArgs {
    /// The shell
    shell: Shell,
}

pub(crate) fn run(args: &CompletionsArgs) -> Result<Exit, Stop> {
    // Into memory first: the generator itself panics where it cannot write.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "toolpost", &mut script);
    print::out(String::from_utf8_lossy(&script).trim_end())?;
    Ok(Exit::Ok)
}
