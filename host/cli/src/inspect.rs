//! `toolpost inspect FILE`: a component on one sheet.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use toolpost::core::catalog::Origin;
use toolpost::core::catalog::shape::Shape;
use toolpost::wasm::{Component, Function, Power};
use toolpost::{Builder, Limits, Loaded, Settings, Tool};

use crate::args::{ConfigArgs, load};
use crate::exit::{Exit, Stop};
use crate::list;
use crate::print::{self, BOLD, DIM, styled};

#[derive(Debug, Args)]
pub(crate) struct InspectArgs {
    /// The component
    file: PathBuf,
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON, with the schemas
    #[arg(long)]
    pub(crate) json: bool,
}

pub(crate) async fn run(args: InspectArgs) -> Result<Exit, Stop> {
    if args.file.is_dir() {
        return Err(Stop::usage(format!("`{}` is a folder; name one component", args.file.display())));
    }
    let (mut settings, faults) = args.config.examine();
    if !faults.is_empty() {
        return Err(Stop::faults(faults));
    }
    only(&mut settings, &args.file);
    let limits = common_limits(&settings);
    // The settings name the file already, or there it is under its own name.
    let is_named = !settings.components.is_empty();
    let builder = Builder::new().settings(settings);
    let builder = if is_named { builder } else { builder.tools(&args.file) };
    let Loaded { host, components, faults, .. } = load(builder).await;
    let Some(component) = components.first() else { return Err(Stop::faults(faults)) };
    let catalog = host.catalog();
    let tools: Vec<&Tool> = catalog.tools().map(|tool| &**tool).collect();
    if args.json {
        let sheets = tools.iter().map(|tool| {
            let mut sheet = list::sheet(tool);
            if let Some(sheet) = sheet.as_object_mut().filter(|_| tool.limits != limits) {
                sheet.insert("limits".into(), json!(tool.limits));
            }
            sheet
        });
        print::json(&json!({
            "ok": true,
            "name": component.name,
            "digest": component.digest,
            "bytes": component.bytes,
            "effect": component.effect(),
            "imports": component.imports,
            "limits": limits,
            "tools": sheets.collect::<Vec<_>>(),
            "refused": component.refused,
            "warnings": component.warnings,
        }))?;
    } else {
        print::out(sheet(component, &tools, limits).join("\n"))?;
        for warning in &component.warnings {
            print::note(print::visible(warning));
        }
    }
    Ok(Exit::Ok)
}

/// Leaves of the settings what concerns this component. Under two names it is shown as the first.
fn only(settings: &mut Settings, file: &Path) {
    let file = file.canonicalize().ok();
    let is_it = |path: &Path| file.is_some() && settings.resolve(path).canonicalize().ok() == file;
    let name = settings.components.iter().find(|(_, said)| is_it(&said.path)).map(|(name, _)| name.clone());
    settings.components.retain(|other, _| name.as_ref() == Some(other));
}

/// The limits of the component's tools, but for those that have their own.
fn common_limits(settings: &Settings) -> Limits {
    let limits = Limits::default().with(&settings.limits);
    settings.components.values().fold(limits, |limits, said| limits.with(&said.limits))
}

fn sheet(component: &Component, tools: &[&Tool], limits: Limits) -> Vec<String> {
    let (bold, dim) = (styled(BOLD), styled(DIM));
    let shown = limit_words(limits);
    let (first, rest) = shown.split_at(shown.len() / 2);
    let mut lines = vec![
        format!(
            "{bold}{}{bold:#}  {}  {dim}{}{dim:#}",
            print::words(&component.name),
            print::bytes(component.bytes),
            component.digest
        ),
        format!("effect  {} {dim}(with nothing granted){dim:#}", component.effect().name()),
        format!("asks    {}", asks(component)),
        format!("limits  {},", first.join(", ")),
        format!("        {}", rest.join(", ")),
    ];
    for function in &component.functions {
        match tools.iter().find(|tool| is_behind(function, tool)) {
            Some(tool) => lines.extend(tool_lines(component, function, tool, limits)),
            None => lines.push(format!("\n{dim}left out:{dim:#} {}: hidden by the settings", function.path())),
        }
    }
    for refusal in &component.refused {
        lines.push(format!("\n{dim}left out:{dim:#} {}: {}", refusal.function, refusal.reason));
    }
    lines
}

fn is_behind(function: &Function, tool: &Tool) -> bool {
    matches!(&tool.origin, Origin::Component { function: path, .. } if *path == function.path())
}

/// A tool: how it is called, what it does, and how it differs from the others.
fn tool_lines(component: &Component, function: &Function, tool: &Tool, common: Limits) -> Vec<String> {
    let (bold, dim) = (styled(BOLD), styled(DIM));
    let result = function.result.as_ref().map_or_else(String::new, |result| format!(" -> {}", result.wit()));
    let takes = Shape::wit_fields(&function.parameters);
    let mut lines = vec![format!("\n{bold}{}{bold:#}({takes}){result}", tool.name)];
    lines.extend(tool.description.lines().map(|line| format!("  {}", print::words(line))));
    if tool.effect != component.effect() {
        lines.push(format!("  {dim}effect{dim:#} {}", tool.effect.name()));
    }
    let common = limit_words(common);
    let own: Vec<String> = limit_words(tool.limits).into_iter().filter(|limit| !common.contains(limit)).collect();
    if !own.is_empty() {
        lines.push(format!("  {dim}limits{dim:#} {}", own.join(", ")));
    }
    lines
}

/// Every limit under its name in the settings.
fn limit_words(limits: Limits) -> [String; 10] {
    let span = humantime::format_duration;
    [
        format!("fuel {}", limits.fuel),
        format!("memory {}", print::bytes(limits.memory_bytes_max)),
        format!("time {}", span(limits.attempt_time_max)),
        format!("call_time {}", span(limits.call_time_max)),
        format!("arguments {}", print::bytes(limits.arguments_bytes_max)),
        format!("result {}", print::bytes(limits.result_bytes_max)),
        format!("reader {}", print::bytes(limits.reader_bytes_max)),
        format!("handles {}", limits.handles_max),
        format!("log {}", print::bytes(limits.log_bytes_max)),
        format!("stdio {}", print::bytes(limits.stdio_bytes_max)),
    ]
}

/// The powers that the imports stand for, and which of them are open.
fn asks(component: &Component) -> String {
    let mut powers: BTreeMap<Power, usize> = BTreeMap::new();
    for import in component.imports.iter().filter(|import| import.power != Power::Plumbing) {
        *powers.entry(import.power).or_default() += 1;
    }
    let dim = styled(DIM);
    if powers.is_empty() {
        return "nothing".into();
    }
    let shown = powers.keys().map(|power| format!("{} {dim}({}){dim:#}", power.describe(), power.state()));
    shown.collect::<Vec<_>>().join(", ")
}
