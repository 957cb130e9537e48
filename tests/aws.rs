//! Requests that the host signs as AWS asks for it: a service that makes the signature itself, of what has arrived, finds the same
//! one; the tool never has the key, whatever the service repeats.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;
use toolpost_tests::{page, prebuilt, toolpost};

const ACCESS_KEY: &str = "AKIAQ7EXAMPLE4TEST5Z";
const SECRET_KEY: &str = "9pQ/Lk3+the-secret-key/that+signs0000000";
const SESSION: &str = "FwoGZXIvYXdzEPT//////////session+token==";
const REGION: &str = "eu-central-1";

/// A request as it arrived.
struct Arrived {
    method: String,
    /// Path and query.
    uri: String,
    fields: Vec<(String, String)>,
    body: Vec<u8>,
}

impl Arrived {
    fn read(stream: &TcpStream) -> Self {
        let mut reader = BufReader::new(stream.try_clone().expect("its other half"));
        let mut line = || {
            let mut line = String::new();
            reader.read_line(&mut line).expect("a line");
            line.trim_end().to_owned()
        };
        let first = line();
        let words: Vec<&str> = first.split(' ').collect();
        let fields = std::iter::repeat_with(&mut line).take_while(|line| !line.is_empty());
        let fields = fields.map(|line| {
            let (name, value) = line.split_once(':').expect("a field");
            (name.to_lowercase(), value.trim().to_owned())
        });
        let mut arrived = Arrived {
            method: words[0].to_owned(),
            uri: words[1].to_owned(),
            fields: fields.collect(),
            body: Vec::new(),
        };
        arrived.body = vec![0; arrived.field("content-length").map_or(0, |length| length.parse().expect("a length"))];
        reader.read_exact(&mut arrived.body).expect("the body");
        arrived
    }

    fn field(&self, name: &str) -> Option<&str> {
        self.fields.iter().find(|(it, _)| it == name).map(|(_, value)| value.as_str())
    }

    /// The value of `authorization` that it should have, by the manual of the service.
    fn authorization(&self, service: &str) -> String {
        let (path, query) = self.uri.split_once('?').unwrap_or((&self.uri, ""));
        // S3 compares the names of things, all others what is in the line.
        let path = if service == "s3" { escaped(&plain(path), "/") } else { escaped(path.as_bytes(), "/") };
        let mut pairs: Vec<String> = query.split('&').filter(|pair| !pair.is_empty()).map(pair).collect();
        pairs.sort();
        let said = self.field("authorization").expect("it is signed");
        let names = said.split("SignedHeaders=").nth(1).expect("names").split(',').next().expect("names").to_owned();
        let value =
            |name: &str| self.field(name).expect("it is there").split_whitespace().collect::<Vec<_>>().join(" ");
        let values = names.split(';').map(|name| format!("{name}:{}\n", value(name)));
        let (fields, hash) = (values.collect::<String>(), self.field("x-amz-content-sha256").expect("it is there"));
        let request = format!("{}\n{path}\n{}\n{fields}\n{names}\n{hash}", self.method, pairs.join("&"));
        let date = self.field("x-amz-date").expect("it is there");
        let scope = format!("{}/{REGION}/{service}/aws4_request", &date[..8]);
        let text = format!("AWS4-HMAC-SHA256\n{date}\n{scope}\n{}", hex(&Sha256::digest(request)));
        let key = [&date[..8], REGION, service, "aws4_request"]
            .iter()
            .fold(format!("AWS4{SECRET_KEY}").into_bytes(), |key, part| hmac(&key, part.as_bytes()));
        let signature = hex(&hmac(&key, text.as_bytes()));
        format!("AWS4-HMAC-SHA256 Credential={ACCESS_KEY}/{scope}, SignedHeaders={names}, Signature={signature}")
    }

    /// What such a service would find wrong.
    fn faults(&self, service: &str) -> Vec<&'static str> {
        let said: Vec<_> = self.fields.iter().filter(|(name, _)| name == "authorization").map(|(_, it)| it).collect();
        let names = said[0].split("SignedHeaders=").nth(1).unwrap_or_default();
        let must = ["host", "x-amz-content-sha256", "x-amz-date"];
        [
            (said.len() != 1, "there is more than one signature"),
            (*said[0] != self.authorization(service), "the signature does not match"),
            (self.field("x-amz-content-sha256") != Some(&hex(&Sha256::digest(&self.body))), "that is not the body"),
            (must.iter().any(|name| !names.contains(name)), "something is not signed"),
        ]
        .into_iter()
        .filter_map(|(is_so, fault)| is_so.then_some(fault))
        .collect()
    }
}

fn pair(text: &str) -> String {
    let (name, value) = text.split_once('=').unwrap_or((text, ""));
    // A service that is asked in the way of forms takes a plus for a space.
    let strict = |text: &str| escaped(&plain(&text.replace('+', "%20")), "");
    format!("{}={}", strict(name), strict(value))
}

fn plain(text: &str) -> Vec<u8> {
    let mut bytes = text.bytes();
    let mut plain = Vec::new();
    while let Some(byte) = bytes.next() {
        plain.push(match byte {
            b'%' => {
                let digits: String = bytes.by_ref().take(2).map(char::from).collect();
                u8::from_str_radix(&digits, 16).expect("two digits")
            }
            other => other,
        });
    }
    plain
}

fn escaped(bytes: &[u8], kept: &str) -> String {
    let one = |&byte: &u8| match char::from(byte) {
        c if c.is_ascii_alphanumeric() || "-._~".contains(c) || kept.contains(c) => c.to_string(),
        _ => format!("%{byte:02X}"),
    };
    bytes.iter().map(one).collect()
}

fn hmac(key: &[u8], text: &[u8]) -> Vec<u8> {
    let mut block = [0; 64];
    block[..key.len()].copy_from_slice(key);
    let pad = |with: u8| block.map(|byte| byte ^ with).to_vec();
    let inner = Sha256::digest([pad(0x36), text.to_vec()].concat());
    Sha256::digest([pad(0x5c), inner.to_vec()].concat()).to_vec()
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A service that answers with what is wrong with the signature, and repeats all that it was sent.
fn service(name: &'static str) -> (SocketAddr, Receiver<(Arrived, Vec<&'static str>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    let (seen, arrivals) = channel();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let arrived = Arrived::read(&stream);
            let faults = arrived.faults(name);
            let said: String = arrived.fields.iter().map(|(name, value)| format!("{name}: {value}\n")).collect();
            let (length, status) = (said.len(), if faults.is_empty() { 200 } else { 403 });
            let echo = said.lines().map(|line| format!("x-said: {line}\r\n")).collect::<String>();
            let head = format!("HTTP/1.1 {status} So\r\ncontent-length: {length}\r\n{echo}connection: close\r\n\r\n");
            stream.write_all((head + &said).as_bytes()).expect("sent");
            seen.send((arrived, faults)).expect("somebody listens");
        }
    });
    (address, arrivals)
}

const KEYS: &str = "access_key = \"${secret:AWS_KEY}\", secret_key = \"${secret:AWS_SECRET}\"";

/// A folder whose settings let `fetch` reach that address, with what is injected, and hold the keys.
fn folder(to: &str, inject: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    for (name, value) in [("key", ACCESS_KEY), ("secret", SECRET_KEY), ("session", SESSION)] {
        std::fs::write(folder.path().join(name), value).expect("written");
    }
    let settings = format!(
        "[secrets]\nAWS_KEY = {{ file = \"key\" }}\nAWS_SECRET = {{ file = \"secret\" }}\nAWS_SESSION = {{ file = \
         \"session\" }}\n[components.fetch]\npath = {:?}\ngrants.net = [{{ to = \"{to}\", methods = [\"GET\", \"POST\"], \
         inject = {{ {inject} }} }}]\n",
        prebuilt("fetch")
    );
    std::fs::write(folder.path().join("toolpost.toml"), settings).expect("written");
    folder
}

fn check_nothing_of_the_keys(said: &str) {
    for secret in [ACCESS_KEY, SECRET_KEY, SESSION] {
        assert!(!said.contains(secret), "`{secret}` is told:\n{said}");
    }
}

#[test]
fn the_service_finds_the_signature_that_it_makes_itself_and_the_tool_never_has_the_key() {
    let (address, arrivals) = service("s3");
    let aws = format!(
        "aws = {{ service = \"s3\", region = \"{REGION}\", {KEYS}, session_token = \"${{secret:AWS_SESSION}}\" }}"
    );
    let folder = folder(&format!("http://{address}/**"), &format!("{aws}, query = {{ tag = \"a b&c\" }}"));
    let own = r#"headers=[["authorization", "mine"], ["x-amz-date", "20200101T000000Z"], ["x-amz-security-token", "mine"],
                ["x-amz-content-sha256", "UNSIGNED-PAYLOAD"], ["x-amz-meta-colour", "  light   blue "]]"#;
    let url = format!("url=http://{address}/photos/a%20(1)%2b/%C3%A9!.txt?prefix=J&list-type=2&x=%2F*&lifecycle");
    let call = ["call", "fetch_request", "method=GET", &url, own, "body="];
    let said = page(&toolpost(folder.path(), &[&call[..], &["-vv", "--json"]].concat()));
    let (arrived, faults) = arrivals.recv_timeout(Duration::from_secs(20)).unwrap_or_else(|_| panic!("none:\n{said}"));
    assert_eq!(faults, [""; 0], "{said}");
    assert!(said.contains("\"status\": 200"), "{said}");
    assert!(arrived.uri.ends_with("&lifecycle&tag=a+b%26c"), "it is signed with what is injected: {}", arrived.uri);
    assert_eq!(arrived.field("x-amz-security-token"), Some(SESSION));
    let names = arrived.field("authorization").expect("signed");
    assert!(names.contains("x-amz-date;x-amz-meta-colour;x-amz-security-token,"), "{names}");
    // The key itself does not go out at all; what does comes back masked.
    assert!(!arrived.fields.iter().any(|(_, value)| value.contains(SECRET_KEY)));
    assert!(said.contains("Credential=***/") && said.contains("x-amz-security-token: ***"), "{said}");
    let log = page(&toolpost(folder.path(), &["log", "--json"]));
    let sheet = page(&toolpost(folder.path(), &["inspect", &prebuilt("fetch")]));
    let shown = "(signed for s3 in eu-central-1) (with AWS_KEY, AWS_SECRET, AWS_SESSION)";
    assert!(sheet.contains(shown), "{sheet}");
    check_nothing_of_the_keys(&[said, log, sheet].concat());
}

#[test]
fn a_body_is_signed_to_its_last_byte_also_where_it_comes_in_parts() {
    let (address, arrivals) = service("execute-api");
    let aws = format!("aws = {{ service = \"execute-api\", region = \"{REGION}\", {KEYS} }}");
    let folder = folder(&format!("http://{address}/**"), &aws);
    let parts =
        ["call", "fetch_parts", &format!("url=http://{address}/v1/a%20b"), "count=50", "bytes=4000", "ending=finish"];
    let said = page(&toolpost(folder.path(), &[&parts[..], &["-vv", "--json"]].concat()));
    let (arrived, faults) = arrivals.recv_timeout(Duration::from_secs(20)).unwrap_or_else(|_| panic!("none:\n{said}"));
    assert_eq!((faults, arrived.body.len()), (vec![], 200_000), "{said}");
    assert!(said.contains("200000 bytes, blake3 "), "the report has the hash of the very body: {said}");
    assert_eq!(arrived.field("x-amz-security-token"), None);
}

#[test]
fn faults_of_what_signs_are_found_when_the_settings_are_read() {
    let check = |to: &str, inject: &str| page(&toolpost(folder(to, inject).path(), &["check"]));
    let to = "https://b.s3.amazonaws.com/**";
    let s3 = format!("service = \"s3\", region = \"{REGION}\"");
    let well = check(to, &format!("aws = {{ {s3}, {KEYS} }}"));
    assert!(well.contains("all is well"), "{well}");
    for (to, inject, fault) in [
        (to, format!("aws = {{ {s3}, access_key = \"AKIAEXAMPLE\" }}"), "missing field `secret_key`"),
        (to, format!("aws = {{ region = \"{REGION}\", {KEYS} }}"), "missing field `service`"),
        (
            to,
            format!("aws = {{ service = \"s3/x\", region = \"{REGION}\", {KEYS} }}"),
            "expected 1 to 64 letters, digits, `-` and `_`, for example \"s3\"",
        ),
        (
            to,
            format!("aws = {{ {s3}, access_key = \"A\", secret_key = \"${{secret:AWS_SECRT}}\" }}"),
            "no secret is named `AWS_SECRT`; did you mean `AWS_SECRET`?",
        ),
        (
            to,
            format!("aws = {{ {s3}, {KEYS} }}, headers = {{ X-Amz-Date = \"now\" }}"),
            "the header `x-amz-date` is set twice",
        ),
        (
            to,
            format!("aws = {{ {s3}, {KEYS} }}, basic = {{ user = \"a\", password = \"b\" }}"),
            "the header `authorization` is set twice",
        ),
        (
            "http://b.s3.amazonaws.com/**",
            format!("aws = {{ {s3}, {KEYS} }}"),
            "could be read on the way: write `https`",
        ),
    ] {
        let said = check(to, &inject);
        assert!(said.contains(fault), "{inject}: {said}");
    }
}

#[test]
fn without_the_key_nothing_is_sent() {
    let (address, arrivals) = service("s3");
    let folder = folder(
        &format!("http://{address}/**"),
        &format!("aws = {{ service = \"s3\", region = \"{REGION}\", {KEYS} }}"),
    );
    std::fs::remove_file(folder.path().join("secret")).expect("removed");
    let call = ["call", "fetch_request", "method=GET", &format!("url=http://{address}/"), "headers=[]", "body="];
    let said = page(&toolpost(folder.path(), &call));
    assert!(said.contains("the secret `AWS_SECRET` cannot be had"), "{said}");
    assert!(arrivals.recv_timeout(Duration::from_millis(100)).is_err(), "a request without its signature was sent");
}
