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
    for (stack, got) in [("\"16EiB\"", "16 EiB"), ("\"1B\"", "1 B"), ("65535", "64 KiB"), ("\"65 MiB\"", "65 MiB")] {
        let fault = format!("toolpost.toml:2: expected from 64 KiB to 64 MiB, got {got}");
        check(&format!("[host]\nstack = {stack}"), &[&fault]);
    }
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
