//! What can be asked, whatever the way it is asked: MCP, `/v1` and the command line all come through here.
//!
//! Every operation takes the services, the caller and a request in wire form, and gives an answer in wire form or an
//! [`OpError`](crate::error::OpError).

mod call;
mod catalog;
mod details;
mod explain;
mod resolve;
mod search;
mod select;

pub use call::{Conditions, call};
pub use catalog::{
    ToolsQuery, approve, decide_quality, quality, readiness, recrawl, selections, tool, tools, upstreams,
};
pub use details::{Reader, details};
pub use explain::explain;
pub use search::search;
pub use select::select_for_model;

pub(crate) use resolve::{resolve, visible, visible_upstream};
pub(crate) use search::{find, rounded};
