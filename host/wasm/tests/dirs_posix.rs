//! Files as programs in C have them: what came of each call is what POSIX promises, and what it is with the files of
//! `wasmtime-wasi`, but for what is listed here.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::path::Path;

use common::disk::{Ground, SECRET, log};
use common::{call, prebuilt, prebuilt_file, strict};
use serde_json::{Value, json};
use toolpost_core::catalog::settings::{Bytes, LimitSettings, ToolSettings};
use toolpost_core::{Catalog, Host};
use wasmtime::component::{Component, Linker, ResourceTable};
use wasmtime::{Config, Engine, Store};
use wasmtime_wasi::{FsPerms, WasiCtx, WasiCtxBuilder, WasiCtxView, WasiView};

/// A host of a guest that has this folder.
fn host(guest: &str, dir: &Value) -> Host {
    let grants = serde_json::from_value(json!({"dirs": [dir]})).unwrap();
    let limits = LimitSettings { memory: Some(Bytes(1 << 30)), fuel: Some(1 << 40), ..LimitSettings::default() };
    let settings = ToolSettings { grants, limits, ..ToolSettings::default() };
    let guest = prebuilt(guest);
    let mut catalog = Catalog::default();
    for function in &guest.functions {
        catalog.add(guest.tool(function, &strict(), &settings).unwrap()).unwrap();
    }
    Host::new(catalog)
}

async fn lines(host: &Host, tool: &str, arguments: Value) -> Result<Vec<String>, String> {
    let outcome = call(host, tool, arguments).await;
    let value = outcome.result.map_err(|error| error.message)?.value;
    Ok(value.as_array().unwrap().iter().map(|line| line.as_str().unwrap().to_owned()).collect())
}

struct Theirs(WasiCtx, ResourceTable);

impl WasiView for Theirs {
    fn ctx(&mut self) -> WasiCtxView<'_> {
        WasiCtxView { ctx: &mut self.0, table: &mut self.1 }
    }
}

/// What the same function returns with the files of `wasmtime-wasi`.
async fn theirs(function: &str, dir: &Path, perms: FsPerms) -> Vec<String> {
    let engine = Engine::new(&Config::new()).unwrap();
    let component = Component::from_file(&engine, prebuilt_file("posix")).unwrap();
    let mut linker = Linker::new(&engine);
    wasmtime_wasi::p2::add_to_linker_async(&mut linker).unwrap();
    let wasi = WasiCtxBuilder::new().preopened_dir(dir, "/data", perms).unwrap().build();
    let mut store = Store::new(&engine, Theirs(wasi, ResourceTable::new()));
    let instance = linker.instantiate_async(&mut store, &component).await.unwrap();
    let function = instance.get_typed_func::<(&str,), (Vec<String>,)>(&mut store, function).unwrap();
    function.call_async(&mut store, ("/data",)).await.unwrap().0
}

/// A folder with the links that the guest looks for.
fn with_links() -> Ground {
    let ground = Ground::new();
    std::fs::remove_file(ground.path("data/a.txt")).unwrap();
    ground.write("data/links/target", "inside");
    ground.write("data/links/folder/x", "x");
    for (name, to) in [
        ("to-file", "target"),
        ("to-folder", "folder"),
        ("dangling", "new"),
        ("round", "round"),
        ("out", "../../outside/secret.txt"),
    ] {
        ground.link(&format!("links/{name}"), to);
    }
    ground
}

/// Where an answer is another one than there, as `ours | theirs`.
fn differences(ours: &[String], theirs: &[String]) -> Vec<String> {
    assert_eq!(ours.len(), theirs.len());
    let both = ours.iter().zip(theirs).filter(|(ours, theirs)| ours != theirs);
    both.map(|(ours, theirs)| format!("{ours} | {}", theirs.rsplit(": ").next().unwrap())).collect()
}

fn broken(answers: &[String]) -> Vec<&String> {
    answers.iter().filter(|answer| answer.contains(", and not ")).collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_posix_promises_is_kept_as_wasmtime_keeps_it() {
    let (here, there) = (with_links(), with_links());
    let trial = json!({"folder": "/data"});
    let ours = lines(&host("posix", &here.grant("write")), "posix_trial", trial).await.unwrap();
    let theirs = theirs("trial", &there.path("data"), FsPerms::ReadWrite).await;
    // Tools make no symbolic links, and do not move them to where they would lead elsewhere.
    assert_eq!(broken(&ours), ["links: rename it: EPERM, and not 0", "links: make one: EPERM, and not 0"]);
    // In all others, it is theirs that is not what was promised.
    let known = [
        "open: write to what is read: EBADF | EIO, and not EBADF",
        "open: read from what is written: EBADF | EIO, and not EBADF",
        "open: written through: 0 | ENOTSUP, and not 0",
        "open: its data written through: 0 | ENOTSUP, and not 0",
        "folders: delete one that is open: 0 | EINVAL, and not 0",
        "folders: make a file in it: ENOENT | 5, and not ENOENT",
        "folders: delete it twice: ENOENT | ENOTEMPTY, and not ENOENT",
        "links: delete it as a folder, with a slash: ENOTDIR | EINVAL, and not ENOTDIR",
        "links: delete it with a slash: ENOTDIR | EISDIR, and not ENOTDIR",
        "links: rename it: EPERM, and not 0 | 0",
        "links: make one: EPERM, and not 0 | 0",
    ];
    assert_eq!(differences(&ours, &theirs), known);
    assert!(ours.len() > 250, "{} answers", ours.len());
    assert_eq!(here.read("outside/secret.txt"), SECRET);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_only_to_be_read_is_not_changed_as_wasmtime_does_not_change_it() {
    let (here, there) = (Ground::new(), Ground::new());
    for ground in [&here, &there] {
        ground.write("data/a", "text");
        std::fs::create_dir(ground.path("data/f")).unwrap();
    }
    let before = here.everything();
    let ours = lines(&host("posix", &here.grant("read")), "posix_refused", json!({"folder": "/data"})).await.unwrap();
    let theirs = theirs("refused", &there.path("data"), FsPerms::ReadOnly).await;
    assert_eq!(here.everything(), before);
    assert_eq!(broken(&ours), Vec::<&String>::new());
    let known = [".: delete what is not there: ENOENT | EPERM, and not ENOENT"];
    assert_eq!(differences(&ours, &theirs), known);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn who_asks_a_folder_for_what_is_above_it_is_told_how_to_have_it() {
    let ground = with_links();
    let outcome = call(&host("posix", &ground.grant("write")), "posix_trial", json!({"folder": "/data"})).await;
    let line = "warn: `/data/open/f/../a` leads out of `/data/open/f`, of which it was asked; a tool has it by its path from \
                `/data`\n";
    assert!(log(&outcome).contains(line), "{}", log(&outcome));
    let link = "`/data/links/out` leads out of `/data`, where the tool may not go; the operator can grant the folder";
    assert!(log(&outcome).contains(link), "{}", log(&outcome));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_tests_that_the_c_library_has_for_itself_pass() {
    let ground = Ground::new();
    let names = lines(&host("libc-tests", &ground.grant("write")), "libc_tests_names", json!({})).await.unwrap();
    let mut failed = Vec::new();
    for name in &names {
        let ground = Ground::new();
        std::fs::remove_file(ground.path("data/a.txt")).unwrap();
        let host = host(
            "libc-tests",
            &ground.grant_with(json!({"guest": "/", "access": "write", "max_bytes": "1 GiB", "max_file": "1 GiB"})),
        );
        match lines(&host, "libc_tests_run", json!({"name": name})).await {
            Ok(complaints) => failed.extend(complaints.into_iter().map(|line| format!("{name}: {line}"))),
            Err(error) => failed.push(format!("{name}: {error}")),
        }
    }
    assert_eq!(names.len(), 38);
    // Tools make no symbolic links, and these two do.
    let why = "the tool may not create `/t2/symlink1`: tools make no symbolic links; no grant allows it";
    let known = [
        &*format!("fts: {why}; the tool ended with: the tool ended itself with exit status 1"),
        "readlink: readlink.c:27: symlink(tmp, tmp1) == 0 failed (errno = 63)",
        "readlink: readlink.c:29: readlink(tmp1, tmp, 16) == 16 failed (errno = 44)",
        "readlink: readlink.c:31: unlink(tmp1) != -1 failed (errno = 44)",
    ];
    assert_eq!(failed, known);
}
