//! What rules say: groups, matchers, examples, shadows, and the laws that hold for all of them.

use proptest::prelude::*;
use serde_json::{Value, json};
use toolpost_core::check::approve::rules::{Action, Rule, Rules, Subject};
use toolpost_core::{Caller, EffectClass};

fn ruled(rules: &Rules, tool: &str, effect: EffectClass, arguments: &Value) -> (Action, Option<String>) {
    let caller = Caller { groups: vec!["staff".into()], ..Caller::named("ann") };
    let subject = Subject { tool, digest: "sha256:1", effect, caller: &caller, arguments, does: None };
    let ruling = rules.rule_on(&subject);
    (ruling.action, ruling.by.map(|placed| placed.title()))
}

/// Whether a rule with this matcher fits the arguments where it denies, and where it allows.
fn check(place: &str, test: Value, arguments: Value, denies: bool, allows: bool) {
    for (group, fits, action) in [("deny", denies, Action::Deny), ("allow", allows, Action::Allow)] {
        let rule = json!({group: [{"tools": ["t"], "arguments": {place: test}}]});
        let rules: Rules = serde_json::from_value(rule).unwrap();
        // What destroys is asked about where the rule does not fit.
        let (got, _) = ruled(&rules, "t", EffectClass::Destroys, &arguments);
        assert_eq!(got == action, fits, "{group} {place} {test} on {arguments}");
        assert!(got == action || got == Action::Ask);
    }
}

#[test]
fn a_glob_and_a_regex_fit_the_whole_text_also_over_line_ends() {
    check("/path", json!("/tmp/*"), json!({"path": "/tmp/a/b"}), true, true);
    check("/path", json!("/tmp/*"), json!({"path": "/srv/tmp/a"}), false, false);
    check("/path", json!({"glob": "a?c"}), json!({"path": "abc"}), true, true);
    check("/path", json!({"regex": "/tmp/.*"}), json!({"path": "/tmp/a\n/etc"}), true, true);
    check("/path", json!({"regex": "tmp"}), json!({"path": "/tmp/a"}), false, false);
    check("/path", json!({"regex": "a|b"}), json!({"path": "ab"}), false, false);
    check("/count", json!({"regex": "[0-9]+"}), json!({"count": 12}), true, true);
}

#[test]
fn a_path_fits_whichever_way_it_is_written_and_one_that_leads_out_is_never_allowed() {
    let path = |text: &str| json!({"path": text});
    for etc in ["/etc/passwd", "//etc/passwd", "/etc//passwd", "/./etc/passwd", "/tmp/../etc/passwd", "\\etc\\passwd"] {
        check("/path", json!({"path": "/etc/*"}), path(etc), true, true);
        check("/path", json!({"path": "/tmp/*"}), path(etc), false, false);
    }
    check("/path", json!({"path": "/etc/*"}), path("/tmp/etc/passwd"), false, false);
    check("/path", json!({"path": "/etc/*"}), path("etc/passwd"), false, false);
    check("/path", json!({"path": "notes/*"}), path("./notes/a"), true, true);
    for out in ["../etc/passwd", "/../etc/passwd", "notes/../../etc/passwd"] {
        check("/path", json!({"path": "/tmp/*"}), path(out), true, false);
        check("/path", json!({"path": "*"}), path(out), true, false);
    }
}

#[test]
fn where_a_place_has_several_values_one_denies_and_all_allow() {
    let tmp = || json!("/tmp/*");
    for place in ["/paths", "/paths/*", "*", ""] {
        check(place, tmp(), json!({"paths": ["/tmp/a", "/etc/b"]}), true, false);
        check(place, tmp(), json!({"paths": ["/tmp/a", "/tmp/b"]}), true, true);
        check(place, tmp(), json!({"paths": []}), false, false);
        check(place, tmp(), json!({"paths": [{"deep": {"er": "/tmp/a"}}]}), true, true);
    }
    check("/users/*/name", json!("r*"), json!({"users": [{"name": "root"}, {"name": "ann"}]}), true, false);
    check("/paths/1", tmp(), json!({"paths": ["/tmp/a", "/etc/b"]}), false, false);
}

#[test]
fn what_is_absent_or_null_fits_nothing() {
    for arguments in [json!({}), json!({"path": null}), json!({"other": "x"}), json!({"path": {}})] {
        check("/path", json!("*"), arguments.clone(), false, false);
        check("/path", json!({"range": {"min": 0}}), arguments, false, false);
    }
}

#[test]
fn a_range_has_its_bounds_in_it_and_counts_exactly() {
    let range = json!({"range": {"min": 1, "max": 10}});
    for (count, fits) in [(json!(0), false), (json!(1), true), (json!(10), true), (json!(10.5), false)] {
        check("/count", range.clone(), json!({"count": count}), fits, fits);
    }
    let most = u64::MAX;
    check("/count", json!({"range": {"max": most - 1}}), json!({"count": most}), false, false);
    check("/count", json!({"range": {"min": 5}}), json!({"count": "6"}), false, false);
    check("/count", json!({"range": {"min": 5}}), json!({"count": "Infinity"}), true, true);
    // It lies nowhere: that is no reason to let it go.
    check("/count", json!({"range": {"min": 5}}), json!({"count": "NaN"}), true, false);
}

#[test]
fn equality_is_of_values_not_of_their_spelling() {
    check("/count", json!({"equals": 1}), json!({"count": 1.0}), true, true);
    check("/count", json!({"equals": 1}), json!({"count": "1"}), false, false);
    let whole = json!({"equals": {"a": 1, "b": [true]}});
    check("", whole.clone(), json!({"b": [true], "a": 1, "c": null}), true, true);
    check("", whole.clone(), json!({"b": [true], "a": 1, "c": 0}), false, false);
    check("", whole, json!({"b": [true, true], "a": 1}), false, false);
    check("*", json!({"equals": "x"}), json!({"a": ["y", "x"]}), true, false);
}

#[test]
fn groups_are_tried_in_order_and_the_first_rule_in_a_group_decides() {
    let rules: Rules = serde_json::from_value(json!({
        "deny": [{"name": "no-etc", "arguments": {"*": "/etc/*"}}],
        "ask": [{"tools": ["mail_*"], "callers": ["group:guests"]}, {"name": "big", "arguments": {"/count": {"range": {"min": 100}}}}],
        "allow": [{"effects": ["destroys"], "callers": ["ann"]}, {"name": "never reached", "tools": ["*"]}],
    }))
    .unwrap();
    let ruled = |tool, effect, arguments: Value| ruled(&rules, tool, effect, &arguments);
    assert_eq!(ruled("x", EffectClass::Pure, json!({"p": "/etc/x"})), (Action::Deny, Some("no-etc".into())));
    assert_eq!(
        ruled("x", EffectClass::Destroys, json!({"count": 100, "p": "/etc/x"})),
        (Action::Deny, Some("no-etc".into()))
    );
    assert_eq!(ruled("x", EffectClass::Destroys, json!({"count": 100})), (Action::Ask, Some("big".into())));
    assert_eq!(ruled("x", EffectClass::Destroys, json!({})), (Action::Allow, Some("allow 1".into())));
    assert_eq!(ruled("mail_send", EffectClass::Open, json!({})), (Action::Allow, Some("never reached".into())));
}

#[test]
fn without_a_rule_only_what_destroys_is_asked_about() {
    use EffectClass::{Destroys, Open, Pure, Reads, Writes};
    for (effect, action) in [
        (Pure, Action::Allow),
        (Reads, Action::Allow),
        (Writes, Action::Allow),
        (Open, Action::Allow),
        (Destroys, Action::Ask),
    ] {
        assert_eq!(ruled(&Rules::default(), "x", effect, &json!({})), (action, None));
    }
}

#[test]
fn a_rule_that_fails_one_of_its_own_examples_is_none() {
    let fault = |group: &str, rule: Value| serde_json::from_value::<Rules>(json!({group: [rule]})).unwrap_err();
    let tmp = |examples: Value| {
        let mut rule = json!({"tools": ["files_*"], "arguments": {"/paths": "/tmp/*"}});
        rule.as_object_mut().unwrap().extend(examples.as_object().unwrap().clone());
        rule
    };
    let mixed = json!({"tool": "files_rm", "arguments": {"paths": ["/tmp/a", "/etc/b"]}});
    // The same words mean less where they allow.
    assert!(serde_json::from_value::<Rules>(json!({"deny": [tmp(json!({"match": [mixed]}))]})).is_ok());
    assert!(serde_json::from_value::<Rules>(json!({"allow": [tmp(json!({"no_match": [mixed]}))]})).is_ok());
    let cases = [
        (
            fault("allow", tmp(json!({"match": [mixed]}))),
            r#"the rule does not fit its own example `files_rm` with {"paths":["/tmp/a","/etc/b"]}: `/paths` does not fit glob `/tmp/*`"#,
        ),
        (
            fault("ask", tmp(json!({"no_match": [mixed]}))),
            r#"the rule fits `files_rm` with {"paths":["/tmp/a","/etc/b"]}, which it says it does not"#,
        ),
        (
            fault("deny", json!({"effects": ["open"], "match": [{"tool": "x"}]})),
            "the example `x` with null must say its `effect`: the rule names effects",
        ),
        (
            fault("deny", json!({"digest": "sha256:1", "no_match": [{"tool": "x"}]})),
            "the example `x` with null must say its `digest`: the rule names one",
        ),
        (
            fault("deny", json!({"arguments": {"path": "x"}})),
            "`path` is no place; write a JSON pointer such as \"/path\"",
        ),
        (fault("deny", json!({"arguments": {"/a": {"range": {}}}})), "a range needs `min`, `max`, or both"),
        (
            fault("deny", json!({"arguments": {"/a": {"range": {"min": 2, "max": 1}}}})),
            "no number is in this range: `min` is above `max`",
        ),
        (fault("deny", json!({"arguments": {"/a": {"regex": "a)|(b"}}})), "`a)|(b` is no regular expression"),
        (fault("deny", json!({"tool": ["a"]})), "unknown field `tool`"),
    ];
    for (error, words) in cases {
        assert!(error.to_string().starts_with(words), "{error}\n{words}");
    }
}

#[test]
fn rules_that_are_written_read_as_the_same_rules() {
    let text = json!({"allow": [{
        "name": "n", "tools": ["a*"], "digest": "sha256:1", "callers": ["group:x"], "effects": ["writes"],
        "arguments": {"/a": "x*", "/b": {"regex": "a.b"}, "/c": {"equals": {"d": [1]}}, "/e": {"range": {"min": 1}}},
        "reason": "r", "shadow": true,
        "no_match": [{"tool": "b", "effect": "open", "digest": "sha256:2"}],
    }]});
    let rules: Rules = serde_json::from_value(text).unwrap();
    let again: Rules = serde_json::from_value(serde_json::to_value(&rules).unwrap()).unwrap();
    assert_eq!(rules, again);
}

fn word() -> impl Strategy<Value = Value> {
    prop_oneof![
        "[ab]{0,3}".prop_map(Value::from),
        (0_u64..4).prop_map(Value::from),
        Just(Value::Null),
        Just(json!(true)),
    ]
}

fn arguments() -> impl Strategy<Value = Value> {
    let inner = word().prop_recursive(3, 12, 3, |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..3).prop_map(Value::Array),
            prop::collection::btree_map("[xy]", inner, 0..3).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    });
    prop::collection::btree_map("[xyz]", inner, 0..4).prop_map(|map| Value::Object(map.into_iter().collect()))
}

fn test() -> impl Strategy<Value = Value> {
    prop_oneof![
        prop::sample::select(vec!["*", "a*", "?", "b", "[0-9]"]).prop_map(|glob| json!({"glob": glob})),
        prop::sample::select(vec!["a+", ".*", "[0-2]", "a|b"]).prop_map(|regex| json!({"regex": regex})),
        word().prop_map(|value| json!({"equals": value})),
        (0_u64..3).prop_map(|min| json!({"range": {"min": min, "max": 2}})),
    ]
}

fn place() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["*", "", "/x", "/y", "/x/*", "/x/y", "/x/0"])
}

fn rule() -> impl Strategy<Value = Rule> {
    let tools = prop::sample::select(vec!["*", "t*", "u"]);
    let tests = prop::collection::btree_map(place(), test(), 0..3);
    (tools, tests, prop::bool::weighted(0.2)).prop_map(|(tool, arguments, shadow)| {
        serde_json::from_value(json!({"tools": [tool], "arguments": arguments, "shadow": shadow})).unwrap()
    })
}

fn some_rules() -> impl Strategy<Value = Rules> {
    let group = || prop::collection::vec(rule(), 0..4);
    (group(), group(), group(), group()).prop_map(|(deny, always, ask, allow)| Rules { deny, always, ask, allow })
}

fn effect() -> impl Strategy<Value = EffectClass> {
    prop::sample::select(vec![EffectClass::Pure, EffectClass::Writes, EffectClass::Destroys])
}

proptest! {
    #[test]
    fn deny_beats_all(rules in some_rules(), rule in rule(), at in 0_usize..4, arguments in arguments(), effect in effect()) {
        let alone = Rules { deny: vec![rule.clone()], ..Rules::default() };
        let denies = ruled(&alone, "t", effect, &arguments).0 == Action::Deny;
        let before = ruled(&rules, "t", effect, &arguments).0;
        let mut more = rules.clone();
        more.deny.insert(at.min(rules.deny.len()), rule);
        let after = ruled(&more, "t", effect, &arguments).0;
        // One more denial denies what it fits, wherever it stands and whatever else is said, and changes nothing else.
        prop_assert_eq!(after, if denies { Action::Deny } else { before });
    }

    #[test]
    fn nothing_that_is_allowed_undoes_a_question_or_a_denial(rules in some_rules(), rule in rule(), arguments in arguments(), effect in effect()) {
        let before = ruled(&rules, "t", effect, &arguments);
        let mut more = rules.clone();
        more.allow.push(rule);
        let after = ruled(&more, "t", effect, &arguments);
        prop_assert!(before.1.is_none() || before == after);
    }

    #[test]
    fn shadows_decide_nothing(rules in some_rules(), arguments in arguments(), effect in effect()) {
        let lit = |group: &[Rule]| group.iter().filter(|rule| !rule.shadow).cloned().collect::<Vec<_>>();
        let Rules { deny, always, ask, allow } = &rules;
        let without = Rules { deny: lit(deny), always: lit(always), ask: lit(ask), allow: lit(allow) };
        prop_assert_eq!(ruled(&rules, "t", effect, &arguments).0, ruled(&without, "t", effect, &arguments).0);
    }

    #[test]
    fn what_is_allowed_by_a_matcher_is_denied_by_the_same_matcher(place in place(), test in test(), arguments in arguments()) {
        let with = |group: &str| -> Action {
            let rules: Rules = serde_json::from_value(json!({group: [{"arguments": {place: test}}]})).unwrap();
            ruled(&rules, "t", EffectClass::Destroys, &arguments).0
        };
        // Never more is let go by a matcher than the same matcher would stop.
        prop_assert!(with("allow") != Action::Allow || with("deny") == Action::Deny);
    }

    #[test]
    fn one_more_test_makes_no_rule_wider(rule in rule(), place in place(), test in test(), arguments in arguments()) {
        let fits = |rule: &Rule| {
            let rules = Rules { allow: vec![Rule { shadow: false, ..rule.clone() }], ..Rules::default() };
            ruled(&rules, "t", EffectClass::Destroys, &arguments).0 == Action::Allow
        };
        let more: Rule = serde_json::from_value(json!({"arguments": {place: test}})).unwrap();
        let mut narrow = rule.clone();
        more.arguments.into_iter().for_each(|(place, test)| { narrow.arguments.entry(place).or_insert(test); });
        prop_assert!(!fits(&narrow) || fits(&rule));
    }
}
