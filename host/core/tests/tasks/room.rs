//! What tasks in memory take, weighed as it is.

use std::sync::Arc;

use serde_json::json;
use toolpost_core::task::{Asked, HostId, Memory, Record, Room, State, TaskStore, Touch};
use toolpost_core::{Effect, EffectClass};

use crate::conformance::record;

const ROOM: Room = Room { waiting_max: 1_000, kept_max: 1_000 };

async fn is_filed(store: &Memory, number: u32, arguments: toolpost_core::Arguments) -> bool {
    let asked = Asked { arguments, idempotency_key: None };
    store.file(Arc::new(record(number, store.now_ms())), asked, ROOM).await.unwrap()
}

#[tokio::test]
async fn arguments_weigh_what_they_are_however_they_came() {
    let text = "x".repeat(1 << 20);
    let forms: [toolpost_core::Arguments; 3] = [
        json!({"text": text}).into(),
        json!({"lists": [[text]]}).into(),
        json!({"text": text}).to_string().as_str().into(),
    ];
    for arguments in forms {
        let store = Memory::default().holding(10 << 20);
        let mut filed = 0;
        while is_filed(&store, filed, arguments.clone()).await {
            filed += 1;
            assert!(filed <= 10, "it is never full");
        }
        assert_eq!(filed, 10);
    }
}

#[tokio::test]
async fn effects_weigh_what_is_told_of_them() {
    for (action, detail) in [(1 << 20, 0), (0, 1 << 20)] {
        let store = Memory::default().holding(1 << 20);
        let filed = record(1, store.now_ms());
        assert!(is_filed(&store, 1, json!({}).into()).await);
        let state = State::Running { host: HostId::of_text("h") };
        let running = Record { version: 7, fence: 1, state, runs: 1, ..filed.clone() };
        assert!(store.swap(&filed.request.id, filed.version, Some(Arc::new(running))).await.unwrap());
        assert!(is_filed(&store, 2, json!({}).into()).await, "there is room before");
        let (action, detail) = ("a".repeat(action), Some("d".repeat(detail)));
        let effect = Effect { class: EffectClass::Writes, action, target: "t".into(), detail };
        let touch = Touch { id: filed.request.id.clone(), fence: 1, number: 0, effect, again: true, version: 8 };
        assert!(store.touch(touch).await.unwrap());
        assert!(!is_filed(&store, 3, json!({}).into()).await);
    }
}
