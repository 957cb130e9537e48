//! From a component's bytes to its tools: compiled anew, taken from the cache, and what of it is wasmtime's own.

use toolpost_wasm::{Engine, EngineOptions};
use wasmtime::Result;
use wasmtime::component::Component;

use crate::hosted::{guest, path};
use crate::measure::{Calls, Candidate, Effort, Measured, compare};
use crate::raw;
use crate::table::Table;

/// What the cached load of a component of about 350 KB may take.
const CACHED_MS_MAX: f64 = 2.0;

pub(crate) fn measure(table: &mut Table, quick: bool) -> Result<()> {
    let rounds = if quick { 3 } else { 15 };
    for name in ["text", "kitchen"] {
        let bytes = guest(name)?;
        let rows = rows(name, &bytes, rounds)?;
        table.group(&format!("load: {name}.wasm, {} KB", bytes.len() / 1_000), &rows)?;
        cached(table, &format!("cached load of {name}.wasm"), &rows);
    }
    // None of the prebuilt guests is that large, but four of them together are. Their code is compiled and loaded like any
    // other; only what is done for each exported function is missing.
    let guests = ["text", "kitchen", "hostile", "pi"].iter().map(|name| guest(name)).collect::<Result<Vec<_>>>()?;
    let bytes = nested(&guests);
    let rows = rows("nested", &bytes, rounds)?;
    let size = bytes.len() / 1_000;
    table.group(&format!("load: text, kitchen, hostile and pi nested in one component, {size} KB"), &rows)?;
    cached(table, &format!("cached load of {size} KB of guests"), &rows);

    if !quick && path("greet-js").exists() {
        let bytes = guest("greet-js")?;
        let rows = self::rows("greet-js", &bytes, 1)?;
        table.group(&format!("for information: load once: greet-js.wasm, {} KB", bytes.len() / 1_000), &rows)?;
    }
    Ok(())
}

fn rows(name: &str, bytes: &[u8], rounds: usize) -> Result<Vec<Measured>> {
    let dir = tempfile::tempdir()?;
    let cold = Engine::new(&EngineOptions::default())?;
    let cache_dir = Some(dir.path().join("cache"));
    let cached = Engine::new(&EngineOptions { cache_dir, ..EngineOptions::default() })?;
    cached.load(name, bytes, None)?;

    let engine = raw::engine(&EngineOptions::default())?;
    let component = Component::from_binary(&engine, bytes)?;
    let linker = raw::linker(&engine, &component)?;
    let code = component.serialize()?;
    drop(component);

    // What was loaded is dropped when all is measured.
    let (mut cold_kept, mut cached_kept, mut raw_kept) = (Vec::new(), Vec::new(), Vec::new());
    let candidates = vec![
        Candidate::new("compiled (cold)", |_| {
            cold_kept.push(cold.load(name, bytes, None)?);
            Ok(())
        }),
        Candidate::new("from the cache", |_| {
            cached_kept.push(cached.load(name, bytes, None)?);
            Ok(())
        }),
        Candidate::new("wasmtime alone: deserialize and link", |_| {
            // SAFETY: the code comes from this very engine, some lines above.
            let component = unsafe { Component::deserialize(&engine, &code) }?;
            raw_kept.push(linker.instantiate_pre(&component)?);
            Ok(())
        }),
    ];
    let mut rows = compare(candidates, Effort { rounds, calls: Calls::Exactly(1) })?;
    if let Some(row) = rows.first_mut() {
        row.note = format!("{} KB of compiled code", code.len() / 1_000);
    }
    Ok(rows)
}

fn cached(table: &mut Table, name: &str, rows: &[Measured]) {
    if let [_, cached, ..] = rows {
        table.target(name, CACHED_MS_MAX, cached.wall / 1e3, " ms");
    }
}

/// A component that holds components, and instantiates none of them.
fn nested(parts: &[Vec<u8>]) -> Vec<u8> {
    const PREAMBLE: [u8; 8] = *b"\0asm\x0d\0\x01\0";
    const SECTION_COMPONENT: u8 = 4;
    let mut bytes = PREAMBLE.to_vec();
    for part in parts {
        bytes.push(SECTION_COMPONENT);
        let mut length = part.len();
        while length >= 0x80 {
            bytes.push((length & 0x7f) as u8 | 0x80);
            length >>= 7;
        }
        bytes.push(length as u8);
        bytes.extend_from_slice(part);
    }
    bytes
}
