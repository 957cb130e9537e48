//! Grants that a call narrows by its arguments: it reaches what the argument names, and nothing beside it, whatever the tool is
//! told to do and however that is written.

#![allow(clippy::expect_used, clippy::indexing_slicing, clippy::panic, reason = "tests")]

use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::os::unix::fs::symlink;

use serde_json::Value;
use tempfile::TempDir;
use toolpost_tests::{detached, page, pending, prebuilt, root, toolpost};

fn folder(guest: &str, more: &str) -> TempDir {
    let folder = tempfile::tempdir().expect("a temporary folder");
    let settings =
        format!("{}[components.{guest}]\npath = {:?}\n{more}\n", "[store]\ndir = \"kept\"\n", prebuilt(guest));
    std::fs::write(folder.path().join("toolpost.toml"), settings).expect("written");
    folder
}

/// The page of a call.
fn call(folder: &TempDir, args: &[&str]) -> String {
    page(&toolpost(folder.path(), &[&["call"], args].concat()))
}

fn check_denied(said: &str, line: &str) {
    assert!(said.contains("error: capability_denied"), "{said}");
    assert!(said.contains(line), "{said}");
}

/// Two folders, in one of which a link leads to the other.
fn files() -> TempDir {
    let grant = "grants.dirs = [{ host = \"notes\", guest = \"/notes\", access = \"write\", only = \"${args.path}\" }]\n\
                 tools.move.hidden = true\n";
    let folder = folder("files", grant);
    let notes = folder.path().join("notes");
    std::fs::create_dir_all(notes.join("a/deep")).expect("made");
    std::fs::create_dir(notes.join("b")).expect("made");
    for file in ["a/one.md", "a/deep/two.md", "b/secret.md", "ab.md"] {
        std::fs::write(notes.join(file), "a word\n").expect("written");
    }
    symlink("../b/secret.md", notes.join("a/link.md")).expect("linked");
    symlink("../b", notes.join("a/way")).expect("linked");
    folder
}

#[test]
fn a_call_about_a_path_reaches_it_and_what_is_below() {
    let folder = files();
    assert!(call(&folder, &["files_read", "path=/notes/a/one.md"]).contains("a word"));
    // A way that leads to a place of the grant is a name of that place.
    assert!(call(&folder, &["files_read", "path=/notes/b/../a/./one.md"]).contains("a word"));
    assert!(call(&folder, &["files_read", "path=/notes/a/link.md"]).contains("a word"));
    let found = call(&folder, &["files_search", "path=/notes/a/deep", "text=word"]);
    assert!(found.contains("two.md"), "{found}");
    // A file that is not there yet is made.
    let made = call(&folder, &["files_write", "path=/notes/a/new.md", "text=new"]);
    assert!(made.contains("exit 0") && folder.path().join("notes/a/new.md").exists(), "{made}");
    let listed = call(&folder, &["files_list", "path=/notes/a"]);
    assert!(listed.contains("one.md"), "{listed}");
}

#[test]
fn what_leads_from_there_to_somewhere_else_is_refused() {
    let folder = files();
    // The search goes along what it finds in the folder.
    let found = call(&folder, &["files_search", "path=/notes/a", "text=word"]);
    assert!(!found.contains("secret.md"), "{found}");
    // A path that leads out of all grants names nothing.
    check_denied(&call(&folder, &["files_read", "path=/notes/../../etc/passwd"]), "`grants.dirs`");
    // One argument is no leave for what another one names.
    let other = self::folder(
        "files",
        "grants.dirs = [{ host = \"notes\", guest = \"/notes\", access = \"write\", only = \"${args.source}\" }]\n\
         tools = { read = { hidden = true }, write = { hidden = true }, append = { hidden = true }, patch = { hidden = true }, \
         search = { hidden = true }, list = { hidden = true }, delete = { hidden = true } }\n",
    );
    std::fs::create_dir(other.path().join("notes")).expect("made");
    std::fs::write(other.path().join("notes/a.md"), "a").expect("written");
    check_denied(
        &call(&other, &["files_move", "source=/notes/a.md", "target=/notes/b.md"]),
        "only = \"${args.source}\"",
    );
    assert!(other.path().join("notes/a.md").exists());
}

#[test]
fn an_empty_path_is_about_nothing_and_one_to_the_root_says_so() {
    let grant = "grants.dirs = [{ host = \"notes\", guest = \"/\", access = \"write\", only = \"${args.path}\" }]\n\
                 tools.move.hidden = true\n";
    let folder = folder("files", grant);
    std::fs::create_dir(folder.path().join("notes")).expect("made");
    std::fs::write(folder.path().join("notes/a.md"), "a word\n").expect("written");
    let search = |path: &str| call(&folder, &["files_search", &format!("path={path}"), "text=word", "--json"]);
    let said = search("");
    assert!(!said.contains("a.md") && said.contains("\"dirs /: nothing\""), "{said}");
    for all in ["/", "/b/.."] {
        let said = search(all);
        assert!(said.contains("\"dirs /: all of it\""), "{said}");
    }
    assert!(search("/").contains("a.md"), "{}", search("/"));
}

#[test]
fn a_call_about_a_url_sends_there_and_nowhere_else() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("its address");
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let mut stream = stream.expect("a connection");
            let mut reader = BufReader::new(stream.try_clone().expect("its other half"));
            let mut line = String::new();
            reader.read_line(&mut line).expect("a line");
            let body = line.split_whitespace().nth(1).expect("a path").to_owned();
            while reader.read_line(&mut line).expect("a line") > 2 {}
            write!(stream, "HTTP/1.1 200 OK\r\ncontent-length: {}\r\nconnection: close\r\n\r\n{body}", body.len())
                .expect("sent");
        }
    });
    let grant = format!("grants.net = [{{ to = \"http://{address}/**\", only = \"${{args.url}}\" }}]");
    let folder = folder("fetch", &grant);
    let get = |url: &str, headers: &str| {
        let headers = format!("headers={headers}");
        call(&folder, &["fetch_request", "method=GET", &format!("url={url}"), &headers, "body="])
    };
    let said = get(&format!("http://{address}/a/../b?x=1"), "[]");
    // The path that was sent, in base64.
    assert!(said.contains("L2I/eD0x"), "{said}");
    // What the argument does not name is not sent, though the grant has it.
    let other = self::folder("fetch", &format!("tools.request.{}", grant.replace("args.url", "args.method")));
    let args = ["fetch_request", "method=GET", &format!("url=http://{address}/b"), "headers=[]", "body="];
    check_denied(&call(&other, &args), "has `only = \"${args.method}\"`: the URL must be the one in the argument");
    // It is the grant that says where calls may go at all.
    let said = get("http://127.0.0.1:1/b", "[]");
    check_denied(&said, "`{ to = \"http://127.0.0.1:1/b\", methods = [\"GET\"] }` in `grants.net`");
}

#[test]
fn a_call_about_a_key_reaches_it_and_what_is_below() {
    let all = "grants.kv = [{ bucket = \"notes\", access = \"write\" }]";
    let narrow = "tools.recall.grants.kv = [{ bucket = \"notes\", only = \"${args.name}\" }]\n\
                  tools.search.grants.kv = [{ bucket = \"notes\", only = \"${args.below}\" }]";
    let folder = folder("notes", &format!("{all}\n{narrow}"));
    for name in ["people/ann", "people/bob", "peoples"] {
        assert!(call(&folder, &["notes_store", &format!("name={name}"), "text=likes tea"]).contains("exit 0"));
    }
    assert!(call(&folder, &["notes_recall", "name=people/ann"]).contains("likes tea"));
    let found = call(&folder, &["notes_search", "below=people/", "text=tea"]);
    assert!(found.contains("people/ann") && found.contains("people/bob") && !found.contains("peoples"), "{found}");
    // As the beginning of keys it would also be that of `peoples`.
    check_denied(
        &call(&folder, &["notes_search", "below=people", "text=tea"]),
        "the key must be the argument, or below it",
    );
    check_denied(&call(&folder, &["notes_search", "text=tea"]), "only = \"${args.below}\"");
}

#[test]
fn a_call_about_a_table_reads_no_other() {
    // The database is called as one of its tables is, so that there is an argument that names a table.
    let folder = folder(
        "database",
        "grants.sql = [{ database = \"stock\", only = \"${args.database}\" }]\n\
        tools.place_order.hidden = true\n",
    );
    let settings = folder.path().join("toolpost.toml");
    let text = std::fs::read_to_string(&settings).expect("read");
    std::fs::write(&settings, format!("[sql.stock]\nkind = \"sqlite\"\npath = \"shop.db\"\n{text}")).expect("written");
    std::fs::copy(root().join("guest-examples/database/shop.db"), folder.path().join("shop.db")).expect("copied");
    let query =
        |statement: &str| call(&folder, &["database_query", &format!("statement={statement}"), "database=stock"]);
    assert!(query("SELECT COUNT(*) FROM stock").contains("exit 0"), "{}", query("SELECT COUNT(*) FROM stock"));
    for statement in [
        "SELECT * FROM orders",
        "SELECT * FROM stock WHERE item IN (SELECT item FROM \"orders\")",
        "WITH o AS (SELECT * FROM orders) SELECT * FROM o",
    ] {
        check_denied(&query(statement), "the table must be the one in the argument");
    }
}

#[test]
fn the_question_and_the_report_show_what_a_call_can_reach() {
    let folder = files();
    let settings = folder.path().join("toolpost.toml");
    let text = std::fs::read_to_string(&settings).expect("read");
    std::fs::write(&settings, format!("{text}\n[[approval.ask]]\ntools = [\"files_delete\"]\n")).expect("written");
    let asked =
        detached(folder.path(), &["call", "files_delete", "path=/notes/a/one.md", "--json"]).spawn().expect("started");
    let [id] = &pending(folder.path())[..] else { panic!("one question") };
    let shown = page(&toolpost(folder.path(), &["approvals", "show", id]));
    // The terminal breaks lines where they end.
    let joined: String = shown.split_whitespace().collect();
    assert!(joined.contains("dirs/notes:only`/notes/a/one.md`"), "{shown}");
    assert!(toolpost(folder.path(), &["approvals", "allow", id]).status.success());
    let output = asked.wait_with_output().expect("ended");
    let said: Value = serde_json::from_slice(&output.stdout).expect("JSON");
    assert_eq!(said["report"]["narrowed"], serde_json::json!(["dirs /notes: only `/notes/a/one.md`"]), "{said}");
}

#[test]
fn an_argument_that_cannot_narrow_is_found_when_the_settings_are_read() {
    let check = |only: &str, more: &str| {
        let grant = format!("grants.dirs = [{{ host = \".\", guest = \"/\", only = \"{only}\" }}]\n{more}");
        page(&toolpost(folder("files", &grant).path(), &["check"]))
    };
    let said = check("${args.paht}", "");
    assert!(said.contains("it has no parameter `paht`; did you mean `path`?"), "{said}");
    let said = check("path", "");
    assert!(said.contains("`path` names no argument; write for example \"${args.path}\""), "{said}");
    let said = check("${args.path}", "tools.read.secret_arguments = [\"/path\"]");
    assert!(said.contains("the argument is secret, and what a call may reach must be seen"), "{said}");
    let said = check("${args.from_line}", "");
    assert!(
        said.contains("no text, and no list of texts") || said.contains("it has no parameter `from_line`"),
        "{said}"
    );
}
