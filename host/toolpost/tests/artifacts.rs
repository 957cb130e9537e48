//! Artifacts in the folder of a store: whole, bounded, and nowhere else.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::indexing_slicing, reason = "tests")]

use std::fs::File;
use std::io::Read as _;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::json;
use toolpost::settings::ArtifactSettings;
use toolpost::settings::{Bytes, Span};
use toolpost::store::artifacts::Folder;
use toolpost::{Builder, Call, Host, Native, Settings, Store};

/// A host whose tool answers with that many bytes of a letter, with a store there.
async fn host(dir: &Path, quota: &str) -> Host {
    let settings = format!("[limits]\nreader = \"1 KiB\"\n[artifacts]\nquota = \"{quota}\"");
    let settings = Settings::parse(&settings, Path::new("toolpost.toml")).unwrap();
    let say = Native::new("say", "").parameter("letter", toolpost::core::catalog::shape::Shape::Char).parameter(
        "bytes",
        toolpost::core::catalog::shape::Shape::Integer(toolpost::core::catalog::shape::Integer::U32),
    );
    let say = Builder::new().settings(settings).store(Arc::new(Store::at(dir))).native(say, |attempt| async move {
        let arguments = &attempt.call.arguments;
        let bytes = usize::try_from(arguments["bytes"].as_u64().unwrap()).unwrap();
        Ok(json!(arguments["letter"].as_str().unwrap().repeat(bytes)))
    });
    say.build().await.unwrap()
}

fn folder(dir: &Path, ttl: Duration) -> Folder {
    Store::at(dir).artifacts(&ArtifactSettings { ttl: Some(Span(ttl)), quota: Some(Bytes(1 << 20)) })
}

/// Calls the tool; the name of the artifact.
async fn say(host: &Host, letter: &str, bytes: u32) -> Option<String> {
    let outcome = host.call(Call::new("say", json!({"letter": letter, "bytes": bytes}))).await;
    outcome.report.truncated.unwrap().artifact
}

fn names(folder: &Folder) -> Vec<String> {
    folder.list().unwrap().into_iter().map(|kept| kept.name).collect()
}

/// Makes an artifact older.
fn age(dir: &Path, name: &str, by: Duration) {
    let file = File::options().append(true).open(dir.join("artifacts").join(name)).unwrap();
    file.set_modified(SystemTime::now() - by).unwrap();
}

const WEEK: Duration = Duration::from_secs(7 * 86_400);

#[tokio::test]
async fn a_long_result_is_kept_byte_for_byte_for_the_user_alone() {
    let temp = tempfile::tempdir().unwrap();
    let host = host(temp.path(), "1 MiB").await;
    let artifacts = folder(temp.path(), WEEK);
    assert_eq!(names(&artifacts), [""; 0], "nothing is made before it is needed");
    let name = say(&host, "x", 5_000).await.unwrap();
    let mut text = String::new();
    artifacts.open(&name).unwrap().unwrap().read_to_string(&mut text).unwrap();
    assert_eq!(text, "x".repeat(5_000));
    let file = temp.path().join("artifacts").join(&name);
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600);
    assert_eq!(temp.path().join("artifacts").metadata().unwrap().permissions().mode() & 0o777, 0o700);
    assert_eq!(artifacts.list().unwrap()[0].bytes, 5_000);
    assert_eq!(say(&host, "x", 5_000).await.unwrap(), name, "the same result is kept once");
    assert_eq!(std::fs::read_dir(temp.path().join("artifacts")).unwrap().count(), 1, "nothing else is left there");
    assert!(artifacts.remove(&name).unwrap() && !artifacts.remove(&name).unwrap());
}

#[tokio::test]
async fn the_oldest_make_room_and_what_is_larger_than_the_quota_is_not_kept() {
    let temp = tempfile::tempdir().unwrap();
    let host = host(temp.path(), "10000").await;
    let mut kept = Vec::new();
    for (letter, days) in [("a", 3), ("b", 2), ("c", 1)] {
        let name = say(&host, letter, 3_000).await.unwrap();
        age(temp.path(), &name, Duration::from_secs(days * 86_400));
        kept.push(name);
    }
    kept.push(say(&host, "d", 5_000).await.unwrap());
    let left = names(&folder(temp.path(), WEEK));
    assert_eq!(left, [&*kept[3], &kept[2]], "the latest first");
    assert_eq!(say(&host, "e", 10_001).await, None);
    assert_eq!(names(&folder(temp.path(), WEEK)), left, "and nothing had to go for it");
}

#[tokio::test]
async fn what_is_over_is_gone_at_once_and_removed_with_the_next_one() {
    let temp = tempfile::tempdir().unwrap();
    let host = host(temp.path(), "1 MiB").await;
    let old = say(&host, "a", 2_000).await.unwrap();
    age(temp.path(), &old, WEEK + Duration::from_secs(60));
    let file = temp.path().join("artifacts").join(&old);
    let begun = temp.path().join("artifacts/.0123456789abcdef.part");
    std::fs::write(&begun, "half").unwrap();
    let artifacts = folder(temp.path(), WEEK);
    assert!(names(&artifacts).is_empty() && artifacts.open(&old).unwrap().is_none() && file.exists());
    say(&host, "b", 2_000).await.unwrap();
    assert!(!file.exists() && begun.exists(), "another host may still be writing");
    age(temp.path(), ".0123456789abcdef.part", Duration::from_secs(3_700));
    say(&host, "c", 2_000).await.unwrap();
    assert!(!begun.exists());
}

#[tokio::test]
async fn no_name_leads_out_of_the_folder() {
    let temp = tempfile::tempdir().unwrap();
    let host = host(temp.path(), "1 MiB").await;
    say(&host, "a", 2_000).await.unwrap();
    std::fs::write(temp.path().join("secret.txt"), "secret").unwrap();
    std::os::unix::fs::symlink(temp.path().join("secret.txt"), temp.path().join("artifacts/link.txt")).unwrap();
    std::fs::create_dir(temp.path().join("artifacts/folder.txt")).unwrap();
    let artifacts = folder(temp.path(), WEEK);
    let absolute = temp.path().join("secret.txt").display().to_string();
    for name in
        ["../secret.txt", "..", ".", "", "a/../../secret.txt", ".part", "a\0.txt", "A.txt", &absolute, "folder.txt"]
    {
        assert!(artifacts.open(name).is_err() || artifacts.open(name).unwrap().is_none(), "{name:?}");
        let _ = artifacts.remove(name);
    }
    assert!(artifacts.open("link.txt").is_err());
    assert!(temp.path().join("secret.txt").exists() && names(&artifacts).len() == 1);
}

#[tokio::test]
async fn hosts_that_keep_at_once_do_not_get_in_each_others_way() {
    let temp = tempfile::tempdir().unwrap();
    let (one, other) = (host(temp.path(), "100 KB").await, host(temp.path(), "100 KB").await);
    let calls = (0..64_u32).map(|number| {
        let (host, letter) = (if number % 2 == 0 { &one } else { &other }, char::from(b'a' + (number % 26) as u8));
        async move { say(host, &letter.to_string(), 2_000 + number).await }
    });
    let kept = futures_util::future::join_all(calls).await;
    assert!(kept.iter().all(Option::is_some));
    let all = folder(temp.path(), WEEK).list().unwrap();
    assert!(all.iter().map(|kept| kept.bytes).sum::<u64>() <= 110_000, "{all:?}");
}

#[test]
fn the_key_of_a_host_is_made_once_and_stays() {
    let temp = tempfile::tempdir().unwrap();
    let dir = temp.path().join("kept");
    let keys: Vec<[u8; 32]> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..8).map(|_| scope.spawn(|| Store::at(&dir).key().unwrap())).collect();
        threads.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert!(keys.iter().all(|key| *key == keys[0]) && keys[0] != [0; 32]);
    assert_eq!(std::fs::read_dir(&dir).unwrap().count(), 1);
    assert_eq!(dir.join("key").metadata().unwrap().permissions().mode() & 0o777, 0o600);
    std::fs::write(dir.join("key"), "short").unwrap();
    assert!(Store::at(&dir).key().unwrap_err().to_string().starts_with("the store: "));
}
