//! What the host puts into requests in a tool's place: the server gets it, and nobody else ever sees it, also where the server
//! repeats it.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use tempfile::TempDir;
use toolpost_tests::{page, prebuilt, toolpost};

const TOKEN: &str = "tok-1b0e5c2d9f";
const KEY: &str = "key with space & amp";
const PASSWORD: &str = "pässword:17#";

/// A server that repeats the head of each request, in a header and in its body, which comes in pieces of three bytes.
fn echo() -> (SocketAddr, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let (seen, heads) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut reader = BufReader::new(stream.try_clone().expect("its other half"));
            let (mut head, mut line) = (String::new(), String::new());
            while reader.read_line(&mut line).expect("a line") > 2 {
                head.push_str(&line);
                line.clear();
            }
            let said = head.lines().map(|line| format!("x-said: {line}\r\n")).collect::<String>();
            let length = head.len();
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n{said}connection: close\r\n\r\n")
                .expect("sent");
            for piece in head.as_bytes().chunks(3) {
                stream.write_all(piece).expect("sent");
                stream.flush().expect("sent");
                std::thread::sleep(Duration::from_micros(200));
            }
            seen.send(head).expect("somebody listens");
        }
    });
    (address, heads)
}

/// A folder whose settings let `fetch` reach that address with what is injected, and hold the secrets.
fn folder(address: SocketAddr, more: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, value) in [("token", TOKEN), ("key", KEY), ("password", PASSWORD)] {
        std::fs::write(folder.path().join(name), value).expect("written");
    }
    let settings = format!(
        "[secrets]\nTOKEN = {{ file = \"token\" }}\nKEY = {{ file = \"key\" }}\nPASSWORD = {{ command = [\"cat\", \
         \"password\"] }}\n[components.fetch]\npath = {:?}\ngrants.net = [{{ to = \"http://{address}/**\", {more} }}]\n",
        prebuilt("fetch")
    );
    std::fs::write(folder.path().join("toolpost.toml"), settings).expect("written");
    folder
}

/// A call with a header of the tool's own.
fn get(url: &str) -> [&str; 6] {
    ["call", "fetch_request", "method=GET", url, r#"headers=[["authorization", "mine"]]"#, "body="]
}

/// Everything that a call, its story and its log say, all of it.
fn all_that_is_said(folder: &TempDir, url: &str) -> String {
    let call = page(&toolpost(folder.path(), &[&get(url)[..], &["-vv", "--json"]].concat()));
    let plain = page(&toolpost(folder.path(), &[&get(url)[..], &["-v"]].concat()));
    let log = page(&toolpost(folder.path(), &["log", "--json"]));
    let ids: Vec<_> = log.split('"').filter(|text| text.starts_with("call_")).collect();
    let stories: String = ids.iter().map(|id| page(&toolpost(folder.path(), &["show", id, "--json"]))).collect();
    let sheet = page(&toolpost(folder.path(), &["inspect", &prebuilt("fetch")]));
    [call, plain, log, stories, sheet].join("\n")
}

fn check_nothing_of(secrets: &[&str], said: &str) {
    for secret in secrets {
        assert!(!said.contains(secret), "`{secret}` is told:\n{said}");
    }
}

#[test]
fn a_header_goes_along_in_the_place_of_the_tools_own_and_comes_back_masked() {
    let (address, heads) = echo();
    let folder = folder(address, "inject.headers = { Authorization = \"Bearer ${secret:TOKEN}\", X-Plain = \"yes\" }");
    let said = all_that_is_said(&folder, &format!("url=http://{address}/a?b=c"));
    let head =
        heads.recv_timeout(Duration::from_secs(20)).unwrap_or_else(|_| panic!("no request:\n{said}")).to_lowercase();
    assert!(head.contains(&format!("authorization: bearer {TOKEN}")) && head.contains("x-plain: yes"), "{head}");
    assert!(head.contains("accept-encoding: identity"), "{head}");
    assert!(said.contains("Bearer ***"), "the echo came back, masked:\n{said}");
    // The body is in base64. Masked behind the tool it would hold the mask; masked before, the tool has never seen more.
    let bodies: Vec<&str> = said.split("\"body\": \"").skip(1).filter_map(|rest| rest.split('"').next()).collect();
    let answers: Vec<_> = bodies.into_iter().filter(|body| body.len() > 100).collect();
    assert!(!answers.is_empty() && !answers.iter().any(|body| body.contains('*')), "{answers:?}");
    assert!(said.contains("(with TOKEN)"), "the sheet names the secret: {said}");
    check_nothing_of(&[TOKEN], &said);
}

#[test]
fn a_login_goes_along_and_neither_it_nor_its_parts_come_back() {
    let (address, heads) = echo();
    let folder = folder(address, "inject.basic = { user = \"ann\", password = \"${secret:PASSWORD}\" }");
    let said = all_that_is_said(&folder, &format!("url=http://{address}/"));
    let head = heads.recv_timeout(Duration::from_secs(20)).unwrap_or_else(|_| panic!("no request:\n{said}"));
    // printf 'ann:pässword:17#' | base64
    assert!(head.contains("authorization: Basic YW5uOnDDpHNzd29yZDoxNyM="), "{head}");
    check_nothing_of(&[PASSWORD, "OnDDpHNzd29yZDoxNyM", "YW5uOnDDpHNzd29yZDoxNyM="], &said);
}

#[test]
fn a_parameter_of_the_query_goes_along_in_the_place_of_the_tools_own() {
    let (address, heads) = echo();
    let folder = folder(address, "inject.query = { key = \"${secret:KEY}\" }");
    let said = all_that_is_said(&folder, &format!("url=http://{address}/a?x=1&key=mine&y=%2F"));
    let head = heads.recv_timeout(Duration::from_secs(20)).unwrap_or_else(|_| panic!("no request:\n{said}"));
    assert!(head.starts_with("GET /a?x=1&y=%2F&key=key+with+space+%26+amp HTTP/1.1"), "{head}");
    check_nothing_of(&[KEY, "key+with+space", "key%20with%20space"], &said);
}

#[test]
fn faults_of_what_is_injected_are_found_when_the_settings_are_read() {
    let (address, _heads) = echo();
    let check = |folder: &TempDir| page(&toolpost(folder.path(), &["check"]));
    let fault = check(&folder(address, "inject.headers = { Authorization = \"${secret:TOKN}\" }"));
    assert!(fault.contains("no secret is named `TOKN`; did you mean `TOKEN`?"), "{fault}");
    let fault = check(&folder(address, "inject.headers = { Authorization = \"${env:TOKEN}\" }"));
    assert!(fault.contains("names no secret; write \"${secret:NAME}\""), "{fault}");
    let fault = check(&folder(address, "inject.headers = { Host = \"x\" }"));
    assert!(fault.contains("the header `Host` is the host's own"), "{fault}");
    let fault = check(&folder(
        address,
        "inject = { basic = { user = \"a\", password = \"b\" }, headers = { Authorization = \"x\" } }",
    ));
    assert!(fault.contains("the header `authorization` is set twice"), "{fault}");
    for open in ["http://api.example.com/**", "http://93.184.216.34/**", "http://[2606:4700::1]/**"] {
        let fault = check(&open_to_read(address, open));
        assert!(fault.contains("could be read on the way: write `https`"), "{fault}");
    }
}

/// Settings that send a secret to where anybody could read it.
fn open_to_read(address: SocketAddr, to: &str) -> TempDir {
    let open = folder(address, "");
    let settings = std::fs::read_to_string(open.path().join("toolpost.toml")).expect("read");
    let line = format!("{{ to = \"{to}\", inject.query = {{ k = \"${{secret:KEY}}\" }} }}");
    let (before, _) = settings.split_once("grants.net").expect("it is there");
    std::fs::write(open.path().join("toolpost.toml"), format!("{before}grants.net = [{line}]\n")).expect("written");
    open
}

#[test]
fn without_the_secret_nothing_is_sent() {
    let (address, heads) = echo();
    let folder = folder(address, "inject.headers = { Authorization = \"Bearer ${secret:TOKEN}\" }");
    std::fs::remove_file(folder.path().join("token")).expect("removed");
    let output = page(&toolpost(folder.path(), &get(&format!("url=http://{address}/"))));
    assert!(output.contains("the secret `TOKEN` cannot be had"), "{output}");
    assert!(heads.recv_timeout(Duration::from_millis(100)).is_err(), "a request without its token was sent");
}
