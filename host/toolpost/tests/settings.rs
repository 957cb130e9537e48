//! What a settings file may say, and how it is told what it may not.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::path::Path;

use toolpost::Settings;

/// This is what is said of the text, line by line; nothing where it is right.
fn check(text: &str, faults: &[&str]) {
    let told = Settings::parse(text, Path::new("toolpost.toml")).err().unwrap_or_default();
    let told: Vec<_> = told.iter().map(ToString::to_string).collect();
    assert_eq!(told, faults, "{text}");
}

#[test]
fn what_all_calls_share_has_bounds_and_the_fault_has_a_line() {
    for good in [
        "",
        "[host]\nmax_parallel = 1\nmax_waiting = 0\nstack = \"64 KiB\"",
        "[host]\nmax_parallel = 1000000\nmax_waiting = 1000000\nstack = \"64 MiB\"",
        "[host]\nstack = 65536",
    ] {
        check(good, &[]);
    }
    for calls in ["0", "-1", "1000001", "18446744073709551615", "99999999999999999999999", "1.5", "\"64\""] {
        let fault = "toolpost.toml:3: expected a whole number from 1 to 1000000";
        check(&format!("[host]\ncast = \"safe\"\nmax_parallel = {calls}"), &[fault]);
    }
    for calls in ["-1", "1000001", "18446744073709551615"] {
        let fault = "toolpost.toml:2: expected a whole number from 0 to 1000000";
        check(&format!("[host]\nmax_waiting = {calls}"), &[fault]);
    }
    check("[host]\nmax_wait = \"5s\"\n[[share]]\ncallers = [\"group:staff\"]\nweight = 1000\n[[share]]", &[]);
    for weight in ["0", "1001", "0.5"] {
        check(&format!("[[share]]\nweight = {weight}"), &["toolpost.toml:2: expected a whole number from 1 to 1000"]);
    }
    check(
        "[host]\nmax_wait = \"0s\"",
        &["toolpost.toml:2: `0s` is no span of time above zero; write for example \"30s\" or \"500ms\""],
    );
    for (stack, got) in [("\"16EiB\"", "16 EiB"), ("\"1B\"", "1 B"), ("65535", "64 KiB"), ("\"65 MiB\"", "65 MiB")] {
        let fault = format!("toolpost.toml:2: expected from 64 KiB to 64 MiB, got {got}");
        check(&format!("[host]\nstack = {stack}"), &[&fault]);
    }
}

#[test]
fn a_grant_that_cannot_be_kept_is_a_fault_with_a_line() {
    let check = |grant: &str, faults: &[&str]| check(&format!("[components.a]\npath = \"a.wasm\"\n{grant}"), faults);
    check(
        r#"grants.net = [{ to = "https://*.a.org:443/v1/**", methods = ["GET", "POST"], max_response = "8 MiB" }]"#,
        &[],
    );
    check("grants.net = []", &[]);
    check("grants.nte = []", &["toolpost.toml:3: unknown key `nte`; did you mean `net`?"]);
    check(
        r#"grants.net = [{ to = "https://a.org/**", method = ["GET"] }]"#,
        &["toolpost.toml:3: unknown key `method`; did you mean `methods`?"],
    );
    check(
        "grants.net = [\n  { to = \"https://a.org/**\" },\n  { to = \"https://a.org\" },\n]",
        &["toolpost.toml:5: `https://a.org` names no path; write \"https://a.org/**\" for all of them"],
    );
    check(r#"grants.net = [{ tcp = "db.internal:5432", max_bytes = "1 GiB" }, { to = "https://a.org/**" }]"#, &[]);
    check(
        r#"grants.net = [{ tcp = "db.internal:5432", max_byte = 1 }]"#,
        &["toolpost.toml:3: unknown key `max_byte`; did you mean `max_bytes`?"],
    );
    check(
        "grants.net = [\n  { to = \"https://a.org/**\" },\n  { tcp = \"db.internal\" },\n  { tcp = \"a.org:1\", methods = [\"GET\"] },\n]",
        &[
            "toolpost.toml:5: `db.internal` names no port; write for example \"db.internal:5432\"",
            "toolpost.toml:6: `methods` belongs to a grant with `to`, and this is one with `tcp`",
        ],
    );
    check(
        "[components.a.tools.f]\ngrants.net = [{ to = \"https://*/**\" }]",
        &[
            "toolpost.toml:4: `https://*/**` has no host that can be granted: a host is a name, an address, or `*.` and a name",
        ],
    );
}

#[test]
fn limits_have_bounds_wherever_they_are_set() {
    check("[limits]\nfuel = 1\nmemory = \"4 GiB\"", &[]);
    check(
        "[limits]\nfuel = 0\n[components.a]\npath = \"a\"\nlimits.memory = \"1 KiB\"\n[components.a.tools.f.limits]\n\
         time = \"0s\"\nmemory = \"5 GiB\"\n",
        &[
            "toolpost.toml:2: expected a whole number of at least 1",
            "toolpost.toml:5: expected from 64 KiB to 4 GiB, got 1 KiB",
            "toolpost.toml:7: `0s` is no span of time above zero; write for example \"30s\" or \"500ms\"",
            "toolpost.toml:8: expected from 64 KiB to 4 GiB, got 5 GiB",
        ],
    );
}

#[test]
fn room_prices_and_budgets_stand_where_they_hold() {
    check(
        "[host]\nmax_depth = 12\n[guard]\nparallel = 8\nwaiting = 0\ncost = { per_call = 0.01, per_fuel = 1e-9 }\n\
         [guard.retry.hedge]\nafter = \"p95\"\n\
         [budget]\nsession = { calls = 100 }\n\
         caller = { attempts = 1, fuel = 2, time = \"1h\", output = \"1 MiB\", cost = 5, per = \"1d\" }\n\
         [components.a]\npath = \"a\"\nguard.exclusive = true\n[components.a.tools.f]\nguard.retry.hedge.after = \"200ms\"",
        &[],
    );
    check(
        "[host]\nmax_depth = 13\n[guard]\nparallel = 0\ncost = { per_call = -0.01 }\nretry.hedge = { after = \"10ms\" }\n\
         [budget]\ntool = { calls = 1 }\ncaller = { call = 1 }",
        &[
            "toolpost.toml:2: expected a whole number from 0 to 12",
            "toolpost.toml:4: expected a whole number from 1 to 1000000",
            "toolpost.toml:5: expected a number of at least 0",
            "toolpost.toml:6: expected `after` to be \"p95\", \"never\", or a time of at least \"50ms\", got \"10ms\"",
            "toolpost.toml:8: unknown key `tool`; known here: `caller`, `session`",
            "toolpost.toml:9: unknown key `call`; did you mean `calls`?",
        ],
    );
}

#[test]
fn a_value_that_is_wrong_is_one_fault_though_without_it_a_key_is_missing() {
    let hook = "[approval.webhook]\nurl = \"nowhere\"\nsecret = { env = \"S\" }\n";
    for (text, fault) in [
        ("guard.breaker = { kind = \"standrd\" }", "toolpost.toml:1: unknown variant `standrd`"),
        ("[guard.breaker]\nkind = \"standrd\"", "toolpost.toml:2: unknown variant `standrd`"),
        (hook, "toolpost.toml:2: `nowhere` is no URL"),
        ("[components.a]\npath = 7\n", "toolpost.toml:2: invalid type: integer `7`"),
    ] {
        let faults = Settings::parse(text, Path::new("toolpost.toml")).unwrap_err();
        let faults: Vec<String> = faults.iter().map(ToString::to_string).collect();
        assert!(faults.len() == 1 && faults[0].starts_with(fault), "{text}: {faults:#?}");
    }
    // What else is wrong is found all the same.
    let both = "[approval.webhook]\nurl = \"nowhere\"\nsecrt = { env = \"S\" }\n[repeat]\nwarn = \"x\"\n";
    let faults = Settings::parse(both, Path::new("toolpost.toml")).unwrap_err();
    let lines: Vec<_> = faults.iter().map(|fault| fault.line.unwrap()).collect();
    assert_eq!(lines, [2, 3, 5], "{faults:#?}");
}
