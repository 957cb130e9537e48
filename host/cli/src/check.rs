//! `toolpost check`: reads the settings and every component, and says all that is wrong at once. It also shows which tools
//! ask for a power that they have not been granted, which is no fault: they run, and are refused when they use it.

use std::collections::BTreeSet;

use clap::Args;
use serde_json::{Map, json};
use toolpost::core::catalog::{Keep, Origin};
use toolpost::core::check::authorize::Pattern;
use toolpost::wasm::{Component, Power};
use toolpost::{Loaded, Tool};

use crate::args::{SourceArgs, load};
use crate::exit::{Exit, Stop};
use crate::{inspect, print};

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Print the JSON Schema of the settings file, and check nothing
    #[arg(long, conflicts_with_all = ["tools", "config"])]
    schema: bool,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) async fn run(args: CheckArgs) -> Result<Exit, Stop> {
    if args.schema {
        print::json(&toolpost::settings::schema())?;
        return Ok(Exit::Ok);
    }
    let (builder, wrong) = args.source.examine()?;
    let loaded = load(builder).await;
    let mut faults: Vec<String> = wrong.iter().map(ToString::to_string).collect();
    faults.extend(loaded.faults.iter().map(ToString::to_string));
    let tools = loaded.host.catalog().tools().count();
    let (closed, idle, kept) = (closed(&loaded), idle(&loaded), kept(&loaded));
    if args.json {
        let refused: Vec<_> = loaded
            .components
            .iter()
            .flat_map(|component| {
                let refused = component.refused_for(loaded.keep(&component.name).lifetime());
                refused.map(|refusal| json!({"component": component.name, "refused": refusal}))
            })
            .collect();
        let idle: Vec<_> = idle.iter().map(|(tool, pattern)| json!({"tool": tool, "pattern": pattern})).collect();
        let closed: Vec<_> = closed.iter().map(|(tool, powers)| json!({"tool": tool, "powers": powers})).collect();
        print::json(&json!({
            "ok": faults.is_empty(),
            "faults": faults,
            "tools": tools,
            "left_out": refused,
            "not_granted": closed,
            "calls_nothing": idle,
            "kept": kept.iter().map(|(name, keep)| (name.clone(), json!(keep.lifetime()))).collect::<Map<_, _>>(),
            "locked": loaded.is_locked(),
        }))?;
        return Ok(if faults.is_empty() { Exit::Ok } else { Exit::Usage });
    }
    for component in &loaded.components {
        for refusal in component.refused_for(loaded.keep(&component.name).lifetime()) {
            let left_out =
                format!("left out: `{}` of component `{}`: {}", refusal.function, component.name, refusal.reason);
            print::note(print::visible(&left_out));
        }
        for warning in &component.warnings {
            print::note(print::visible(&format!("component `{}`: {warning}", component.name)));
        }
    }
    for (tool, pattern) in &idle {
        print::note(print::visible(&format!("`{tool}` may call `{pattern}`, which fits no tool of this host")));
    }
    if !faults.is_empty() {
        return Err(Stop::faults(faults));
    }
    if !closed.is_empty() {
        let mut table = print::table(&["tool", "asks for, and is not granted"]);
        for (tool, powers) in &closed {
            let powers: Vec<_> = powers.iter().map(|power| power.describe()).collect();
            table.add_row([tool, &powers.join(", ")]);
        }
        print::out(format!("{}\n", print::rows(&table)))?;
    }
    if !kept.is_empty() {
        let line = |(name, keep): &(String, Keep)| format!("component `{name}`: {}\n", inspect::memory(*keep));
        print::out(kept.iter().map(line).collect::<String>())?;
    }
    let (components, tools) = (print::many(loaded.components.len(), "component"), print::many(tools, "tool"));
    let locked = if loaded.is_locked() { "; what the settings name is as it was locked" } else { "" };
    print::out(format!("all is well: {components}, {tools}{locked}"))?;
    Ok(Exit::Ok)
}

/// Each tool that was granted to call what there is not, and the pattern that fits no tool.
fn idle(loaded: &Loaded) -> Vec<(String, String)> {
    let catalog = loaded.host.catalog();
    let fits_none = |pattern: &Pattern| !catalog.tools().any(|tool| pattern.fits(&tool.name));
    let idle = catalog.tools().flat_map(|tool| {
        let patterns = tool.grants.tools.iter().filter(|pattern| fits_none(pattern));
        patterns.map(|pattern| (tool.name.clone(), pattern.as_str().to_owned()))
    });
    idle.collect()
}

/// Each component whose instances are kept between calls.
fn kept(loaded: &Loaded) -> Vec<(String, Keep)> {
    let names = loaded.components.iter().map(|component| component.name.clone());
    let kept = names.map(|name| (loaded.keep(&name), name)).filter(|(keep, _)| *keep != Keep::Nothing);
    kept.map(|(keep, name)| (name, keep)).collect()
}

/// Each tool that asks for a power which it has not been granted, and those powers.
fn closed(loaded: &Loaded) -> Vec<(String, BTreeSet<Power>)> {
    let catalog = loaded.host.catalog();
    let closed = catalog.tools().map(|tool| {
        let component = loaded.components.iter().find(|component| is_of(tool, component));
        let powers = component.into_iter().flat_map(|component| &component.imports).map(|import| import.power);
        (tool.name.clone(), powers.filter(|power| power.is_closed(&tool.grants)).collect())
    });
    closed.filter(|(_, powers): &(_, BTreeSet<Power>)| !powers.is_empty()).collect()
}

fn is_of(tool: &Tool, component: &Component) -> bool {
    matches!(&tool.origin, Origin::Component { component: name, .. } if *name == component.name)
}
