//! One module per command, in the order of `--help`.

pub(crate) mod approve;
pub(crate) mod bench;
pub(crate) mod catalog;
pub(crate) mod config;
pub(crate) mod crawl;
pub(crate) mod doctor;
pub(crate) mod eval;
pub(crate) mod lint;
pub(crate) mod models;
pub(crate) mod replay;
pub(crate) mod search;
pub(crate) mod serve;
pub(crate) mod suite;
pub(crate) mod tools;
pub(crate) mod upstreams;
