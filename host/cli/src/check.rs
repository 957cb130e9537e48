//! `toolpost check`: reads the settings and every component, and says all that is wrong at once.

use clap::Args;
use serde_json::json;

use crate::args::{SourceArgs, load};
use crate::exit::{Exit, Stop};
use crate::print;

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Print JSON
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) async fn run(args: CheckArgs) -> Result<Exit, Stop> {
    let (builder, wrong) = args.source.examine()?;
    let loaded = load(builder).await;
    let mut faults: Vec<String> = wrong.iter().map(ToString::to_string).collect();
    faults.extend(loaded.faults.iter().map(ToString::to_string));
    let tools = loaded.host.catalog().tools().count();
    if args.json {
        let refused: Vec<_> = loaded
            .components
            .iter()
            .flat_map(|component| {
                component.refused.iter().map(|refusal| json!({"component": component.name, "refused": refusal}))
            })
            .collect();
        print::json(&json!({"ok": faults.is_empty(), "faults": faults, "tools": tools, "left_out": refused}))?;
        return Ok(if faults.is_empty() { Exit::Ok } else { Exit::Usage });
    }
    for component in &loaded.components {
        for refusal in &component.refused {
            let left_out =
                format!("left out: `{}` of component `{}`: {}", refusal.function, component.name, refusal.reason);
            print::note(print::visible(&left_out));
        }
        for warning in &component.warnings {
            print::note(print::visible(&format!("component `{}`: {warning}", component.name)));
        }
    }
    if !faults.is_empty() {
        return Err(Stop::faults(faults));
    }
    let components = loaded.components.len();
    print::out(format!("all is well: {components} components, {tools} tools"))?;
    Ok(Exit::Ok)
}
