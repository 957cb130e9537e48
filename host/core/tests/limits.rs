//! Whose limits hold, and which a settings file may set.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::time::Duration;

use serde_json::{Value, json};
use toolpost_core::catalog::Base;
use toolpost_core::catalog::settings::{LimitSettings, Span};
use toolpost_core::{Limits, Native};

#[test]
fn what_a_native_tool_says_stands_above_its_host_and_that_above_the_defaults() {
    let seconds =
        |seconds| LimitSettings { time: Some(Span(Duration::from_secs(seconds))), ..LimitSettings::default() };
    let default = Limits::default().attempt_time_max;
    let unsaid = LimitSettings::default();
    let cases = [
        (&unsaid, &unsaid, default),
        (&seconds(5), &unsaid, Duration::from_secs(5)),
        (&unsaid, &seconds(7), Duration::from_secs(7)),
        (&seconds(5), &seconds(7), Duration::from_secs(7)),
        // The default again, but said.
        (&seconds(5), &seconds(30), default),
    ];
    for (host, tool, wanted) in cases {
        let native = Native::new("work", "")
            .limits(tool.clone())
            .above(Base { limits: Limits::default().with(host), ..Base::default() });
        let limits = native.run(|_| async { Ok(Value::Null) }).limits;
        assert_eq!(limits, Limits { attempt_time_max: wanted, ..Limits::default() }, "{host:?} {tool:?}");
    }
}

#[test]
fn fuel_and_memory_have_bounds() {
    let read = |settings: Value| serde_json::from_value::<LimitSettings>(settings).map_err(|error| error.to_string());
    for good in [json!({}), json!({"fuel": 1}), json!({"fuel": u64::MAX}), json!({"memory": 65_536})] {
        assert!(read(good.clone()).is_ok(), "{good}");
    }
    assert!(read(json!({"memory": "4 GiB"})).is_ok());
    for fuel in [json!(0), json!(-1), json!("much"), json!(1.5)] {
        assert_eq!(read(json!({"fuel": fuel})), Err("expected a whole number of at least 1".into()));
    }
    for (memory, got) in [(json!(0), "0 B"), (json!("63 KiB"), "63 KiB"), (json!("16 EiB"), "16 EiB")] {
        let told = format!("expected from 64 KiB to 4 GiB, got {got}");
        assert_eq!(read(json!({"memory": memory})), Err(told));
    }
    let told = "expected a number of bytes, for example \"64 MiB\"";
    assert_eq!(read(json!({"memory": -1})), Err(told.into()));
}
