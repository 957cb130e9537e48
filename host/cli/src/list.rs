//! `toolpost list`: the tools, one to a line.

use clap::Args;
use serde_json::json;
use toolpost::Tool;
use toolpost::core::catalog::shape::Field;

use crate::args::{SourceArgs, load};
use crate::exit::{Exit, Stop};
use crate::print;

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Print JSON, with the schemas
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: ListArgs) -> Result<Exit, Stop> {
    let loaded = load(args.source.builder()?).await;
    if args.json {
        print::json(&loaded.host.catalog().tools().map(|tool| sheet(tool)).collect::<Vec<_>>())?;
    } else {
        let mut table = print::table(&["tool", "effect", "takes", "description"]);
        for tool in loaded.host.catalog().tools() {
            let takes = takes(tool);
            table.add_row([&tool.name, tool.effect.name(), &takes, &print::summary(&tool.description)]);
        }
        if !table.is_empty() {
            print::out(print::rows(&table));
        }
    }
    // What could be loaded is listed; what could not is named, and the exit code says so.
    if loaded.faults.is_empty() { Ok(Exit::Ok) } else { Err(Stop::faults(loaded.faults)) }
}

/// The parameters' names; those that may be left out with a question mark.
fn takes(tool: &Tool) -> String {
    let name = |field: &Field| format!("{}{}", field.key, if field.required() { "" } else { "?" });
    tool.parameters.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// All about a tool, for a program.
pub(crate) fn sheet(tool: &Tool) -> serde_json::Value {
    json!({
        "name": tool.name,
        "description": tool.description,
        "effect": tool.effect,
        "input_schema": tool.input_schema(),
        "output_schema": tool.output_schema(),
        "origin": tool.origin,
    })
}
