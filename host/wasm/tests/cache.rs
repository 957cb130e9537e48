//! Compiled code is kept and used again, and never taken from anybody else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::fs::{self, File, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use tempfile::TempDir;
use toolpost_wasm::{Engine, EngineOptions};

const MAGIC: &[u8] = b"toolpost cwasm 2";
const HEAD_BYTES: usize = 48;

/// A component with one function of that name.
fn wat(function: &str) -> String {
    format!(
        r#"(component
      (core module $m (func (export "f")))
      (core instance $i (instantiate $m))
      (func $f (canon lift (core func $i "f")))
      (export "{function}" (func $f)))"#
    )
}

/// A folder for compiled code, and engines that use it.
struct Kept {
    root: TempDir,
    options: EngineOptions,
}

impl Kept {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        let cache_dir = Some(root.path().join("cache"));
        Kept { root, options: EngineOptions { max_parallel: 1, cache_dir, ..EngineOptions::default() } }
    }

    fn dir(&self) -> PathBuf {
        self.root.path().join("cache")
    }

    /// An engine, as after a new start of the host.
    fn engine(&self) -> Engine {
        Engine::new(&self.options).unwrap()
    }

    fn refused(&self) -> String {
        Engine::new(&self.options).unwrap_err().to_string()
    }

    /// Loads the component after a new start, and gives the name of the function that it turns out to have.
    fn load(&self, function: &str) -> String {
        loaded(&self.engine(), function)
    }

    fn entries(&self) -> Vec<PathBuf> {
        let mut entries: Vec<_> =
            fs::read_dir(self.dir()).into_iter().flatten().map(|entry| entry.unwrap().path()).collect();
        entries.sort();
        entries
    }

    /// The one entry.
    fn entry(&self) -> PathBuf {
        let entries = self.entries();
        assert_eq!(entries.len(), 1, "{entries:?}");
        entries[0].clone()
    }

    /// The entry that loading this adds.
    fn entry_of(&self, function: &str) -> PathBuf {
        let before = self.entries();
        assert_eq!(self.load(function), function);
        let added: Vec<_> = self.entries().into_iter().filter(|entry| !before.contains(entry)).collect();
        assert_eq!(added.len(), 1, "{added:?}");
        added[0].clone()
    }

    /// A sound entry whose code is another component's: whoever loads it shows that he does.
    fn foreign(&self) -> Vec<u8> {
        let component = wat::parse_str(wat("foreign")).unwrap();
        let code = self.engine().wasmtime().precompile_component(&component).unwrap();
        [MAGIC, blake3::hash(&code).as_bytes(), &code].concat()
    }

    /// It loads as what it is, and the entry is a plain sound one again.
    fn assert_rebuilt(&self, entry: &Path, what: &str) {
        assert_eq!(self.load("own"), "own", "{what}");
        let meta = fs::symlink_metadata(entry).unwrap();
        assert!(meta.is_file() && meta.mode() & 0o777 == 0o600, "{what}: {:o}", meta.mode());
        let bytes = fs::read(entry).unwrap();
        assert_eq!(&bytes[..16], MAGIC, "{what}");
        assert_eq!(&bytes[16..HEAD_BYTES], blake3::hash(&bytes[HEAD_BYTES..]).as_bytes(), "{what}");
        let written = meta.ino();
        assert_eq!(self.load("own"), "own", "{what}");
        assert_eq!(fs::symlink_metadata(entry).unwrap().ino(), written, "{what}: it is sound, and used");
    }
}

fn loaded(engine: &Engine, function: &str) -> String {
    common::load(engine, &wat(function)).unwrap().functions[0].name.clone()
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Makes an entry look as if it had been used last so long ago.
fn age(entry: &Path, age: Duration) {
    File::open(entry).unwrap().set_modified(SystemTime::now() - age).unwrap();
}

const HOUR: Duration = Duration::from_secs(3_600);

#[test]
fn compiled_code_is_taken_from_the_folder_at_the_next_start() {
    let kept = Kept::new();
    assert_eq!(kept.load("own"), "own");
    let entry = kept.entry();
    assert_eq!(fs::metadata(&entry).unwrap().mode() & 0o777, 0o600);
    fs::write(&entry, kept.foreign()).unwrap();
    assert_eq!(kept.load("own"), "foreign", "what lies in the folder is what is loaded");
    assert_eq!(kept.load("other"), "other", "another component has another entry");
    assert_eq!(kept.entries().len(), 2);
}

#[test]
fn without_a_folder_nothing_is_kept() {
    let kept = Kept::new();
    let engine = Engine::new(&EngineOptions { cache_dir: None, ..kept.options.clone() }).unwrap();
    assert_eq!(loaded(&engine, "own"), "own");
    assert!(!kept.dir().exists());
}

#[test]
fn a_damaged_entry_is_made_again_wherever_the_damage_is() {
    let kept = Kept::new();
    assert_eq!(kept.load("own"), "own");
    let entry = kept.entry();
    let sound = fs::read(&entry).unwrap();
    let last = sound.len() - 1;
    for at in [0, 8, 15, 16, 30, 47, 48, 49, 64, 256, last / 2, last] {
        let mut damaged = sound.clone();
        damaged[at] ^= 1;
        fs::write(&entry, damaged).unwrap();
        kept.assert_rebuilt(&entry, &format!("byte {at} of {}", sound.len()));
    }
    for length in [0, 1, 15, 16, 47, 48, 49, last / 2, last] {
        fs::write(&entry, &sound[..length]).unwrap();
        kept.assert_rebuilt(&entry, &format!("cut off after {length} bytes"));
    }
    fs::write(&entry, [&sound[..], b"x"].concat()).unwrap();
    kept.assert_rebuilt(&entry, "a byte too many");
}

#[test]
fn an_entry_whose_code_is_none_is_made_again() {
    let kept = Kept::new();
    assert_eq!(kept.load("own"), "own");
    let entry = kept.entry();
    for code in [&b""[..], b"garbage", &[0; 1_000]] {
        fs::write(&entry, [MAGIC, blake3::hash(code).as_bytes(), code].concat()).unwrap();
        kept.assert_rebuilt(&entry, "its hash holds, and it is no code");
    }
    // Code for an engine with other settings, put into the place of this one's.
    let other = Engine::new(&EngineOptions { fuel: false, ..EngineOptions::default() }).unwrap();
    let code = other.wasmtime().precompile_component(&wat::parse_str(wat("foreign")).unwrap()).unwrap();
    fs::write(&entry, [MAGIC, blake3::hash(&code).as_bytes(), &code].concat()).unwrap();
    kept.assert_rebuilt(&entry, "code of another engine");
}

#[test]
fn an_entry_that_others_can_write_is_never_loaded() {
    let kept = Kept::new();
    let foreign = kept.foreign();
    assert_eq!(kept.load("own"), "own");
    let entry = kept.entry();
    for mode in [0o620, 0o602, 0o666, 0o777] {
        fs::write(&entry, &foreign).unwrap();
        set_mode(&entry, mode);
        kept.assert_rebuilt(&entry, &format!("mode {mode:o}"));
    }
}

#[test]
fn an_entry_of_another_user_is_never_loaded() {
    if !rustix::process::geteuid().is_root() {
        return; // Only root can make one.
    }
    let kept = Kept::new();
    assert_eq!(kept.load("own"), "own");
    let entry = kept.entry();
    fs::write(&entry, kept.foreign()).unwrap();
    std::os::unix::fs::chown(&entry, Some(12_345), None).unwrap();
    kept.assert_rebuilt(&entry, "it is somebody else's");
}

#[test]
fn an_entry_that_is_a_link_is_never_followed() {
    let kept = Kept::new();
    let foreign = kept.foreign();
    assert_eq!(kept.load("own"), "own");
    let (entry, target) = (kept.entry(), kept.root.path().join("target"));
    fs::write(&target, &foreign).unwrap();
    set_mode(&target, 0o600);
    fs::remove_file(&entry).unwrap();
    symlink(&target, &entry).unwrap();
    kept.assert_rebuilt(&entry, "a link");
    assert_eq!(fs::read(&target).unwrap(), foreign, "what it pointed to is not touched");
}

#[test]
fn an_entry_that_is_a_folder_is_no_reason_to_fail() {
    let kept = Kept::new();
    assert_eq!(kept.load("own"), "own");
    let entry = kept.entry();
    fs::remove_file(&entry).unwrap();
    fs::create_dir(&entry).unwrap();
    assert_eq!(kept.load("own"), "own");
    assert_eq!(kept.entries(), [entry], "no draft stays behind");
}

#[test]
fn the_folder_is_made_for_this_user_alone() {
    let mut kept = Kept::new();
    kept.options.cache_dir = Some(kept.dir().join("deep/er"));
    kept.engine();
    for dir in [kept.dir(), kept.dir().join("deep"), kept.dir().join("deep/er")] {
        assert_eq!(fs::metadata(&dir).unwrap().mode() & 0o777, 0o700, "{}", dir.display());
    }
}

#[test]
fn a_folder_that_is_not_this_users_alone_is_refused_with_what_would_help() {
    let kept = Kept::new();
    let words = format!(
        "the folder for compiled code, `{}`, is not this user's alone; remove it, or make it private with `chmod 700`",
        kept.dir().display()
    );
    fs::create_dir(kept.dir()).unwrap();
    for mode in [0o720, 0o702, 0o777, 0o1777] {
        set_mode(&kept.dir(), mode);
        assert_eq!(kept.refused(), words, "{mode:o}");
    }
    // Others may look, as long as they cannot write.
    for mode in [0o700, 0o755] {
        set_mode(&kept.dir(), mode);
        kept.engine();
    }
    fs::rename(kept.dir(), kept.root.path().join("elsewhere")).unwrap();
    symlink(kept.root.path().join("elsewhere"), kept.dir()).unwrap();
    assert_eq!(kept.refused(), words, "a link");
    fs::remove_file(kept.dir()).unwrap();
    fs::write(kept.dir(), "").unwrap();
    assert!(kept.refused().contains(" cannot be made: "), "a file");
}

#[test]
fn engines_with_other_settings_use_other_entries() {
    let mut kept = Kept::new();
    let counted = kept.entry_of("own");
    fs::write(&counted, kept.foreign()).unwrap();
    kept.options.fuel = false;
    let uncounted = kept.entry_of("own");
    assert_ne!(counted, uncounted);
    assert_eq!(kept.load("own"), "own");
    kept.options.fuel = true;
    assert_eq!(kept.load("own"), "foreign", "each has kept its own");
    assert_eq!(kept.entries().len(), 2);
}

#[test]
fn the_entry_that_was_not_used_for_the_longest_time_goes_when_room_is_needed() {
    let mut kept = Kept::new();
    let [one, two, three] = ["a", "b", "c"].map(|function| kept.entry_of(function));
    let length = |entry: &PathBuf| fs::metadata(entry).unwrap().len();
    kept.options.cache_bytes_max = length(&one) + length(&two) + length(&three) + 100;
    age(&one, 40 * HOUR);
    age(&two, 50 * HOUR);
    age(&three, 30 * HOUR);
    // `b` is the oldest, but is used now.
    assert_eq!(kept.load("b"), "b");
    assert!(fs::metadata(&two).unwrap().modified().unwrap().elapsed().unwrap() < HOUR);
    let four = kept.entry_of("d");
    let mut wanted = vec![two.clone(), three, four.clone()];
    wanted.sort();
    assert_eq!(kept.entries(), wanted);
    age(&four, HOUR);
    kept.options.cache_bytes_max = length(&two) + 100;
    let five = kept.entry_of("e");
    assert_eq!(kept.entries(), [five], "as many go as have to");
}

#[test]
fn what_is_larger_than_the_folder_may_be_is_not_kept_and_drives_nothing_out() {
    let mut kept = Kept::new();
    let one = kept.entry_of("a");
    kept.options.cache_bytes_max = fs::metadata(&one).unwrap().len() - 1;
    assert_eq!(kept.load("b"), "b");
    assert_eq!(kept.entries(), [one]);
    kept.options.cache_bytes_max = 0;
    assert_eq!((kept.load("b"), kept.entries().len()), ("b".to_owned(), 1));
}

#[test]
fn what_a_crash_has_left_over_is_removed_and_what_is_being_written_is_not() {
    let kept = Kept::new();
    kept.engine();
    let [old, young] = ["old", "young"].map(|name| kept.dir().join(format!("{name}.1-1.draft")));
    for draft in [&old, &young] {
        fs::write(draft, "half").unwrap();
    }
    age(&old, 2 * HOUR);
    assert_eq!(kept.load("own"), "own");
    assert!(!old.exists() && young.exists());
}

#[test]
fn many_threads_and_engines_may_load_the_same_at_once() {
    let kept = Kept::new();
    let engines = [kept.engine(), kept.engine()];
    for round in 0..10 {
        let function = format!("f{round}");
        std::thread::scope(|scope| {
            let load = |at: usize| loaded(&engines[at % 2], &function);
            let threads: Vec<_> = (0..8).map(|at| scope.spawn(move || load(at))).collect();
            assert!(threads.into_iter().all(|thread| thread.join().unwrap() == function));
        });
        let entries = kept.entries();
        assert_eq!(entries.len(), round + 1, "one entry for each, and no draft: {entries:?}");
        assert_eq!(kept.load(&function), function);
    }
}

#[test]
fn a_folder_that_cannot_be_written_any_more_only_costs_time() {
    let kept = Kept::new();
    let engine = kept.engine();
    set_mode(&kept.dir(), 0o500);
    assert_eq!(loaded(&engine, "a"), "a");
    set_mode(&kept.dir(), 0o700);
    fs::remove_dir_all(kept.dir()).unwrap();
    assert_eq!(loaded(&engine, "a"), "a");
    fs::write(kept.dir(), "a file").unwrap();
    assert_eq!(loaded(&engine, "b"), "b");
}
