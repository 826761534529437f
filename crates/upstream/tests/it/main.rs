//! The traps of real servers, one test each, against the scripted server of testkit.

#![expect(clippy::unwrap_used, reason = "a test may fail where it stands")]

mod call;
mod http;
mod life;
mod list;
mod start;

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use serde_json::{Map, Value, json};
use toolscout_core::{Secret, UpstreamId};
use toolscout_testkit::upstream::{Behave, Scripted};
use toolscout_upstream::{
    CallContext, CallReply, CallRequest, Era, EraCache, Error, Pool, PoolOptions, ToolListing, Transport, UpstreamSpec,
};

/// An era cache that remembers what was put in, as a restart would find it.
#[derive(Default)]
struct Eras(Mutex<HashMap<String, Era>>);

impl EraCache for Eras {
    fn get(&self, key: &str) -> Option<Era> {
        self.0.lock().get(key).copied()
    }
    fn put(&self, key: &str, era: Era) {
        self.0.lock().insert(key.to_owned(), era);
    }
}

/// One pool with one upstream `up`, and the log of what the upstream saw.
struct World {
    pool: Arc<Pool>,
    id: UpstreamId,
    log: tempfile::NamedTempFile,
}

impl World {
    fn stdio(behaves: &[Behave]) -> Self {
        Self::of(Scripted::new(behaves), |_| {}, PoolOptions::default())
    }

    fn of(script: Scripted, change: impl FnOnce(&mut UpstreamSpec), options: PoolOptions) -> Self {
        let log = tempfile::NamedTempFile::new().unwrap();
        let script = script.log(log.path());
        let mut spec = UpstreamSpec::stdio(up(), &script.command(), script.args());
        change(&mut spec);
        Self::around(spec, log, options)
    }

    fn around(mut spec: UpstreamSpec, log: tempfile::NamedTempFile, options: PoolOptions) -> Self {
        if let Transport::Stdio { env, .. } = &mut spec.transport {
            env.insert("SCRIPTED_SECRET".to_owned(), Secret::new(SECRET));
        }
        let pool = Pool::new(options);
        pool.configure(vec![spec]);
        Self { pool, id: up(), log }
    }

    async fn list(&self) -> Result<ToolListing, Error> {
        self.pool.list(&self.id).await
    }

    async fn call(&self, name: &str, arguments: Value) -> Result<CallReply, Error> {
        self.call_in(name, arguments, CallContext::default()).await
    }

    async fn call_in(&self, name: &str, arguments: Value, context: CallContext) -> Result<CallReply, Error> {
        self.pool.call(&self.id, request(name, arguments), context).await
    }

    /// The lines of the log that start so.
    fn logged(&self, prefix: &str) -> Vec<String> {
        let log = std::fs::read_to_string(self.log.path()).unwrap();
        log.lines().filter(|line| line.starts_with(prefix)).map(str::to_owned).collect()
    }

    /// Waits for a line of the log that starts so.
    async fn until_logged(&self, prefix: &str) {
        for _ in 0..500 {
            if !self.logged(prefix).is_empty() {
                return;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        panic!("the upstream never logged `{prefix}`");
    }

    /// The process ids it logged as `what PID`.
    fn pids(&self, what: &str) -> Vec<u32> {
        self.logged(what).iter().filter_map(|line| line.rsplit(' ').next()?.parse().ok()).collect()
    }
}

const SECRET: &str = "hunter2-hunter2";

fn up() -> UpstreamId {
    UpstreamId::new("up").unwrap()
}

fn request(name: &str, arguments: Value) -> CallRequest {
    let arguments: Map<String, Value> = serde_json::from_value(arguments).unwrap();
    CallRequest { name: name.to_owned(), arguments, ..CallRequest::default() }
}

fn names(listing: &ToolListing) -> Vec<&str> {
    listing.tools.iter().filter_map(|tool| tool.raw()["name"].as_str()).collect()
}

/// Whether a process is still there and no zombie.
fn lives(pid: u32) -> bool {
    let stat = std::fs::read_to_string(Path::new("/proc").join(pid.to_string()).join("stat")).unwrap_or_default();
    let state = stat.rsplit(')').next().unwrap_or_default().trim_start().chars().next();
    !matches!(state, None | Some('Z' | 'X'))
}

/// Waits until all these processes are gone.
async fn until_gone(pids: &[u32]) {
    for _ in 0..500 {
        if !pids.iter().any(|&pid| lives(pid)) {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("still alive: {:?}", pids.iter().filter(|&&pid| lives(pid)).collect::<Vec<_>>());
}

fn options_with(eras: &Arc<Eras>) -> PoolOptions {
    PoolOptions { eras: Some(eras.clone()), ..PoolOptions::default() }
}

fn env(pairs: &[(&str, &str)]) -> BTreeMap<String, Secret> {
    pairs.iter().map(|(name, value)| ((*name).to_owned(), Secret::new(*value))).collect()
}

fn echo() -> Value {
    json!({"text": "hello"})
}
