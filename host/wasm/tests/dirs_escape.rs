//! A tool with a folder tries to get out of it, and to what is kept from it. Nothing outside is seen or touched, also not while
//! somebody else swaps folders for links.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

mod common;

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::process::{Child, Command, Stdio};

use common::disk::{Ground, SECRET, content, effects, host, log, paths, step, steps};
use serde_json::{Value, json};

/// Everything that can be done with a path.
fn attempts(path: &str) -> Vec<Value> {
    vec![
        json!({"read": path}),
        json!({"write": content(path, "mine")}),
        json!({"create": content(path, "mine")}),
        json!({"append": content(path, "mine")}),
        json!({"write-at": {"path": path, "offset": 0, "text": "mine"}}),
        json!({"names": path}),
        json!({"stat": path}),
        json!({"remove": path}),
        json!({"remove-folder": path}),
        json!({"remove-all": path}),
        json!({"make-folder": path}),
        json!({"rename": paths(path, "/data/b")}),
        json!({"rename": paths("/data/a.txt", path)}),
        json!({"link": paths(path, "/data/b")}),
        json!({"link": paths("/data/a.txt", path)}),
        json!({"set-size": {"path": path, "number": 1}}),
        json!({"set-time": {"path": path, "number": 1}}),
    ]
}

/// Tries all of it; nothing is told, and everything is as it was.
async fn gets_nowhere(ground: &Ground, path: &str) {
    let host = ground.host("write");
    let before = ground.everything();
    for attempt in attempts(path) {
        let (done, outcome) = step(&host, attempt.clone()).await;
        assert!(done.starts_with('!'), "{attempt}: {done}");
        assert_eq!(ground.everything(), before, "{attempt}: {done}");
        let said = format!("{done} {:?} {}", outcome.report, log(&outcome));
        assert!(!said.contains(SECRET), "{said}");
        assert!(!said.contains(ground.dir.path().to_str().unwrap()), "{attempt} says where the host keeps it: {said}");
    }
}

#[tokio::test]
async fn no_path_leads_up_and_out() {
    let ground = Ground::new();
    std::fs::create_dir(ground.path("data/f")).unwrap();
    for path in [
        "/data/../outside/secret.txt",
        "/data/f/../../outside/secret.txt",
        "/data/./f/.././../outside/secret.txt",
        "/data/f/../../data/../outside/secret.txt",
        "/data/..",
        "/data/f/../..",
        "/outside/secret.txt",
        "../outside/secret.txt",
        "/etc/passwd",
        "/proc/self/environ",
        "/data/../../../../../../../../etc/passwd",
        "/data//../outside/secret.txt",
    ] {
        gets_nowhere(&ground, path).await;
    }
}

#[tokio::test]
async fn no_link_leads_out() {
    let ground = Ground::new();
    ground.link("to-file", "../outside/secret.txt");
    ground.link("to-folder", "../outside");
    ground.link("by-root", ground.path("outside"));
    ground.link("to-link", "to-folder");
    ground.link("up", "..");
    ground.link("round", "round");
    ground.link("self", "/proc/self/root");
    ground.link("cwd", "/proc/self/cwd");
    ground.link("loop", "./././to-link/../outside");
    for path in [
        "/data/to-file/",
        "/data/to-folder/secret.txt",
        "/data/to-folder/../outside/secret.txt",
        "/data/by-root/secret.txt",
        "/data/to-link/secret.txt",
        "/data/up/outside/secret.txt",
        "/data/round/x",
        "/data/self/etc/passwd",
        "/data/cwd/Cargo.toml",
        "/data/loop/secret.txt",
    ] {
        gets_nowhere(&ground, path).await;
    }
    let host = ground.host("write");
    for link in ["to-file", "to-folder", "by-root", "up", "round", "self"] {
        let path = format!("/data/{link}");
        let what = json!([
            {"read": path}, {"write": content(&path, "x")}, {"append": content(&path, "x")}, {"names": path},
            {"stat": path}, {"set-size": {"path": path, "number": 0}}, {"read-link": path},
            {"rename": paths(&path, "/data/moved")}, {"link": paths(&path, "/data/second")},
        ]);
        let (done, outcome) = steps(&host, what).await;
        // Where a link leads inside of the folder, its text may be told.
        let done: Vec<_> = done.into_iter().filter(|done| !(link == "round" && done == "round")).collect();
        assert!(done.iter().all(|done| done.starts_with('!')), "{link}: {done:?}");
        assert!(!log(&outcome).contains(ground.dir.path().to_str().unwrap()), "{}", log(&outcome));
    }
    assert_eq!(ground.read("outside/secret.txt"), SECRET);
    assert_eq!(step(&host, json!({"stat-link": "/data/to-folder"})).await.0, "link");
    assert_eq!(step(&host, json!({"remove": "/data/to-file"})).await.0, "", "the link itself may go");
    assert_eq!(ground.read("outside/secret.txt"), SECRET);
}

#[tokio::test]
async fn a_link_that_stays_inside_is_gone_along() {
    let ground = Ground::new();
    ground.write("data/f/g/b.txt", "deep");
    ground.link("l", "f/g");
    ground.link("f/back", "../a.txt");
    let host = ground.host("write");
    let what = json!([
        {"read": "/data/l/b.txt"}, {"read": "/data/f/back"}, {"read": "/data/l/../../a.txt"}, {"read-link": "/data/l"},
        {"names": "/data/l"}, {"write": content("/data/f/back", "over")},
    ]);
    let (done, outcome) = steps(&host, what).await;
    assert_eq!(done, ["deep", "inside", "inside", "f/g", "b.txt", ""]);
    assert_eq!(effects(&outcome)[0], "files.read /data/f/g/b.txt Done", "what is told is the way that was gone");
    assert_eq!(ground.read("data/a.txt"), "over");
}

#[tokio::test]
async fn a_tool_makes_no_symbolic_link() {
    let ground = Ground::new();
    let host = ground.host("write");
    let before = ground.everything();
    for to in ["a.txt", "../outside", "/etc/passwd"] {
        let (done, outcome) = step(&host, json!({"symlink": paths(to, "/data/l")})).await;
        assert!(done.starts_with('!'), "{done}");
        assert!(effects(&outcome).iter().all(|it| it.ends_with("Refused")), "{:?}", effects(&outcome));
    }
    assert_eq!(ground.everything(), before);
    let (_, outcome) = step(&host, json!({"symlink": paths("a.txt", "/data/l")})).await;
    assert_eq!(
        log(&outcome),
        "warn: the tool may not create `/data/l`: tools make no symbolic links; no grant allows it\n"
    );
}

#[tokio::test]
async fn nothing_goes_from_one_grant_to_another_by_its_name() {
    let ground = Ground::new();
    ground.write("data/out/b.txt", "b");
    let host = host(json!([
        {"host": ground.path("data"), "guest": "/data", "access": "read"},
        {"host": ground.path("data/out"), "guest": "/out", "access": "write"},
    ]));
    let before = ground.everything();
    for attempt in [
        json!({"rename": paths("/data/a.txt", "/out/a.txt")}),
        json!({"rename": paths("/out/b.txt", "/data/c.txt")}),
        json!({"link": paths("/data/a.txt", "/out/a.txt")}),
        json!({"write": content("/data/out/b.txt", "x")}),
    ] {
        let done = step(&host, attempt.clone()).await.0;
        assert!(matches!(done.as_str(), "!CrossesDevices" | "!PermissionDenied"), "{attempt}: {done}");
        assert_eq!(ground.everything(), before);
    }
}

#[tokio::test]
async fn odd_names_are_refused_or_are_names() {
    let ground = Ground::new();
    let host = ground.host("write");
    let long = format!("/data/{}", "n".repeat(256));
    let far = format!("/data/{}a.txt", "./".repeat(3_000));
    let deep = format!("/data/{}", "f/".repeat(1_500));
    for path in
        [&long, &far, &deep, "/data/a\u{0}b", "/data/a.txt/", "/data/a.txt/.", "/data/a.txt/..", "/data/a.txt/x"]
    {
        let (done, _) = steps(&host, json!([{"read": path}, {"write": content(path, "x")}])).await;
        assert!(done.iter().all(|done| done.starts_with('!')), "{path}: {done:?}");
    }
    let climbs = format!("/data/{}a.txt", "f/../".repeat(700));
    std::fs::create_dir(ground.path("data/f")).unwrap();
    assert_eq!(step(&host, json!({"read": climbs})).await.0, "inside");
    assert_eq!(ground.everything().len(), 5, "{:?}", ground.everything());
}

#[tokio::test]
async fn a_name_that_is_no_text_is_left_out_of_a_list_and_that_is_said() {
    let ground = Ground::new();
    std::fs::write(ground.path("data").join(OsStr::from_bytes(b"\xff\xfe")), "odd").unwrap();
    let (done, outcome) = step(&ground.host("list"), json!({"names": "/data"})).await;
    assert_eq!(done, "a.txt");
    assert_eq!(log(&outcome), "warn: `/data` has names that are no text; they are left out\n");
}

#[tokio::test]
async fn what_is_neither_a_file_nor_a_folder_is_not_opened() {
    let ground = Ground::new();
    let made = Command::new("mkfifo").arg(ground.path("data/pipe")).status().unwrap();
    assert!(made.success());
    let _socket = std::os::unix::net::UnixListener::bind(ground.path("data/socket")).unwrap();
    let host = ground.host("write");
    for path in ["/data/pipe", "/data/socket"] {
        let what = json!([{"read": path}, {"append": content(path, "x")}, {"link": paths(path, "/data/l")}]);
        let (done, outcome) = steps(&host, what).await;
        assert_eq!(done, ["!PermissionDenied"; 3], "{path}");
        assert!(log(&outcome).contains("it is neither a file nor a folder; no grant allows it"), "{}", log(&outcome));
    }
}

#[tokio::test]
async fn what_is_denied_is_neither_there_nor_to_be_had_however_it_is_spelt() {
    let ground = Ground::new();
    for path in ["data/.env", "data/f/.env", "data/secret/key", "data/f/x.pem"] {
        ground.write(path, SECRET);
    }
    ground.link("l", ".env");
    ground.link("to-f", "f");
    ground.link("s", "secret");
    let host =
        host(json!([ground.grant_with(json!({"access": "write", "deny": ["**/.env", "secret/**", "f/*.pem"]}))]));
    let before = ground.everything();
    for path in [
        "/data/.env",
        "/data/./.env",
        "/data/f/../.env",
        "/data/.ENV",
        "/data/l",
        "/data/to-f/.env",
        "/data/to-f/x.pem",
        "/data/F/../f/X.PEM",
        "/data/s/key",
        "/data/secret",
        "/data/secret/key",
        "/data/secret/../secret/key",
        "/data/SECRET/new",
        "/data/.env/",
    ] {
        for attempt in attempts(path) {
            // A link to what is denied is not denied itself.
            let is_name = attempt.get("rename").is_some()
                || attempt.get("remove").is_some()
                || attempt.get("remove-all").is_some();
            if path == "/data/l" && is_name {
                continue;
            }
            let (done, outcome) = step(&host, attempt.clone()).await;
            assert!(done.starts_with('!'), "{attempt}: {done}");
            assert_eq!(ground.everything(), before, "{attempt}: {done}");
            assert!(!format!("{:?}", outcome.report).contains(SECRET));
        }
    }
    let (done, outcome) = steps(&host, json!([{"names": "/data"}, {"names": "/data/f"}, {"read": "/data/l"}])).await;
    assert_eq!(done, ["a.txt f l s to-f", "", "!PermissionDenied"]);
    assert_eq!(
        log(&outcome),
        "warn: the tool may not read `/data/.env`, which is kept from it; the operator can allow it by taking `**/.env` out \
         of `deny` in the grant of `/data`\n"
    );
    assert_eq!(effects(&outcome)[2], "files.read /data/.env Refused");
}

#[tokio::test]
async fn a_folder_is_not_moved_to_where_its_files_would_not_be_denied() {
    let ground = Ground::new();
    ground.write("data/f/secret/key", SECRET);
    let deny = |deny: Value| host(json!([ground.grant_with(json!({"access": "write", "deny": deny}))]));
    let before = ground.everything();
    let by_path = deny(json!(["f/secret/**"]));
    let (done, outcome) = step(&by_path, json!({"rename": paths("/data/f", "/data/g")})).await;
    assert_eq!((done.as_str(), ground.everything() == before), ("!PermissionDenied", true));
    assert_eq!(
        log(&outcome),
        "warn: the tool may not rename the folder `/data/f`: what is denied by its path would come to have another; the \
         operator can allow it by denying only names, such as `**/.env`, in the grant of `/data`\n"
    );
    assert_eq!(step(&by_path, json!({"rename": paths("/data/a.txt", "/data/b")})).await.0, "", "a file may go");
    let by_name = deny(json!(["**/secret/**"]));
    let what = json!([{"rename": paths("/data/f", "/data/g")}, {"names": "/data/g"}, {"read": "/data/g/secret/key"}]);
    assert_eq!(steps(&by_name, what).await.0, ["", "", "!PermissionDenied"]);
}

/// A second process that makes one name a folder and a link in turn, as fast as it can.
struct Swapper(Child);

impl Swapper {
    fn start(ground: &Ground, script: &str) -> Self {
        let mut shell = Command::new("sh");
        let script = format!("cd data; while :; do {script}; done");
        let child = shell.args(["-c", &script]).current_dir(ground.dir.path()).stderr(Stdio::null()).spawn();
        Swapper(child.unwrap())
    }
}

impl Drop for Swapper {
    fn drop(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_folder_that_another_process_swaps_for_a_link_never_leads_out() {
    let ground = Ground::new();
    ground.write("data/real/secret.txt", "harmless");
    let swapper = Swapper::start(
        &ground,
        "mv real f; mv f real; echo harmless > real/secret.txt; ln -s ../outside f; rm f; ln -s ../outside/secret.txt x; rm x; : > x; rm x",
    );
    let host = ground.host("write");
    let mut seen = String::new();
    for _ in 0..30 {
        let what = json!([
            {"keep-reading": {"path": "/data/f/secret.txt", "number": 40}},
            {"keep-reading": {"path": "/data/x", "number": 40}},
            {"append": content("/data/x", "mine")},
            {"write": content("/data/f/new", "mine")},
            {"names": "/data/f"},
            {"remove": "/data/f/secret.txt"},
            {"rename": paths("/data/a.txt", "/data/f/stolen")},
            {"link": paths("/data/f/secret.txt", "/data/second")},
        ]);
        let (done, _) = steps(&host, what).await;
        assert!(done.iter().all(|done| !done.contains(SECRET)), "{done:?}");
        seen.push_str(&done[0]);
    }
    drop(swapper);
    // It was there, and it was a link.
    assert!(seen.contains("harmless") && seen.contains("PermissionDenied"), "{seen}");
    assert_eq!(ground.read("outside/secret.txt"), SECRET);
    assert_eq!(std::fs::read_dir(ground.path("outside")).unwrap().count(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_file_that_another_process_makes_and_deletes_can_always_be_added_to() {
    let ground = Ground::new();
    let swapper = Swapper::start(&ground, ": > x; rm x");
    let host = ground.host("write");
    for _ in 0..20 {
        let done = steps(&host, json!(vec![json!({"append": content("/data/x", "mine")}); 100])).await.0;
        assert_eq!(done, vec![""; 100]);
    }
    drop(swapper);
}
