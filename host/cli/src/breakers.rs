//! `toolpost breakers`: what was last heard of each breaker, and an operator's orders to them.

use std::time::SystemTime;

use clap::{Args, Subcommand};
use serde::Serialize;
use serde_json::{Value, json};
use toolpost::core::catalog::cast::nearest;
use toolpost::core::catalog::settings::Span;
use toolpost::core::guard::breaker::{Key, Scope};
use toolpost::settings::TelemetrySettings;
use toolpost::store::orders::{Action, Order};
use toolpost::{Builder, Store};

use crate::args::{ConfigArgs, load};
use crate::exit::{Exit, Stop};
use crate::log::time;
use crate::print::{self, DIM};

#[derive(Debug, Args)]
pub(crate) struct BreakersArgs {
    #[command(subcommand)]
    order: Option<OrderCommand>,
    #[command(flatten)]
    config: ConfigArgs,
    /// Print JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
enum OrderCommand {
    /// Have a tool's calls refused, or its requests to a server, in all hosts of these settings
    Isolate {
        #[command(flatten)]
        order: NewOrderArgs,
        /// For so long, for example 10m; without it, until `release`
        #[arg(long = "for", value_name = "SPAN")]
        span: Option<Span>,
    },
    /// Have a tool's calls let through, or its requests to a server, however they fail
    Disable(NewOrderArgs),
    /// End what `isolate` or `disable` began
    Release(OrderArgs),
    /// Have forgotten what happened to a tool, or between it and a server, and what was ordered
    Reset(OrderArgs),
}

#[derive(Debug, Args)]
struct OrderArgs {
    /// The tool's name
    tool: String,
    /// A server that the tool sends requests to; without it, the tool itself
    #[arg(value_name = "HOST:PORT")]
    server: Option<String>,
    /// Why; whoever is refused is told
    #[arg(long, value_name = "TEXT", default_value = "")]
    why: String,
}

#[derive(Debug, Args)]
struct NewOrderArgs {
    #[command(flatten)]
    order: OrderArgs,
    /// Also for a tool that these settings do not name: other hosts may use the same store
    #[arg(long)]
    force: bool,
}

impl NewOrderArgs {
    /// The order, if there is such a tool.
    async fn known(self, config: &ConfigArgs) -> Result<OrderArgs, Stop> {
        watched(&self.order)?;
        if !self.force {
            is_known(&self.order.tool, config).await?;
        }
        Ok(self.order)
    }
}

pub(crate) async fn run(args: BreakersArgs) -> Result<Exit, Stop> {
    let store = args.config.store()?;
    let (action, order, span) = match args.order {
        None => return list(&store, args.json).await,
        Some(OrderCommand::Isolate { order, span }) => (Action::Isolate, order.known(&args.config).await?, span),
        Some(OrderCommand::Disable(order)) => (Action::Disable, order.known(&args.config).await?, None),
        Some(OrderCommand::Release(order)) => (Action::Release, order, None),
        Some(OrderCommand::Reset(order)) => (Action::Reset, order, None),
    };
    let order = Order {
        breaker: watched(&order)?.to_string(),
        action,
        by: std::env::var("USER").unwrap_or_else(|_| "an operator".into()),
        why: order.why,
        until: span.and_then(|span| SystemTime::now().checked_add(span.0)),
    };
    store.order(&order).await?;
    if args.json {
        print::json(&json!({"ok": true, "order": in_parts(&order, &order.breaker)}))?;
    } else {
        print::note(format!(
            "{DIM}ordered: {} {}; running hosts follow within a second or so{DIM:#}",
            action.name(),
            order.breaker
        ));
    }
    Ok(Exit::Ok)
}

async fn list(store: &Store, as_json: bool) -> Result<Exit, Stop> {
    let mut breakers = if store.has_log() { store.breakers().await? } else { Vec::new() };
    let mut orders = if store.has_state() { store.orders().await? } else { Vec::new() };
    orders.retain(|order| order.action.stands() && order.until.is_none_or(|until| until > SystemTime::now()));
    // A host that ended while a tool was isolated had nothing more to say when the tool was released.
    let is_forced = |status: &str| status == "isolated" || status == "disabled";
    breakers.retain(|known| !is_forced(&known.status) || orders.iter().any(|order| order.breaker == known.breaker));
    if as_json {
        let breakers: Vec<Value> = breakers.iter().map(|known| in_parts(known, &known.breaker)).collect();
        let orders: Vec<Value> = orders.iter().map(|order| in_parts(order, &order.breaker)).collect();
        print::json(&json!({"ok": true, "breakers": breakers, "orders": orders}))?;
        return Ok(Exit::Ok);
    }
    if breakers.is_empty() && orders.is_empty() {
        print::note(format!(
            "{DIM}no breaker has changed, and nothing is ordered, in {}{DIM:#}",
            store.dir().display()
        ));
        return Ok(Exit::Ok);
    }
    if !breakers.is_empty() {
        let mut table = print::table(&["breaker", "status", "since (UTC)", "until (UTC)", "why", "host"]);
        for known in &breakers {
            let until = known.until.map(time).unwrap_or_default();
            let (name, why) = (print::words(&known.breaker), print::words(&known.cause));
            table.add_row([&name, &known.status, &time(known.since), &until, &why, &known.host]);
        }
        print::out(print::rows(&table))?;
    }
    for order in &orders {
        let until = order.until.map_or_else(String::new, |until| format!(" until {} UTC", time(until)));
        let why = if order.why.is_empty() { String::new() } else { format!(": {}", order.why) };
        let line = format!("ordered by {}: {} {}{until}{why}", order.by, order.action.name(), order.breaker);
        print::out(print::words(&line))?;
    }
    Ok(Exit::Ok)
}

/// The same for a program, which also finds the tool and the authority of the server that a breaker watches.
fn in_parts(shown: &impl Serialize, breaker: &str) -> Value {
    let mut value = json!(shown);
    if let (Some(parts), Some(key)) = (value.as_object_mut(), Key::parse(breaker)) {
        match key.scope {
            Scope::Tool(tool) => drop(parts.insert("tool".into(), json!(tool))),
            Scope::Egress { tool, authority } => {
                parts.extend([("tool".into(), json!(tool)), ("authority".into(), json!(authority))]);
            }
            Scope::Custom(_) => {}
        }
    }
    value
}

/// Whether the settings have that tool, as far as they say which there are: an order that is misspelled would do nothing.
async fn is_known(tool: &str, config: &ConfigArgs) -> Result<(), Stop> {
    let (mut settings, faults) = config.examine();
    if !faults.is_empty() || settings.components.is_empty() {
        return Ok(());
    }
    // Nobody else is told of it, and no port is opened for it.
    settings.telemetry = TelemetrySettings::default();
    let loaded = load(Builder::new().settings(settings).in_memory()).await;
    let catalog = loaded.host.catalog();
    let names: Vec<&str> = catalog.tools().map(|tool| tool.name.as_str()).collect();
    // What cannot be loaded now may have it.
    if names.contains(&tool) || !loaded.faults.is_empty() {
        return Ok(());
    }
    let near = nearest(tool, names.into_iter()).map_or_else(String::new, |near| format!("did you mean `{near}`? "));
    let help = "`--force` orders it all the same, for other hosts of the store";
    Err(Stop::usage(format!("no tool of these settings is named `{tool}`; {near}{help}")))
}

/// What the breaker watches that an operator means.
fn watched(args: &OrderArgs) -> Result<Key, Stop> {
    let OrderArgs { tool, server, .. } = args;
    let key = match server {
        Some(server) => {
            let is_one = |(host, port): (&str, &str)| {
                !host.is_empty() && !host.contains(['/', ' ']) && port.parse::<u16>().is_ok()
            };
            if !server.rsplit_once(':').is_some_and(is_one) {
                return Err(Stop::usage(format!("`{server}` is no server; one is named as in `shop.example.com:443`")));
            }
            // As in a URL in its normal form.
            Key::egress(tool.as_str(), server.to_lowercase())
        }
        // Names of tools have neither.
        None if tool.contains(['.', ':']) => {
            let help = format!("a server is named behind the tool that sends to it: `TOOL {tool}`");
            return Err(Stop::usage(format!("`{tool}` is no tool; {help}")));
        }
        None => Key::tool(tool.as_str()),
    };
    // Hosts read what is printed.
    match Key::parse(&key.to_string()) {
        Some(read) if read == key => Ok(key),
        _ => Err(Stop::usage(format!("`{tool}` is no tool"))),
    }
}
