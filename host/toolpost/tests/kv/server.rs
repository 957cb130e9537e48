//! Servers that a test starts for itself, on this machine, and that end with it.

use std::collections::BTreeMap;
use std::net::{SocketAddr, TcpListener};
use std::process::{Child, Command, Stdio};
use std::sync::Arc;
use std::time::Duration;

use futures_util::FutureExt as _;
use futures_util::future::BoxFuture;
use tempfile::TempDir;
use tokio::net::TcpStream;
use tokio::time::sleep;
use toolpost::core::secret::{SecretError, SecretSource};
use toolpost::core::{Secret, Secrets};
use toolpost::kv::address::Vault;

/// A server of Redis.
pub(crate) struct RedisServer {
    child: Child,
    address: SocketAddr,
    _dir: TempDir,
}

impl RedisServer {
    /// Starts one, on any port; nothing where there is none on this machine.
    pub(crate) async fn start() -> Option<Self> {
        RedisServer::start_at(free()).await
    }

    pub(crate) async fn start_at(address: SocketAddr) -> Option<Self> {
        let dir = TempDir::new().unwrap();
        let port = address.port().to_string();
        let args = ["--port", &port, "--bind", "127.0.0.1", "--save", "", "--appendonly", "no", "--databases", "1"];
        let mut command = Command::new("redis-server");
        command.args(args).args(["--requirepass", PASSWORD]).current_dir(dir.path());
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).spawn();
        let child = match child {
            Ok(child) => child,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
            Err(error) => panic!("redis-server: {error}"),
        };
        let server = RedisServer { child, address, _dir: dir };
        for _ in 0..2_000 {
            if TcpStream::connect(address).await.is_ok() {
                return Some(server);
            }
            sleep(Duration::from_millis(5)).await;
        }
        panic!("redis-server does not listen");
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its URL, as a secret named `URL`.
    pub(crate) fn vault(&self) -> Vault {
        vault(&url(self.address))
    }

    /// What a client with its own connection is told.
    pub(crate) async fn ask(&self, words: &[&str]) -> String {
        let client = redis::Client::open(url(self.address)).unwrap();
        let mut connection = client.get_multiplexed_async_connection().await.unwrap();
        let mut command = redis::cmd(words[0]);
        command.arg(&words[1..]);
        command.query_async(&mut connection).await.unwrap()
    }

    /// Stops it where it stands: it keeps its connections, and answers nothing.
    pub(crate) fn freeze(&self) {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::STOP).unwrap();
    }
}

impl Drop for RedisServer {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

pub(crate) const PASSWORD: &str = "a password that nobody sees";

fn url(address: SocketAddr) -> String {
    format!("redis://:{}@{address}/0", PASSWORD.replace(' ', "%20"))
}

/// A port of this machine that nobody uses.
pub(crate) fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A host's secrets, with one named `URL`.
pub(crate) fn vault(url: &str) -> Vault {
    struct Given(String);
    impl SecretSource for Given {
        fn read(&self) -> BoxFuture<'_, Result<Secret, SecretError>> {
            async { Secret::new(self.0.clone()) }.boxed()
        }
    }
    let vault = Vault::default();
    let source: Arc<dyn SecretSource> = Arc::new(Given(url.to_owned()));
    vault.hold(Arc::new(Secrets::new(BTreeMap::from([("URL".to_owned(), source)]))));
    vault
}
