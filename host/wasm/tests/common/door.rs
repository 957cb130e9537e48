//! A host interface of an embedding program, `test:host/door`, that counts what is done through it, and a guest of it.

use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::SeqCst;
use std::time::Duration;

use tokio::time::sleep;
use toolpost_core::catalog::settings::{LimitSettings, ToolSettings};
use toolpost_core::{Attempt, Catalog, Effect, EffectClass, Host};
use toolpost_wasm::{Engine, EngineOptions, State};
use wasmtime::StoreContextMut;
use wasmtime::component::{Linker, LinkerInstance};

/// What was done through the door.
#[derive(Debug, Default)]
pub struct Door {
    /// Effects that the gate let pass.
    pub acts: AtomicUsize,
    /// Effects that the gate refused.
    pub refused: AtomicUsize,
    /// Host functions that wait now.
    pub inside: AtomicUsize,
}

/// Counts a host function for as long as it is not dropped.
struct Inside(Arc<Door>);

impl Inside {
    fn new(door: Arc<Door>) -> Self {
        door.inside.fetch_add(1, SeqCst);
        Inside(door)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.inside.fetch_sub(1, SeqCst);
    }
}

/// Has an effect, as far as the gate lets it.
async fn act(door: Arc<Door>, attempt: Attempt) {
    let effect = Effect { class: EffectClass::Writes, action: "door.act".into(), target: "a".into(), detail: None };
    match attempt.pass(effect).await {
        Ok(passage) => {
            door.acts.fetch_add(1, SeqCst);
            passage.done();
        }
        Err(_) => {
            door.refused.fetch_add(1, SeqCst);
        }
    }
}

/// An engine of a few instances whose host offers the door.
pub fn engine(door: &Arc<Door>) -> Engine {
    let options = EngineOptions { max_parallel: 8, ..EngineOptions::default() };
    Engine::with_links(&options, |linker| link(linker, door)).unwrap()
}

pub fn link(linker: &mut Linker<State>, door: &Arc<Door>) -> wasmtime::Result<()> {
    let mut instance = linker.instance("test:host/door")?;
    define(&mut instance, "act", door, act)?;
    define(&mut instance, "nap", door, |_, _| sleep(Duration::from_secs(1)))?;
    define(&mut instance, "wait", door, |_, _| std::future::pending())?;
    define(&mut instance, "pause", door, |_, _| async {
        for _ in 0..3 {
            tokio::task::yield_now().await;
        }
    })?;
    // Leaves work behind that outlives every call.
    define(&mut instance, "leave", door, |door, attempt| async {
        tokio::spawn(async move {
            sleep(Duration::from_secs(30)).await;
            act(door, attempt).await;
        });
    })
}

fn define<F: Future<Output = ()> + Send + 'static>(
    instance: &mut LinkerInstance<'_, State>,
    name: &str,
    door: &Arc<Door>,
    function: impl Fn(Arc<Door>, Attempt) -> F + Send + Sync + Copy + 'static,
) -> wasmtime::Result<()> {
    let door = door.clone();
    instance.func_wrap_async(name, move |store: StoreContextMut<'_, State>, (): ()| {
        let (door, attempt) = (door.clone(), store.data().attempt().clone());
        Box::new(async move {
            let _inside = Inside::new(door.clone());
            function(door, attempt).await;
            Ok(())
        })
    })
}

/// A host of one guest on that engine; the operator says what its tools may do.
pub fn host(engine: &Engine, wat: &str, effect: EffectClass, limits: &LimitSettings) -> Host {
    let guest = super::load(engine, wat).unwrap();
    let settings = ToolSettings { effect: Some(effect), limits: limits.clone(), ..ToolSettings::default() };
    let mut catalog = Catalog::default();
    for function in &guest.functions {
        catalog.add(guest.tool(function, &super::strict(), &settings).unwrap()).unwrap();
    }
    Host::new(catalog)
}

/// The guest, which does this each time it is instantiated.
pub fn guest_that_starts_with(core: &str) -> String {
    GUEST.replace("(; start ;)", &format!("(func $start (local i32) {core}) (start $start)"))
}

/// Uses the door in many ways, most of them without an end.
pub const GUEST: &str = r#"(component
  (import "test:host/door" (instance $door
    (export "act" (func)) (export "nap" (func)) (export "wait" (func))
    (export "pause" (func)) (export "leave" (func))))
  (core func $act (canon lower (func $door "act")))
  (core func $nap (canon lower (func $door "nap")))
  (core func $wait (canon lower (func $door "wait")))
  (core func $pause (canon lower (func $door "pause")))
  (core func $leave (canon lower (func $door "leave")))
  (core module $m
    (import "door" "act" (func $act))
    (import "door" "nap" (func $nap))
    (import "door" "wait" (func $wait))
    (import "door" "pause" (func $pause))
    (import "door" "leave" (func $leave))
    (memory 1)
    (; start ;)
    (func (export "spin") (loop (br 0)))
    (func (export "wait") (call $wait))
    (func (export "act") (local i32)
      (loop
        (call $act)
        (local.set 0 (i32.const 20000))
        (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
        (br 0)))
    (func (export "act-and-nap") (loop (call $act) (call $nap) (br 0)))
    (func (export "work") (local i32)
      (local.set 0 (i32.const 5000000))
      (loop (br_if 0 (local.tee 0 (i32.sub (local.get 0) (i32.const 1)))))
      (call $pause)
      (call $act))
    (func (export "leave") (call $leave))
    (func (export "leave-and-trap") (call $leave) (unreachable))
    (func (export "leave-and-spin") (call $leave) (loop (br 0)))
    (func (export "leave-and-hog") (call $leave) (loop (drop (memory.grow (i32.const 16))) (br 0)))
    (func (export "leave-and-wait") (call $leave) (call $wait)))
  (core instance $i (instantiate $m (with "door" (instance
    (export "act" (func $act)) (export "nap" (func $nap)) (export "wait" (func $wait))
    (export "pause" (func $pause)) (export "leave" (func $leave))))))
  (func $spin (canon lift (core func $i "spin"))) (export "spin" (func $spin))
  (func $wait' (canon lift (core func $i "wait"))) (export "wait" (func $wait'))
  (func $act' (canon lift (core func $i "act"))) (export "act" (func $act'))
  (func $act-nap (canon lift (core func $i "act-and-nap"))) (export "act-and-nap" (func $act-nap))
  (func $work (canon lift (core func $i "work"))) (export "work" (func $work))
  (func $leave' (canon lift (core func $i "leave"))) (export "leave" (func $leave'))
  (func $trap (canon lift (core func $i "leave-and-trap"))) (export "leave-and-trap" (func $trap))
  (func $fuel (canon lift (core func $i "leave-and-spin"))) (export "leave-and-spin" (func $fuel))
  (func $hog (canon lift (core func $i "leave-and-hog"))) (export "leave-and-hog" (func $hog))
  (func $over (canon lift (core func $i "leave-and-wait"))) (export "leave-and-wait" (func $over)))"#;
