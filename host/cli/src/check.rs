//! `toolpost check`: reads the settings and every component, and says all that is wrong at once.

use clap::Args;
use serde_json::json;
use toolpost::{Builder, Settings};

use crate::args::{SourceArgs, load};
use crate::exit::{Exit, Stop};
use crate::print;

#[derive(Debug, Args)]
pub(crate) struct CheckArgs {
    #[command(flatten)]
    source: SourceArgs,
    /// Print JSON
    #[arg(long)]
    json: bool,
}

pub(crate) async fn run(args: CheckArgs) -> Result<Exit, Stop> {
    let file = args.source.settings_file();
    let read = file.as_deref().map_or_else(|| Ok(Settings::default()), Settings::read);
    let (mut faults, builder) = match read {
        Ok(_) => (Vec::new(), args.source.builder()?),
        Err(faults) => (faults.iter().map(ToString::to_string).collect(), Builder::new()),
    };
    let loaded = load(builder).await;
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
            print::note(format!(
                "left out: `{}` of component `{}`: {}",
                refusal.function, component.name, refusal.reason
            ));
        }
        for warning in &component.warnings {
            print::note(format!("component `{}`: {warning}", component.name));
        }
    }
    if !faults.is_empty() {
        return Err(Stop::faults(faults));
    }
    let components = loaded.components.len();
    print::out(format!("all is well: {components} components, {tools} tools"));
    Ok(Exit::Ok)
}
