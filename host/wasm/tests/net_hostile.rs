//! The other side does as it likes: it is slow, endless, talks nonsense, or goes away. The tool gets an error within its
//! bounds, and the host goes on.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::time::Duration;

use common::server::{self, Server, effects, fetching, get, rogue, send, status};
use common::timed;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::sleep;

/// Waits for the head of a request, so that nothing is answered before it is asked.
async fn head(stream: &mut TcpStream) {
    let mut seen = Vec::new();
    while !seen.windows(4).any(|end| end == b"\r\n\r\n") {
        if stream.read_buf(&mut seen).await.unwrap_or(0) == 0 {
            return;
        }
    }
}

/// A service that says this to each request, and then goes away or stays silent.
async fn says(words: &'static [u8], stays: bool) -> Server {
    rogue(move |mut stream| async move {
        head(&mut stream).await;
        drop(stream.write_all(words).await);
        if stays {
            sleep(Duration::from_secs(60)).await;
        }
    })
    .await
}

/// A service that says this, and then this for ever.
async fn says_for_ever(first: &'static [u8], more: &'static [u8]) -> Server {
    rogue(move |mut stream| async move {
        head(&mut stream).await;
        drop(stream.write_all(first).await);
        while stream.write_all(more).await.is_ok() {}
    })
    .await
}

/// What becomes of a request under a grant that waits for a tenth of a second, within so long.
async fn check(server: &Server, within: Duration, wanted: &[&str], fate: &str) {
    let host = fetching(json!([{"to": server.url("/**"), "timeout": "100ms", "max_response": "1 MiB"}]));
    let (outcome, time) = timed(get(&host, &server.url("/"))).await;
    // An error in the middle of a body has words of its own.
    let error = status(&outcome).unwrap_err();
    let name: String = error.split(' ').map(|word| format!("{}{}", word[..1].to_uppercase(), &word[1..])).collect();
    let is_wanted = |wanted: &&str| error.contains(wanted) || name.contains(wanted);
    assert!(wanted.iter().any(is_wanted), "{error}");
    assert!(time < within, "{time:?}");
    assert_eq!(effects(&outcome), [format!("net.get {} {fate}", server.url("/"))]);
}

const SOON: Duration = Duration::from_secs(3);

#[tokio::test]
async fn an_answer_that_does_not_begin_ends_with_its_time() {
    check(&says(b"", true).await, SOON, &["ConnectionReadTimeout"], "Indeterminate").await;
    check(&says(b"HTTP/1.1 200 OK\r\nx-a: b\r\n", true).await, SOON, &["ConnectionReadTimeout"], "Indeterminate").await;
}

#[tokio::test]
async fn a_head_that_trickles_ends_with_its_time() {
    let server = rogue(|mut stream| async move {
        head(&mut stream).await;
        drop(stream.write_all(b"HTTP/1.1 200 OK\r\n").await);
        while stream.write_all(b"x-a: b\r\n").await.is_ok() {
            sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    check(&server, SOON, &["ConnectionReadTimeout"], "Indeterminate").await;
}

#[tokio::test]
async fn an_answer_that_stops_half_way_ends_with_its_time() {
    let server = says(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", true).await;
    check(&server, SOON, &["ConnectionReadTimeout"], "Done").await;
}

#[tokio::test]
async fn a_head_without_an_end_is_cut_off() {
    let wanted = ["HttpResponseHeaderSectionSize", "HttpProtocolError"];
    let server =
        says_for_ever(b"HTTP/1.1 200 OK\r\n", b"x-a: bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb\r\n").await;
    check(&server, SOON, &wanted, "Indeterminate").await;
    let server = says_for_ever(b"HTTP/1.1 200 OK\r\nx-a: ", b"bbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbbb").await;
    check(&server, SOON, &wanted, "Indeterminate").await;
    let server = says_for_ever(b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n").await;
    check(&server, SOON, &["ConnectionReadTimeout", "HttpProtocolError"], "Indeterminate").await;
}

#[tokio::test]
async fn a_body_without_an_end_is_cut_off() {
    let long = ["the answer is longer than the 1.0 MiB that its grant allows"];
    let until_closed = says_for_ever(b"HTTP/1.1 200 OK\r\n\r\n", &[b'x'; 16_384]).await;
    check(&until_closed, SOON, &long, "Done").await;
    let chunks = says_for_ever(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n", b"4\r\nxxxx\r\n").await;
    check(&chunks, Duration::from_secs(20), &long, "Done").await;
    // One that says so beforehand is not read at all.
    let said = says(b"HTTP/1.1 200 OK\r\ncontent-length: 99999999999\r\n\r\n", true).await;
    check(&said, SOON, &long, "Done").await;
}

#[tokio::test]
async fn nonsense_is_no_answer() {
    for words in [
        b"no HTTP at all\r\n\r\n".as_slice(),
        b"HTTP/1.1 9999 Far\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ncontent-length: 1\r\ncontent-length: 2\r\n\r\nxx",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\xff\xfe\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00",
    ] {
        let wanted = ["HttpProtocolError", "HttpResponseIncomplete", "ConnectionTerminated"];
        check(&says(words, false).await, SOON, &wanted, "Indeterminate").await;
    }
    let chunk = b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n";
    check(&says(chunk, false).await, SOON, &["Connection", "HTTP"], "Done").await;
}

#[tokio::test]
async fn a_connection_that_is_closed_early_is_no_answer() {
    check(&says(b"", false).await, SOON, &["HttpResponseIncomplete", "ConnectionTerminated"], "Indeterminate").await;
    let half = says(b"HTTP/1.1 200 OK\r\ncontent-length: 10\r\n\r\nhalf", false).await;
    check(&half, SOON, &["IncompleteHTTPResponse", "ConnectionTerminated"], "Done").await;
    let half = says(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nhalf\r\n", false).await;
    check(&half, SOON, &["IncompleteHTTPResponse", "ConnectionTerminated"], "Done").await;
}

#[tokio::test]
async fn a_service_that_does_not_take_the_body_ends_the_request() {
    // It accepts, and reads nothing.
    let server = rogue(|stream| async move {
        sleep(Duration::from_secs(60)).await;
        drop(stream);
    })
    .await;
    let host =
        fetching(json!([{"to": server.url("/**"), "methods": ["POST"], "timeout": "200ms", "max_request": "1 GiB"}]));
    let body = json!({"url": server.url("/"), "count": 100_000, "bytes": 4_096, "ending": "finish"});
    let (outcome, time) = timed(common::call(&host, "fetch_parts", body)).await;
    assert!(outcome.result.is_err() && time < Duration::from_secs(5), "{:?} {time:?}", outcome.result);
    assert_eq!(effects(&outcome), [format!("net.post {} Indeterminate", server.url("/"))]);
}

#[tokio::test]
async fn a_slow_guest_is_no_slow_service() {
    let server = server::serve(server::ok).await;
    let host = fetching(json!([{"to": server.url("/**"), "methods": ["POST"], "timeout": "50ms"}]));
    // The guest may well take longer over its parts than the other side may over anything.
    let body = json!({"url": server.url("/"), "count": 500, "bytes": 4_096, "ending": "finish"});
    let outcome = common::call(&host, "fetch_parts", body).await;
    assert_eq!(status(&outcome), Ok(200), "{:?}", outcome.report.attempts);
    assert_eq!(server.seen()[0].body.as_ref().unwrap().len(), 500 * 4_096);
}

#[tokio::test]
async fn a_guest_may_wait_for_less_than_its_grant_and_not_for_longer() {
    let server = says(b"", true).await;
    for (grant, asked, at_least, at_most) in
        [("10s", json!(50), 50, 3_000), ("100ms", json!(60_000), 100, 3_000), ("100ms", Value::Null, 100, 3_000)]
    {
        let host = fetching(json!([{"to": server.url("/**"), "timeout": grant}]));
        let url = server.url("/");
        let (outcome, time) = timed(server::send_with(&host, "GET", &url, json!([]), b"", asked)).await;
        assert_eq!(status(&outcome), Err("ConnectionReadTimeout".into()));
        assert!(time >= Duration::from_millis(at_least) && time < Duration::from_millis(at_most), "{time:?}");
    }
}

#[tokio::test]
async fn a_timeout_of_nothing_is_over_at_once_and_harms_nobody() {
    let server = server::serve(server::ok).await;
    let host = fetching(server.grant());
    let outcome = server::send_with(&host, "GET", &server.url("/"), json!([]), b"", json!(0)).await;
    assert!(outcome.result.is_err());
    assert_eq!(status(&send(&host, "POST", &server.url("/"), b"x").await), Ok(200));
}
