//! Calls of random tools with random grants and arguments, and what they use by a model that knows nothing of touches: a small world
//! of files, keys, tables and servers, in which a call uses each of them or does not.

use std::collections::BTreeSet;
use std::sync::LazyLock;

use futures_util::FutureExt;
use proptest::option::of;
use proptest::prelude::*;
use proptest::sample::{select, subsequence};
use serde_json::{Value, json};
use toolpost_core::batch::{Class, Classes, Plan, Planned};
use toolpost_core::catalog::Origin;
use toolpost_core::catalog::grants::GrantSettings;
use toolpost_core::catalog::shape::Shape;
use toolpost_core::{Call, Catalog, EffectClass, Host, Native};

/// A call, and what it uses of the world.
#[derive(Clone, Debug)]
pub(crate) struct Modelled {
    pub(crate) call: Planned,
    uses: BTreeSet<usize>,
    changes: bool,
}

impl Modelled {
    /// Whether this call has to wait for an earlier one.
    pub(crate) fn waits_for(&self, earlier: &Modelled) -> bool {
        let (Some(class), Some(other)) = (&self.call.class, &earlier.call.class) else { return false };
        let said = Class::Parallel { said: true };
        match (class, other) {
            (Class::Destructive, _) | (_, Class::Destructive) => true,
            _ if *class == said || *other == said => false,
            (Class::Sequential { group: Some(one) }, Class::Sequential { group: Some(two) }) if one == two => true,
            _ => (self.changes || earlier.changes) && !self.uses.is_disjoint(&earlier.uses),
        }
    }
}

/// All texts of these parts, up to so many.
fn texts(parts: &[&str], most: usize) -> Vec<String> {
    let mut all = vec![String::new()];
    let mut last = all.clone();
    for _ in 0..most {
        last = last.iter().flat_map(|text| parts.iter().map(move |part| format!("{text}{part}"))).collect();
        all.extend(last.clone());
    }
    all
}

/// All that there is. A call uses some of it, by place.
static WORLD: LazyLock<Vec<String>> = LazyLock::new(|| {
    let files = texts(&["/a", "/b"], 4).into_iter().map(|path| format!("file {path}"));
    let keys = texts(&["a", "b", "/"], 5);
    let keys = ["n", "m"].into_iter().flat_map(|space| keys.iter().map(move |key| format!("key {space} {key}")));
    let tables =
        ["d", "e"].into_iter().flat_map(|database| ["t", "u", "v"].map(|table| format!("table {database} {table}")));
    let servers = ["example.com", "x.example.com", "y.example.com"].map(|server| format!("server {server}"));
    files.chain(keys).chain(tables).chain(servers).collect()
});

/// Grants, the argument that names some of them, and what is used then.
#[derive(Debug)]
struct Granted {
    grants: Value,
    argument: String,
    uses: BTreeSet<usize>,
}

fn is_below(path: &str, above: &str) -> bool {
    path.strip_prefix(above).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

/// The grants of a kind, with `only` where the call is narrowed.
fn granted(kind: &str, mut grant: Value, only: bool, argument: String, uses: impl Fn(&str) -> bool) -> Granted {
    if only {
        grant["only"] = json!("${args.name}");
    }
    let uses = WORLD.iter().enumerate().filter(|(_, thing)| uses(thing)).map(|(at, _)| at).collect();
    Granted { grants: json!({kind: [grant]}), argument, uses }
}

fn access(changes: bool) -> &'static str {
    if changes { "write" } else { "read" }
}

fn files(changes: bool) -> impl Strategy<Value = Granted> {
    let (root, name) = (select(vec!["", "/a", "/b"]), select(vec!["", "/a", "/b", "/a/b", "/./a", "/a/"]));
    (root, name, any::<bool>()).prop_map(move |(root, name, only)| {
        let grant = json!({"host": format!("/srv{root}"), "guest": "/g", "access": access(changes)});
        let below = if only { name.replace("/.", "").trim_end_matches('/').to_owned() } else { String::new() };
        let used = format!("{root}{below}");
        granted("dirs", grant, only, format!("/g{name}"), move |thing| {
            thing.strip_prefix("file ").is_some_and(|path| is_below(path, &used))
        })
    })
}

fn keys(changes: bool) -> impl Strategy<Value = Granted> {
    let (space, prefix) = (select(vec!["n", "m"]), select(vec!["", "a", "a/"]));
    (space, prefix, select(vec!["a", "b", "a/b", "ab"]), any::<bool>()).prop_map(move |(space, prefix, key, only)| {
        let grant = json!({"bucket": "b", "access": access(changes), "prefix": prefix, "namespace": space});
        granted("kv", grant, only, key.to_owned(), move |thing| {
            let own = thing.strip_prefix("key ").and_then(|rest| rest.strip_prefix(space)?.strip_prefix(' '));
            own.is_some_and(|at| if only { is_below(at, &format!("{prefix}{key}")) } else { at.starts_with(prefix) })
        })
    })
}

fn tables(changes: bool) -> impl Strategy<Value = Granted> {
    let some = of(subsequence(vec!["t", "U"], 1..=2));
    (select(vec!["d", "e"]), some, select(vec!["t", "T", "u", "v"]), any::<bool>()).prop_map(
        move |(database, some, name, only)| {
            let mut grant = json!({"database": database, "access": access(changes)});
            if let Some(some) = &some {
                grant["tables"] = json!(some);
            }
            granted("sql", grant, only, name.to_owned(), move |thing| {
                let table =
                    thing.strip_prefix("table ").and_then(|rest| rest.strip_prefix(database)?.strip_prefix(' '));
                let is = |one: &str, other: &str| one.eq_ignore_ascii_case(other);
                table.is_some_and(|table| {
                    let is_granted = some.as_ref().is_none_or(|some| some.iter().any(|one| is(one, table)));
                    is_granted && (!only || is(name, table))
                })
            })
        },
    )
}

fn servers(changes: bool) -> impl Strategy<Value = Granted> {
    let hosts = ["example.com", "x.example.com", "y.example.com"];
    let to = hosts.into_iter().chain(["*.example.com"]).collect::<Vec<_>>();
    (select(to), select(hosts.to_vec()), any::<bool>()).prop_map(move |(to, named, only)| {
        let grant = json!({"to": format!("https://{to}/**"), "methods": [if changes { "POST" } else { "GET" }]});
        granted("net", grant, only, format!("https://{named}/x"), move |thing| {
            let server = thing.strip_prefix("server ");
            let is_granted = |server: &str| server == to || to.starts_with('*') && server != "example.com";
            server.is_some_and(|server| is_granted(server) && (!only || server == named))
        })
    })
}

/// The call as the host plans it, and as the model has it.
fn modelled(changes: bool, granted: &Granted) -> Modelled {
    let effect = if changes { EffectClass::Writes } else { EffectClass::Reads };
    let native = Native::new("tool", "").effect(effect).parameter("name", Shape::String);
    let mut tool = native.run(|_| async { Ok(json!(null)) });
    let grants: GrantSettings = serde_json::from_value(granted.grants.clone()).unwrap();
    tool.grants = tool.grants.with(&grants);
    tool.origin = Origin::Component { component: "c".into(), digest: String::new(), function: "tool".into() };
    let mut catalog = Catalog::default();
    catalog.add(tool).unwrap();
    let call = Call::new("tool", json!({"name": granted.argument}));
    let call = Host::new(catalog).planned(&call, &Classes::default()).now_or_never().unwrap();
    // What may change something, and names nothing that it may change, is held to change anything.
    let is_anything = changes && granted.uses.is_empty();
    let uses = if is_anything { (0..WORLD.len()).collect() } else { granted.uses.clone() };
    Modelled { call, uses, changes }
}

/// A call whose class is what follows from its grants, or what an operator says of it.
pub(crate) fn call() -> impl Strategy<Value = Modelled> {
    let used = any::<bool>().prop_flat_map(|changes| {
        let granted = prop_oneof![
            files(changes).boxed(),
            keys(changes).boxed(),
            tables(changes).boxed(),
            servers(changes).boxed()
        ];
        granted.prop_map(move |granted| modelled(changes, &granted))
    });
    let sequential = |group: &str| Some(Class::Sequential { group: Some(group.into()) });
    let said =
        vec![Some(Class::Parallel { said: true }), sequential("a"), sequential("b"), Some(Class::Destructive), None];
    let class = prop_oneof![2 => Just(None), 1 => select(said).prop_map(Some)];
    let tools = select(vec![("one", None), ("two", Some(1)), ("three", Some(2))]);
    (used, class, tools).prop_map(|(mut modelled, class, (tool, room))| {
        if let Some(class) = class {
            modelled.call.class = class;
        }
        (modelled.call.tool, modelled.call.room) = (tool.to_owned(), room);
        modelled
    })
}

/// For each call the earlier ones that it is behind, by one step or by several.
fn closed(edges: &[Vec<usize>]) -> Vec<BTreeSet<usize>> {
    let mut all: Vec<BTreeSet<usize>> = Vec::new();
    for on in edges {
        let further = on.iter().flat_map(|on| all[*on].clone());
        all.push(further.chain(on.iter().copied()).collect());
    }
    all
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 500, ..ProptestConfig::default() })]

    #[test]
    fn a_call_waits_for_an_earlier_one_exactly_when_both_use_something_that_one_may_change(
        earlier in call(),
        later in call(),
    ) {
        let why = later.call.waits_for(&earlier.call);
        prop_assert_eq!(why.is_some(), later.waits_for(&earlier), "{:?}", why);
    }

    #[test]
    fn the_edges_of_a_plan_say_all_that_waits_and_nothing_twice(calls in proptest::collection::vec(call(), 0..9)) {
        let mut plan = Plan::default();
        calls.iter().for_each(|call| plan.push(call.call.clone()));
        let edges: Vec<Vec<usize>> = plan.edges().iter().map(|edges| edges.iter().map(|edge| edge.on).collect()).collect();
        let waits = |(later, call): (usize, &Modelled)| (0..later).filter(|at| call.waits_for(&calls[*at])).collect();
        let all: Vec<Vec<usize>> = calls.iter().enumerate().map(waits).collect();
        let behind = closed(&edges);
        prop_assert_eq!(&behind, &closed(&all));
        for (edges, all) in edges.iter().zip(&all) {
            for on in edges {
                prop_assert!(all.contains(on), "it does not wait for {on}");
                prop_assert!(!edges.iter().any(|other| behind[*other].contains(on)), "{on} follows from the rest");
            }
        }
    }
}
