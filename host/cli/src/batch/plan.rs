//! The plan as a graph that a person can read: step by step, what goes when, and why not earlier.

use serde::Serialize;
use serde_json::{Value, json};
use toolpost::core::batch::{BatchSettings, Class, Edge, Plan, Planned};
use toolpost::core::check::approve::rules::Action;
use toolpost::core::dialect::AskedCall;
use toolpost::{Call, CallError, Host};

use crate::exit::{Exit, Stop};
use crate::print::{self, BOLD, DIM, RED, YELLOW, styled};

/// What of arguments is shown, in characters.
const ARGUMENTS_MAX: usize = 60;

/// Prints which call would wait for which. Nothing runs.
pub(super) async fn print(
    host: &Host,
    settings: &BatchSettings,
    asked: &[AskedCall],
    calls: Vec<Result<Call, CallError>>,
    as_json: bool,
) -> Result<Exit, Stop> {
    let mut plan = Plan::default();
    let mut before = Vec::new();
    for (asked, call) in asked.iter().zip(calls) {
        let explained = call.and_then(|call| {
            host.explain_in_batch(call.clone(), &settings.classes).map(|explained| (call, explained.action))
        });
        match explained {
            Ok((call, action)) => {
                plan.push(host.planned(&call, &settings.classes).await);
                before.push(Before::of(action));
            }
            Err(error) => {
                plan.push(Planned::refused(&asked.tool));
                before.push(Before::Refused(error));
            }
        }
    }
    if as_json {
        let mut calls = sheet(&plan);
        for (call, before) in calls.iter_mut().zip(&before) {
            match before {
                Before::Nothing => {}
                Before::Asks => call.asks = true,
                Before::Denied => call.denied = true,
                Before::Refused(error) => call.error = Some(error),
            }
        }
        let max_parallel = settings.max_parallel;
        print::json(&json!({"max_parallel": max_parallel, "calls": calls}))?;
    } else {
        print::out(graph(&plan, asked, &before, settings.max_parallel))?;
    }
    let refused = before.iter().find_map(|before| match before {
        Before::Refused(error) => Some(Exit::of(error.kind)),
        _ => None,
    });
    Ok(refused.unwrap_or(Exit::Ok))
}

/// What comes before its turn.
enum Before {
    Nothing,
    Asks,
    Denied,
    Refused(CallError),
}

impl Before {
    fn of(action: Action) -> Self {
        match action {
            Action::Allow => Before::Nothing,
            Action::Ask => Before::Asks,
            Action::Deny => Before::Denied,
        }
    }
}

/// A call of a plan, for a program. Calls count from 1, as for a person.
#[derive(Serialize)]
pub(super) struct Sheet<'p> {
    call: usize,
    step: usize,
    #[serde(flatten)]
    planned: &'p Planned,
    waits_for: Vec<Value>,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    asks: bool,
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    denied: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    error: Option<&'p CallError>,
}

/// The calls with what each waits for.
pub(super) fn sheet(plan: &Plan) -> Vec<Sheet<'_>> {
    let edges = plan.edges();
    let steps = steps(&edges);
    let why = |edge: &Edge| json!({"call": edge.on + 1, "why": edge.why.words(&(edge.on + 1).to_string())});
    let calls = plan.calls().iter().zip(edges).zip(steps).enumerate();
    calls
        .map(|(index, ((planned, edges), step))| Sheet {
            call: index + 1,
            step,
            planned,
            waits_for: edges.iter().map(why).collect(),
            asks: false,
            denied: false,
            error: None,
        })
        .collect()
}

/// The step in which each call goes, if there is room: one behind the last of those that it waits for.
fn steps(edges: &[Vec<Edge>]) -> Vec<usize> {
    let mut steps: Vec<usize> = Vec::with_capacity(edges.len());
    for edges in edges {
        let last = edges.iter().filter_map(|edge| steps.get(edge.on)).max();
        steps.push(last.map_or(1, |step| step + 1));
    }
    steps
}

fn graph(plan: &Plan, asked: &[AskedCall], before: &[Before], max_parallel: usize) -> String {
    let (bold, dim, red, yellow) = (styled(BOLD), styled(DIM), styled(RED), styled(YELLOW));
    let edges = plan.edges();
    let steps = steps(&edges);
    let last = steps.iter().copied().max().unwrap_or(0);
    let width = plan.calls().iter().map(|call| call.tool.chars().count()).max().unwrap_or(0).min(40);
    let digits = plan.calls().len().to_string().len();
    let (calls, in_steps) = (print::many(plan.calls().len(), "call"), print::many(last, "step"));
    let mut lines = vec![format!("{calls} in {in_steps}, at most {max_parallel} at once")];
    for step in 1..=last {
        lines.push(format!("\n{bold}step {step}{bold:#}"));
        for (index, call) in plan.calls().iter().enumerate().filter(|(index, _)| steps.get(*index) == Some(&step)) {
            let class = call.class.as_ref().map_or("refused", Class::name);
            let arguments = asked.get(index).map(arguments).unwrap_or_default();
            let tool = print::words(&print::cut(&call.tool, 40));
            let number = index + 1;
            let line = format!("  {number:>digits$}  {tool:width$}  {class:11}  {dim}{arguments}{dim:#}");
            lines.push(line.trim_end().to_owned());
            let indent = " ".repeat(digits + 4);
            for edge in edges.get(index).into_iter().flatten() {
                let earlier = edge.on + 1;
                let why = print::words(&edge.why.words(&format!("call {earlier}")));
                lines.push(format!("{indent}{dim}└ after {earlier}:{dim:#} {why}"));
            }
            match before.get(index) {
                Some(Before::Asks) => lines.push(format!("{indent}{yellow}└ somebody is asked first{yellow:#}")),
                Some(Before::Denied) => lines.push(format!("{indent}{red}└ a rule denies it{red:#}")),
                Some(Before::Refused(error)) => {
                    let why = print::words(&error.to_string());
                    lines.push(format!("{indent}{red}└ {}:{red:#} {why}", error.kind.name()));
                }
                Some(Before::Nothing) | None => {}
            }
        }
    }
    lines.join("\n")
}

fn arguments(asked: &AskedCall) -> String {
    let text = match &asked.arguments {
        toolpost::core::Arguments::Text(text) => text.clone(),
        toolpost::core::Arguments::Value(value) => value.to_string(),
    };
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    print::words(&print::cut(&text, ARGUMENTS_MAX))
}
