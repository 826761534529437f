//! Progress on standard error: a bar at a terminal, plain lines elsewhere.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{ProgressBar, ProgressStyle};

use crate::screen;

/// Counted steps with names.
#[derive(Debug)]
pub(crate) struct Steps {
    bar: Option<ProgressBar>,
    what: &'static str,
}

impl Steps {
    /// `n_steps` steps of doing `what` ("crawling").
    pub(crate) fn new(n_steps: usize, what: &'static str) -> Self {
        let is_terminal = std::io::stderr().is_terminal() && n_steps > 0;
        let bar = is_terminal.then(|| {
            let style = ProgressStyle::with_template("{spinner} {prefix} [{bar:30}] {pos}/{len} {wide_msg}");
            let style = style.unwrap_or_else(|_| ProgressStyle::default_bar()).progress_chars("=> ");
            let bar = ProgressBar::new(n_steps as u64).with_style(style).with_prefix(what);
            bar.enable_steady_tick(Duration::from_millis(120));
            bar
        });
        Self { bar, what }
    }

    /// A step began.
    pub(crate) fn began(&self, name: &str) {
        if let Some(bar) = &self.bar {
            bar.set_message(name.to_owned());
        }
    }

    /// A step ended.
    pub(crate) fn done(&self, name: &str) {
        if let Some(bar) = &self.bar {
            bar.inc(1);
            bar.set_message(name.to_owned());
        }
    }

    /// A step ended, and a line is worth keeping about it.
    pub(crate) fn told(&self, name: &str, line: &str) {
        self.done(name);
        match &self.bar {
            Some(bar) => bar.println(line),
            None => screen::say(line),
        }
    }

    /// Sets how far a measured thing is.
    pub(crate) fn at(&self, done: usize, of: usize) {
        if let Some(bar) = &self.bar {
            bar.set_length(of as u64);
            bar.set_position(done as u64);
        }
    }

    /// Everything ended; the bar goes away.
    pub(crate) fn end(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
        tracing::debug!(what = self.what, "done");
    }
}
