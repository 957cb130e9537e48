//! A guest to which nothing was granted: what it asks for is answered, and nothing outside of the call is reached.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::net::{TcpListener, UdpSocket};
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use common::asks::{self, Asked, HTTP, POLL, PREOPENS, SOCKETS, STDIN};
use common::{blocking, call, span};
use serde_json::{Value, json};
use toolpost_core::catalog::grants::Grants;
use toolpost_core::catalog::settings::{Bytes, LimitSettings};
use toolpost_core::{Call, CallId, Caller, Event, Level, Sink};

/// Runs a guest that asks the host for something.
fn answer(imports: &str, asked: &[Asked<'_>], signature: &str, core: &str, arguments: Value) -> Value {
    let guest = common::component(&asks::component(imports, asked, signature, core));
    assert_eq!(guest.effect(&Grants::default()).name(), "pure", "nothing was granted");
    let host = common::host_of([&guest], &LimitSettings::default());
    blocking(call(&host, "guest_f", arguments)).result.unwrap().value
}

/// What a function without parameters gives, as the guest hands it on.
fn answer_of(interface: &str, function: &str, ty: &str) -> Value {
    let import = format!(r#"(import "{interface}@0.2.6" (instance $it (export "{function}" (func (result {ty})))))"#);
    let core = r#"(func (export "f") (result i32) (call $ask (i32.const 16)) (i32.const 16))"#;
    answer(&import, &[("ask", "it", function, "(param i32)")], &format!("(result {ty})"), core, json!({}))
}

#[test]
fn a_guest_sees_no_environment_no_arguments_and_no_working_directory() {
    assert!(std::env::vars().count() > 0 && std::env::args().count() > 0, "the host itself has some");
    assert_eq!(answer_of("wasi:cli/environment", "get-environment", "(list (tuple string string))"), json!([]));
    assert_eq!(answer_of("wasi:cli/environment", "get-arguments", "(list string)"), json!([]));
    assert_eq!(answer_of("wasi:cli/environment", "initial-cwd", "(option string)"), Value::Null);
}

#[test]
fn a_guest_sees_no_directory() {
    let core = r#"(func (export "f") (result i32) (call $ask (i32.const 16)) (i32.load (i32.const 20)))"#;
    let asked = [("ask", "preopens", "get-directories", "(param i32)")];
    assert_eq!(answer(PREOPENS, &asked, "(result u32)", core, json!({})), json!(0));
}

#[test]
fn standard_input_is_at_its_end() {
    let asked = [
        ("stdin", "stdin", "get-stdin", "(result i32)"),
        ("read", "streams", "[method]input-stream.blocking-read", "(param i32 i64 i32)"),
    ];
    let core = r#"(func (export "f") (result i32)
      (call $read (call $stdin) (i64.const 100) (i32.const 16))
      (i32.add (i32.mul (i32.load8_u (i32.const 16)) (i32.const 10)) (i32.load8_u (i32.const 20))))"#;
    // An error, and that error is `closed`.
    assert_eq!(answer(STDIN, &asked, "(result u32)", core, json!({})), json!(11));
}

/// `access-denied` of `wasi:sockets`, where a step gives 1,000 times its number and the error behind it.
const ACCESS_DENIED: i64 = 1;

/// 127.0.0.1 and the port of the parameter, flat.
const LOOPBACK: &str = "(i32.const 0) (local.get 0) (i32.const 127) (i32.const 0) (i32.const 0) (i32.const 1)
    (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0) (i32.const 0)";

/// Makes a socket, and takes one step with it towards that port of this machine: the step that was refused and the error.
fn socket(protocol: &str, step: &str, port: u16) -> (i64, i64) {
    let (new, create) = (format!("{protocol}-new"), format!("create-{protocol}-socket"));
    let step = format!("[method]{protocol}-socket.{step}");
    let address = "i32 ".repeat(12);
    let step_type = format!("(param i32 i32 {address} i32)");
    let asked = [
        ("network", "default", "instance-network", "(result i32)"),
        ("create", &*new, &*create, "(param i32 i32)"),
        ("step", protocol, &*step, &*step_type),
    ];
    let core = format!(
        r#"(func (export "f") (param i32) (result i32)
      (call $create (i32.const 0) (i32.const 16))
      (if (i32.load8_u (i32.const 16))
        (then (return (i32.add (i32.const 1000) (i32.load8_u (i32.const 20))))))
      (call $step (i32.load (i32.const 20)) (call $network) {LOOPBACK} (i32.const 32))
      (if (i32.load8_u (i32.const 32))
        (then (return (i32.add (i32.const 2000) (i32.load8_u (i32.const 33))))))
      (i32.const 9000))"#
    );
    let code = answer(SOCKETS, &asked, "(param \"port\" u16) (result u32)", &core, json!({"port": port}));
    let code = code.as_i64().unwrap();
    (code / 1_000, code % 1_000)
}

#[test]
fn a_guest_cannot_open_a_tcp_connection() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let (step, code) = socket("tcp", "start-connect", listener.local_addr().unwrap().port());
    assert!(step <= 2 && code == ACCESS_DENIED, "step {step}, error {code}");
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "nobody came");
}

#[test]
fn a_guest_cannot_take_a_port() {
    for protocol in ["tcp", "udp"] {
        let (step, code) = socket(protocol, "start-bind", 0);
        assert!(step <= 2 && code == ACCESS_DENIED, "{protocol}: step {step}, error {code}");
        // Also not one of its own choice: it is still to be had.
        let port = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (step, code) = socket(protocol, "start-bind", port);
        assert!(step <= 2 && code == ACCESS_DENIED, "{protocol}: step {step}, error {code}");
    }
}

#[test]
fn a_guest_cannot_look_up_a_name() {
    let asked = [
        ("network", "default", "instance-network", "(result i32)"),
        ("lookup", "lookup", "resolve-addresses", "(param i32 i32 i32 i32)"),
    ];
    let core = r#"(func (export "f") (param i32 i32) (result i32)
      (call $lookup (call $network) (local.get 0) (local.get 1) (i32.const 16))
      (i32.add (i32.mul (i32.load8_u (i32.const 16)) (i32.const 1000)) (i32.load8_u (i32.const 20))))"#;
    for name in ["localhost", "example.com"] {
        let signature = "(param \"name\" string) (result u32)";
        let code = answer(SOCKETS, &asked, signature, core, json!({"name": name}));
        assert_eq!(code, json!(1_000 + ACCESS_DENIED), "{name}");
    }
}

#[test]
fn a_request_over_http_is_denied_and_does_not_leave_the_host() {
    let asked = [
        ("fields", "http", "[constructor]fields", "(result i32)"),
        ("request", "http", "[constructor]outgoing-request", "(param i32) (result i32)"),
        ("scheme", "http", "[method]outgoing-request.set-scheme", "(param i32 i32 i32 i32 i32) (result i32)"),
        ("authority", "http", "[method]outgoing-request.set-authority", "(param i32 i32 i32 i32) (result i32)"),
        ("path", "http", "[method]outgoing-request.set-path-with-query", "(param i32 i32 i32 i32) (result i32)"),
        ("handle", "handler", "handle", "(param i32 i32 i32 i32)"),
        ("subscribe", "http", "[method]future-incoming-response.subscribe", "(param i32) (result i32)"),
        ("get", "http", "[method]future-incoming-response.get", "(param i32 i32)"),
        ("block", "poll", "[method]pollable.block", "(param i32)"),
    ];
    let core = r#"(data (i32.const 8) "/")
    (func (export "f") (param i32 i32) (result i32) (local $request i32) (local $future i32)
      (local.set $request (call $request (call $fields)))
      (drop (call $scheme (local.get $request) (i32.const 1) (i32.const 0) (i32.const 0) (i32.const 0)))
      (drop (call $authority (local.get $request) (i32.const 1) (local.get 0) (local.get 1)))
      (drop (call $path (local.get $request) (i32.const 1) (i32.const 8) (i32.const 1)))
      (call $handle (local.get $request) (i32.const 0) (i32.const 0) (i32.const 16))
      (if (i32.load8_u (i32.const 16))
        (then (return (i32.add (i32.const 1000) (i32.load8_u (i32.const 24))))))
      (local.set $future (i32.load (i32.const 24)))
      (call $block (call $subscribe (local.get $future)))
      (call $get (local.get $future) (i32.const 128))
      (if (i32.load8_u (i32.const 144))
        (then (return (i32.add (i32.const 2000) (i32.load8_u (i32.const 152))))))
      (i32.const 9000))"#;
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.set_nonblocking(true).unwrap();
    let authority = listener.local_addr().unwrap().to_string();
    let (imports, signature) = (format!("{POLL}{HTTP}"), "(param \"authority\" string) (result u32)");
    let code = answer(&imports, &asked, signature, core, json!({"authority": authority}));
    // `HTTP-request-denied`, as the answer to the request.
    assert_eq!(code, json!(2_015));
    assert_eq!(listener.accept().unwrap_err().kind(), std::io::ErrorKind::WouldBlock, "nobody came");
}

#[test]
fn clocks_and_random_numbers_work() {
    let imports = r#"
      (import "wasi:clocks/monotonic-clock@0.2.6" (instance $mono (export "now" (func (result u64)))))
      (import "wasi:clocks/wall-clock@0.2.6" (instance $wall
        (type $t (record (field "seconds" u64) (field "nanoseconds" u32)))
        (export "datetime" (type $t' (eq $t)))
        (export "now" (func (result $t')))))
      (import "wasi:random/random@0.2.6" (instance $random (export "get-random-u64" (func (result u64)))))"#;
    let asked = [
        ("mono", "mono", "now", "(result i64)"),
        ("wall", "wall", "now", "(param i32)"),
        ("random", "random", "get-random-u64", "(result i64)"),
    ];
    let core = r#"(func (export "f") (result i32)
      (i64.store (i32.const 64) (call $mono))
      (call $wall (i32.const 16))
      (i64.store (i32.const 72) (i64.load (i32.const 16)))
      (i64.store (i32.const 80) (call $random))
      (i64.store (i32.const 88) (call $random))
      (i64.store (i32.const 96) (call $mono))
      (i32.const 64))"#;
    let numbers = answer(imports, &asked, "(result (tuple u64 u64 u64 u64 u64))", core, json!({}));
    let number = |at: usize| numbers[at].as_u64().or_else(|| numbers[at].as_str()?.parse().ok()).unwrap();
    assert!(number(4) > number(0), "time goes on: {numbers}");
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap().as_secs();
    assert!(now.abs_diff(number(1)) < 60, "{numbers}");
    assert_ne!(number(2), number(3), "{numbers}");
}

#[test]
fn a_tool_learns_of_its_call_what_it_may_know_and_not_who_calls() {
    let limits = LimitSettings { time: span("20s"), ..LimitSettings::default() };
    let host = common::host_with(&["kitchen"], &limits);
    let whoami = |id: &'static str, key: Option<&str>, caller: &str| {
        let call = Call {
            id: CallId::given(id),
            idempotency_key: key.map(str::to_owned),
            ..Call::new("kitchen_whoami", json!({})).by(Caller::named(caller))
        };
        blocking(host.call(call)).result.unwrap().value
    };
    let (ann, again) = (whoami("one", Some("pay 7"), "ann"), whoami("two", None, "ann"));
    assert_eq!(
        (&ann["call_id"], &ann["attempt"], &ann["idempotency_key"]),
        (&json!("one"), &json!(1), &json!("pay 7"))
    );
    assert_eq!(
        (&again["call_id"], again.get("idempotency_key").unwrap_or(&Value::Null)),
        (&json!("two"), &Value::Null)
    );
    let left = ann["deadline_ms"].as_u64().or_else(|| ann["deadline_ms"].as_str()?.parse().ok()).unwrap();
    assert!(left > 15_000 && left <= 20_000, "{left}");
    let caller = ann["caller"].as_str().unwrap();
    assert!(caller.len() == 32 && !caller.contains("ann"), "{caller}");
    assert_eq!(ann["caller"], again["caller"], "a tool can tell callers apart");
    assert_ne!(ann["caller"], whoami("three", None, "bob")["caller"]);
    assert_ne!(whoami("four", None, "")["caller"], ann["caller"]);
}

/// What was told of a call, a line for each event.
#[derive(Default)]
struct Told(Mutex<Vec<String>>);

impl Sink for Told {
    fn tell(&self, told: &toolpost_core::Told<'_>) {
        let line = match told.event {
            Event::Progress { done, total, message } => format!("{done}/{}: {}", total.unwrap(), message.unwrap()),
            Event::Partial { text } => format!("partial {text:?}"),
            Event::Log { level, message } => format!("{}: {message}", Level::name(*level)),
            _ => return,
        };
        self.0.lock().unwrap().push(format!("{} {line}", told.call.unwrap()));
    }
}

#[test]
fn what_a_tool_writes_and_tells_is_attributed_to_its_call() {
    let told = Arc::new(Told::default());
    let host = common::host(&["kitchen"]).with_sink(told.clone());
    let call = Call { id: CallId::given("one"), ..Call::new("kitchen_chatter", json!({"lines": 2})) };
    let outcome = blocking(host.call(call));
    let attempt = &outcome.report.attempts[0];
    assert_eq!(attempt.stdout.text, "standard output, line 1\nstandard output, line 2\n");
    assert_eq!(attempt.stderr.text, "standard error, line 1\nstandard error, line 2\n");
    assert_eq!(attempt.log.text, "debug: log, line 1\ninfo: log, line 2\n");
    let lines = [
        "one debug: log, line 1",
        "one 1/2: line 1",
        "one partial \"part 1\\n\"",
        "one info: log, line 2",
        "one 2/2: line 2",
        "one partial \"part 2\\n\"",
    ];
    assert_eq!(*told.0.lock().unwrap(), lines);
    assert_eq!(outcome.report.effects, [], "words are no effects");
}

#[test]
fn what_a_tool_writes_is_kept_up_to_the_limit_and_the_rest_is_counted() {
    let limits = LimitSettings { stdio: Some(Bytes(30)), log: Some(Bytes(25)), ..LimitSettings::default() };
    let host = common::host_with(&["kitchen"], &limits);
    let outcome = blocking(call(&host, "kitchen_chatter", json!({"lines": 4})));
    assert!(outcome.result.is_ok(), "writing much is no fault");
    let attempt = &outcome.report.attempts[0];
    assert_eq!(attempt.stdout.text, "standard output, line 1\nstanda");
    assert_eq!(attempt.stderr.text, "standard error, line 1\nstandar");
    assert_eq!(attempt.log.text, "debug: log, line 1\ninfo: ");
    let lines = ["debug: log, line 1\n", "info: log, line 2\n", "warn: log, line 3\n", "error: log, line 4\n"];
    assert_eq!(attempt.stdout.dropped_bytes, 4 * "standard output, line 1\n".len() as u64 - 30);
    assert_eq!(attempt.stderr.dropped_bytes, 4 * "standard error, line 1\n".len() as u64 - 30);
    assert_eq!(attempt.log.dropped_bytes, lines.concat().len() as u64 - 25);
}
