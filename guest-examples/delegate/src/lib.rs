//! Calls other tools of the host, several at once.

wit_bindgen::generate!({ path: ["../../wit", "wit"], world: "example:delegate/tools", generate_all });
toolpost_guest::embed_wit!("wit/world.wit");

use exports::example::delegate::delegate::{Answer, Guest, Task};
use toolpost::tools::tools::{self, Failure, Running};
use wasi::io::poll::poll;

struct Delegate;

impl Guest for Delegate {
    fn list() -> Vec<String> {
        tools::available().into_iter().map(|tool| tool.name).collect()
    }

    fn call(tool: String, arguments: String) -> Result<String, String> {
        tools::call(&tool, &arguments).map_err(words)
    }

    fn all(tasks: Vec<Task>) -> Vec<Answer> {
        let started: Vec<_> = tasks.into_iter().map(start).collect();
        let finish = |(tool, running): (String, Result<Running, Failure>)| {
            let outcome = running.and_then(Running::finish).map_err(words);
            Answer { tool, outcome }
        };
        started.into_iter().map(finish).collect()
    }

    fn first(tasks: Vec<Task>) -> Result<Answer, String> {
        let mut running = Vec::new();
        for (tool, started) in tasks.into_iter().map(start) {
            running.push((tool, started.map_err(words)?));
        }
        let pollables: Vec<_> = running.iter().map(|(_, running)| running.subscribe()).collect();
        if pollables.is_empty() {
            return Err("there is no task".into());
        }
        let ready = poll(&pollables.iter().collect::<Vec<_>>());
        drop(pollables);
        let at = ready.first().map_or(0, |at| *at as usize);
        let (tool, first) = running.swap_remove(at);
        // What is dropped is cancelled.
        running.into_iter().for_each(|(_, running)| Running::cancel(running));
        Ok(Answer { tool, outcome: Running::finish(first).map_err(words) })
    }
}

fn start(task: Task) -> (String, Result<Running, Failure>) {
    let running = tools::start(&task.tool, &task.arguments);
    (task.tool, running)
}

fn words(failure: Failure) -> String {
    format!("{}: {}", failure.kind, failure.message)
}

export!(Delegate);
