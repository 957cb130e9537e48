//! The network as an operator meets it: what is granted, what `inspect` and `check` show of it, and a call that uses it.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener};

use insta::assert_snapshot;
use tempfile::TempDir;
use toolpost_tests::{filters, page, prebuilt, toolpost};

/// A shop on this machine that has room for so many requests, and gives a receipt for each order.
fn shop(requests: usize) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        for stream in listener.incoming().take(requests) {
            let mut stream = stream.expect("a connection");
            let mut reader = BufReader::new(stream.try_clone().expect("its other half"));
            let (mut line, mut length) = (String::new(), 0);
            while reader.read_line(&mut line).expect("a line") > 2 {
                if let Some(value) = line.to_lowercase().strip_prefix("content-length:") {
                    length = value.trim().parse().expect("a length");
                }
                line.clear();
            }
            let mut body = vec![0; length];
            reader.read_exact(&mut body).expect("the body");
            let order = String::from_utf8(body).expect("text");
            let receipt = order.replace('}', ",\"number\":\"R-17\"}");
            let head = format!("HTTP/1.1 201 Created\r\ncontent-length: {}\r\nconnection: close", receipt.len());
            write!(stream, "{head}\r\n\r\n{receipt}").expect("answered");
        }
    });
    address
}

/// A folder whose settings have `orders`, with more about it.
fn folder(more: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let settings = format!("[components.orders]\npath = {:?}\n{more}", prebuilt("orders"));
    std::fs::write(folder.path().join("toolpost.toml"), settings).expect("written");
    folder
}

fn run(folder: &TempDir, args: &[&str]) -> String {
    page(&toolpost(folder.path(), args))
}

const ORDER: [&str; 5] = ["call", "orders_create", "order-id=o-1", "item=bolt", "amount=3"];

#[test]
fn inspect_shows_what_is_granted_and_what_is_not() {
    let _filters = filters();
    let grants = "grants.net = [\n  { to = \"https://shop.example.com/orders\", methods = [\"POST\"] },\n  { to = \
                  \"https://*.example.org:8443/**\", private = true },\n]\ntools.find.grants.net = []\n";
    let folder = folder(grants);
    let sheet = run(&folder, &["inspect", &prebuilt("orders")]);
    assert_snapshot!(sheet.lines().take(9).collect::<Vec<_>>().join("\n"), @r#"
    --- stdout
    orders  [size]  [digest]
    effect  open (with what is granted)
    asks    standard input and output (captured), HTTP requests (granted)
    grants  net POST https://shop.example.com/orders
            net GET, HEAD https://*.example.org:8443/** (private networks too)
    limits  fuel 1000000000, memory 64.0 MiB, time 30s, call_time 2m, arguments 1.0 MiB,
            result 8.0 MiB, reader 64.0 KiB, handles 10000, log 64.0 KiB, stdio 64.0 KiB

    "#);
    let find: Vec<_> = sheet.lines().skip_while(|line| !line.starts_with("orders_find")).skip(1).collect();
    assert_snapshot!(find.join("\n"), @r#"
      Looks an order up.
      effect pure
      grants nothing
    --- exit 0
    "#);
    assert_snapshot!(run(&folder, &["list"]), @r#"
    --- stdout
     TOOL           EFFECT  TAKES                            DESCRIPTION
     orders_create  open    order_id, item, amount, service  Places an order
     orders_find    pure    order_id, service                Looks an order up
    --- exit 0
    "#);
    assert_snapshot!(run(&folder, &["check"]), @r#"
    --- stdout
     TOOL         ASKS FOR, AND IS NOT GRANTED
     orders_find  HTTP requests

    all is well: 1 component, 2 tools
    --- exit 0
    "#);
}

#[test]
fn check_names_the_tools_that_are_not_granted_what_they_ask_for() {
    assert_snapshot!(run(&folder(""), &["check"]), @r#"
    --- stdout
     TOOL           ASKS FOR, AND IS NOT GRANTED
     orders_create  HTTP requests
     orders_find    HTTP requests

    all is well: 1 component, 2 tools
    --- exit 0
    "#);
}

#[test]
fn a_call_without_a_grant_is_refused_by_policy_and_shows_the_line_that_would_allow_it() {
    let folder = folder("tools.create.defaults.service = \"http://shop.test\"\n");
    assert_snapshot!(run(&folder, &ORDER), @r#"
    --- stderr
    error: capability_denied: the tool may not send `POST http://shop.test/orders`; the operator can allow it with `grants.net = [{ to = "http://shop.test/orders", methods = ["POST"] }]` in `[components.orders]`; the tool ended with: the host does not let the request out
    --- exit 3
    "#);
}

#[test]
fn a_call_with_a_grant_gets_its_receipt_and_its_report_has_the_request() {
    let _filters = filters();
    let address = shop(1);
    let folder = folder(&format!(
        "grants.net = [{{ to = \"http://{address}/orders\", methods = [\"POST\"] }}]\n\
         tools.create.defaults.service = \"http://{address}\"\n"
    ));
    let output = toolpost(folder.path(), &[&ORDER[..], &["--json"]].concat());
    let answer: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(output.status.code(), Some(0), "{answer}");
    let receipt = serde_json::json!({"order_id": "o-1", "item": "bolt", "amount": 3, "number": "R-17"});
    assert!(answer.to_string().contains(&receipt.to_string()), "{answer}");
    let effect = &answer["report"]["effects"][0];
    assert_eq!((&effect["action"], &effect["fate"]), (&"net.post".into(), &"done".into()), "{answer}");
    assert_eq!(effect["target"], format!("http://{address}/orders"));
}

/// A shop on this machine that is never well.
fn closed_shop() -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            let (mut reader, mut line) = (BufReader::new(&stream), String::new());
            while reader.read_line(&mut line).is_ok_and(|bytes| bytes > 2) {
                line.clear();
            }
            let _ = (&stream).write_all(b"HTTP/1.1 500 Oh\r\ncontent-length: 0\r\nconnection: close\r\n\r\n");
        }
    });
    address
}

#[test]
fn a_server_that_is_left_alone_is_listed_with_its_tool_and_takes_orders() {
    let address = closed_shop();
    let folder = tempfile::tempdir().expect("a temporary folder");
    let settings = format!(
        "store.dir = \"kept\"\n[components.fetch]\npath = {:?}\ngrants.net = [{{ to = \"http://{address}/**\" }}]\n",
        prebuilt("fetch")
    );
    std::fs::write(folder.path().join("toolpost.toml"), settings).expect("written");
    let json = |args: &[&str]| -> serde_json::Value {
        let output = toolpost(folder.path(), &[args, &["--json"]].concat());
        serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {}", page(&output)))
    };
    let url = format!("url=http://{address}/");
    let hoard = |count: &str| {
        let answer = json(&["call", "fetch_hoard", &url, &format!("count={count}")]).to_string();
        (answer.matches("{\"ok\":500}").count(), answer.matches("{\"err\":\"DestinationUnavailable\"}").count())
    };
    assert_eq!(hoard("7"), (5, 2), "answered and refused");
    let list = run(&folder, &["breakers"]);
    let wanted = format!("egress fetch_hoard {address}  open ");
    assert!(list.contains(&wanted) && list.contains("too many failures in a row"), "{list}");
    let known = &json(&["breakers"])["breakers"][0];
    let parts = [&known["tool"], &known["authority"], &known["status"]];
    assert_eq!(parts, ["fetch_hoard", &address.to_string(), "open"], "{known}");

    let order = run(&folder, &["breakers", "isolate", "fetch_hoard", &address.to_string(), "--why", "it moves"]);
    assert!(order.contains(&format!("ordered: isolate egress fetch_hoard {address};")), "{order}");
    assert_eq!(hoard("1"), (0, 1), "each call is a host of its own, and heeds the order");
    let call = json(&["log", "-n", "1"])["calls"][0]["call"].as_str().expect("an id").to_owned();
    let story = run(&folder, &["show", &call]);
    let why = format!("`{address}` is switched off by the operator: it moves; go on without it");
    assert!(story.contains(&why) && story.contains(&format!("refused: net.get http://{address}/")), "{story}");
    run(&folder, &["breakers", "release", "fetch_hoard", &address.to_string()]);
    assert_eq!(hoard("1"), (1, 0));
}
