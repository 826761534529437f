//! The labels of `evals/real`, as far as they can be judged without its servers.
//!
//! 1. The set has the size and the slices that its page promises, spread over all servers.
//! 2. Labels keep what their slices promise: [`Suite::faults`] has nothing to say.
//! 3. No two queries are nearly the same; half of them are for tuning, by their ids.
//! 4. Every server's version is pinned by the lock files that set it up.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use toolscout_core::ContentHash;
use toolscout_core::words::split_identifier;
use toolscout_evals::Suite;
use toolscout_evals::files::{QueryLine, read_queries};

use crate::root;

fn suite() -> Suite {
    Suite::read(&root().join("evals/real/suite.toml")).expect("a good suite file")
}

fn queries() -> Vec<QueryLine> {
    read_queries(&suite().queries).expect("good queries").lines
}

#[test]
fn the_real_set_is_what_it_says() {
    let (suite, queries) = (suite(), queries());
    let mut slices: BTreeMap<&str, usize> = BTreeMap::new();
    for query in &queries {
        let slice = query.slice.as_deref().unwrap();
        let n = slices.entry(slice).or_default();
        *n += 1;
        assert_eq!(query.id, format!("{slice}-{n}"), "ids count up within a slice");
    }
    let least = [("impossible", 50)]
        .into_iter()
        .chain(["direct", "identifier", "language", "multi", "paraphrase", "sibling", "typo"].map(|slice| (slice, 40)));
    for (slice, least) in least {
        assert!(slices[slice] >= least, "{slices:?}");
    }
    let page = std::fs::read_to_string(root().join("evals/README.md")).unwrap();
    for (slice, n) in &slices {
        assert!(page.contains(&format!("| `{slice}` | {n} |")), "evals/README.md on {slice}, of which there are {n}");
    }
    assert!(page.contains(&format!("{} servers", suite.servers.len())), "evals/README.md on the number of servers");
    assert!(page.contains(&format!("{} queries", queries.len())), "evals/README.md on the number of queries");

    for server in &suite.servers {
        let prefix = format!("{}:", server.id);
        let n = queries.iter().filter(|query| query.labels.relevant.iter().any(|id| id.starts_with(&prefix))).count();
        assert!(n >= 5, "{n} queries about {}", server.id);
    }
}

#[test]
fn labels_keep_what_their_slices_promise() {
    let faults = suite().faults(&queries());
    assert!(faults.is_empty(), "{}", faults.join("\n"));
}

#[test]
fn no_two_queries_are_nearly_the_same() {
    let queries = queries();
    let words: Vec<BTreeSet<String>> =
        queries.iter().map(|query| split_identifier(&query.query).into_iter().collect()).collect();
    let mut alike = Vec::new();
    for (i, a) in words.iter().enumerate() {
        for (j, b) in words.iter().enumerate().skip(i + 1) {
            let (n_shared, n_all) = (a.intersection(b).count(), a.union(b).count());
            if n_shared * 5 > n_all * 3 {
                alike.push(format!("{:?} and {:?}", queries[i].query, queries[j].query));
            }
        }
    }
    assert!(alike.is_empty(), "{}", alike.join("\n"));
}

#[test]
fn half_of_the_queries_are_for_tuning_by_their_ids() {
    let text = std::fs::read_to_string(suite().queries).unwrap();
    let mut n_test = 0;
    for line in text.lines() {
        let query: Value = serde_json::from_str(line).unwrap();
        let is_test = ContentHash::of(query["id"].as_str().unwrap().as_bytes()).0[0] & 1 == 1;
        assert_eq!(query["split"], if is_test { "test" } else { "dev" }, "{line}");
        n_test += usize::from(is_test);
    }
    let share = n_test as f64 / text.lines().count() as f64;
    assert!((0.4..0.6).contains(&share), "{share}");
}

#[test]
fn every_version_is_pinned_by_a_lock_file() {
    let folder = root().join("evals/real");
    let read = |below: &str| std::fs::read_to_string(folder.join(below)).unwrap();
    let npm: Value = serde_json::from_str(&read("npm/package.json")).unwrap();
    let lock: Value = serde_json::from_str(&read("npm/package-lock.json")).unwrap();
    let python = read("python/mcp-1.txt") + &read("python/mcp-2.txt");
    for server in suite().servers {
        if let Some((name, version)) = server.package.strip_prefix("npm:").and_then(|rest| rest.rsplit_once('@')) {
            let locked = &lock["packages"][format!("node_modules/{name}")];
            assert_eq!((&npm["dependencies"][name], &locked["version"]), (&version.into(), &version.into()), "{name}");
            assert!(locked["integrity"].is_string(), "{name}");
        } else {
            let pin = server.package.strip_prefix("pypi:").unwrap();
            assert!(python.lines().any(|line| line == format!("{pin} \\")), "no {pin} with hashes");
        }
    }
}
