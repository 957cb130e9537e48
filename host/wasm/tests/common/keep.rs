//! Hosts of components whose instances outlive a call, and calls in sessions.

use serde_json::{Value, json};
use toolpost_core::catalog::Base;
use toolpost_core::catalog::grants::{GrantSettings, Grants};
use toolpost_core::catalog::settings::{LimitSettings, ToolSettings};
use toolpost_core::tell::InstanceReport;
use toolpost_core::{Call, Caller, Catalog, Host, Outcome};
use toolpost_wasm::Component;
use toolpost_wasm::sql::Databases;

/// What is said of a component.
#[derive(Clone, Default)]
pub struct Said {
    pub keep: Value,
    pub grants: Value,
    pub setup: Value,
    pub limits: LimitSettings,
    pub databases: Databases,
}

impl Said {
    pub fn keeping(keep: Value) -> Self {
        Said { keep, ..Said::default() }
    }

    pub fn granted(self, grants: Value) -> Self {
        Said { grants, ..self }
    }

    pub fn set_up(self, setup: Value) -> Self {
        Said { setup, ..self }
    }

    pub fn limited(self, limits: LimitSettings) -> Self {
        Said { limits, ..self }
    }

    pub fn base(&self) -> Base {
        let or = |value: &Value, other: Value| if value.is_null() { other } else { value.clone() };
        let grants: GrantSettings = serde_json::from_value(or(&self.grants, json!({}))).unwrap();
        Base {
            keep: serde_json::from_value(or(&self.keep, json!("fresh"))).unwrap(),
            setup: serde_json::from_value(or(&self.setup, json!({}))).unwrap(),
            grants: Grants::default().with(&grants),
            ..super::strict()
        }
    }

    /// The tools of a component.
    pub fn tools(&self, component: &Component) -> Vec<toolpost_core::Tool> {
        let (base, settings) = (self.base(), ToolSettings { limits: self.limits.clone(), ..ToolSettings::default() });
        let functions = component.functions_for(base.keep.lifetime());
        functions.map(|it| component.tool_on(it, &base, &settings, &self.databases).unwrap()).collect()
    }

    pub fn host(&self, component: &Component) -> Host {
        let mut catalog = Catalog::default();
        self.tools(component).into_iter().for_each(|tool| catalog.add(tool).unwrap());
        Host::new(catalog)
    }
}

/// Calls in a session of `ann`.
pub async fn call_in(host: &Host, session: &str, tool: &str, arguments: Value) -> Outcome {
    call_by(host, "ann", session, tool, arguments).await
}

pub async fn call_by(host: &Host, caller: &str, session: &str, tool: &str, arguments: Value) -> Outcome {
    let caller = Caller { session: Some(session.into()), ..Caller::named(caller) };
    host.call(Call::new(tool, arguments).by(caller)).await
}

pub fn value(outcome: &Outcome) -> Value {
    outcome.result.as_ref().unwrap_or_else(|error| panic!("{error:?}")).value.clone()
}

pub fn message(outcome: &Outcome) -> &str {
    &outcome.result.as_ref().expect_err("the call is to fail").message
}

/// The instance of the last attempt.
pub fn instance(outcome: &Outcome) -> InstanceReport {
    outcome.report.attempts.last().and_then(|attempt| attempt.instance).expect("an instance that may be kept")
}

pub fn notes(outcome: &Outcome) -> Vec<String> {
    outcome.result.as_ref().map(|output| output.notes.clone()).unwrap_or_default()
}
