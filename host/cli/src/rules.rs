//! `toolpost rules`: what is allowed, denied and asked about, and why.

use std::sync::Arc;

use clap::{Args, Subcommand};
use serde_json::json;
use toolpost::approve::Book;
use toolpost::core::check::approve::rules::{Action, Placed};
use toolpost::core::check::approve::shown::escaped;
use toolpost::core::check::approve::{Explained, Rules};
use toolpost::{Call, Caller, Store};

use crate::args::{ConfigArgs, SourceArgs, load};
use crate::call::arguments::ArgumentArgs;
use crate::exit::{Exit, Stop};
use crate::print;

#[derive(Debug, Args)]
pub(crate) struct RulesArgs {
    #[command(subcommand)]
    action: What,
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
enum What {
    /// List the rules in the order in which they are tried, those in the store included
    List,
    /// Run the examples that rules carry: calls that they must fit, and calls that they must not
    Test,
    /// Say which rule decides about a call, and why; nothing runs, and nobody is asked
    Explain(ExplainArgs),
}

#[derive(Debug, Args)]
struct ExplainArgs {
    /// The tool's name
    tool: String,
    #[command(flatten)]
    arguments: ArgumentArgs,
    /// Who calls
    #[arg(long, value_name = "ID")]
    caller: Option<String>,
    /// A group of the one who calls; may be given several times
    #[arg(long = "group", value_name = "NAME")]
    groups: Vec<String>,
    #[command(flatten)]
    source: SourceArgs,
}

pub(crate) async fn run(args: RulesArgs) -> Result<Exit, Stop> {
    match args.action {
        What::List => list(&args.config, args.json),
        What::Test => test(&args.config, args.json),
        What::Explain(explain) => explained(explain, args.json).await,
    }
}

/// The rules, and where each group's rules begin to be those of the store.
fn read(config: &ConfigArgs) -> Result<(Rules, Rules), Stop> {
    let (settings, faults) = config.examine();
    let stored = settings
        .store_dir()
        .map(|dir| Book::of(&Arc::new(Store::at(dir))).read())
        .unwrap_or_else(|| Ok(Rules::default()));
    let (stored, more) = stored.map_or_else(|faults| (Rules::default(), faults), |rules| (rules, Vec::new()));
    let faults: Vec<_> = faults.into_iter().chain(more).collect();
    if faults.is_empty() { Ok((settings.approval.rules(), stored)) } else { Err(Stop::faults(faults)) }
}

fn list(config: &ConfigArgs, as_json: bool) -> Result<Exit, Stop> {
    let (said, stored) = read(config)?;
    let all = said.clone().and(stored);
    let of_settings = |placed: &Placed<'_>| said.placed().any(|other| other == *placed);
    if as_json {
        let rules: Vec<_> = all
            .placed()
            .map(|placed| {
                let from = if of_settings(&placed) { "settings" } else { "store" };
                json!({"group": placed.group, "title": placed.title(), "from": from, "rule": placed.rule})
            })
            .collect();
        print::json(&json!({"ok": true, "rules": rules}))?;
        return Ok(Exit::Ok);
    }
    if all.is_empty() {
        print::note("there are no rules: tools that destroy are asked about, all others run");
        return Ok(Exit::Ok);
    }
    let mut table = print::table(&["group", "rule", "from", "fits", "reason"]);
    for placed in all.placed() {
        let shadow = if placed.rule.shadow { " (shadow)" } else { "" };
        let from = if of_settings(&placed) { "settings" } else { "store" };
        let reason = placed.rule.reason.as_deref().map(escaped).unwrap_or_default();
        let title = escaped(&placed.title());
        table.add_row([format!("{}{shadow}", placed.group), title, from.into(), fits(&placed), reason]);
    }
    print::out(print::rows(&table))?;
    Ok(Exit::Ok)
}

/// What a rule fits, in words; what it does not name is left out.
fn fits(placed: &Placed<'_>) -> String {
    let rule = placed.rule;
    let names = |patterns: &[_]| {
        let names: Vec<String> = patterns
            .iter()
            .map(|pattern: &toolpost::core::check::authorize::Pattern| escaped(pattern.as_str()))
            .collect();
        names.join(", ")
    };
    let mut words = vec![names(&rule.tools)];
    let callers = names(&rule.callers);
    if callers != "*" {
        words.push(format!("by {}", if callers.is_empty() { "nobody in particular" } else { &callers }));
    }
    if !rule.effects.is_empty() {
        words.push(rule.effects.iter().map(|effect| effect.name()).collect::<Vec<_>>().join(" or "));
    }
    if let Some(digest) = &rule.digest {
        words.push(print::cut(&escaped(digest), 20));
    }
    words.extend(rule.arguments.iter().map(|(place, test)| escaped(&format!("{place} {test}"))));
    words.join("; ")
}

fn test(config: &ConfigArgs, as_json: bool) -> Result<Exit, Stop> {
    // Reading a rule runs its examples: here they have all passed.
    let (said, stored) = read(config)?;
    let all = said.and(stored);
    let rules: Vec<_> = all
        .placed()
        .map(|placed| (placed.group, placed.title(), placed.rule.matches.len(), placed.rule.no_match.len()))
        .collect();
    let examples: usize = rules.iter().map(|(_, _, fits, others)| fits + others).sum();
    if as_json {
        let shown = rules.iter().map(
            |(group, rule, fits, others)| json!({"group": group, "title": rule, "match": fits, "no_match": others}),
        );
        print::json(&json!({"ok": true, "examples": examples, "rules": shown.collect::<Vec<_>>()}))?;
        return Ok(Exit::Ok);
    }
    for (group, rule, ..) in rules.iter().filter(|(group, _, fits, others)| fits + others == 0 && *group != "always") {
        print::note(format!("{group} `{}` has no example", escaped(rule)));
    }
    let (rules, examples) = (print::many(rules.len(), "rule"), print::many(examples, "example"));
    print::out(format!("all is well: {rules}, {examples}"))?;
    Ok(Exit::Ok)
}

async fn explained(args: ExplainArgs, as_json: bool) -> Result<Exit, Stop> {
    let loaded = load(args.source.builder()?).await;
    let catalog = loaded.host.catalog();
    let tool = match catalog.find(&args.tool) {
        Ok(tool) => tool,
        Err(unknown) => {
            return Err(Stop::faults(loaded.faults.iter().map(ToString::to_string).chain([unknown.to_string()])));
        }
    };
    let arguments = args.arguments.read(&tool.parameters)?;
    let caller = Caller { groups: args.groups, ..Caller::named(args.caller.unwrap_or_default()) };
    let call = Call::new(&args.tool, arguments).by(caller);
    let explained = loaded.host.explain(call).map_err(Stop::usage)?;
    if as_json {
        print::json(&json!({"ok": true, "tool": tool.name, "effect": tool.effect, "explained": explained}))?;
        return Ok(Exit::Ok);
    }
    print::out(verdict(&explained, &tool.name, tool.effect.name()))?;
    let mut table = print::table(&["group", "rule", "fits"]);
    for tried in &explained.rules {
        let shadow = if tried.shadow { " (shadow)" } else { "" };
        let fits = tried.misfit.as_ref().map_or_else(|| "yes".to_owned(), |why| format!("no: {}", escaped(why)));
        table.add_row([format!("{}{shadow}", tried.group), escaped(&tried.rule), fits]);
    }
    if !explained.rules.is_empty() {
        print::out(print::rows(&table))?;
    }
    Ok(Exit::Ok)
}

fn verdict(explained: &Explained, tool: &str, effect: &str) -> String {
    let what = match explained.action {
        Action::Deny => "is denied",
        Action::Ask => "is asked about",
        Action::Allow => "runs",
    };
    match &explained.by {
        Some(rule) => format!("{tool} {what}: the rule `{}` fits", escaped(rule)),
        None => format!("{tool} {what}: no rule fits, and its effect class is {effect}"),
    }
}
