//! What survives: the newest events one by one, and what all older ones came to.
//!
//! Rows in the tree, by key:
//!
//! | key | row |
//! |---|---|
//! | `e/` and eight bytes, counting up | an [`Event`] |
//! | `b/t/TOOL` | a [`Tool`] after all events that are not there any more |
//! | `b/u/UPSTREAM` | the same for an upstream without its tools |
//! | `b/now` | the newest moment among them |
//! | `TOOL` | the row of an older program: converted at the first sight |

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};
use toolscout_core::{Timestamp, ToolId, UpstreamId};
use toolscout_store::{Batch, Error, Tree, row};
use tracing::warn;

use crate::book::{Book, Event, Tool};
use crate::circuit::Circuit;
use crate::options::QualityOptions;
use crate::record::Record;
use crate::window::Window;

/// The newest layout of every row.
const ROW_VERSION: u8 = 1;
const EVENT: &[u8] = b"e/";
const BASE_TOOL: &[u8] = b"b/t/";
const BASE_UPSTREAM: &[u8] = b"b/u/";
const BASE_NOW: &[u8] = b"b/now";
/// Events that are folded into the base at once.
const FOLD: u64 = 2_000;

/// The log in its tree.
pub(crate) struct Log {
    tree: Tree,
    /// The number of the oldest event.
    first: u64,
    /// The number that the next event gets.
    next: u64,
}

#[derive(Debug, Default, Serialize, Deserialize)]
struct UpstreamRow {
    record: Record,
    circuit: Circuit,
}

/// What a row said before there was a log.
#[derive(Deserialize)]
struct OldRecord {
    calls: u64,
    failures: u64,
    caller_faults: u64,
    empty: u64,
    good: f64,
    bad: f64,
    as_of: Timestamp,
}

impl Log {
    /// Reads everything. A row that cannot be read is logged and left out.
    pub(crate) fn open(tree: Tree, options: &QualityOptions) -> Result<(Self, Book), Error> {
        convert(&tree)?;
        let mut book = read_base(&tree)?;
        let mut log = Self { tree, first: 0, next: 0 };
        for entry in log.tree.scan(EVENT) {
            let (key, bytes) = entry?;
            let Some(number) = number(&key) else { continue };
            if log.next == 0 {
                log.first = number;
            }
            log.next = number + 1;
            match row::decode::<Event>(&bytes, ROW_VERSION) {
                Ok(event) => book.apply(&event, options),
                Err(error) => warn!(error = &error as &dyn std::error::Error, number, "event left out"),
            }
        }
        book.forget(options);
        Ok((log, book))
    }

    /// Writes events, all or none.
    pub(crate) fn append(&mut self, events: &[Event]) -> Result<(), Error> {
        let mut batch = Batch::default();
        let mut next = self.next;
        for event in events {
            batch.put(key(next), row::encode(ROW_VERSION, event));
            next += 1;
        }
        self.tree.apply(batch)?;
        self.next = next;
        Ok(())
    }

    /// Folds the oldest events into what is known of each tool, when there are too many. At least the newest one stays, so that
    /// numbers go on.
    pub(crate) fn compact(&mut self, options: &QualityOptions) -> Result<(), Error> {
        let keep = (options.keep_events as u64).max(1);
        // Not for each single one: reading what the older ones came to is not free.
        let fold = FOLD.min(keep.div_ceil(2));
        while self.next - self.first >= keep + fold {
            let mut base = read_base(&self.tree)?;
            let mut batch = Batch::default();
            let mut tools = BTreeSet::new();
            for entry in self.tree.scan(EVENT).take(usize::try_from(fold).unwrap_or(usize::MAX)) {
                let (key, bytes) = entry?;
                if let Ok(event) = row::decode::<Event>(&bytes, ROW_VERSION) {
                    base.apply(&event, options);
                    tools.insert(event.upstream().clone());
                }
                batch.remove(key);
            }
            for id in base.forget(options) {
                batch.remove(tool_key(&id));
                batch.remove(upstream_key(&id.upstream));
            }
            put_base(&mut batch, &base, &tools);
            self.tree.apply(batch)?;
            self.first += fold;
        }
        Ok(())
    }
}

/// The rows of these upstreams and all of their tools: an event may change a sibling of the tool it is about.
fn put_base(batch: &mut Batch, base: &Book, upstreams: &BTreeSet<UpstreamId>) {
    for (id, upstream) in upstreams.iter().filter_map(|id| base.upstreams.get_key_value(id)) {
        for (name, tool) in &upstream.tools {
            batch.put(tool_key(&ToolId::new(id.clone(), name.clone())), row::encode(ROW_VERSION, tool));
        }
        let row = UpstreamRow { record: upstream.record.clone(), circuit: upstream.circuit.clone() };
        batch.put(upstream_key(id), row::encode(ROW_VERSION, &row));
    }
    batch.put(BASE_NOW, row::encode(ROW_VERSION, &base.now));
}

fn read_base(tree: &Tree) -> Result<Book, Error> {
    let mut base = Book::default();
    let text = |key: &[u8], prefix: &[u8]| std::str::from_utf8(&key[prefix.len()..]).unwrap_or_default().to_owned();
    for entry in tree.scan(BASE_UPSTREAM) {
        let (key, bytes) = entry?;
        match (UpstreamId::new(&text(&key, BASE_UPSTREAM)), row::decode::<UpstreamRow>(&bytes, ROW_VERSION)) {
            (Ok(id), Ok(row)) => {
                let upstream = base.upstreams.entry(id).or_default();
                (upstream.record, upstream.circuit) = (row.record, row.circuit);
            }
            (id, row) => warn!(upstream = ?id, readable = row.is_ok(), "quality row left out"),
        }
    }
    for entry in tree.scan(BASE_TOOL) {
        let (key, bytes) = entry?;
        match (text(&key, BASE_TOOL).parse::<ToolId>(), row::decode::<Tool>(&bytes, ROW_VERSION)) {
            (Ok(id), Ok(tool)) => {
                base.upstreams.entry(id.upstream).or_default().tools.insert(id.name, tool);
            }
            (id, tool) => warn!(tool = ?id, readable = tool.is_ok(), "quality row left out"),
        }
    }
    if let Some(bytes) = tree.get(BASE_NOW)? {
        base.now = row::decode(&bytes, ROW_VERSION).unwrap_or_default();
    }
    Ok(base)
}

/// Turns the rows of an older program into base rows. Their latencies are in other buckets and start again.
fn convert(tree: &Tree) -> Result<(), Error> {
    let mut batch = Batch::default();
    for entry in tree.scan(b"") {
        let (key, bytes) = entry?;
        let Some(id) = std::str::from_utf8(&key).ok().and_then(|text| text.parse::<ToolId>().ok()) else { continue };
        match row::decode::<OldRecord>(&bytes, 1) {
            Ok(old) => {
                let judged = (old.good + old.bad).max(0.0);
                let failed = old.bad.clamp(0.0, judged);
                let long = Window { judged, failed, asked: judged, ..Window::default() };
                let OldRecord { calls, failures, caller_faults, empty, as_of, .. } = old;
                let record = Record { calls, failures, caller_faults, empty, long, as_of, ..Record::default() };
                let tool = Tool { record, ..Tool::default() };
                batch.put(tool_key(&id), row::encode(ROW_VERSION, &tool));
            }
            Err(error) => warn!(error = &error as &dyn std::error::Error, tool = %id, "quality row left out"),
        }
        batch.remove(key);
    }
    tree.apply(batch)
}

fn key(number: u64) -> Vec<u8> {
    [EVENT, &number.to_be_bytes()].concat()
}

fn number(key: &[u8]) -> Option<u64> {
    Some(u64::from_be_bytes(key.strip_prefix(EVENT)?.try_into().ok()?))
}

fn tool_key(id: &ToolId) -> Vec<u8> {
    [BASE_TOOL, id.to_string().as_bytes()].concat()
}

fn upstream_key(id: &UpstreamId) -> Vec<u8> {
    [BASE_UPSTREAM, id.as_str().as_bytes()].concat()
}

#[cfg(test)]
mod tests {
    //! 1. What is read again equals what was known, whatever was folded meanwhile.
    //! 2. The log stays bounded.
    //! 3. Rows of every earlier layout are read for ever.

    use proptest::prelude::*;
    use toolscout_store::{Store, TreeName};

    use super::*;
    use crate::book::{Decision, Verdict};
    use crate::testing::{any_fault, outcome};

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(24))]
        #[test]
        fn replay_gives_the_same_book(
            steps in prop::collection::vec(
                (0usize..2, 0usize..3, any_fault(), 0u64..90_000, 0u64..30_000, 0u32..50), 1..400),
            keep_events in 1usize..200,
        ) {
            let options = QualityOptions { keep_events, ..QualityOptions::default() };
            let store = Store::temporary().unwrap();
            let tree = || store.tree(TreeName::Quality).unwrap();
            let (mut log, mut book) = Log::open(tree(), &options).unwrap();
            let mut at = 1_000_000;
            for some in steps.chunks(7) {
                let mut events = Vec::new();
                for (upstream, tool, fault, later, latency_ms, luck) in some {
                    at += later;
                    let tool = format!("{}:{tool}", ["a", "b"][*upstream]);
                    let verdict = [Verdict::Quarantine, Verdict::Release].get(*luck as usize);
                    let conforms = [None, Some(true), Some(false)][*luck as usize % 3];
                    events.push(match verdict {
                        Some(verdict) => {
                            let (tool, reason) = (tool.parse().unwrap(), String::new());
                            Event::Decision(Decision { tool, verdict: *verdict, reason, at: Timestamp(at) })
                        }
                        None if *luck < 8 => Event::Listing(crate::testing::listing(&tool, luck % 2 == 0, at)),
                        None => Event::Outcome(toolscout_core::Outcome {
                            latency_ms: *latency_ms,
                            conforms,
                            ..outcome(&tool, *fault, at)
                        }),
                    });
                }
                events.iter().for_each(|event| book.apply(event, &options));
                log.append(&events).unwrap();
                log.compact(&options).unwrap();
            }
            let n_events = tree().scan(EVENT).count();
            prop_assert!(n_events <= keep_events + keep_events.div_ceil(2) + 7, "{}", n_events);
            let (again, replayed) = Log::open(tree(), &options).unwrap();
            prop_assert_eq!(&replayed, &book);
            prop_assert_eq!((again.first, again.next), (log.first, log.next));
        }
    }

    #[test]
    fn rows_of_every_layout_are_read() {
        let store = Store::temporary().unwrap();
        let tree = store.tree(TreeName::Quality).unwrap();
        let put = |key: &[u8], json: &str| tree.put(key, [b"\x01", json.as_bytes()].concat()).unwrap();
        put(
            b"old:tool",
            r#"{"calls":9,"failures":3,"caller_faults":2,"empty":1,"good":5.5,"bad":2.5,"latency":[0.0,1.0],"as_of":77}"#,
        );
        put(
            b"e/\0\0\0\0\0\0\0\x05",
            r#"{"outcome":{"tool":"a:b","generation":1,"selection":null,"fault":"timeout","latency_ms":5,"result_bytes":1,"empty":false,"conforms":true,"caller":"operator","at":90}}"#,
        );
        put(b"e/\0\0\0\0\0\0\0\x06", r#"{"decision":{"tool":"a:b","verdict":"quarantine","reason":"broken","at":91}}"#);
        put(b"e/\0\0\0\0\0\0\0\x07", "not json");
        for _ in 0..2 {
            let (log, book) = Log::open(tree.clone(), &QualityOptions::default()).unwrap();
            assert_eq!((log.first, log.next, book.now), (5, 8, Timestamp(91)));
            let old = &book.tool(&"old:tool".parse().unwrap()).unwrap().record;
            assert_eq!((old.calls, old.failures, old.long.judged, old.long.failed), (9, 3, 8.0, 2.5));
            let new = book.tool(&"a:b".parse().unwrap()).unwrap();
            assert_eq!((new.record.failures, new.decision.as_ref().unwrap().reason.as_str()), (1, "broken"));
        }
        assert!(tree.get(b"old:tool").unwrap().is_none());
    }

    #[test]
    fn base_rows_are_read_for_ever() {
        let store = Store::temporary().unwrap();
        let tree = store.tree(TreeName::Quality).unwrap();
        let put = |key: &[u8], json: &str| tree.put(key, [b"\x01", json.as_bytes()].concat()).unwrap();
        let three = 3f64.to_bits();
        let record = format!(
            r#"{{"calls":3,"failures":3,"caller_faults":0,"empty":0,"long":[{three},{three},0,{three},0,0,0,0,{three},0,0],"short":[0,0,0,0,0,0,0,0,0,0,0],"latency":{{"usual_p95":40}},"as_of":50}}"#
        );
        let tool = format!(
            r#"{{"record":{record},"health":{{"state":"quarantined","since":50,"until":90,"reason":{{"in_a_row":5}},"level":1,"streak":0,"fresh_from":0,"seen":[0,0,0,0,0,0,0,0,0,0,0],"as_of":50}},"history":[{{"at":50,"state":"quarantined","reason":"x"}}]}}"#
        );
        put(b"b/t/a:b", &tool);
        let circuit = r#"{"state":"open","since":50,"until":60,"reason":"still_down","level":2,"run":0,"unanswered":0,"run_began":40}"#;
        put(b"b/u/a", &format!(r#"{{"record":{record},"circuit":{circuit}}}"#));
        put(b"b/now", "55");
        let (_, book) = Log::open(tree, &QualityOptions::default()).unwrap();
        let (upstream, id) = (&book.upstreams[&UpstreamId::new("a").unwrap()], "a:b".parse().unwrap());
        assert_eq!((upstream.record.long.transport, upstream.circuit.level, book.now), (3.0, 2, Timestamp(55)));
        assert_eq!(book.tool(&id).unwrap().health.until, Timestamp(90));
    }
}
