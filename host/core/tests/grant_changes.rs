//! Grants that changed: what is told, and whether a tool can do more. What is told to be narrower must be.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use proptest::prelude::*;
use serde_json::{Value, json};
use toolpost_core::catalog::grants::{GrantSettings, Grants, NetGrant, Way};
use url::Url;

fn grants(settings: Value) -> Grants {
    let settings: GrantSettings = serde_json::from_value(settings).unwrap();
    Grants::default().with(&settings).recorded()
}

/// The change from one to the other is told in that way and those words; the way back is none that is wider, where it is.
fn check(was: Value, is: Value, changes: &[(Way, &str)]) {
    let (was, is) = (grants(was), grants(is));
    let told = is.changes_since(&was);
    let told: Vec<_> = told.iter().map(|change| (change.way, change.words.as_str())).collect();
    assert_eq!(told, changes);
    assert_eq!(was.changes_since(&was), []);
}

fn net(to: &str) -> Value {
    json!({ "net": [{ "to": to }] })
}

#[test]
fn what_is_new_is_wider_and_what_is_gone_is_narrower() {
    let dirs = json!({"dirs": [{"host": "notes", "guest": "/notes", "access": "write", "deny": ["**/.env"]}]});
    check(json!({}), dirs.clone(), &[(Way::Wider, "new: dirs write /notes (but **/.env), the folder `notes`")]);
    check(dirs, json!({}), &[(Way::Narrower, "gone: dirs write /notes (but **/.env), the folder `notes`")]);
    let kv = json!({"kv": [{"bucket": "notes"}]});
    check(json!({}), kv.clone(), &[(Way::Wider, "new: kv read notes (in the store default)")]);
    check(kv, json!({}), &[(Way::Narrower, "gone: kv read notes (in the store default)")]);
    let sql = json!({"sql": [{"database": "shop", "tables": ["stock"]}]});
    check(json!({}), sql.clone(), &[(Way::Wider, "new: sql read shop (only stock)")]);
    check(sql, json!({}), &[(Way::Narrower, "gone: sql read shop (only stock)")]);
    check(json!({}), net("https://a.org/**"), &[(Way::Wider, "new: net GET, HEAD https://a.org/**")]);
    check(net("https://a.org/**"), json!({}), &[(Way::Narrower, "gone: net GET, HEAD https://a.org/**")]);
}

#[test]
fn a_grant_of_the_same_thing_is_told_by_the_keys_that_changed() {
    let dirs = |more: Value| {
        let mut grant = json!({"host": "notes", "guest": "/notes"});
        grant.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        json!({ "dirs": [grant] })
    };
    check(
        dirs(json!({})),
        dirs(json!({"access": "write", "max_file": "1 GiB"})),
        &[(
            Way::Wider,
            "dirs write /notes, the folder `notes`: access write, was read; max_file 1.0 GiB, was 64.0 MiB",
        )],
    );
    check(
        dirs(json!({"max_files": 10})),
        dirs(json!({"max_files": 9, "deny": ["x"]})),
        &[(Way::Narrower, "dirs read /notes (but x), the folder `notes`: max_files 9, was 10; deny x, was nothing")],
    );
    // Less in one, and more in another: that is more.
    check(
        dirs(json!({"access": "write"})),
        dirs(json!({"host": "others"})),
        &[(Way::Wider, "dirs read /notes, the folder `others`: host others, was notes; access read, was write")],
    );
    check(
        json!({"kv": [{"bucket": "b", "prefix": "a/"}]}),
        json!({"kv": [{"bucket": "b", "prefix": "a/b/", "namespace": "team"}]}),
        &[(
            Way::Wider,
            "kv read b (in the store default, shared as team, under a/b/): prefix a/b/, was a/; namespace team, was nothing",
        )],
    );
    check(
        json!({"sql": [{"database": "shop"}]}),
        json!({"sql": [{"database": "shop", "tables": ["stock"], "timeout": "1s"}]}),
        &[(Way::Narrower, "sql read shop (only stock): tables stock, was nothing; timeout 1s, was 10s")],
    );
}

#[test]
fn a_destination_within_another_one_is_told_as_such() {
    let within = |to: &str| format!("new: net GET, HEAD {to}, within what was granted already");
    for (was, is) in [
        ("https://*.a.org/**", "https://b.a.org/**"),
        ("https://*.a.org/**", "https://*.b.a.org/**"),
        ("https://a.org/**", "https://a.org/x/*/y/**"),
        ("https://a.org/x*/**", "https://a.org/x*y/z"),
    ] {
        let gone = format!("gone: net GET, HEAD {was}");
        check(net(was), net(is), &[(Way::Other, &within(is)), (Way::Narrower, &gone)]);
        let (new, gone) = (format!("new: net GET, HEAD {was}"), format!("gone: net GET, HEAD {is}"));
        check(net(is), net(was), &[(Way::Wider, &new), (Way::Narrower, &gone)]);
    }
    for (was, is) in [
        ("https://a.org/*", "https://a.org/**"),
        ("https://a.org/x/**/y", "https://a.org/**/y"),
        ("https://*.a.org/**", "https://*.ba.org/**"),
        ("https://*.a.org/**", "https://a.org/**"),
        ("https://a.org/**", "http://a.org/**"),
        ("https://a.org/**", "https://a.org:8443/**"),
    ] {
        let told = grants(net(is)).changes_since(&grants(net(was)));
        assert_eq!(told[0].way, Way::Wider, "{was} {is}");
    }
}

#[test]
fn one_grant_in_two_parts_is_wider_as_each_has_requests_of_its_own() {
    let parts = json!({"net": [{"to": "https://a.org/x/**"}, {"to": "https://a.org/y/**"}]});
    let told = grants(parts).changes_since(&grants(net("https://a.org/**")));
    assert_eq!(told[0].way, Way::Wider, "{told:?}");
    let parts = json!({"net": [
        {"to": "https://a.org/x/**", "max_requests": 50}, {"to": "https://a.org/y/**", "max_requests": 50},
    ]});
    let told = grants(parts).changes_since(&grants(net("https://a.org/**")));
    assert!(told.iter().all(|change| change.way != Way::Wider), "{told:?}");
}

#[test]
fn what_leaves_its_requests_to_a_laxer_grant_is_wider() {
    let strict = json!({"to": "https://a.org/x/**"});
    let lax = json!({"to": "https://a.org/**", "private": true});
    check(
        json!({"net": [strict, lax]}),
        json!({"net": [lax]}),
        &[
            (
                Way::Wider,
                "net GET, HEAD https://a.org/** (private networks too): it counts for more, as others before it are not \
                 what they were",
            ),
            (Way::Narrower, "gone: net GET, HEAD https://a.org/x/**"),
        ],
    );
    let told = grants(json!({"net": [lax, strict]})).changes_since(&grants(json!({"net": [strict, lax]})));
    assert_eq!(told.iter().map(|change| change.way).collect::<Vec<_>>(), [Way::Wider]);
    // Of different hosts the order says nothing.
    let other = json!({"to": "https://b.org/**"});
    check(
        json!({"net": [strict, other]}),
        json!({"net": [other, strict]}),
        &[(Way::Other, "net: the order of the grants, which is about different hosts")],
    );
}

#[test]
fn another_secret_is_wider_and_what_may_be_one_is_not_written_down() {
    let with = |inject: Value| json!({"net": [{"to": "https://a.org/**", "inject": inject}]});
    let token = |name: &str| with(json!({"headers": {"Authorization": format!("Bearer ${{secret:{name}}}")}}));
    let told = grants(token("B")).changes_since(&grants(token("A")));
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].way, Way::Wider);
    let expected = r#"net GET, HEAD https://a.org/** (with B): inject {"headers":{"Authorization":"Bearer ${secret:B}"}}, was {"headers":{"Authorization":"Bearer ${secret:A}"}}"#;
    assert_eq!(told[0].words, expected);
    let plain = with(json!({"query": {"key": "in-the-clear"}, "basic": {"user": "ann", "password": "${secret:A}"}}));
    let recorded = serde_json::to_string(&grants(plain)).unwrap();
    assert!(
        recorded.contains(r#""key":"***""#) && recorded.contains(r#""user":"***","password":"${secret:A}""#),
        "{recorded}"
    );
}

#[test]
fn another_signature_is_wider_and_a_key_in_the_clear_is_not_written_down() {
    let with = |aws: Value| json!({"net": [{"to": "https://a.org/**", "inject": {"aws": aws}}]});
    let signed = |region: &str, access_key: &str, secret_key: &str| {
        with(json!({"service": "s3", "region": region, "access_key": access_key, "secret_key": secret_key}))
    };
    let was = signed("eu-central-1", "AKIAEXAMPLE", "${secret:A}");
    let told = grants(signed("us-east-1", "AKIAEXAMPLE", "${secret:A}")).changes_since(&grants(was.clone()));
    let aws = |region: &str| {
        format!(
            r#"inject {{"aws":{{"service":"s3","region":"{region}","access_key":"***","secret_key":"${{secret:A}}"}}}}"#
        )
    };
    let (now, then) = (aws("us-east-1"), aws("eu-central-1").replace("inject ", ""));
    assert_eq!(told.len(), 1);
    assert_eq!(
        (told[0].way, told[0].words.as_str()),
        (
            Way::Wider,
            format!("net GET, HEAD https://a.org/** (signed for s3 in us-east-1) (with A): {now}, was {then}").as_str()
        )
    );
    for other in [
        signed("eu-central-1", "AKIAEXAMPLE", "${secret:B}"),
        with(json!({
            "service": "s3", "region": "eu-central-1", "access_key": "AKIAEXAMPLE", "secret_key": "${secret:A}",
            "session_token": "${secret:B}",
        })),
    ] {
        let told = grants(other).changes_since(&grants(was.clone()));
        assert!(told.len() == 1 && told[0].way == Way::Wider && told[0].words.contains("${secret:B}"), "{told:?}");
    }
    let gone = grants(json!({"net": [{"to": "https://a.org/**"}]})).changes_since(&grants(was));
    assert_eq!(gone[0].way, Way::Narrower);
    let recorded = serde_json::to_string(&grants(signed("r", "AKIAEXAMPLE", "in-the-clear"))).unwrap();
    assert!(recorded.contains(r#""secret_key":"***""#) && !recorded.contains("clear"), "{recorded}");
}

#[test]
fn the_order_of_folders_buckets_and_databases_says_nothing() {
    let dirs = |names: [&str; 2]| {
        let dirs = names.map(|name| json!({"host": name, "guest": format!("/{name}")}));
        let kv = names.map(|name| json!({ "bucket": name }));
        grants(json!({"dirs": dirs, "kv": kv, "sql": names.map(|name| json!({"database": name}))}))
    };
    assert_eq!(dirs(["a", "b"]), dirs(["b", "a"]));
}

/// What counts for a request: the first grant that allows it.
fn counting<'g>(grants: &'g [NetGrant], method: &str, url: &Url) -> Option<&'g NetGrant> {
    grants.iter().find(|grant| grant.methods.allows(method) && grant.to.covers(url))
}

fn a_grant() -> impl Strategy<Value = Value> {
    let host = prop::sample::select(vec!["a.org", "b.a.org", "*.a.org", "*.org"]);
    let path = prop::sample::select(vec!["**", "x/**", "x", "*", "x/*/**", "**/y", "*x", "x*/y"]);
    let methods = prop::sample::select(vec![json!(["GET"]), json!(["POST"]), json!(["GET", "POST"])]);
    (host, path, methods, any::<bool>(), 1..3_u32).prop_map(|(host, path, methods, private, max_requests)| {
        json!({"to": format!("https://{host}/{path}"), "methods": methods, "private": private, "max_requests": max_requests})
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 3000, ..ProptestConfig::default() })]

    /// Where nothing is told to be wider, every request that is allowed was allowed, on terms as lax.
    #[test]
    fn what_is_not_told_to_be_wider_is_not(
        was in prop::collection::vec(a_grant(), 0..4),
        is in prop::collection::vec(a_grant(), 0..4),
        keep in prop::collection::vec(any::<bool>(), 4),
    ) {
        // Lists that have something in common are the interesting ones.
        let kept = was.iter().zip(&keep).filter(|(_, keep)| **keep).map(|(grant, _)| grant.clone());
        let is: Vec<Value> = kept.chain(is).collect();
        let (was, is) = (grants(json!({"net": was})), grants(json!({"net": is})));
        let changes = is.changes_since(&was);
        prop_assert_eq!(changes.is_empty(), was == is);
        if changes.iter().any(|change| change.way == Way::Wider) {
            return Ok(());
        }
        for host in ["a.org", "b.a.org", "c.b.a.org", "c.org"] {
            for path in ["", "x", "y", "x/y", "xx", "xx/y", "x/z/y", "x/z/w"] {
                let url = Url::parse(&format!("https://{host}/{path}")).unwrap();
                for method in ["GET", "POST"] {
                    let Some(now) = counting(&is.net.http, method, &url) else { continue };
                    let before = counting(&was.net.http, method, &url);
                    prop_assert!(before.is_some(), "{} {}: {:?}", method, url, changes);
                    let before = before.unwrap();
                    prop_assert!(before.private || !now.private, "{} {}: {:?}", method, url, changes);
                    prop_assert!(before.max_requests >= now.max_requests, "{} {}: {:?}", method, url, changes);
                }
            }
        }
    }
}

#[test]
fn words_secrets_and_tools_are_powers_where_they_show_or_call_more() {
    for (was, is, way, words) in [
        (json!({}), json!({"env": {"A": "b"}}), Way::Other, "env: A ***, was nothing"),
        (json!({"env": {"A": "b"}}), json!({"env": {"A": "${secret:KEY}"}}), Way::Wider, "new: env shows KEY"),
        (json!({"config": {"A": "${secret:KEY}"}}), json!({}), Way::Narrower, "gone: config shows KEY"),
        (json!({}), json!({"secrets": [{"name": "KEY"}]}), Way::Wider, "new: secrets KEY (to sign with)"),
        (
            json!({"secrets": [{"name": "KEY"}]}),
            json!({"secrets": [{"name": "KEY", "reveal": true}]}),
            Way::Wider,
            "secrets KEY (shown): reveal true, was nothing",
        ),
        (json!({"tools": ["a_*"]}), json!({"tools": ["a_*", "b"]}), Way::Wider, "new: tools b"),
        (
            json!({"kv": [{"bucket": "b", "only": "${args.key}"}]}),
            json!({"kv": [{"bucket": "b"}]}),
            Way::Wider,
            "kv read b (in the store default): only nothing, was ${args.key}",
        ),
        (
            json!({"kv": [{"bucket": "b"}]}),
            json!({"kv": [{"bucket": "b", "only": "${args.key}"}]}),
            Way::Narrower,
            "kv read b (only ${args.key}) (in the store default): only ${args.key}, was nothing",
        ),
        (json!({"tools": ["a_*", "b"]}), json!({"tools": ["b"]}), Way::Narrower, "gone: tools a_*"),
    ] {
        let changes = grants(is).changes_since(&grants(was));
        let changes: Vec<_> = changes.iter().map(|change| (change.way, change.words.as_str())).collect();
        assert_eq!(changes, [(way, words)]);
    }
}
