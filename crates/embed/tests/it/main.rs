//! Texts in, vectors out: the model, the one that reads two texts, the runtime under it, and the queries' front door.

#![expect(
    clippy::unwrap_used,
    reason = "a test that cannot go on fails; the helpers are no `#[test]` that clippy could tell"
)]

mod cross;
mod model;
mod query;
mod runtime;
