//! Tools that work with a service: `weather`, whose key the host puts in, and `mail`, whose letters a person is asked about when they
//! are about to leave.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

use serde_json::Value;
use tempfile::TempDir;
use toolpost_tests::{detached, page, pending, prebuilt, toolpost};

const KEY: &str = "0123-the-key-of-the-operator";

/// A service that says the same to every request, and keeps what it was asked.
fn service(answer: &'static str) -> (SocketAddr, Arc<Mutex<Vec<String>>>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (address, asked) = (listener.local_addr().expect("its address"), Arc::<Mutex<Vec<String>>>::default());
    let keep = asked.clone();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut reader = BufReader::new(stream.try_clone().expect("its other half"));
            let (mut head, mut line, mut length) = (String::new(), String::new(), 0);
            while reader.read_line(&mut line).expect("a line") > 2 {
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a length");
                }
                head.push_str(&line);
                line.clear();
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).expect("the body");
            keep.lock().expect("whole").push(head + &String::from_utf8(body).expect("text"));
            let length = answer.len();
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {length}\r\nconnection: close\r\n\r\n{answer}")
                .expect("sent");
        }
    });
    (address, asked)
}

fn folder(guest: &str, more: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    std::fs::write(folder.path().join("key"), KEY).expect("written");
    let common = "[secrets]\nKEY = { file = \"key\" }\n[store]\ndir = \"kept\"\n";
    let settings = format!("{common}[components.{guest}]\npath = {:?}\n{more}\n", prebuilt(guest));
    std::fs::write(folder.path().join("toolpost.toml"), settings).expect("written");
    folder
}

#[test]
fn the_weather_is_asked_for_with_a_key_that_the_tool_never_has() {
    let answer = r#"{"name":"Köln","main":{"temp":7.5},"weather":[{"description":"light rain"}],"wind":{"speed":3.1}}"#;
    let (address, asked) = service(answer);
    let grant =
        format!("grants.net = [{{ to = \"http://{address}/**\", inject.query = {{ appid = \"${{secret:KEY}}\" }} }}]");
    let folder = folder("weather", &grant);
    let args = ["call", "weather_current", "city=Köln,DE", &format!("service=http://{address}/"), "--json"];
    let said = page(&toolpost(folder.path(), &args));
    assert!(said.contains("light rain") && said.contains("7.5"), "{said}");
    let asked = asked.lock().expect("whole");
    let wanted = format!("GET /data/2.5/weather?units=metric&q=K%C3%B6ln%2CDE&appid={KEY} HTTP/1.1");
    assert!(asked[0].starts_with(&wanted), "{asked:?}");
    assert!(!said.contains(KEY), "{said}");
}

#[test]
fn a_letter_leaves_when_somebody_has_agreed_to_that_very_letter() {
    let (address, asked) = service(r#"{"id":"m-17"}"#);
    let more = format!(
        "grants.net = [{{ to = \"http://{address}/messages\", methods = [\"POST\"], inject.headers = {{ Authorization = \
         \"Bearer ${{secret:KEY}}\" }} }}]\n[[approval.ask]]\ntools = [\"mail_send\"]\ndoes = {{ action = \"net.post\", target = \
         \"http://{address}/*\" }}\nreason = \"a letter cannot be called back\""
    );
    let folder = folder("mail", &more);
    let service = format!("service=http://{address}");
    let args = ["call", "mail_send", "to=ann@example.org", "subject=Hello", "text=How are you?", &service, "--json"];
    for (answer, ok) in [("deny", false), ("allow", true)] {
        let call = detached(folder.path(), &args).spawn().expect("started");
        let [id] = &pending(folder.path())[..] else { panic!("one question") };
        assert_eq!(asked.lock().expect("whole").len(), 0, "nothing leaves before the answer");
        let shown = page(&toolpost(folder.path(), &["approvals", "show", id]));
        assert!(shown.contains("net.post") && shown.contains("a letter cannot be called back"), "{shown}");
        assert!(!shown.contains(KEY), "{shown}");
        assert!(toolpost(folder.path(), &["approvals", answer, id]).status.success());
        let output = call.wait_with_output().expect("ended");
        let said: Value = serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", page(&output)));
        assert_eq!(said["ok"], ok, "{said}");
        if ok {
            assert_eq!(said["output"]["value"], "m-17");
        } else {
            assert_eq!(said["error"]["kind"], "declined", "{said}");
        }
    }
    let asked = asked.lock().expect("whole");
    let [letter] = &asked[..] else { panic!("one letter: {asked:?}") };
    assert!(letter.contains(&format!("authorization: Bearer {KEY}")), "{letter}");
    assert!(letter.ends_with(r#"{"subject":"Hello","text":"How are you?","to":"ann@example.org"}"#), "{letter}");
}

#[test]
fn what_is_wrong_with_the_arguments_is_said_before_anything_leaves() {
    let folder = folder("mail", "");
    let args = ["call", "mail_send", "to=ann", "subject=", "text=", "service=https://mail.example.com"];
    let said = page(&toolpost(folder.path(), &args));
    assert!(said.contains("invalid_arguments: `to` is no address: `ann`"), "{said}");
}
