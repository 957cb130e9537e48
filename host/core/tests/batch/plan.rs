//! Which call waits for which, and why.

use serde_json::{Value, json};
use toolpost_core::batch::touch::NAMED_MAX;
use toolpost_core::batch::{ClassRule, Classes, Plan, Said};
use toolpost_core::catalog::Origin;
use toolpost_core::catalog::grants::GrantSettings;
use toolpost_core::catalog::shape::Shape;
use toolpost_core::check::authorize::Pattern;
use toolpost_core::{Call, Catalog, EffectClass, Host, Lifetime, Native, Tool};

/// A tool as a component's would be, with the parameters `path`, `paths` and `url`, and these grants.
fn tool(name: &str, effect: EffectClass, grants: &Value) -> Tool {
    let text = || Shape::Option(Box::new(Shape::String));
    let texts = Shape::Option(Box::new(Shape::List(Box::new(Shape::String))));
    let native = Native::new(name, "").effect(effect).parameter("path", text()).parameter("url", text());
    let native = native.parameter("paths", texts);
    let mut tool = native.run(|_| async { Ok(json!(null)) });
    let settings: GrantSettings = serde_json::from_value(grants.clone()).unwrap();
    tool.grants = tool.grants.with(&settings);
    let (component, digest, function) = (name.split('_').next().unwrap().to_owned(), String::new(), name.to_owned());
    tool.origin = Origin::Component { component, digest, function };
    tool
}

fn folder(guest: &str, access: &str, only: bool) -> Value {
    let mut grant = json!({"host": format!("/srv{guest}"), "guest": guest, "access": access});
    if only {
        grant["only"] = json!("${args.path}");
    }
    json!({"dirs": [grant]})
}

fn living(lifetime: Lifetime, tool: Tool) -> Tool {
    Tool { lifetime, ..tool }
}

/// A folder, keys, a server and tables, of all of which the list `paths` names some.
fn several() -> Value {
    let only = "${args.paths}";
    json!({
        "dirs": [{"host": "/srv/notes", "guest": "/notes", "access": "write", "only": only}],
        "kv": [{"bucket": "k", "access": "write", "namespace": "n", "only": only}],
        "sql": [{"database": "s", "access": "write", "only": only}],
    })
}

fn catalog() -> Catalog {
    use EffectClass::{Destroys, Open, Pure, Reads, Writes};
    let native = |name: &str, effect| Native::new(name, "").effect(effect).run(|_| async { Ok(json!(null)) });
    let net = |to: &str, methods: &[&str]| json!({"net": [{"to": to, "methods": methods}]});
    let kv = |access: &str, prefix: &str| json!({"kv": [{"bucket": "b", "access": access, "prefix": prefix, "namespace": "n"}]});
    let tools = [
        tool("text_count", Pure, &json!({})),
        tool("files_read", Reads, &folder("/notes", "read", true)),
        tool("files_write", Writes, &folder("/notes", "write", true)),
        tool("files_merge", Writes, &several()),
        tool("disk_scan", Reads, &folder("/notes", "read", false)),
        tool("disk_other", Writes, &folder("/other", "write", false)),
        tool("web_get", Reads, &net("https://api.example.com/**", &["GET"])),
        tool("web_post", Open, &net("https://*.example.com/**", &["POST"])),
        tool("web_far", Open, &net("https://far.example.org/**", &["POST"])),
        tool("kv_get", Reads, &kv("read", "a/")),
        tool("kv_put", Writes, &kv("write", "a/b/")),
        tool("kv_other", Writes, &kv("write", "b/")),
        tool("sql_read", Reads, &json!({"sql": [{"database": "d", "tables": ["Orders", "items"]}]})),
        tool("sql_write", Writes, &json!({"sql": [{"database": "d", "access": "write", "tables": ["orders"]}]})),
        tool("sql_far", Writes, &json!({"sql": [{"database": "d", "access": "write", "tables": ["users"]}]})),
        tool("boss_run", Writes, &json!({"tools": ["files_*"]})),
        living(Lifetime::Session, tool("basket_add", Pure, &json!({}))),
        living(Lifetime::Session, tool("basket_count", Pure, &json!({}))),
        living(Lifetime::Session, tool("cart_add", Pure, &json!({}))),
        living(Lifetime::Session, tool("draft_write", Writes, &folder("/notes", "write", true))),
        living(Lifetime::Warm, tool("warm_count", Pure, &json!({}))),
        tool("chief_run", Reads, &json!({"tools": ["basket_*"]})),
        native("look", Reads),
        native("act", Open),
        native("drop_all", Destroys),
    ];
    let mut catalog = Catalog::default();
    tools.into_iter().for_each(|tool| catalog.add(tool).unwrap());
    catalog
}

async fn plan_by(calls: &[(&str, Value)], classes: &Classes) -> Plan {
    let host = Host::new(catalog());
    let mut plan = Plan::default();
    for (tool, arguments) in calls {
        plan.push(host.planned(&Call::new(*tool, arguments.clone()), classes).await);
    }
    plan
}

/// The edges as text: `later <- earlier: why`, the first call being 1.
async fn edges(calls: &[(&str, Value)]) -> Vec<String> {
    edges_by(calls, &Classes::default()).await
}

async fn edges_by(calls: &[(&str, Value)], classes: &Classes) -> Vec<String> {
    let plan = plan_by(calls, classes).await;
    let lines = plan.edges().into_iter().enumerate().flat_map(|(later, edges)| {
        let line = move |edge: &toolpost_core::batch::Edge| {
            format!("{} <- {}: {}", later + 1, edge.on + 1, edge.why.words(&(edge.on + 1).to_string()))
        };
        edges.iter().map(line).collect::<Vec<_>>()
    });
    lines.collect()
}

fn path(path: &str) -> Value {
    json!({"path": path})
}

#[tokio::test]
async fn what_computes_or_reads_waits_for_nothing() {
    let calls = [
        ("text_count", json!({})),
        ("files_read", path("/notes/a")),
        ("files_read", path("/notes/a")),
        ("disk_scan", json!({})),
        ("web_get", json!({})),
        ("look", json!({})),
    ];
    assert_eq!(edges(&calls).await, Vec::<String>::new());
}

#[tokio::test]
async fn order_is_kept_by_what_arguments_name_and_not_by_names_of_tools() {
    let calls = [
        ("files_write", path("/notes/a")),
        ("files_write", path("/notes/b")),
        ("files_read", path("/notes/a")),
        ("files_write", path("/notes/./a")),
        ("files_read", path("/notes/a/deep")),
        ("files_read", path("/notes/ab")),
    ];
    let expected = [
        "3 <- 1: it uses /notes/a, which 1 may change",
        "4 <- 3: it may change /notes/a, which 3 uses",
        "5 <- 4: it uses /notes/a/deep, which 4 may change",
    ];
    assert_eq!(edges(&calls).await, expected);
}

/// Whoever chooses the arguments must not choose how long it takes to compare them.
#[tokio::test]
async fn a_call_that_names_more_than_a_few_is_held_to_use_all_that_it_was_granted() {
    let touched = async |count: usize| {
        let paths: Vec<String> = (0..count).map(|n| format!("/notes/{n}")).collect();
        let plan = plan_by(&[("files_merge", json!({"paths": paths}))], &Classes::default()).await;
        plan.calls()[0].touches.iter().map(|touch| touch.what.clone()).collect::<Vec<_>>()
    };
    let few = touched(NAMED_MAX).await;
    assert_eq!((few.len(), few[0].as_str()), (2 * NAMED_MAX + 1, "/notes/0"));
    assert_eq!(touched(NAMED_MAX + 1).await, ["/notes", "the bucket k", "the database s"]);
}

#[tokio::test]
async fn a_whole_folder_meets_all_that_is_in_it_and_no_other() {
    let calls = [("files_write", path("/notes/a")), ("disk_scan", json!({})), ("disk_other", json!({}))];
    assert_eq!(edges(&calls).await, ["2 <- 1: it uses /notes, which 1 may change"]);
}

#[tokio::test]
async fn what_leads_upwards_may_lead_anywhere_in_its_folder() {
    let calls = [("files_write", path("/notes/a/../b")), ("files_read", path("/notes/c"))];
    assert_eq!(edges(&calls).await, ["2 <- 1: it uses /notes/c, which 1 may change"]);
    let outside = [("files_write", path("/etc/passwd")), ("files_read", path("/notes/c"))];
    // What is not granted is not touched; but a tool that may change something is held to change anything.
    assert_eq!(edges(&outside).await, ["2 <- 1: it uses /notes/c, which 1 may change"]);
}

#[tokio::test]
async fn servers_keys_and_tables_meet_where_they_are_the_same() {
    let calls = [
        ("web_post", json!({})),
        ("web_get", json!({})),
        ("web_far", json!({})),
        ("kv_put", json!({})),
        ("kv_get", json!({})),
        ("kv_other", json!({})),
        ("sql_write", json!({})),
        ("sql_read", json!({})),
        ("sql_far", json!({})),
    ];
    let expected = [
        "2 <- 1: it uses api.example.com, which 1 may change",
        "5 <- 4: it uses the bucket b, which 4 may change",
        "8 <- 7: it uses items, orders in the database d, which 7 may change",
    ];
    assert_eq!(edges(&calls).await, expected);
}

#[tokio::test]
async fn into_what_the_host_cannot_look_may_touch_anything() {
    let calls = [("act", json!({})), ("text_count", json!({})), ("files_read", path("/notes/a")), ("look", json!({}))];
    let expected = ["3 <- 1: it uses /notes/a, which 1 may change", "4 <- 1: it uses anything, which 1 may change"];
    assert_eq!(edges(&calls).await, expected);
}

#[tokio::test]
async fn a_tool_that_calls_others_touches_what_they_touch() {
    let calls = [("boss_run", json!({})), ("files_read", path("/notes/a")), ("disk_other", json!({}))];
    assert_eq!(edges(&calls).await, ["2 <- 1: it uses /notes/a, which 1 may change"]);
}

#[tokio::test]
async fn calls_to_what_is_kept_for_a_session_keep_their_order_though_they_change_nothing_else() {
    let calls = [
        ("basket_add", json!({})),
        ("basket_count", json!({})),
        ("cart_add", json!({})),
        ("draft_write", path("/notes/a")),
        ("act", json!({})),
        ("draft_write", path("/notes/b")),
        ("chief_run", json!({})),
    ];
    let expected = [
        "2 <- 1: both may change what `basket` keeps for the session",
        "5 <- 4: both may change /notes/a",
        "6 <- 5: both may change /notes/b",
        "7 <- 2: both may change what `basket` keeps for the session",
    ];
    assert_eq!(edges(&calls).await, expected);
}

#[tokio::test]
async fn what_a_warm_instance_has_in_its_memory_is_nobodys_and_in_nobodys_way() {
    let calls = [("warm_count", json!({})), ("warm_count", json!({})), ("act", json!({})), ("warm_count", json!({}))];
    assert_eq!(edges(&calls).await, Vec::<String>::new());
}

#[tokio::test]
async fn what_destroys_runs_alone_and_what_is_refused_is_in_nobodys_way() {
    let calls = [
        ("text_count", json!({})),
        ("nothing_such", json!({})),
        ("drop_all", json!({})),
        ("files_write", json!({"nothing_such": 3})),
        ("text_count", json!({})),
    ];
    assert_eq!(edges(&calls).await, ["3 <- 1: it runs alone", "5 <- 3: 3 runs alone"]);
}

#[tokio::test]
async fn a_plan_leaves_out_what_follows_from_the_rest() {
    let calls = [("act", json!({})), ("act", json!({})), ("act", json!({}))];
    assert_eq!(edges(&calls).await, ["2 <- 1: both may change anything", "3 <- 2: both may change anything"]);
}

#[tokio::test]
async fn an_operator_may_say_how_tools_run_beside_others() {
    let rule = |tools, class, group: Option<&str>| ClassRule {
        tools: Pattern::new(tools).unwrap(),
        class,
        group: group.map(str::to_owned),
    };
    let classes = Classes::try_from(vec![
        rule("web_*", Said::Sequential, Some("browser")),
        rule("text_count", Said::Sequential, Some("browser")),
        rule("act", Said::Parallel, None),
        rule("disk_other", Said::Destructive, None),
    ]);
    let classes = classes.unwrap();
    let calls = [
        ("web_get", json!({})),
        ("text_count", json!({})),
        ("act", json!({})),
        ("act", json!({})),
        ("look", json!({})),
        ("disk_other", json!({})),
    ];
    let expected = [
        "2 <- 1: both are of the group browser",
        "6 <- 2: it runs alone",
        "6 <- 3: it runs alone",
        "6 <- 4: it runs alone",
        "6 <- 5: it runs alone",
    ];
    assert_eq!(edges_by(&calls, &classes).await, expected);
    let odd = Classes::try_from(vec![rule("a*", Said::Parallel, Some("browser"))]);
    let words = "the class of `a*` has a `group`, which only `class = \"sequential\"` knows; take it out";
    assert_eq!(odd, Err(words.to_owned()));
}
