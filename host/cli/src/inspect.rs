//! `toolpost inspect FILE`: a component on one sheet.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use toolpost::core::Catalog;
use toolpost::core::catalog::grants::Grants;
use toolpost::core::catalog::schema::input_schema;
use toolpost::core::catalog::shape::Shape;
use toolpost::core::catalog::{Keep, Origin};
use toolpost::lock::Lock;
use toolpost::wasm::{Component, Function, Power};
use toolpost::{Builder, EffectClass, Fault, Limits, Loaded, Settings, Tool};

use crate::args::{ConfigArgs, load};
use crate::exit::{Exit, Stop};
use crate::list;
use crate::lock::State;
use crate::print::{self, BOLD, DIM, RED, styled};

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
    // The settings name the file already, or there it is under its own name.
    let named = only(&mut settings, &args.file);
    let (limits, grants) = common(&settings, named.as_deref());
    let lock = if named.is_some() { Lock::beside(&settings).map_err(Stop::faults)? } else { None };
    // What is refused can be looked at all the same.
    let builder = Builder::new().settings(settings).without_lock();
    let builder = if named.is_some() { builder } else { builder.tools(&args.file) };
    let loaded = load(builder).await;
    let component = match &named {
        Some(name) => loaded.components.iter().find(|component| component.name == *name),
        None => loaded.components.first(),
    };
    let Some(component) = component else { return Err(not_loaded(loaded.faults, named.as_deref())) };
    let locked = lock.filter(Lock::is_there).map(|lock| locked(&lock, &loaded, &component.name));
    let keep = loaded.keep(&component.name);
    let catalog = loaded.host.catalog();
    let effect = effect(component, &grants, &catalog);
    let tools: Vec<&Tool> = catalog.tools().map(|tool| &**tool).filter(|tool| is_of(component, tool)).collect();
    if args.json {
        let sheets = tools.iter().map(|tool| {
            let mut sheet = list::sheet(tool);
            if let Some(sheet) = sheet.as_object_mut().filter(|_| tool.limits != limits) {
                sheet.insert("limits".into(), json!(tool.limits));
            }
            sheet
        });
        let mut sheet = json!({
            "ok": true,
            "name": component.name,
            "digest": component.digest,
            "bytes": component.bytes,
            "effect": effect,
            "imports": component.imports,
            "powers": powers(component, &grants),
            "grants": grants,
            "limits": limits,
            "tools": sheets.collect::<Vec<_>>(),
            "refused": component.refused_for(keep.lifetime()).collect::<Vec<_>>(),
            "warnings": component.warnings,
        });
        let setup = component.setup().map(|setup| input_schema(&setup.parameters));
        let kept = (keep != Keep::Nothing).then(|| json!(keep.lifetime()));
        let more = [("lock", locked.map(|locked| json!(locked))), ("lifetime", kept), ("setup", setup)];
        if let Some(sheet) = sheet.as_object_mut() {
            sheet.extend(more.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))));
        }
        print::json(&sheet)?;
    } else {
        let mut lines = sheet(component, &tools, (limits, keep), &grants, effect);
        let words = locked.map(|locked| format!("lock    {}", locked.words().trim_start_matches("is ")));
        lines.splice(1..1, words);
        print::out(lines.join("\n"))?;
        for warning in &component.warnings {
            print::note(print::visible(warning));
        }
    }
    // What could not be loaded is not in what its tools reach by calling others.
    if tools.iter().any(|tool| !tool.grants.tools.is_empty()) {
        loaded.faults.iter().for_each(|fault| print::note(print::visible(&format!("warning: {fault}"))));
    }
    Ok(Exit::Ok)
}

/// What the lock says of a component.
fn locked(lock: &Lock, loaded: &Loaded, name: &str) -> State {
    State::of(lock.sheets.get(name), loaded.sheets().get(name))
}

/// Leaves of the settings what concerns this component, and says its name there: under two names it is shown as the first. Where its
/// tools call others, that is every component.
fn only(settings: &mut Settings, file: &Path) -> Option<String> {
    let file = file.canonicalize().ok();
    let is_it = |path: &Path| file.is_some() && settings.resolve(path).canonicalize().ok() == file;
    let (name, said) = settings
        .components
        .iter()
        .find(|(_, said)| is_it(&said.path))
        .map_or((None, None), |(name, said)| (Some(name.clone()), Some(said)));
    let own = said.iter().flat_map(|said| said.tools.values().map(|tool| &tool.grants));
    let calls = said.iter().map(|said| &said.grants).chain(own).any(|grants| grants.tools.is_some());
    settings.components.retain(|other, _| calls || name.as_ref() == Some(other));
    name
}

/// The limits and the grants of the component's tools, but for those that have their own.
fn common(settings: &Settings, name: Option<&str>) -> (Limits, Grants) {
    let (limits, grants) = (Limits::default().with(&settings.limits), Grants::default());
    match name.and_then(|name| settings.components.get(name)) {
        Some(said) => (limits.with(&said.limits), grants.with(&said.grants)),
        None => (limits, grants),
    }
}

/// Why the component is not there; what is wrong with others is their own matter.
fn not_loaded(faults: Vec<Fault>, name: Option<&str>) -> Stop {
    let subject = name.map(|name| format!("component `{name}`"));
    let is_its = |fault: &&Fault| subject.as_ref().is_none_or(|subject| fault.subject == *subject);
    let own: Vec<Fault> = faults.iter().filter(is_its).cloned().collect();
    Stop::faults(if own.is_empty() { faults } else { own })
}

fn is_of(component: &Component, tool: &Tool) -> bool {
    matches!(&tool.origin, Origin::Component { component: name, .. } if *name == component.name)
}

/// What the component's tools can do to the world, but for those with grants of their own: also by the tools that they call.
fn effect(component: &Component, grants: &Grants, catalog: &Catalog) -> EffectClass {
    let called = catalog.called_by(grants).map(|tool| tool.effect);
    called.fold(component.effect(grants), EffectClass::max)
}

fn sheet(
    component: &Component,
    tools: &[&Tool],
    (limits, keep): (Limits, Keep),
    grants: &Grants,
    effect: EffectClass,
) -> Vec<String> {
    let (bold, dim, red) = (styled(BOLD), styled(DIM), styled(RED));
    let shown = limit_words(limits);
    let (first, rest) = shown.split_at(shown.len() / 2);
    let mut lines = vec![
        format!(
            "{bold}{}{bold:#}  {}  {dim}{}{dim:#}",
            print::words(&component.name),
            print::bytes(component.bytes),
            component.digest
        ),
        format!("effect  {} {dim}({}){dim:#}", effect.name(), with(grants)),
        format!("asks    {}", asks(component, grants)),
    ];
    lines.extend(grant_lines(grants, "grants  "));
    lines.extend(shows(grants).map(|shown| format!("{red}shows{red:#}   {shown}")));
    lines.push(format!("limits  {},", first.join(", ")));
    lines.push(format!("        {}", rest.join(", ")));
    if keep != Keep::Nothing {
        lines.push(format!("memory  {}", memory(keep)));
    }
    if let Some(setup) = component.setup() {
        lines.push(format!("setup   {}({})", setup.path(), Shape::wit_fields(&setup.parameters)));
    }
    for function in component.functions_for(keep.lifetime()) {
        match tools.iter().find(|tool| is_behind(function, tool)) {
            Some(tool) => lines.extend(tool_lines(function, tool, limits, grants, effect)),
            None => lines.push(format!("\n{dim}left out:{dim:#} {}: hidden by the settings", function.path())),
        }
    }
    for refusal in component.refused_for(keep.lifetime()) {
        lines.push(format!("\n{dim}left out:{dim:#} {}: {}", refusal.function, refusal.reason));
    }
    lines
}

/// How long what tools have in their memory lives.
pub(crate) fn memory(keep: Keep) -> String {
    let span = humantime::format_duration;
    let bounds = keep.bounds().map_or_else(String::new, |bounds| {
        let calls = bounds.max_calls.map_or_else(String::new, |calls| format!(", max_calls {calls}"));
        let (idle, total) = (span(bounds.idle), span(bounds.total));
        format!(" (idle {idle}, total {total}{calls}, max_instances {})", bounds.max_instances)
    });
    format!("{}: {}{bounds}", keep.lifetime().name(), keep.lifetime().words())
}

fn is_behind(function: &Function, tool: &Tool) -> bool {
    matches!(&tool.origin, Origin::Component { function: path, .. } if *path == function.path())
}

/// A tool: how it is called, what it does, and how it differs from the others.
fn tool_lines(function: &Function, tool: &Tool, common: Limits, grants: &Grants, effect: EffectClass) -> Vec<String> {
    let (bold, dim, red) = (styled(BOLD), styled(DIM), styled(RED));
    let result = function.result.as_ref().map_or_else(String::new, |result| format!(" -> {}", result.wit()));
    let takes = Shape::wit_fields(&function.parameters);
    let mut lines = vec![format!("\n{bold}{}{bold:#}({takes}){result}", tool.name)];
    lines.extend(tool.description.lines().map(|line| format!("  {}", print::words(line))));
    if tool.effect != effect {
        lines.push(format!("  {dim}effect{dim:#} {}", tool.effect.name()));
    }
    if tool.grants != *grants {
        match tool.grants.lines().is_empty() {
            true => lines.push(format!("  {dim}grants{dim:#} nothing")),
            false => lines.extend(grant_lines(&tool.grants, &format!("  {dim}grants{dim:#} "))),
        }
        lines.extend(shows(&tool.grants).map(|shown| format!("  {red}shows{red:#}  {shown}")));
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

/// Each grant on a line of its own, below the first.
fn grant_lines(grants: &Grants, head: &str) -> Vec<String> {
    let rest = " ".repeat(8);
    let heads = std::iter::once(head).chain(std::iter::repeat(rest.as_str()));
    heads.zip(grants.lines()).map(|(head, grant)| format!("{head}{grant}")).collect()
}

/// The secrets that a tool sees: it may tell them to whoever it likes.
fn shows(grants: &Grants) -> Option<String> {
    let shown: Vec<&str> = grants.shown_secrets().into_iter().collect();
    (!shown.is_empty()).then(|| format!("the tool sees the value of {}", shown.join(", ")))
}

fn with(grants: &Grants) -> &'static str {
    if *grants == Grants::default() { "with nothing granted" } else { "with what is granted" }
}

/// The powers that the imports stand for, and whether they are open.
fn powers(component: &Component, grants: &Grants) -> BTreeMap<Power, &'static str> {
    let asked = component.imports.iter().filter(|import| import.power != Power::Plumbing);
    asked.map(|import| (import.power, import.power.state(grants))).collect()
}

/// The same for a reader.
fn asks(component: &Component, grants: &Grants) -> String {
    let dim = styled(DIM);
    let shown = powers(component, grants);
    let shown: Vec<String> =
        shown.iter().map(|(power, state)| format!("{} {dim}({state}){dim:#}", power.describe())).collect();
    if shown.is_empty() { "nothing".into() } else { shown.join(", ") }
}
