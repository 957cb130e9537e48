//! `toolpost inspect FILE`: a component on one sheet.

use std::collections::BTreeMap;
use std::path::PathBuf;

use clap::Args;
use serde_json::json;
use toolpost::core::catalog::shape::Shape;
use toolpost::wasm::{Component, Power};
use toolpost::{Builder, Limits, Loaded};

use crate::args::load;
use crate::exit::{Exit, Stop};
use crate::list;
use crate::print::{self, BOLD, DIM};

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The component
    file: PathBuf,
    /// Print JSON, with the schemas
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: InspectArgs) -> Result<Exit, Stop> {
    if args.file.is_dir() {
        return Err(Stop::usage(format!("`{}` is a folder; name one component", args.file.display())));
    }
    let Loaded { host, components, faults } = load(Builder::new().tools(&args.file)).await;
    let Some(component) = components.first() else { return Err(Stop::faults(faults)) };
    if args.json {
        let tools: Vec<_> = host.catalog().tools().map(|tool| list::sheet(tool)).collect();
        print::json(&json!({
            "name": component.name,
            "digest": component.digest,
            "bytes": component.bytes,
            "effect": component.effect(),
            "imports": component.imports,
            "limits": Limits::default(),
            "tools": tools,
            "refused": component.refused,
            "warnings": component.warnings,
        }))?;
    } else {
        sheet(component);
    }
    Ok(Exit::Ok)
}

fn sheet(component: &Component) {
    print::out(format!(
        "{BOLD}{}{BOLD:#}  {} {DIM}{}{DIM:#}",
        component.name,
        print::bytes(component.bytes),
        component.digest
    ));
    print::out(format!("effect  {} {DIM}(with nothing granted){DIM:#}", component.effect().name()));
    print::out(format!("asks    {}", asks(component)));
    let limits = Limits::default();
    print::out(format!(
        "limits  fuel {}, memory {}, time {}, result {}",
        limits.fuel,
        print::bytes(limits.memory_bytes_max),
        humantime::format_duration(limits.attempt_time_max),
        print::bytes(limits.result_bytes_max)
    ));
    for function in &component.functions {
        let result = function.result.as_ref().map_or_else(String::new, |result| format!(" -> {}", result.wit()));
        let takes = Shape::wit_fields(&function.parameters);
        print::out(format!("\n{BOLD}{}{BOLD:#}({takes}){result}", component.tool_name(function)));
        if let Some(docs) = &function.docs {
            for line in docs.lines() {
                print::out(format!("  {}", print::words(line)));
            }
        }
    }
    for refusal in &component.refused {
        print::out(format!("\n{DIM}left out:{DIM:#} {}: {}", refusal.function, refusal.reason));
    }
    for warning in &component.warnings {
        print::note(warning);
    }
}

/// The powers that the imports stand for, and which of them are open.
fn asks(component: &Component) -> String {
    let mut powers: BTreeMap<Power, usize> = BTreeMap::new();
    for import in component.imports.iter().filter(|import| import.power != Power::Plumbing) {
        *powers.entry(import.power).or_default() += 1;
    }
    if powers.is_empty() {
        return "nothing".into();
    }
    let shown = powers.keys().map(|power| {
        let state = match power {
            Power::Stdio => "captured",
            Power::Other => "open",
            power if power.is_given() => "given",
            _ => "closed",
        };
        format!("{} {DIM}({state}){DIM:#}", power.describe())
    });
    shown.collect::<Vec<_>>().join(", ")
}
