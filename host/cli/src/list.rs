//! `toolpost list`: the tools, one to a line.

use std::sync::Arc;

use clap::Args;
use serde_json::json;
use toolpost::core::catalog::shape::Field;
use toolpost::{Caller, Host, Tool};

use crate::args::{SourceArgs, load};
use crate::exit::{Exit, Stop};
use crate::print;

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Only the tools that this caller may use
    #[arg(long, value_name = "ID")]
    caller: Option<String>,
    /// Only the tools that a caller of this group may use; may be given several times
    #[arg(long = "group", value_name = "NAME")]
    groups: Vec<String>,
    /// Print JSON, with the schemas
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) async fn run(args: ListArgs) -> Result<Exit, Stop> {
    let loaded = load(args.source.builder()?).await;
    // What could be loaded is listed; what could not is named, and the exit code says so.
    let exit = if loaded.faults.is_empty() { Exit::Ok } else { Exit::Usage };
    let tools = args.tools_of(&loaded.host);
    if args.json {
        let tools: Vec<_> = tools.iter().map(|tool| sheet(tool)).collect();
        let faults: Vec<_> = loaded.faults.iter().map(ToString::to_string).collect();
        print::json(&json!({"ok": faults.is_empty(), "tools": tools, "faults": faults}))?;
        return Ok(exit);
    }
    let mut table = print::table(&["tool", "effect", "takes", "description"]);
    for tool in &tools {
        let summary = print::words(&print::summary(&tool.description));
        table.add_row([&tool.name, tool.effect.name(), &takes(tool), &summary]);
    }
    if !table.is_empty() {
        print::out(print::rows(&table))?;
    }
    for fault in &loaded.faults {
        print::error(fault);
    }
    Ok(exit)
}

impl ListArgs {
    /// What that caller may use; all tools where nobody is named.
    fn tools_of(&self, host: &Host) -> Vec<Arc<Tool>> {
        if self.caller.is_none() && self.groups.is_empty() {
            return host.catalog().tools().cloned().collect();
        }
        let id = self.caller.clone().unwrap_or_default();
        host.tools_of(&Caller { id, groups: self.groups.clone(), session: None })
    }
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
        "grants": tool.grants,
        "input_schema": tool.input_schema(),
        "output_schema": tool.output_schema(),
        "origin": tool.origin,
    })
}
