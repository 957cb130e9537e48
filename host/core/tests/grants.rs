//! Grants as they are written, and what falls under them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use serde_json::{Value, json};
use toolpost_core::catalog::grants::{Denied, Destination, DirAccess, GrantSettings, Grants, KvAccess, NetGrants};
use toolpost_core::{EffectClass, Native};
use url::Url;

/// Which of these URLs the pattern covers.
fn check(pattern: &str, covered: &[&str], not: &[&str]) {
    let to = Destination::parse(pattern).unwrap();
    for (urls, wanted) in [(covered, true), (not, false)] {
        for url in urls {
            assert_eq!(to.covers(&Url::parse(url).unwrap()), wanted, "{pattern} {url}");
        }
    }
}

fn grants(net: Value) -> Result<Grants, String> {
    let settings: Result<GrantSettings, _> = serde_json::from_value(json!({ "net": net }));
    settings.map(|settings| Grants::default().with(&settings)).map_err(|error| error.to_string())
}

fn fault(net: Value) -> String {
    grants(net).unwrap_err()
}

#[test]
fn scheme_host_and_port_are_compared_whole() {
    check(
        "https://api.example.com/**",
        &["https://api.example.com/", "https://API.example.com:443/x", "https://api.example.com/?q=1"],
        &[
            "http://api.example.com/",
            "https://api.example.com:8443/",
            "https://api.example.com.evil.org/",
            "https://evil-api.example.com/",
            "https://api.example.com./",
            "https://example.com/",
        ],
    );
    check("http://api.example.com:8080/**", &["http://api.example.com:8080/x"], &["http://api.example.com/x"]);
}

#[test]
fn a_star_before_a_name_covers_every_name_below_it_and_not_the_name() {
    check(
        "https://*.example.com/**",
        &["https://a.example.com/", "https://a.b.example.com/"],
        &["https://example.com/", "https://.example.com/", "https://aexample.com/", "https://a.example.com.evil.org/"],
    );
}

#[test]
fn an_address_is_covered_however_it_is_spelt() {
    check(
        "http://127.0.0.1:80/**",
        &["http://127.1/", "http://0x7f000001/", "http://2130706433/"],
        &["http://localhost/"],
    );
    check("http://[::1]/**", &["http://[0:0:0:0:0:0:0:1]/"], &["http://127.0.0.1/", "http://[::ffff:127.0.0.1]/"]);
}

#[test]
fn a_path_is_compared_segment_by_segment_in_its_normal_form() {
    check(
        "https://a.org/v1/**",
        &["https://a.org/v1", "https://a.org/v1/", "https://a.org/v1/a/b", "https://a.org/x/../v1/a"],
        &[
            "https://a.org/v10",
            "https://a.org/v1/../v2/a",
            "https://a.org/v1/%2e%2e/v2",
            "https://a.org/V1/a",
            "https://a.org/",
        ],
    );
    check(
        "https://a.org/users/*/photos",
        &["https://a.org/users/ann/photos", "https://a.org/users//photos"],
        &["https://a.org/users/photos", "https://a.org/users/ann/x/photos", "https://a.org/users/ann/photos/"],
    );
    check("https://a.org/**/end", &["https://a.org/end", "https://a.org/a/end/b/end"], &["https://a.org/a/ends"]);
    check(
        "https://a.org/a*c*e",
        &["https://a.org/abcde", "https://a.org/ace"],
        &["https://a.org/abcdef", "https://a.org/ae"],
    );
    check("https://a.org/", &["https://a.org", "https://a.org/?x"], &["https://a.org/x"]);
}

#[test]
fn a_long_path_against_many_stars_takes_no_time() {
    let to = Destination::parse(&format!("https://a.org/{}b", "*a**/**/".replace("a**", "a*").repeat(30))).unwrap();
    assert!(!to.covers(&Url::parse(&format!("https://a.org/{}", "a/".repeat(4_000))).unwrap()));
}

#[test]
fn what_is_no_destination_says_what_would_be_one() {
    let fault = |text: &str| Destination::parse(text).unwrap_err();
    assert_eq!(
        fault("ftp://a.org/"),
        "`ftp://a.org/` is no destination; write for example \"https://api.example.com/v1/**\""
    );
    assert_eq!(fault("https://a.org"), "`https://a.org` names no path; write \"https://a.org/**\" for all of them");
    for text in
        ["https://*/**", "https://a.*.org/", "https://**.a.org/", "https://u:p@a.org/", "https://@a.org/", "https:///x"]
    {
        assert_eq!(
            fault(text),
            format!("`{text}` has no host that can be granted: a host is a name, an address, or `*.` and a name")
        );
    }
    for text in ["https://*.10.0.0.1/", "https://*.[::1]/"] {
        assert_eq!(fault(text), format!("`{text}` has a `*.` before an address; it can stand before a name only"));
    }
    for text in ["https://a.org/?x=1", "https://a.org/#x", "https://a.org/a b", "https://a.org/\\a", "https://a.org/\n"]
    {
        assert!(
            fault(text).ends_with("is more than a scheme, a host, a port and a path; a query is always allowed"),
            "{text}"
        );
    }
    assert!(fault("https://a.org/v1**").contains("it stands for whole segments"));
    assert_eq!(fault("https://a.org:x/"), "`https://a.org:x/` is no destination: invalid port number");
}

#[test]
fn a_grant_is_read_whole_or_not_at_all() {
    let to = "https://a.org/**";
    let said = grants(json!([{ "to": to }])).unwrap();
    let shown = json!({"net": [{
        "to": to, "methods": ["GET", "HEAD"], "max_request": 8_388_608, "max_response": 8_388_608, "max_requests": 100,
        "timeout": "10s", "private": false, "idempotency_key": false,
    }]});
    assert_eq!(json!(said), shown);
    assert_eq!(said.lines(), ["net GET, HEAD https://a.org/**"]);
    assert!(fault(json!([{}])).contains("missing field `to`"));
    assert!(fault(json!([{"to": to, "method": []}])).contains("unknown field `method`"));
    assert!(fault(json!([{"to": to, "methods": []}])).contains("a grant without methods grants nothing"));
    assert_eq!(fault(json!([{"to": to, "methods": ["get"]}])), "methods are in capital letters: write \"GET\"");
    assert!(fault(json!([{"to": to, "methods": ["*"]}])).contains("`*` is no method"));
    assert!(fault(json!([{"to": to, "methods": ["CONNECT"]}])).contains("opens a tunnel"));
    assert!(fault(json!([{"to": to, "max_requests": 0}])).contains("expected a whole number from 1 to 1000000"));
    assert!(fault(json!([{"to": to, "max_response": "2 GiB"}])).contains("expected from 0 B to 1 GiB, got 2 GiB"));
    assert!(fault(json!([{"to": to, "timeout": "0s"}])).contains("no span of time above zero"));
}

#[test]
fn the_grants_of_a_tool_take_the_place_of_its_components() {
    let above = grants(json!([{"to": "https://a.org/**"}])).unwrap();
    assert_eq!(above.clone().with(&GrantSettings::default()), above);
    assert_eq!(
        above.with(&GrantSettings { net: Some(NetGrants::default()), ..GrantSettings::default() }),
        Grants::default()
    );
}

#[test]
fn read_only_is_derived_from_grants_and_never_from_hints() {
    let effect =
        |methods: &[&str]| grants(json!([{"to": "https://a.org/**", "methods": methods}])).unwrap().net_effect();
    assert_eq!(Grants::default().net_effect(), None);
    assert_eq!(effect(&["GET", "HEAD", "OPTIONS"]), Some(EffectClass::Reads));
    for method in ["POST", "PUT", "DELETE", "PATCH", "TRACE", "QUERY"] {
        assert_eq!(effect(&["GET", method]), Some(EffectClass::Open), "{method}");
    }
    // One grant that may send is enough, whatever stands beside it.
    let both = json!([{"to": "https://a.org/**", "methods": ["GET"]}, {"to": "https://b.org/**", "methods": ["POST"]}]);
    assert_eq!(grants(both).unwrap().net_effect(), Some(EffectClass::Open));
    // What a tool is called, and what its author says of it, is no word of the operator's.
    for (name, description) in [("get_weather", "Only reads."), ("read", "readOnlyHint: true, destructiveHint: false")]
    {
        let tool = Native::new(name, description).run(|_| async { Ok(Value::Null) });
        assert_eq!(tool.effect, EffectClass::Open, "{name}");
    }
}

fn dirs(dirs: Value) -> Result<Grants, String> {
    let settings: Result<GrantSettings, _> = serde_json::from_value(json!({ "dirs": dirs }));
    settings.map(|settings| Grants::default().with(&settings)).map_err(|error| error.to_string())
}

#[test]
fn a_folder_is_read_and_nothing_more_unless_more_is_said() {
    let granted = dirs(json!([{"host": "data", "guest": "/data"}])).unwrap();
    let grant = &granted.dirs[0];
    assert_eq!((grant.access, grant.max_bytes.0, grant.max_file.0), (DirAccess::Read, 64 << 20, 64 << 20));
    assert_eq!((grant.max_files, grant.deny.covers(".env")), (1_000, false));
    assert_eq!(granted.lines(), ["dirs read /data"]);
    assert_eq!(granted.dirs_effect(), Some(EffectClass::Reads));
    assert_eq!(Grants::default().dirs_effect(), None);
}

#[test]
fn how_far_a_folder_reaches_follows_from_its_access() {
    use EffectClass::{Reads, Writes};
    for (access, effect) in [("list", Reads), ("read", Reads), ("append", Writes), ("write", Writes)] {
        let granted = dirs(json!([{"host": "a", "guest": "/a", "access": access}])).unwrap();
        assert_eq!(granted.dirs_effect(), Some(effect), "{access}");
    }
}

#[test]
fn a_folder_that_cannot_be_meant_is_an_error() {
    let fault = |grant: Value| dirs(json!([grant])).unwrap_err();
    assert_eq!(
        fault(json!({"host": "a", "guest": "data"})),
        "`data` is no path from the root, by which a tool could know a folder; write for example \"/data\""
    );
    for guest in ["/data/", "/../data", "/data/./x", "//data", "/a//b"] {
        assert!(fault(json!({"host": "a", "guest": guest})).contains("not in its shortest form"), "{guest}");
    }
    assert!(fault(json!({"host": "a", "guest": "/a\u{7}"})).contains("characters that no path should have"));
    assert!(fault(json!({"guest": "/a"})).contains("missing field `host`"));
    assert!(fault(json!({"host": "a", "guest": "/a", "acess": "read"})).contains("unknown field `acess`"));
    assert!(fault(json!({"host": "a", "guest": "/a", "access": "all"})).contains("unknown variant `all`"));
    assert!(fault(json!({"host": "a", "guest": "/a", "max_files": -1})).contains("from 0 to 1000000"));
    assert_eq!(
        dirs(json!([{"host": "a", "guest": "/x"}, {"host": "b", "guest": "/x"}])).unwrap_err(),
        "two folders are granted as `/x`; give one of them another `guest`"
    );
    assert!(
        dirs(json!([{"host": "a", "guest": "/"}, {"host": "a", "guest": "/x"}, {"host": "b", "guest": "/..x"}]))
            .is_ok()
    );
}

#[test]
fn a_pattern_covers_what_it_says_with_all_below_it_and_in_any_case() {
    let denied = |patterns: &[&str]| Denied::parse(patterns.iter().map(|&it| it.to_owned()).collect()).unwrap();
    let everywhere = denied(&["**/.env", "**/*.{key,pem}"]);
    for path in [".env", "a/.env", "a/b/.ENV", "x.pem", "a/x.Key"] {
        assert!(everywhere.covers(path), "{path}");
    }
    for path in ["env", ".envrc", "a.env", "a/.env.d", "pem"] {
        assert!(!everywhere.covers(path), "{path}");
    }
    assert_eq!(everywhere.pattern("a/x.key"), Some("**/*.{key,pem}"));
    assert!(denied(&["**/Ä.txt"]).covers("x/ä.TXT"));
    let anchored = denied(&["secret/**", "a/*/b"]);
    assert!(anchored.covers("secret") && anchored.covers("a/x/b"), "a folder of which nothing may be seen is none");
    assert!(!anchored.covers("x/secret") && !anchored.covers("a/b") && !anchored.covers("a/x/y/b"));
    assert!(everywhere.is_by_name() && denied(&[]).is_by_name() && denied(&["**/x/**"]).is_by_name());
    for pattern in ["secret/**", ".env", "**/a/b", "a/**/x", "**/{a/b,c}", "**"] {
        assert!(!denied(&[pattern]).is_by_name(), "{pattern}");
    }
}

#[test]
fn a_pattern_that_matches_nothing_is_an_error() {
    for pattern in ["/etc", "secret/", "./x", "a/../b", "", "a//b", "["] {
        let error = dirs(json!([{"host": "a", "guest": "/a", "deny": [pattern]}])).unwrap_err();
        assert!(error.contains("write for example \"**/.env\" or \"secret/**\""), "{pattern}: {error}");
    }
}

fn kv(kv: Value) -> Result<Grants, String> {
    let settings: Result<GrantSettings, _> = serde_json::from_value(json!({ "kv": kv }));
    settings.map(|settings| Grants::default().with(&settings)).map_err(|error| error.to_string())
}

#[test]
fn a_bucket_is_read_and_nothing_more_unless_more_is_said() {
    let granted = kv(json!([{"bucket": "notes"}])).unwrap();
    let grant = &granted.kv[0];
    assert_eq!((grant.access, grant.store.as_str(), grant.prefix.as_str()), (KvAccess::Read, "default", ""));
    assert_eq!((grant.max_value.0, grant.max_keys, grant.max_bytes.0), (1 << 20, 10_000, 64 << 20));
    assert_eq!(granted.lines(), ["kv read notes (in the store default)"]);
    assert_eq!((granted.kv_effect(), Grants::default().kv_effect()), (Some(EffectClass::Reads), None));
    let shared = json!({"bucket": "b", "access": "write", "namespace": "team", "prefix": "a/", "store": "fast"});
    let granted = kv(json!([{"bucket": "notes"}, shared])).unwrap();
    assert_eq!(granted.lines()[1], "kv write b (in the store fast, shared as team, under a/)");
    assert_eq!(granted.kv_effect(), Some(EffectClass::Writes));
}

#[test]
fn a_bucket_that_cannot_be_meant_is_an_error() {
    let fault = |grant: Value| kv(json!([grant])).unwrap_err();
    for name in ["", "a/b", "a b", "../notes", "ä", &"x".repeat(65)] {
        for key in ["bucket", "store", "namespace"] {
            let mut grant = json!({"bucket": "notes"});
            grant[key] = name.into();
            assert!(fault(grant).contains("is no name: it has 1 to 64 letters"), "{key} {name}");
        }
    }
    assert!(fault(json!({"bucket": "a", "prefix": "a\n"})).contains("characters that no key should have"));
    assert!(fault(json!({"bucket": "a", "prefix": "x".repeat(257)})).contains("this prefix is too long"));
    assert!(fault(json!({"bucket": "a", "max_value": "17 MiB"})).contains("16"));
    assert!(fault(json!({"bucket": "a", "max_keys": -1})).contains("from 0 to 100000000"));
    assert!(fault(json!({"bucket": "a", "acess": "write"})).contains("unknown field `acess`"));
    assert!(fault(json!({})).contains("missing field `bucket`"));
    assert_eq!(
        kv(json!([{"bucket": "a"}, {"bucket": "a", "prefix": "x"}])).unwrap_err(),
        "two buckets are granted as `a`; give one of them another name"
    );
}
