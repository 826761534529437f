//! The index from outside: a store, views of a catalog, snapshots.

mod dense;
mod disk;
mod lexical;
mod vectors;
mod world;
