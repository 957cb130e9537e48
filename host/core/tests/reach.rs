//! How far a tool reaches that calls others: as far as they do.
#![allow(clippy::unwrap_used, reason = "tests")]

use serde_json::json;
use toolpost_core::catalog::grants::{GrantSettings, Grants};
use toolpost_core::{Catalog, EffectClass, Native, Tool};

/// A tool as a component would be one: its effect follows from what it reaches, unless settings say another.
fn tool(name: &str, reach: EffectClass, calls: &[&str]) -> Tool {
    let grants: GrantSettings = serde_json::from_value(json!({"tools": calls})).unwrap();
    let native = Native::new(name, "").effect(reach).run(|_| async { Ok(json!(null)) });
    Tool { grants: Grants::default().with(&grants), said: None, ..native }
}

fn effects(tools: impl IntoIterator<Item = Tool>) -> Vec<(String, EffectClass)> {
    let mut catalog = Catalog::default();
    tools.into_iter().for_each(|tool| catalog.add(tool).unwrap());
    catalog.tools().map(|tool| (tool.name.clone(), tool.effect)).collect()
}

#[test]
fn a_tool_reaches_as_far_as_those_that_it_calls_whichever_came_first() {
    let tools = || {
        [
            tool("ask", EffectClass::Pure, &["plan_*"]),
            tool("plan_a", EffectClass::Reads, &["do", "nobody"]),
            tool("plan_b", EffectClass::Pure, &["ask"]),
            tool("do", EffectClass::Writes, &[]),
        ]
    };
    let wanted = [
        ("ask", EffectClass::Writes),
        ("do", EffectClass::Writes),
        ("plan_a", EffectClass::Writes),
        ("plan_b", EffectClass::Writes),
    ];
    let wanted = wanted.map(|(name, effect)| (name.to_owned(), effect));
    assert_eq!(effects(tools()), wanted);
    assert_eq!(effects(tools().into_iter().rev()), wanted);
}

#[test]
fn what_an_operator_says_of_a_tool_stays_and_its_reach_is_known() {
    let mut catalog = Catalog::default();
    let said = Tool { said: Some(EffectClass::Reads), ..tool("ask", EffectClass::Reads, &["do"]) };
    catalog.add(said).unwrap();
    catalog.add(tool("do", EffectClass::Open, &[])).unwrap();
    let ask = catalog.get("ask").unwrap();
    assert_eq!((ask.effect, ask.reach), (EffectClass::Reads, EffectClass::Open));
}
