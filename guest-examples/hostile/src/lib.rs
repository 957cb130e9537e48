//! Everything that a tool should not do. A host has to survive it, and to say what happened.
//!
//! `black_box` keeps the compiler from seeing that a loop is of no use, and from leaving it out.

wit_bindgen::generate!({ path: ["../../wit", "wit"], world: "example:hostile/hostile", generate_all });
toolpost_guest::embed_wit!("wit/world.wit");

use exports::example::hostile::misdeeds::Guest;
use std::{hint::black_box, io::Write, time::Duration};
use toolpost::tool::log::{self, Level};
use wasi::random::random::get_random_bytes;

const MIB: usize = 1 << 20;

struct Hostile;

impl Guest for Hostile {
    fn spin() {
        loop {
            std::hint::spin_loop();
        }
    }

    fn fill_loop() {
        let mut block = vec![0_u8; 8 * MIB];
        for value in (0..=u8::MAX).cycle() {
            // One `memory.fill` instruction.
            black_box(&mut block).fill(value);
        }
    }

    fn allocate_loop() {
        loop {
            drop(black_box(Vec::<u8>::with_capacity(MIB)));
        }
    }

    fn recurse() -> u64 {
        deeper(0)
    }

    fn hog() {
        loop {
            // Ones: zeros would be had without touching the memory.
            black_box(vec![1_u8; MIB].leak());
        }
    }

    fn huge_result(bytes: u64) -> Vec<u8> {
        vec![b'x'; in_memory(bytes)]
    }

    fn huge_string(bytes: u64) -> String {
        "x".repeat(in_memory(bytes))
    }

    fn flood(bytes: u64) {
        let line = [&[b'x'; 1023][..], b"\n"].concat();
        let mut left = bytes;
        while left > 0 {
            let piece = line.len().min(in_memory(left));
            // A host that takes no more is not a reason to stop.
            let _ = std::io::stderr().write_all(&line[line.len() - piece..]);
            left -= piece as u64;
        }
    }

    fn huge_log(bytes: u64) {
        log::log(Level::Info, &"x".repeat(in_memory(bytes)));
    }

    fn huge_random(bytes: u64) -> u64 {
        get_random_bytes(bytes).len() as u64
    }

    fn panic(message: String) {
        panic!("{message}");
    }

    fn exit(code: u8) {
        std::process::exit(code.into());
    }

    fn sleep(ms: u64) {
        std::thread::sleep(Duration::from_millis(ms));
    }
}

/// Never ends by itself. What is done with the inner result keeps the call from becoming a jump.
#[inline(never)]
fn deeper(depth: u64) -> u64 {
    if black_box(depth) == u64::MAX {
        return 0;
    }
    deeper(depth + 1).rotate_left(7) ^ black_box(depth)
}

/// A size as this guest's memory can address it; what is larger fails at allocation.
fn in_memory(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

export!(Hostile);
