//! A tool that only waits, for tests with thousands of calls at once.
//!
//! It calls WASI's clock itself and allocates nothing, so the component is some kilobytes small, imports two
//! interfaces, and has one page of memory (see `build.rs`).

wit_bindgen::generate!({ path: "wit", world: "nap", generate_all });
toolpost_guest::embed_wit!("wit/world.wit");

use wasi::clocks::monotonic_clock::subscribe_duration;

const NANOSECONDS_PER_MILLISECOND: u64 = 1_000_000;

struct Nap;

impl Guest for Nap {
    fn nap(ms: u64) -> u64 {
        subscribe_duration(ms.saturating_mul(NANOSECONDS_PER_MILLISECOND)).block();
        ms
    }
}

export!(Nap);
