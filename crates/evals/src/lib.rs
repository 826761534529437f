//! Is it better than yesterday, and than the peers?
//!
//! Two files go in, a catalog and labelled queries ([`files`]); each [`arm`] answers every query in process, over the same
//! index; [`metric`] says how good an answer is, [`stats`] how sure a mean is, and a [`report::Report`] comes out, which
//! [`compare`] sets beside an earlier one.
//! Needs no server, no network and no earlier state. The same inputs and seed give the same report, byte for byte, apart
//! from the latencies. An arm is the selector with other options, or one of [`peers`], the others' ways written anew.
//!
//! ```no_run
//! use toolscout_evals::{Arm, RunOptions, run, table};
//! let mut options = RunOptions::new("evals/tiny/tools.jsonl", "evals/tiny/queries.jsonl");
//! options.arms = vec![Arm::Hybrid, Arm::Bm25];
//! let report = run(&options, &|_progress| {})?;
//! print!("{}", table(&report));
//! # Ok::<(), toolscout_evals::Error>(())
//! ```

pub mod arm;
mod bench;
mod calibration;
pub mod command;
pub mod compare;
mod error;
mod features;
pub mod files;
mod html;
pub mod leaderboard;
mod leak;
pub mod metric;
pub mod peers;
mod plot;
pub mod replay;
pub mod report;
pub mod run;
mod score;
pub mod stats;
pub mod suite;
mod table;
pub mod tokens;
mod waiting;

pub use arm::Arm;
pub use command::{BoardArgs, CompareArgs, Ended, RunArgs, board_command, compare_command, run_command};
pub use compare::{CompareOptions, Comparison, compare};
pub use error::Error;
pub use features::write_features;
pub use html::page;
pub use leaderboard::Edition;
pub use report::Report;
pub use run::{Latency, Model, Progress, RunOptions, run};
pub use suite::Suite;
pub use table::table;
pub use waiting::{Patience, wait_for_vectors};
