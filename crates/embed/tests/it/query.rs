//! The queries' front door, before a model that does as it is told.
//!
//! 1. A remembered query costs no inference; the least recent is forgotten first, by count and by bytes.
//! 2. Never more callers in the model than there are workers; beyond those who may wait, callers are told so at once.
//! 3. Who waited for the same query takes the answer instead of asking again.
//! 4. A failure, or a panic, is not remembered and gives its place back.
//! 5. A query is trimmed and cut to whole characters.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, mpsc};

use parking_lot::Mutex;
use toolscout_core::Retry;
use toolscout_embed::{Embed, Embedding, Error, ModelInfo, QueryEmbedder, QueryOptions, RuntimeInfo, Want};

/// Gives each text its length as vector; `fail` fails, `panic` panics, `wait…` reports itself and waits to be let go.
struct Obedient {
    info: ModelInfo,
    n_inferences: AtomicU64,
    n_inside: AtomicUsize,
    most_inside: AtomicUsize,
    seen: Mutex<Vec<String>>,
    entered: Mutex<mpsc::Sender<()>>,
    release: Mutex<mpsc::Receiver<()>>,
}

/// The model, a channel that tells when a `wait…` came in, and one that lets it go.
fn obedient() -> (Arc<Obedient>, mpsc::Receiver<()>, mpsc::Sender<()>) {
    let (entered, has_entered) = mpsc::channel();
    let (let_go, release) = mpsc::channel();
    let runtime = RuntimeInfo { name: "test".into(), version: "1".into(), source: "test".into() };
    let info = ModelInfo {
        id: "obedient".into(),
        dimension: 1,
        max_tokens: 8,
        late_dimension: None,
        sha256: String::new(),
        licence: "Apache-2.0".into(),
        runtime,
    };
    let model = Obedient {
        info,
        n_inferences: AtomicU64::new(0),
        n_inside: AtomicUsize::new(0),
        most_inside: AtomicUsize::new(0),
        seen: Mutex::default(),
        entered: Mutex::new(entered),
        release: Mutex::new(release),
    };
    (Arc::new(model), has_entered, let_go)
}

impl Embed for Obedient {
    fn model(&self) -> &ModelInfo {
        &self.info
    }

    fn embed(&self, texts: &[&str], _want: Want) -> Result<Vec<Embedding>, Error> {
        let [text] = texts else { panic!("queries come alone") };
        let inside = self.n_inside.fetch_add(1, Ordering::SeqCst) + 1;
        self.most_inside.fetch_max(inside, Ordering::SeqCst);
        self.n_inferences.fetch_add(1, Ordering::SeqCst);
        self.seen.lock().push((*text).to_owned());
        if text.starts_with("wait") {
            self.entered.lock().send(()).unwrap();
            self.release.lock().recv().unwrap();
        }
        self.n_inside.fetch_sub(1, Ordering::SeqCst);
        match *text {
            "panic" => panic!("told to"),
            "fail" => Err(Error::Inference { model: "obedient".into(), source: "told to".into() }),
            text => Ok(vec![Embedding { pooled: vec![text.len() as f32], tokens: None }]),
        }
    }

    fn inferences(&self) -> u64 {
        self.n_inferences.load(Ordering::SeqCst)
    }
}

#[test]
fn recent_queries_are_remembered_and_the_least_recent_is_forgotten() {
    let (model, _entered, _let_go) = obedient();
    let queries = QueryEmbedder::new(model.clone(), QueryOptions { remembered: 2, ..QueryOptions::default() });
    for (query, n_inferences) in [("a", 1), ("bb", 2), ("a", 2), ("ccc", 3), ("a", 3), ("bb", 4)] {
        assert_eq!(queries.embed_query(query).unwrap().pooled[..], [query.len() as f32]);
        assert_eq!(model.inferences(), n_inferences, "{query}");
    }
    assert_eq!(queries.remembered(), 2);
    assert_eq!(queries.clone().embed_query("bb").unwrap().pooled[..], [2.0]);
    assert_eq!(model.inferences(), 4, "clones share one memory");
}

#[test]
fn long_queries_take_no_more_memory_than_they_may() {
    const BYTES: usize = 3_000;
    let (model, _entered, _let_go) = obedient();
    let options = QueryOptions { remembered: 1000, remembered_bytes: BYTES, ..QueryOptions::default() };
    let queries = QueryEmbedder::new(model.clone(), options);
    let long = |n: usize| format!("{n:03}{}", "x".repeat(700));
    for n in 0..50 {
        queries.embed_query(&long(n)).unwrap();
        assert!(queries.remembered_bytes() <= BYTES);
    }
    assert_eq!(model.inferences(), 50);
    // The newest three fit beside each other, the one before them does not.
    for (n, n_inferences) in [(49, 50), (48, 50), (47, 50), (46, 51)] {
        queries.embed_query(&long(n)).unwrap();
        assert_eq!(model.inferences(), n_inferences, "{n}");
    }
    // What is larger than all that may be kept is answered, and drives nobody out.
    let before = queries.remembered_bytes();
    for _ in 0..2 {
        queries.embed_query(&"y".repeat(BYTES)).unwrap();
    }
    assert_eq!((model.inferences(), queries.remembered_bytes()), (53, before));
    queries.embed_query(&long(46)).unwrap();
    assert_eq!(model.inferences(), 53);
}

#[test]
fn forgetting_gives_every_byte_back() {
    let (model, _entered, _let_go) = obedient();
    let options = QueryOptions { remembered: 2, ..QueryOptions::default() };
    let queries = QueryEmbedder::new(model, options);
    let two_of = |length: usize| {
        for n in 0..9 {
            queries.embed_query(&format!("{n}{}", "x".repeat(length))).unwrap();
        }
        queries.remembered_bytes()
    };
    let small = two_of(10);
    assert_eq!(two_of(1_000), small + 2 * 990);
    assert_eq!(two_of(10), small);
}

#[test]
fn a_full_house_says_so_at_once_and_who_waits_takes_the_answer() {
    let (model, entered, let_go) = obedient();
    let options = QueryOptions { workers: 1, waiting: 2, ..QueryOptions::default() };
    let queries = QueryEmbedder::new(model.clone(), options);
    std::thread::scope(|scope| {
        let first = scope.spawn(|| queries.embed_query("wait"));
        entered.recv().unwrap();
        // Two more may wait for the same; they need no inference of their own.
        let same: Vec<_> = (0..2).map(|_| scope.spawn(|| queries.embed_query("wait"))).collect();
        while queries.waiting() < 2 {
            std::thread::yield_now();
        }
        let refused = queries.embed_query("other");
        let error = refused.unwrap_err();
        assert!(matches!(error, Error::Busy { waiting: 2 }), "{error}");
        assert_eq!(error.retry(), Retry::Later);
        let_go.send(()).unwrap();
        assert_eq!(first.join().unwrap().unwrap().pooled[..], [4.0]);
        for same in same {
            assert_eq!(same.join().unwrap().unwrap().pooled[..], [4.0]);
        }
    });
    assert_eq!((model.inferences(), model.most_inside.load(Ordering::SeqCst)), (1, 1));
}

#[test]
fn no_more_callers_inside_than_workers() {
    let (model, entered, let_go) = obedient();
    let queries = QueryEmbedder::new(model.clone(), QueryOptions { workers: 2, ..QueryOptions::default() });
    std::thread::scope(|scope| {
        for i in 0..8 {
            let queries = &queries;
            scope.spawn(move || queries.embed_query(&format!("wait {i}")).unwrap());
        }
        for _ in 0..8 {
            entered.recv().unwrap();
            let_go.send(()).unwrap();
        }
    });
    assert_eq!(model.inferences(), 8);
    assert!(model.most_inside.load(Ordering::SeqCst) <= 2);
}

#[test]
fn failures_and_panics_are_not_remembered_and_give_their_place_back() {
    let (model, _entered, _let_go) = obedient();
    let queries = QueryEmbedder::new(model.clone(), QueryOptions::default());
    for _ in 0..2 {
        assert!(matches!(queries.embed_query("fail"), Err(Error::Inference { .. })));
        assert!(catch_unwind(AssertUnwindSafe(|| queries.embed_query("panic"))).is_err());
    }
    assert_eq!(model.inferences(), 4);
    assert_eq!(queries.embed_query("fine").unwrap().pooled[..], [4.0]);
}

#[test]
fn queries_are_trimmed_and_cut_to_whole_characters() {
    let (model, _entered, _let_go) = obedient();
    let queries = QueryEmbedder::new(model.clone(), QueryOptions { max_chars: 3, ..QueryOptions::default() });
    for query in ["  検索する ", "", "ab\n", "größe"] {
        queries.embed_query(query).unwrap();
    }
    assert_eq!(*model.seen.lock(), ["検索す", "", "ab", "grö"]);
}
