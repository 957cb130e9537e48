//! The guest `disk`, folders of the host that are granted to it, and what it does with them.

use std::path::Path;

use serde_json::{Value, json};
use tempfile::TempDir;
use toolpost_core::catalog::grants::GrantSettings;
use toolpost_core::catalog::settings::{LimitSettings, ToolSettings};
use toolpost_core::{Catalog, ErrorKind, Host, Outcome};

use super::{prebuilt, strict};

/// A folder of the host with `data`, which is granted, and `outside`, which is not. In each is a file.
pub struct Ground {
    pub dir: TempDir,
}

impl Ground {
    pub fn new() -> Self {
        let dir = TempDir::new().unwrap();
        for folder in ["data", "outside"] {
            std::fs::create_dir(dir.path().join(folder)).unwrap();
        }
        std::fs::write(dir.path().join("data/a.txt"), "inside").unwrap();
        std::fs::write(dir.path().join("outside/secret.txt"), SECRET).unwrap();
        Ground { dir }
    }

    pub fn path(&self, path: &str) -> std::path::PathBuf {
        self.dir.path().join(path)
    }

    pub fn read(&self, path: &str) -> String {
        std::fs::read_to_string(self.path(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.path(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    /// A symbolic link, in the folder that is granted.
    pub fn link(&self, name: &str, to: impl AsRef<Path>) {
        std::os::unix::fs::symlink(to, self.path("data").join(name)).unwrap();
    }

    /// All that lies in both folders.
    pub fn everything(&self) -> Vec<String> {
        let mut all = Vec::new();
        let mut folders = vec![self.dir.path().to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                let metadata = path.symlink_metadata().unwrap();
                let text = if metadata.is_file() { std::fs::read(&path).unwrap() } else { Vec::new() };
                let name = path.strip_prefix(self.dir.path()).unwrap().to_string_lossy().into_owned();
                all.push(format!("{name} {:?} {}", metadata.file_type(), String::from_utf8_lossy(&text)));
                if metadata.is_dir() {
                    folders.push(path);
                }
            }
        }
        all.sort();
        all
    }

    /// A grant of `data` as `/data`.
    pub fn grant(&self, access: &str) -> Value {
        self.grant_with(json!({"access": access}))
    }

    pub fn grant_with(&self, more: Value) -> Value {
        let mut grant = json!({"host": self.path("data"), "guest": "/data"});
        grant.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
        grant
    }

    /// A host whose `disk` may do that with `data`.
    pub fn host(&self, access: &str) -> Host {
        host(json!([self.grant(access)]))
    }
}

/// What no tool is to see.
pub const SECRET: &str = "nobody is to see this";

pub fn host(dirs: Value) -> Host {
    limited(dirs, LimitSettings::default())
}

pub fn limited(dirs: Value, limits: LimitSettings) -> Host {
    let grants: GrantSettings = serde_json::from_value(json!({ "dirs": dirs })).unwrap();
    let settings = ToolSettings { grants, limits, ..ToolSettings::default() };
    let disk = prebuilt("disk");
    let mut catalog = Catalog::default();
    for function in &disk.functions {
        catalog.add(disk.tool(function, &strict(), &settings).unwrap()).unwrap();
    }
    Host::new(catalog)
}

/// Does these steps in one call, and gives what came of each: text, or the kind of the error behind a `!`.
pub async fn steps(host: &Host, steps: Value) -> (Vec<String>, Outcome) {
    let outcome = super::call(host, "disk_steps", json!({ "steps": steps })).await;
    let done = outcome.result.as_ref().unwrap_or_else(|error| panic!("{error:?}"));
    let word = |done: &Value| match (done["ok"].as_str(), done["err"].as_str()) {
        (Some(text), _) => text.to_owned(),
        (_, Some(kind)) => format!("!{kind}"),
        _ => panic!("{done}"),
    };
    (done.value.as_array().unwrap().iter().map(word).collect(), outcome)
}

/// Does one step.
pub async fn step(host: &Host, step: Value) -> (String, Outcome) {
    let (mut done, outcome) = steps(host, json!([step])).await;
    (done.remove(0), outcome)
}

/// What the report says: the action, the target, and what became of it.
pub fn effects(outcome: &Outcome) -> Vec<String> {
    let effects = outcome.report.effects.iter();
    effects.map(|it| format!("{} {} {:?}", it.effect.action, it.effect.target, it.fate)).collect()
}

/// The lines of the log, which say why something was refused.
pub fn log(outcome: &Outcome) -> String {
    outcome.report.attempts[0].log.text.clone()
}

pub fn paths(old: &str, new: &str) -> Value {
    json!({"old": old, "new": new})
}

pub fn content(path: &str, text: &str) -> Value {
    json!({"path": path, "text": text})
}

pub fn kind(outcome: &Outcome) -> Option<ErrorKind> {
    super::kind(outcome)
}
