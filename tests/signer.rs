//! What a tool is given in words and in secrets, by the guest `signer`: nothing that was not written down, signatures without the
//! secret, and the secret itself only where the grant says so.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use insta::assert_snapshot;
use tempfile::TempDir;
use toolpost_tests::{command, page, prebuilt, toolpost};

const KEY: &str = "Jefe-says-what-do-ya-want";

/// A folder whose settings have `signer`, with more about it.
fn folder(more: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("key"), KEY).expect("written");
    let secrets = "[secrets]\nHOOK_KEY = { file = \"key\" }\nOTHER = { env = \"NOT_THERE\" }\n";
    let settings = format!("{secrets}[components.signer]\npath = {:?}\n{more}\n", prebuilt("signer"));
    std::fs::write(folder.path().join("toolpost.toml"), settings).expect("written");
    folder
}

fn run(folder: &TempDir, args: &[&str]) -> String {
    page(&toolpost(folder.path(), args))
}

#[test]
fn a_text_is_signed_with_a_secret_that_the_tool_never_sees() {
    let folder = folder("grants.secrets = [{ name = \"HOOK_KEY\" }]");
    let text = "text=what do ya want for nothing?";
    let said = run(&folder, &["call", "signer_sign", "secret=HOOK_KEY", text, "-v", "--json"]);
    // printf 'what do ya want for nothing?' | openssl dgst -sha256 -hmac 'Jefe-says-what-do-ya-want'
    assert!(said.contains("sha256=bfbaeb97a10f926945c76d76d1e9058b72ef24728a8c88c3bbf7c4b2c870a8ae"), "{said}");
    assert!(said.contains("\"secrets.sign\"") && !said.contains(KEY), "{said}");
    let refused = run(&folder, &["call", "signer_hint", "secret=HOOK_KEY"]);
    assert_snapshot!(refused, @r#"
    --- stderr
    error: capability_denied: the tool may not be shown the secret `HOOK_KEY`; the operator can allow it with `reveal = true` in the grant of `HOOK_KEY` in `grants.secrets` of component `signer`; the tool ended with: the tool may not be shown the secret `HOOK_KEY`
    --- exit 3
    "#);
    let refused = run(&folder, &["call", "signer_sign", "secret=PATH", "text=a"]);
    assert!(refused.contains("`{ name = \"PATH\" }` in `grants.secrets` of component `signer`"), "{refused}");
}

#[test]
fn a_secret_is_shown_only_where_the_grant_says_so_and_is_masked_when_it_is_repeated() {
    let folder = folder("grants.secrets = [{ name = \"HOOK_KEY\", reveal = true }, { name = \"OTHER\" }]");
    assert!(run(&folder, &["call", "signer_hint", "secret=HOOK_KEY"]).contains("Je..."), "the tool does not see it");
    let away = run(&folder, &["call", "signer_sign", "secret=OTHER", "text=a"]);
    assert!(away.contains("the secret `OTHER` cannot be had; the host's log says more"), "{away}");
    let sheet = run(&folder, &["inspect", &prebuilt("signer")]);
    let shows: Vec<&str> = sheet.lines().skip(3).take_while(|line| !line.starts_with("limits")).collect();
    assert_snapshot!(shows.join("\n"), @r#"
    asks    standard input and output (captured), environment and arguments (closed), settings of its own (closed), secrets to sign with (granted), secrets in the open (granted)
    grants  secrets HOOK_KEY (shown)
            secrets OTHER (to sign with)
    shows   the tool sees the value of HOOK_KEY
    "#);
    // On a terminal it is in red.
    let mut inspect = command(folder.path(), &["inspect", &prebuilt("signer")]);
    let output = inspect.env("CLICOLOR_FORCE", "1").env_remove("NO_COLOR").output().expect("it runs");
    let sheet = String::from_utf8_lossy(&output.stdout).into_owned();
    assert!(sheet.contains("\u{1b}[1m\u{1b}[31mshows"), "{sheet:?}");
}

#[test]
fn words_are_what_was_granted_and_nothing_of_the_hosts_own() {
    let granted = "grants.env = { LANG = \"C.UTF-8\", HOOK = \"key:${secret:HOOK_KEY}\" }\n\
                   grants.config = { region = \"eu\" }\ntools.variable.grants.env = { LANG = \"de\" }";
    let folder = folder(granted);
    let json = |args: &[&str]| run(&folder, &[&["call"], args].concat());
    assert_snapshot!(json(&["signer_variables"]), @r#"
    --- stdout
    [
      "HOOK",
      "LANG"
    ]
    --- exit 0
    "#);
    assert!(
        json(&["signer_variable", "name=LANG"]).contains("\nde\n"),
        "the tool's own grant stands in place of the component's"
    );
    assert_eq!(json(&["signer_variable", "name=HOME"]), "--- exit 0");
    assert!(json(&["signer_setting", "name=region"]).contains("eu"));
    assert_eq!(json(&["signer_setting", "name=other"]), "--- exit 0");
    // What is in the open for one tool is so for `inspect` too, by its name.
    let sheet = run(&folder, &["inspect", &prebuilt("signer")]);
    assert!(sheet.contains("env HOOK (shows HOOK_KEY)") && !sheet.contains(KEY), "{sheet}");
    let whole = folder_with_whole_secret();
    assert!(run(&whole, &["call", "signer_variable", "name=HOOK"]).contains("***"), "it is masked in the answer");
}

fn folder_with_whole_secret() -> TempDir {
    folder("grants.env = { HOOK = \"${secret:HOOK_KEY}\" }")
}

#[test]
fn faults_of_such_grants_are_found_when_the_settings_are_read() {
    let check = |more: &str| run(&folder(more), &["check"]);
    for (more, wanted) in [
        ("grants.env = { A = \"${secret:HOK_KEY}\" }", "no secret is named `HOK_KEY`; did you mean `HOOK_KEY`?"),
        ("grants.secrets = [{ name = \"HOK_KEY\" }]", "no secret is named `HOK_KEY`"),
        ("grants.env = { \"A=B\" = \"c\" }", "`A=B` is no name of a variable"),
        ("grants.secrets = [{ name = \"OTHER\" }, { name = \"OTHER\" }]", "is granted twice"),
        ("grants.config = { a = 1 }", "expected a string"),
    ] {
        let said = check(more);
        assert!(said.contains(wanted), "{more}: {said}");
    }
    let settings = format!("[components.text]\npath = {:?}\ngrants.config = {{ a = \"b\" }}\n", prebuilt("text"));
    let other = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(other.path().join("toolpost.toml"), settings).expect("written");
    let said = run(&other, &["check"]);
    assert!(said.contains("`grants.config` is of no use to it: it does not import `wasi:config/store`"), "{said}");
}
