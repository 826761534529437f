//! `make demo` on the binary under test: it does the main job and says so in under a screen and a half.

use std::process::Command;

use crate::kit::{Scratch, binary, root, run, third_party};

#[test]
fn make_demo_crawls_searches_and_calls() {
    third_party();
    let scratch = Scratch::new("");
    let mut make = Command::new("make");
    scratch.surround(&mut make);
    make.arg("demo").current_dir(root());
    make.env("TOOLSCOUT_BIN", binary()).env("TOOLSCOUT_DEMO", scratch.path("demo"));
    // cargo and rustup live in the real home; this test must not build anything.
    make.env_remove("TOOLSCOUT_CONFIG").env_remove("TOOLSCOUT_DATA");
    let ran = run(&make);
    assert!(ran.status.success(), "{ran}");

    // Progress goes to standard error, results to standard output; a person sees both.
    let seen = format!("{}{}", ran.stderr, ran.stdout);
    for upstream in
        ["filesystem", "memory", "everything", "sequential-thinking", "git", "time", "fetch", "playwright", "gitlab"]
    {
        assert!(seen.contains(upstream), "{upstream} is missing: {ran}");
    }
    for found in ["filesystem:read_text_file", "git:git_log", "time:get_current_time"] {
        assert!(ran.stdout.contains(found), "{found} was not found: {ran}");
    }
    assert!(ran.stdout.contains("coffee machine is 0042"), "the call's answer is missing: {ran}");
    assert!(ran.stdout.contains("claude mcp add"), "the next step is missing: {ran}");
    let n_lines = seen.lines().count();
    assert!(n_lines <= 75, "{n_lines} lines are more than a screen and a half: {ran}");
    let widest = ran.stdout.lines().map(|line| line.chars().count()).max().unwrap_or_default();
    assert!(widest <= 200, "a line of {widest} characters: {ran}");
}
