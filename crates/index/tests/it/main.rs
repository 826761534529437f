//! The index from outside: a store, views of a catalog, snapshots.

#![expect(clippy::unwrap_used, reason = "in a test a panic is the report")]

mod dense;
mod disk;
mod lexical;
mod vectors;
mod world;
