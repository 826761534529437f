//! The real binary against real and misbehaving MCP servers.
//!
//! 1. [`demo`]: the first command of README does what it says.
//! 2. [`readme`]: so does every other.
//! 3. [`real_servers`]: servers from npm and PyPI are crawled, found and called, over HTTP and stdio, in both eras.
//! 4. [`hostile`]: whatever an upstream does, nothing hangs, leaks a process, panics or loses a good tool.
//! 5. [`hostile_text`]: a definition that begins to speak to the model reaches no model.
//! 6. [`definitions`]: a definition that changes is withheld until somebody approves it.
//! 7. [`lint`]: authors are told what hinders their tools, and by an exit code whether it is bad.
//! 8. [`inspector`]: somebody else's client can use us.
//! 9. [`crash`]: `kill -9` at any moment costs at most what was being written.
//! 10. [`suite`]: an eval makes its catalog by asking servers, and stops where a label or a server fails.
//! 11. [`chaos`]: quarantine spares callers the broken tools, and leaves the healthy ones alone.
//! 12. [`metrics`]: a monitor can scrape what was done, and nothing that is private.
//! 13. [`tidy`]: the house keeps its own rules.
//!
//! Nothing here is skipped: what a test needs it has set up by `tests/setup`, or fails saying how to do so.

mod chaos;
mod crash;
mod definitions;
mod demo;
mod hostile;
mod hostile_text;
mod inspector;
mod kit;
mod lint;
mod metrics;
mod readme;
mod real_servers;
mod suite;
mod tidy;
