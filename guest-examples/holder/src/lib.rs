//! Keeps whatever it gets from its host from one call to the next, and tries to use it then. Hosts are tested with it: what a
//! call was allowed must not be of use to another one.

wit_bindgen::generate!({ path: ["../../wit", "wit"], world: "example:holder/tools", generate_all });
toolpost_guest::embed_wit!("wit/world.wit");

use std::cell::{Cell, RefCell};
use std::fmt::Debug;
use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::time::Duration;

use exports::example::holder::holding::Guest;
use toolpost::secrets::secrets::{self, Secret};
use toolpost::sql::sql::{self, Database, Mode, Transaction};
use toolpost::tools::tools::{self, Running};
use wasi::keyvalue::store::{self, Bucket};

/// What is read at once, in bytes.
const PIECE_BYTES: usize = 4;

#[derive(Default)]
struct Held {
    file: Option<File>,
    bucket: Option<Bucket>,
    transaction: Option<Transaction>,
    database: Option<Database>,
    connection: Option<TcpStream>,
    secret: Option<Secret>,
    running: Option<Running>,
    memory: Vec<Vec<u8>>,
}

thread_local! {
    static HELD: RefCell<Held> = RefCell::default();
    static COUNT: Cell<u32> = const { Cell::new(0) };
}

struct Holding;

fn words(error: impl Debug) -> String {
    format!("{error:?}")
}

/// Does something with what is held.
fn with<T, R>(
    find: impl FnOnce(&mut Held) -> &mut Option<T>,
    act: impl FnOnce(&mut T) -> Result<R, String>,
) -> Result<R, String> {
    HELD.with_borrow_mut(|held| act(find(held).as_mut().ok_or("nothing is held")?))
}

fn piece(file: &mut File) -> Result<String, String> {
    let mut bytes = [0; PIECE_BYTES];
    let read = file.read(&mut bytes).map_err(|error| words(error.kind()))?;
    Ok(String::from_utf8_lossy(&bytes[..read]).into_owned())
}

fn value(bucket: &Bucket, key: &str) -> Result<Option<String>, String> {
    let value = bucket.get(key).map_err(words)?;
    Ok(value.map(|value| String::from_utf8_lossy(&value).into_owned()))
}

fn signature(secret: &Secret, text: &str) -> Result<String, String> {
    let signed = secret.hmac_sha256(text.as_bytes()).map_err(words)?;
    Ok(signed.iter().map(|byte| format!("{byte:02x}")).collect())
}

impl Guest for Holding {
    fn count() -> u32 {
        COUNT.set(COUNT.get() + 1);
        COUNT.get()
    }

    fn say(text: String) {
        println!("out: {text}");
        eprintln!("err: {text}");
    }

    fn open_file(path: String) -> Result<String, String> {
        let mut file = File::open(path).map_err(|error| words(error.kind()))?;
        let first = piece(&mut file)?;
        HELD.with_borrow_mut(|held| held.file = Some(file));
        Ok(first)
    }

    fn read_on() -> Result<String, String> {
        with(|held| &mut held.file, piece)
    }

    fn open_to_write(path: String) -> Result<(), String> {
        let file = OpenOptions::new().append(true).create(true).open(path).map_err(|error| words(error.kind()))?;
        HELD.with_borrow_mut(|held| held.file = Some(file));
        Ok(())
    }

    fn write_on(text: String) -> Result<(), String> {
        with(|held| &mut held.file, |file| file.write_all(text.as_bytes()).map_err(|error| words(error.kind())))
    }

    fn read(path: String) -> Result<String, String> {
        fs::read_to_string(path).map_err(|error| words(error.kind()))
    }

    fn open_bucket(bucket: String, key: String) -> Result<Option<String>, String> {
        let bucket = store::open(&bucket).map_err(words)?;
        let found = value(&bucket, &key);
        HELD.with_borrow_mut(|held| held.bucket = Some(bucket));
        found
    }

    fn look_at(key: String) -> Result<Option<String>, String> {
        with(|held| &mut held.bucket, |bucket| value(bucket, &key))
    }

    fn begin(database: String, statement: String) -> Result<(), String> {
        let database = sql::open(&database).map_err(words)?;
        let transaction = database.begin(Mode::Write).map_err(words)?;
        transaction.execute(&statement, &[]).map_err(words)?;
        HELD.with_borrow_mut(|held| (held.database, held.transaction) = (Some(database), Some(transaction)));
        Ok(())
    }

    fn commit() -> Result<(), String> {
        let transaction = HELD.with_borrow_mut(|held| held.transaction.take()).ok_or("nothing is held")?;
        Transaction::commit(transaction).map_err(words)
    }

    fn ask(statement: String) -> Result<u32, String> {
        with(|held| &mut held.database, |database| {
            let rows = database.query(&statement, &[]).map_err(words)?.rows;
            Ok(rows.len() as u32)
        })
    }

    fn connect(address: String, text: String) -> Result<(), String> {
        let mut connection = TcpStream::connect(address).map_err(|error| words(error.kind()))?;
        connection.write_all(text.as_bytes()).map_err(|error| words(error.kind()))?;
        HELD.with_borrow_mut(|held| held.connection = Some(connection));
        Ok(())
    }

    fn send(text: String) -> Result<(), String> {
        with(|held| &mut held.connection, |stream| stream.write_all(text.as_bytes()).map_err(|error| words(error.kind())))
    }

    fn take_secret(name: String, text: String) -> Result<String, String> {
        let secret = secrets::get(&name).map_err(words)?;
        let signed = signature(&secret, &text);
        HELD.with_borrow_mut(|held| held.secret = Some(secret));
        signed
    }

    fn sign(text: String) -> Result<String, String> {
        with(|held| &mut held.secret, |secret| signature(secret, &text))
    }

    fn start(tool: String, arguments: String) -> Result<(), String> {
        let running = tools::start(&tool, &arguments).map_err(words)?;
        HELD.with_borrow_mut(|held| held.running = Some(running));
        Ok(())
    }

    fn finish() -> Result<String, String> {
        let running = HELD.with_borrow_mut(|held| held.running.take()).ok_or("nothing is held")?;
        Running::finish(running).map_err(words)
    }

    fn let_go() {
        HELD.with_borrow_mut(|held| {
            // A transaction goes before its database.
            held.transaction = None;
            *held = Held::default();
        });
    }

    fn grow(megabytes: u32) -> u32 {
        HELD.with_borrow_mut(|held| {
            held.memory.extend((0..megabytes).map(|_| vec![1; 1 << 20]));
            held.memory.len() as u32
        })
    }

    fn trap() {
        core::arch::wasm32::unreachable()
    }

    fn spin() {
        loop {
            core::hint::black_box(());
        }
    }

    fn sleep(ms: u32) {
        std::thread::sleep(Duration::from_millis(ms.into()));
    }

    fn fail(text: String) -> Result<(), String> {
        Err(text)
    }
}

export!(Holding);
