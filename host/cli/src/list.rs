//! `toolpost list`: the tools, one to a line, or as they are defined for a model.

use std::sync::Arc;

use clap::Args;
use clap::builder::{PossibleValuesParser, TypedValueParser as _};
use serde_json::json;
use toolpost::core::catalog::shape::Field;
use toolpost::core::catalog::{Selection, ToolLabel};
use toolpost::core::check::authorize::Pattern;
use toolpost::core::dialect::definition::{Definitions, Form, Loose};
use toolpost::{Caller, Loaded, Tool};

use crate::args::{SourceArgs, load};
use crate::exit::{Exit, Stop};
use crate::print;

/// The most tools that are named because they are not strict, for each reason.
const LISTED_MAX: usize = 5;

#[derive(Debug, Args)]
pub(crate) struct ListArgs {
    /// Only the tools of these names; `*` stands for any characters
    #[arg(value_name = "GLOB", value_parser = Pattern::new)]
    names: Vec<Pattern>,
    #[command(flatten)]
    source: SourceArgs,
    /// Only the tools with this label; may be given several times, for those that have one of them
    #[arg(long = "label", value_name = "WORD")]
    labels: Vec<ToolLabel>,
    /// Only the tools that this caller may use
    #[arg(long, value_name = "ID")]
    caller: Option<String>,
    /// Only the tools that a caller of this group may use; may be given several times
    #[arg(long = "group", value_name = "NAME")]
    groups: Vec<String>,
    /// Print the definitions for a model: what belongs into the `tools` of a request
    #[arg(long, value_name = "FORMAT", conflicts_with = "json", value_parser = forms())]
    format: Option<Form>,
    /// With --format: definitions to which the provider holds the model, where it can
    #[arg(long, requires = "format")]
    strict: bool,
    /// Print JSON, with the schemas
    #[arg(long)]
    pub(crate) json: bool,
}

fn forms() -> impl clap::builder::TypedValueParser<Value = Form> {
    PossibleValuesParser::new(Form::ALL.map(Form::name)).try_map(|name| name.parse::<Form>())
}

pub(crate) async fn run(args: ListArgs) -> Result<Exit, Stop> {
    if let Some(form) = args.format.filter(|form| args.strict && !form.has_strict()) {
        return Err(Stop::usage(format!("`{form}` has no strict definitions; leave `--strict` out")));
    }
    let loaded = load(args.source.builder()?).await;
    // What could be loaded is listed; what could not is named, and the exit code says so.
    let exit = if loaded.faults.is_empty() { Exit::Ok } else { Exit::Usage };
    let tools = args.tools_of(&loaded)?;
    if args.json {
        let tools: Vec<_> = tools.iter().map(|tool| sheet(tool)).collect();
        let faults: Vec<_> = loaded.faults.iter().map(ToString::to_string).collect();
        print::json(&json!({"ok": faults.is_empty(), "tools": tools, "faults": faults}))?;
        return Ok(exit);
    }
    match args.format {
        Some(form) => define(form.definitions(tools.iter().map(|tool| &**tool), args.strict))?,
        None => show(&tools)?,
    }
    for fault in &loaded.faults {
        print::error(fault);
    }
    Ok(exit)
}

fn show(tools: &[Arc<Tool>]) -> Result<(), Stop> {
    let labelled = tools.iter().any(|tool| !tool.labels.is_empty());
    let head = ["tool", "effect", "takes", "labels", "description"];
    let shown = |column: &str| labelled || column != "labels";
    let mut table = print::table(&head.into_iter().filter(|column| shown(column)).collect::<Vec<_>>());
    for tool in tools {
        let labels = tool.labels.iter().map(ToolLabel::as_str).collect::<Vec<_>>().join(", ");
        let summary = print::words(&print::summary(&tool.description));
        let row = [tool.name.clone(), tool.effect.name().into(), takes(tool), labels, summary];
        table.add_row(head.into_iter().zip(row).filter(|(column, _)| shown(column)).map(|(_, cell)| cell));
    }
    if table.is_empty() { Ok(()) } else { print::out(print::rows(&table)) }
}

fn define(definitions: Definitions) -> Result<(), Stop> {
    print::json(&definitions.tools)?;
    let mut reasons: Vec<(String, Vec<String>)> = Vec::new();
    for Loose { tool, why } in definitions.loose {
        let tool = format!("`{tool}`");
        match reasons.iter_mut().find(|(other, _)| *other == why) {
            Some((_, tools)) => tools.push(tool),
            None => reasons.push((why, vec![tool])),
        }
    }
    for (why, mut tools) in reasons {
        let more = tools.split_off(tools.len().min(LISTED_MAX)).len();
        let more = if more == 0 { String::new() } else { format!(" and {more} more") };
        print::note(format!("warning: not strict: {}{more}: {why}", tools.join(", ")));
    }
    Ok(())
}

impl ListArgs {
    /// What is chosen of that which the caller may use; of all tools where nobody is named.
    fn tools_of(&self, loaded: &Loaded) -> Result<Vec<Arc<Tool>>, Stop> {
        let host = &loaded.host;
        let tools: Vec<_> = match (&self.caller, self.groups.as_slice()) {
            (None, []) => host.catalog().tools().cloned().collect(),
            (id, groups) => {
                let id = id.clone().unwrap_or_default();
                host.tools_of(&Caller { id, groups: groups.to_vec(), session: None })
            }
        };
        let selection = Selection { names: self.names.clone(), labels: self.labels.clone() };
        // It may be one of those that could not be loaded.
        let faults = || loaded.faults.iter().map(ToString::to_string);
        selection.among(&tools).map_err(|why| Stop::faults(faults().chain([why])))
    }
}

/// The parameters' names; those that may be left out with a question mark.
fn takes(tool: &Tool) -> String {
    let name = |field: &Field| format!("{}{}", field.key, if field.required() { "" } else { "?" });
    tool.parameters.iter().map(name).collect::<Vec<_>>().join(", ")
}

/// All about a tool, for a program.
pub(crate) fn sheet(tool: &Tool) -> serde_json::Value {
    let mut sheet = json!({
        "name": tool.name,
        "description": tool.description,
        "labels": tool.labels,
        "effect": tool.effect,
        "grants": tool.grants,
        "input_schema": tool.input_schema(),
        "output_schema": tool.output_schema(),
        "origin": tool.origin,
    });
    if let Some(sheet) = sheet.as_object_mut().filter(|_| !tool.lifetime.is_fresh()) {
        sheet.insert("lifetime".into(), json!(tool.lifetime));
    }
    sheet
}
