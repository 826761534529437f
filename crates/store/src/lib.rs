//! Where does it survive a crash?
//!
//! A [`Store`] is a folder with named [`Tree`]s of bytes to bytes. A [`Batch`] goes into one tree whole or not at all, also
//! when the process is killed in the middle. What is truth ([`Durability::Kept`]) is written to an append-only journal
//! first and to sled second: the journal redoes what sled lost, and refills a store that had to be set aside because its
//! files were damaged. What is derived ([`Durability::Relaxed`]) is rebuilt by its owner instead.
//!
//! Knows sled, and nobody else does. Never knows what a row means, and never deletes a file that it could not read.
//!
//! ```
//! use toolscout_store::{Batch, Store, TreeName, row};
//! let store = Store::temporary()?;
//! let tree = store.tree(TreeName::Meta)?;
//! let mut batch = Batch::default();
//! batch.put("greeting", row::encode(1, &"hello"));
//! tree.apply(batch)?;
//! let bytes = tree.get(b"greeting")?.unwrap();
//! assert_eq!(row::decode::<String>(&bytes, 1).unwrap(), "hello");
//! # Ok::<(), toolscout_store::Error>(())
//! ```

mod engine;
mod error;
mod journal;
mod queue;
pub mod row;
mod store;
mod tree;

pub use error::{Damage, Error};
pub use queue::{QueueOptions, WriteQueue};
pub use store::{Opened, Store};
pub use tree::{Batch, Durability, Scan, Tree, TreeName};
