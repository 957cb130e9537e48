//! Settings and components that are read again: all of it or nothing, and nothing twice.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::path::Path;
use std::pin::pin;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use serde_json::json;
use tempfile::TempDir;
use toolpost::{Builder, Call, EffectClass, Host, Native, Outcome, Reloader, Settings, Store};

const PREBUILT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../../guest-examples/prebuilt");

/// A folder with settings, and components in it.
struct Folder(TempDir);

impl Folder {
    fn with(settings: &str) -> Self {
        let folder = Folder(tempfile::tempdir().unwrap());
        for name in ["divide", "text"] {
            std::fs::copy(Path::new(PREBUILT).join(format!("{name}.wasm")), folder.path(&format!("{name}.wasm")))
                .unwrap();
        }
        folder.says(settings);
        folder
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.0.path().join(name)
    }

    /// Writes the settings.
    fn says(&self, settings: &str) {
        let cache = concat!(env!("CARGO_TARGET_TMPDIR"), "/compiled");
        std::fs::write(self.path("toolpost.toml"), format!("host.cache = {}\n{settings}", json!(cache))).unwrap();
    }

    async fn load(&self, builder: Builder) -> Reloader {
        let settings = Settings::read(&self.path("toolpost.toml")).unwrap();
        let loaded = builder.settings(settings).load().await;
        assert_eq!(loaded.faults, []);
        loaded.reloader(self.path("toolpost.toml"))
    }
}

const BOTH: &str = "components.divide.path = \"divide.wasm\"\ncomponents.text.path = \"text.wasm\"\n";

fn names(host: &Host) -> Vec<String> {
    host.catalog().tools().map(|tool| tool.name.clone()).collect()
}

async fn divide(host: &Host) -> Outcome {
    host.call(Call::new("divide_divide", json!({"dividend": 1, "divisor": 2}))).await
}

/// These components are loaded anew.
async fn check(reloader: &Reloader, loaded: &[&str]) {
    assert_eq!(reloader.reload().await.unwrap().loaded, loaded);
    assert_eq!(divide(reloader.host()).await.result.unwrap().value, json!(0.5));
}

/// Nothing is changed, and this is why.
async fn check_faults(reloader: &Reloader, faults: &[&str]) {
    let before = names(reloader.host());
    let told: Vec<String> = reloader.reload().await.unwrap_err().0.iter().map(ToString::to_string).collect();
    assert_eq!(told.len(), faults.len(), "{told:?}");
    for (told, fault) in told.iter().zip(faults) {
        assert!(told.contains(fault), "{fault} in {told}");
    }
    assert_eq!(names(reloader.host()), before);
    assert_eq!(divide(reloader.host()).await.result.unwrap().value, json!(0.5));
}

#[tokio::test]
async fn a_component_whose_file_is_the_same_is_not_loaded_again() {
    let folder = Folder::with(BOTH);
    let reloader = folder.load(Builder::new().in_memory()).await;
    check(&reloader, &[]).await;
    folder.says(&format!("{BOTH}components.text.limits.fuel = 5000000\ncomponents.text.tools.echo.hidden = true"));
    check(&reloader, &[]).await;
    assert_eq!(names(reloader.host()).len(), 4, "and what is said of it is what is said now");

    std::fs::copy(folder.path("divide.wasm"), folder.path("text.wasm")).unwrap();
    folder.says(BOTH);
    check(&reloader, &["text"]).await;
    assert!(names(reloader.host()).contains(&"text_divide".to_owned()));

    folder.says(&format!("{BOTH}components.more.path = \"divide.wasm\""));
    check(&reloader, &["more"]).await;
    folder.says("components.divide.path = \"divide.wasm\"");
    check(&reloader, &[]).await;
    assert_eq!(names(reloader.host()), ["divide_divide", "divide_divide_integers"]);
}

#[tokio::test]
async fn words_beside_a_component_are_read_again() {
    let folder = Folder::with("components.divide.path = \"divide.wasm\"\ncomponents.bare.path = \"bare.wasm\"");
    let bare = r#"(component
        (core module $m (func (export "f") (result i32) (i32.const 7)))
        (core instance $i (instantiate $m))
        (func (export "seven") (result u32) (canon lift (core func $i "f"))))"#;
    std::fs::write(folder.path("bare.wasm"), wat::parse_str(bare).unwrap()).unwrap();
    let reloader = folder.load(Builder::new().in_memory()).await;
    let wit = "package a:b;\nworld w {\n  /// The number of dwarfs.\n  export seven: func() -> u32;\n}";
    std::fs::write(folder.path("bare.wit"), wit).unwrap();
    check(&reloader, &["bare"]).await;
    assert_eq!(reloader.host().catalog().find("bare_seven").unwrap().description, "The number of dwarfs.");
}

#[tokio::test]
async fn an_engine_that_does_what_is_asked_goes_on() {
    let folder = Folder::with(&format!("{BOTH}host.max_parallel = 8\n"));
    let reloader = folder.load(Builder::new().in_memory()).await;
    for (host, loaded) in [
        ("max_parallel = 4", &[] as &[&str]),
        ("max_parallel = 8\nhost.max_waiting = 3", &[]),
        ("max_parallel = 9", &["divide", "text"]),
        ("max_parallel = 9\nhost.stack = \"1 MiB\"", &["divide", "text"]),
        ("max_parallel = 9\nhost.stack = \"1 MiB\"\nhost.cast = \"lax\"", &[]),
    ] {
        folder.says(&format!("{BOTH}host.{host}\n"));
        check(&reloader, loaded).await;
    }
}

#[tokio::test]
async fn what_is_wrong_with_a_part_leaves_all_as_it_was() {
    let folder = Folder::with(BOTH);
    let reloader = folder.load(Builder::new().in_memory()).await;
    folder.says("components.divide.path = \"divide.wasm\"\nlimits.fule = 5\nlimits.time = \"0s\"");
    check_faults(&reloader, &["toolpost.toml:3: unknown key `fule`", "toolpost.toml:4: `0s` is no span"]).await;
    folder.says(&format!("{BOTH}components.more.path = \"nowhere.wasm\"\ncomponents.text.tools.ehco.hidden = true"));
    check_faults(
        &reloader,
        &["component `more`: ", "component `text`: the settings speak of its tool `ehco` (line 5)"],
    )
    .await;
    folder.says(&format!("{BOTH}host.cache_size = \"1 GiB\"\ncomponents.text.tools.echo.name = \"divide_divide\""));
    check_faults(&reloader, &["two tools would be named `divide_divide`"]).await;
    folder.says(BOTH);
    for garbage in ["", "garbage", "(component)"] {
        std::fs::write(folder.path("divide.wasm"), garbage).unwrap();
        check_faults(&reloader, &["component `divide`: "]).await;
    }
    std::fs::remove_file(folder.path("toolpost.toml")).unwrap();
    check_faults(&reloader, &["toolpost.toml: cannot be read: No such file"]).await;

    // And when all is well again, it goes on.
    std::fs::copy(Path::new(PREBUILT).join("divide.wasm"), folder.path("divide.wasm")).unwrap();
    folder.says("components.divide.path = \"divide.wasm\"");
    check(&reloader, &[]).await;
}

#[tokio::test]
async fn tools_and_files_of_the_program_itself_are_there_again() {
    let folder = Folder::with("components.divide.path = \"divide.wasm\"\nlimits.fuel = 5000");
    let asked = Arc::new(AtomicUsize::new(0));
    let count = asked.clone();
    let native = Native::new("count", "").effect(EffectClass::Reads);
    let builder = Builder::new().in_memory().tools(folder.path("text.wasm")).native(native, move |_| {
        let number = count.fetch_add(1, Ordering::Relaxed);
        async move { Ok(json!(number)) }
    });
    let reloader = folder.load(builder).await;
    let call = async || reloader.host().call(Call::new("count", json!({}))).await.result.unwrap().value;
    assert_eq!(call().await, json!(0));
    folder.says("components.divide.path = \"divide.wasm\"\nlimits.fuel = 7000");
    check(&reloader, &[]).await;
    assert_eq!(call().await, json!(1), "it is the same function");
    let fuel = ["count", "text_echo"].map(|name| reloader.host().catalog().find(name).unwrap().limits.fuel);
    assert_eq!(fuel, [7000, 7000], "by the settings that are in force");
}

#[tokio::test]
async fn what_cannot_be_changed_while_it_runs_is_said() {
    let folder = Folder::with(&format!("{BOTH}store.dir = \"kept\""));
    let store = Arc::new(Store::at(folder.path("kept")));
    let reloader = folder.load(Builder::new().store(store)).await;
    assert_eq!(reloader.reload().await.unwrap().warnings, Vec::<String>::new());
    folder.says(&format!("{BOTH}store.dir = \"elsewhere\""));
    let reloaded = reloader.reload().await.unwrap();
    let expected = "the settings are in force: 2 components, 5 tools\nwarning: `store.dir` has changed, which takes effect \
                    when the program is started again";
    assert_eq!(reloaded.to_string(), expected);
}

/// Keeps the one thread for blocking work busy, until the sender is dropped.
fn busy() -> mpsc::Sender<()> {
    let (sender, receiver) = mpsc::channel::<()>();
    tokio::task::spawn_blocking(move || receiver.recv());
    sender
}

#[test]
fn a_reload_that_is_dropped_half_way_leaves_all_as_it_was() {
    let runtime = tokio::runtime::Builder::new_current_thread().max_blocking_threads(1).enable_all().build().unwrap();
    runtime.block_on(async {
        let folder = Folder::with(BOTH);
        let reloader = folder.load(Builder::new().in_memory()).await;
        folder.says("components.divide.path = \"divide.wasm\"");
        {
            // Before anything is read.
            let _first = busy();
            assert!(futures_util::poll!(pin!(reloader.reload())).is_pending());
        }
        {
            // When the settings are read, and the components are not.
            let first = busy();
            let mut reload = pin!(reloader.reload());
            assert!(futures_util::poll!(reload.as_mut()).is_pending());
            let read = tokio::task::spawn_blocking(|| ());
            let _second = busy();
            drop(first);
            read.await.unwrap();
            assert!(futures_util::poll!(reload.as_mut()).is_pending());
        }
        assert_eq!(names(reloader.host()).len(), 5);
        check(&reloader, &[]).await;
        assert_eq!(names(reloader.host()).len(), 2);
    });
}

#[tokio::test]
async fn reloads_that_are_asked_for_at_once_come_one_after_the_other() {
    let folder = Folder::with(BOTH);
    let reloader = folder.load(Builder::new().in_memory()).await;
    std::fs::copy(folder.path("text.wasm"), folder.path("more.wasm")).unwrap();
    folder.says(&format!("{BOTH}components.more.path = \"more.wasm\""));
    let (one, other) = tokio::join!(reloader.reload(), reloader.reload());
    assert_eq!([one.unwrap().loaded.len(), other.unwrap().loaded.len()], [1, 0]);
}
