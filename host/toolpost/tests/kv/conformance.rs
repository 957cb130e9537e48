//! The suite.

use std::collections::BTreeSet;
use std::sync::Arc;

use futures_util::future::join_all;
use toolpost::wasm::kv::{Backend, Change, Changed, Entry, Fault, Only, Range, Scope};

/// Every test of the suite, for what makes a backend. Where there is none to be had, the test says so.
#[macro_export]
macro_rules! suite {
    ($name:ident, $make:expr) => {
        mod $name {
            use super::*;
            suite!(@each $name, $make,
                a_value_is_what_was_set_last,
                no_space_sees_another_ones_keys,
                a_value_that_is_over_is_not_there,
                what_is_over_makes_room,
                a_value_is_set_only_where_none_is,
                a_value_is_swapped_only_where_it_has_the_version,
                a_deleted_key_that_is_set_again_has_another_version,
                a_number_is_added_to_and_nothing_else_is,
                keys_come_in_the_order_of_their_bytes_page_by_page,
                keys_of_a_prefix_are_those_and_no_others,
                a_space_has_no_more_keys_than_it_may,
                a_space_has_no_more_bytes_than_it_may,
                what_grew_too_large_may_still_become_smaller,
                a_batch_says_of_each_change_what_came_of_it,
                of_many_that_swap_at_once_one_wins,
                what_many_add_at_once_is_all_added,
            );
        }
    };
    (@each $name:ident, $make:expr, $($test:ident),* $(,)?) => {
        $(
            #[tokio::test(flavor = "multi_thread")]
            async fn $test() {
                match $make().await {
                    Some((backend, _held)) => $crate::conformance::$test(backend).await,
                    None => $crate::skipped(stringify!($name)),
                }
            }
        )*
    };
}

type Kept = Arc<dyn Backend>;

pub(crate) const NOW: u64 = 1_800_000_000_000;

pub(crate) fn scope(space: &str) -> Scope {
    Scope { space: space.into(), now_ms: NOW, keys_max: 10_000, bytes_max: 1 << 20 }
}

pub(crate) fn set(key: &str, value: &str) -> (String, Change) {
    set_only(key, value, Only::Always)
}

fn set_only(key: &str, value: &str, only: Only) -> (String, Change) {
    (key.to_owned(), Change::Set { value: value.as_bytes().to_vec(), expires_ms: None, only })
}

fn set_until(key: &str, value: &str, expires_ms: u64) -> (String, Change) {
    let set = Change::Set { value: value.as_bytes().to_vec(), expires_ms: Some(expires_ms), only: Only::Always };
    (key.to_owned(), set)
}

async fn change(kept: &Kept, scope: &Scope, change: (String, Change)) -> Result<Changed, Fault> {
    let mut all = kept.change(scope, vec![change]).await;
    assert_eq!(all.len(), 1);
    all.remove(0)
}

async fn put(kept: &Kept, scope: &Scope, key: &str, value: &str) -> u64 {
    match change(kept, scope, set(key, value)).await {
        Ok(Changed::Set(version)) => version,
        other => panic!("{key}: {other:?}"),
    }
}

async fn entry(kept: &Kept, scope: &Scope, key: &str) -> Option<Entry> {
    kept.get(scope, &[key.to_owned()]).await.unwrap().remove(0)
}

async fn value(kept: &Kept, scope: &Scope, key: &str) -> Option<String> {
    entry(kept, scope, key).await.map(|entry| String::from_utf8(entry.value).unwrap())
}

async fn list(kept: &Kept, scope: &Scope, prefix: &str, after: Option<&str>, limit: usize) -> Vec<String> {
    let range = Range { prefix: prefix.to_owned(), after: after.map(str::to_owned), limit };
    kept.list(scope, range).await.unwrap()
}

pub(crate) async fn a_value_is_what_was_set_last(kept: Kept) {
    let scope = scope("s");
    assert_eq!(value(&kept, &scope, "a").await, None);
    let first = put(&kept, &scope, "a", "1").await;
    let second = put(&kept, &scope, "a", "zwei – 2").await;
    put(&kept, &scope, "empty", "").await;
    let keys = ["a", "none", "empty", "a"].map(str::to_owned);
    let found = kept.get(&scope, &keys).await.unwrap();
    let values: Vec<_> = found.iter().map(|it| it.as_ref().map(|it| it.value.as_slice())).collect();
    let last = "zwei – 2".as_bytes();
    assert_eq!(values, [Some(last), None, Some(b"".as_slice()), Some(last)]);
    assert_ne!(first, second);
    assert_eq!(entry(&kept, &scope, "a").await.unwrap().version, second);
    let bytes: Vec<u8> = (0..=255).collect();
    let raw = Change::Set { value: bytes.clone(), expires_ms: None, only: Only::Always };
    change(&kept, &scope, ("raw".into(), raw)).await.unwrap();
    assert_eq!(entry(&kept, &scope, "raw").await.unwrap().value, bytes);
    assert_eq!(change(&kept, &scope, ("a".into(), Change::Delete)).await, Ok(Changed::Gone));
    assert_eq!(change(&kept, &scope, ("a".into(), Change::Delete)).await, Ok(Changed::Gone));
    assert_eq!(value(&kept, &scope, "a").await, None);
}

pub(crate) async fn no_space_sees_another_ones_keys(kept: Kept) {
    let spaces = ["component/a/b", "component/a", "shared/a/b", "component/a/bc"];
    for space in spaces {
        put(&kept, &scope(space), "key", space).await;
        put(&kept, &scope(space), &format!("only {space}"), "").await;
    }
    for space in spaces {
        assert_eq!(value(&kept, &scope(space), "key").await.as_deref(), Some(space));
        assert_eq!(list(&kept, &scope(space), "", None, 10).await, ["key".to_owned(), format!("only {space}")]);
    }
    change(&kept, &scope(spaces[0]), ("key".into(), Change::Delete)).await.unwrap();
    assert_eq!(value(&kept, &scope(spaces[1]), "key").await.as_deref(), Some(spaces[1]));
}

pub(crate) async fn a_value_that_is_over_is_not_there(kept: Kept) {
    let scope = scope("s");
    let later = Scope { now_ms: NOW + 1_000, ..scope.clone() };
    change(&kept, &scope, set_until("a", "1", NOW + 1_000)).await.unwrap();
    change(&kept, &scope, set_until("b", "1", NOW + 1_001)).await.unwrap();
    let found = entry(&kept, &scope, "a").await.unwrap();
    assert_eq!((found.value.as_slice(), found.expires_ms), (b"1".as_slice(), Some(NOW + 1_000)));
    assert_eq!(list(&kept, &scope, "", None, 10).await, ["a", "b"]);
    assert_eq!(value(&kept, &later, "a").await, None);
    assert_eq!(list(&kept, &later, "", None, 10).await, ["b"]);
    // It is as if it had never been, for whoever sets, swaps and adds.
    let swapped = change(&kept, &later, set_only("a", "2", Only::Version(found.version))).await;
    assert_eq!(swapped, Ok(Changed::Stale(None)));
    assert_eq!(change(&kept, &later, ("a".into(), Change::Add(5))).await, Ok(Changed::Sum(5)));
    assert_eq!(entry(&kept, &later, "a").await.unwrap().expires_ms, None);
    // What is set anew without an end has none, and a number keeps its own.
    put(&kept, &scope, "b", "7").await;
    assert_eq!(entry(&kept, &scope, "b").await.unwrap().expires_ms, None);
    change(&kept, &scope, set_until("b", "7", NOW + 9_000)).await.unwrap();
    assert_eq!(change(&kept, &scope, ("b".into(), Change::Add(-8))).await, Ok(Changed::Sum(-1)));
    assert_eq!(entry(&kept, &scope, "b").await.unwrap().expires_ms, Some(NOW + 9_000));
}

pub(crate) async fn what_is_over_makes_room(kept: Kept) {
    let small = Scope { keys_max: 2, bytes_max: 8, ..scope("s") };
    change(&kept, &small, set_until("a", "1", NOW + 5)).await.unwrap();
    change(&kept, &small, set_until("b", "1", NOW + 500)).await.unwrap();
    assert_eq!(change(&kept, &small, set("c", "1")).await, Err(Fault::TooManyKeys));
    let later = Scope { now_ms: NOW + 5, ..small };
    put(&kept, &later, "c", "1").await;
    assert_eq!(list(&kept, &later, "", None, 10).await, ["b", "c"]);
    let end = Scope { now_ms: NOW + 500, ..later };
    put(&kept, &end, "d", "12345").await;
    assert_eq!(change(&kept, &end, set("d", "1234567")).await, Err(Fault::TooManyBytes));
}

pub(crate) async fn a_value_is_set_only_where_none_is(kept: Kept) {
    let scope = scope("s");
    let Ok(Changed::Set(version)) = change(&kept, &scope, set_only("a", "1", Only::Absent)).await else { panic!() };
    let there = Entry { value: b"1".to_vec(), version, expires_ms: None };
    assert_eq!(change(&kept, &scope, set_only("a", "2", Only::Absent)).await, Ok(Changed::Stale(Some(there))));
    assert_eq!(value(&kept, &scope, "a").await.as_deref(), Some("1"));
}

pub(crate) async fn a_value_is_swapped_only_where_it_has_the_version(kept: Kept) {
    let scope = scope("s");
    let absent = change(&kept, &scope, set_only("a", "x", Only::Version(1))).await;
    assert_eq!(absent, Ok(Changed::Stale(None)));
    let first = put(&kept, &scope, "a", "1").await;
    let swapped = change(&kept, &scope, set_only("a", "2", Only::Version(first))).await;
    let Ok(Changed::Set(second)) = swapped else { panic!("{swapped:?}") };
    let there = Entry { value: b"2".to_vec(), version: second, expires_ms: None };
    let late = change(&kept, &scope, set_only("a", "3", Only::Version(first))).await;
    assert_eq!(late, Ok(Changed::Stale(Some(there))));
    assert_eq!(value(&kept, &scope, "a").await.as_deref(), Some("2"));
}

pub(crate) async fn a_deleted_key_that_is_set_again_has_another_version(kept: Kept) {
    let scope = scope("s");
    let first = put(&kept, &scope, "a", "1").await;
    change(&kept, &scope, ("a".into(), Change::Delete)).await.unwrap();
    put(&kept, &scope, "a", "1").await;
    let swapped = change(&kept, &scope, set_only("a", "2", Only::Version(first))).await;
    assert!(matches!(swapped, Ok(Changed::Stale(Some(_)))), "{swapped:?}");
}

pub(crate) async fn a_number_is_added_to_and_nothing_else_is(kept: Kept) {
    let scope = scope("s");
    let add = async |key: &str, delta| change(&kept, &scope, (key.to_owned(), Change::Add(delta))).await;
    assert_eq!(add("n", 5).await, Ok(Changed::Sum(5)));
    assert_eq!(add("n", -7).await, Ok(Changed::Sum(-2)));
    assert_eq!(value(&kept, &scope, "n").await.as_deref(), Some("-2"));
    assert_eq!(add("n", i64::MAX).await, Ok(Changed::Sum(i64::MAX - 2)));
    // More than a number with a point can hold, to the last digit.
    assert_eq!(value(&kept, &scope, "n").await, Some((i64::MAX - 2).to_string()));
    assert!(matches!(add("n", 3).await, Err(Fault::Unfit(_))));
    put(&kept, &scope, "t", "text").await;
    assert!(matches!(add("t", 1).await, Err(Fault::Unfit(_))));
    assert_eq!(value(&kept, &scope, "t").await.as_deref(), Some("text"));
}

pub(crate) async fn keys_come_in_the_order_of_their_bytes_page_by_page(kept: Kept) {
    let scope = scope("s");
    let keys = ["b", "a", "B", "a/2", "a/10", "ä", "z", "a b", "𝄞", "\u{fffd}"];
    for key in keys {
        put(&kept, &scope, key, "").await;
    }
    let mut sorted = keys.map(str::to_owned);
    sorted.sort();
    assert_eq!(list(&kept, &scope, "", None, 100).await, sorted);
    let mut paged = Vec::new();
    loop {
        let page = list(&kept, &scope, "", paged.last().map(String::as_str), 3).await;
        assert!(page.len() <= 3);
        if page.is_empty() {
            break;
        }
        paged.extend(page);
    }
    assert_eq!(paged, sorted);
    // A key that is gone is as good a mark as any.
    assert_eq!(list(&kept, &scope, "", Some("a/1"), 1).await, ["a/10"]);
}

pub(crate) async fn keys_of_a_prefix_are_those_and_no_others(kept: Kept) {
    let scope = scope("s");
    for key in ["a", "a/", "a/b", "a/b/c", "a0", "A/x", "b/a/", "a\u{10ffff}", "%", "%x", "_", "a_b", "a[b]", "a*"] {
        put(&kept, &scope, key, "").await;
    }
    assert_eq!(list(&kept, &scope, "a/", None, 100).await, ["a/", "a/b", "a/b/c"]);
    assert_eq!(list(&kept, &scope, "a/", Some("a/b"), 100).await, ["a/b/c"]);
    // No mark leads out of the prefix, in front of it or behind.
    for (mark, found) in [("", 3), ("A", 3), ("a", 3), ("a/\u{10ffff}", 0), ("b", 0)] {
        assert_eq!(list(&kept, &scope, "a/", Some(mark), 100).await.len(), found, "{mark}");
    }
    for prefix in ["%", "_", "a_", "a[", "a*"] {
        let wanted = if prefix == "%" { 2 } else { 1 };
        assert_eq!(list(&kept, &scope, prefix, None, 100).await.len(), wanted, "{prefix}");
    }
}

pub(crate) async fn a_space_has_no_more_keys_than_it_may(kept: Kept) {
    let small = Scope { keys_max: 2, ..scope("s") };
    put(&kept, &small, "a", "1").await;
    put(&kept, &small, "b", "1").await;
    assert_eq!(change(&kept, &small, set("c", "1")).await, Err(Fault::TooManyKeys));
    assert_eq!(change(&kept, &small, ("c".into(), Change::Add(1))).await, Err(Fault::TooManyKeys));
    put(&kept, &small, "b", "2").await;
    change(&kept, &small, ("a".into(), Change::Delete)).await.unwrap();
    put(&kept, &small, "c", "1").await;
    assert_eq!(list(&kept, &small, "", None, 10).await, ["b", "c"]);
    put(&kept, &Scope { space: "t".into(), ..small }, "a", "another space").await;
}

pub(crate) async fn a_space_has_no_more_bytes_than_it_may(kept: Kept) {
    let small = Scope { bytes_max: 10, ..scope("s") };
    put(&kept, &small, "a", "1234").await;
    assert_eq!(change(&kept, &small, set("bb", "1234")).await, Err(Fault::TooManyBytes));
    put(&kept, &small, "b", "1234").await;
    assert_eq!(change(&kept, &small, set("b", "12345")).await, Err(Fault::TooManyBytes));
    put(&kept, &small, "a", "1").await;
    put(&kept, &small, "b", "1234567").await;
    assert_eq!(value(&kept, &small, "a").await.as_deref(), Some("1"));
    change(&kept, &small, ("b".into(), Change::Delete)).await.unwrap();
    put(&kept, &small, "a", "123456789").await;
}

pub(crate) async fn what_grew_too_large_may_still_become_smaller(kept: Kept) {
    let large = scope("s");
    for key in ["a", "b", "c"] {
        put(&kept, &large, key, "12345678").await;
    }
    let small = Scope { keys_max: 1, bytes_max: 10, ..large };
    put(&kept, &small, "a", "1234").await;
    assert_eq!(change(&kept, &small, set("a", "12345")).await, Err(Fault::TooManyBytes));
    assert_eq!(change(&kept, &small, ("b".into(), Change::Delete)).await, Ok(Changed::Gone));
}

pub(crate) async fn a_batch_says_of_each_change_what_came_of_it(kept: Kept) {
    let small = Scope { keys_max: 2, ..scope("s") };
    put(&kept, &small, "a", "text").await;
    let changes = vec![
        set("b", "1"),
        set("c", "1"),
        ("a".into(), Change::Add(1)),
        ("a".into(), Change::Delete),
        set_only("b", "2", Only::Absent),
        ("c".into(), Change::Add(3)),
    ];
    let made = kept.change(&small, changes).await;
    assert!(matches!(made[0], Ok(Changed::Set(_))), "{made:?}");
    assert_eq!(made[1], Err(Fault::TooManyKeys));
    assert!(matches!(made[2], Err(Fault::Unfit(_))), "{made:?}");
    assert_eq!(made[3], Ok(Changed::Gone));
    assert!(matches!(made[4], Ok(Changed::Stale(Some(_)))), "{made:?}");
    assert_eq!(made[5], Ok(Changed::Sum(3)));
    assert_eq!(made.len(), 6);
    assert_eq!(list(&kept, &small, "", None, 10).await, ["b", "c"]);
}

pub(crate) async fn of_many_that_swap_at_once_one_wins(kept: Kept) {
    let scope = scope("s");
    let version = put(&kept, &scope, "a", "0").await;
    let swap = |number: usize| {
        let (kept, scope) = (kept.clone(), scope.clone());
        let set = set_only("a", &number.to_string(), Only::Version(version));
        tokio::spawn(async move { change(&kept, &scope, set).await.unwrap() })
    };
    let made = join_all((0..20).map(swap)).await;
    let won = made.iter().filter(|made| matches!(made, Ok(Changed::Set(_)))).count();
    assert_eq!(won, 1, "{made:?}");
}

pub(crate) async fn what_many_add_at_once_is_all_added(kept: Kept) {
    let scope = scope("s");
    let add = |_| {
        let (kept, scope) = (kept.clone(), scope.clone());
        tokio::spawn(async move { change(&kept, &scope, ("n".into(), Change::Add(1))).await })
    };
    let sums = join_all((0..50).map(add)).await;
    let sums: BTreeSet<i64> = sums
        .into_iter()
        .map(|sum| match sum.unwrap() {
            Ok(Changed::Sum(sum)) => sum,
            other => panic!("{other:?}"),
        })
        .collect();
    assert_eq!(sums, (1..=50).collect());
}
