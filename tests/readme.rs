//! Every code block of README.md does what it claims, in the order of the page, in one folder.
//!
//! - `sh`: each command runs and succeeds. `make` targets are only looked up: other tests run them. `toolscout serve` stays
//!   up until the end of the page. `npx`, `uvx` and `claude` are stand-ins that use the pinned servers and no network.
//! - `json` with `mcpServers` or `servers`: a client of the page's reader starts what it says and shakes hands.
//! - `toml`: a configuration without mistakes.
//! - `text`: output for people; not run.
//!
//! Another language, or none, fails: say what a block is.

use std::path::{Path, PathBuf};
use std::process::Command;

use serde_json::Value;
use toolscout_testkit::e2e::{Client, Era, Session};

use crate::kit::{Gateway, Scratch, binary, root, run, third_party};

struct Block {
    line: usize,
    language: String,
    text: String,
}

#[test]
fn every_code_block_of_the_readme_runs() {
    let readme = std::fs::read_to_string(root().join("README.md")).expect("README.md");
    let scratch = Scratch::new("");
    std::fs::create_dir(scratch.path("home/projects")).expect("a folder");
    std::fs::write(scratch.path("home/projects/todo.txt"), "water the plants\n").expect("a file");
    // The clients that the page imports from: its reader has them.
    std::fs::create_dir(scratch.path("home/.cursor")).expect("a folder");
    for file in ["home/.claude.json", "home/.cursor/mcp.json"] {
        std::fs::write(scratch.path(file), "{\"mcpServers\": {}}").expect("a file");
    }
    let page = Page { commands: stand_ins(&scratch), scratch };
    let mut gateway = None;
    let blocks = blocks_of(&readme);
    assert!(blocks.len() > 8, "only {} code blocks: is README.md whole?", blocks.len());
    for block in &blocks {
        page.check(block, &mut gateway);
    }
    if let Some(gateway) = gateway {
        gateway.stop();
    }
}

struct Page {
    scratch: Scratch,
    commands: PathBuf,
}

impl Page {
    #[track_caller]
    fn check(&self, block: &Block, gateway: &mut Option<Gateway>) {
        let line = block.line;
        match block.language.as_str() {
            "sh" => commands_of(&block.text).iter().for_each(|command| self.shell(line, command, gateway)),
            "toml" => {
                let file = self.scratch.path("readme.toml");
                std::fs::write(&file, &block.text).expect("write the block");
                let ran = run(self.surround(Command::new(binary()).args(["config", "check", "--config"]).arg(&file)));
                assert!(ran.status.success(), "README.md:{line}: {ran}");
            }
            "json" => {
                let config: Value =
                    serde_json::from_str(&block.text).unwrap_or_else(|error| panic!("README.md:{line}: {error}"));
                let servers = config.get("mcpServers").or(config.get("servers"));
                for (name, entry) in servers.and_then(Value::as_object).into_iter().flatten() {
                    self.connect(line, name, entry, gateway.as_ref());
                }
            }
            "text" => {}
            other => panic!("README.md:{line}: a code block in `{other}`, of which this test knows nothing"),
        }
    }

    #[track_caller]
    fn shell(&self, line: usize, command: &str, gateway: &mut Option<Gateway>) {
        if let Some(target) = command.strip_prefix("make ") {
            let ran = run(Command::new("make").args(["-n"]).args(target.split(' ')).current_dir(root()));
            assert!(ran.status.success(), "README.md:{line}: `{command}`: {ran}");
            return;
        }
        if command == "toolscout serve" {
            *gateway = Some(self.scratch.serve());
            return;
        }
        let mut text = command.to_owned();
        if let Some(gateway) = gateway {
            text = text.replace("127.0.0.1:7411", &gateway.addr.to_string());
        }
        let ran = run(self.surround(Command::new("bash").args(["-euo", "pipefail", "-c", &text])));
        assert!(ran.status.success(), "README.md:{line}: `{command}`: {ran}");
    }

    #[track_caller]
    fn connect(&self, line: usize, name: &str, entry: &Value, gateway: Option<&Gateway>) {
        if let Some(url) = entry["url"].as_str() {
            assert_eq!(url, "http://127.0.0.1:7411/mcp", "README.md:{line}: {name} leads elsewhere");
            let gateway = gateway.unwrap_or_else(|| panic!("README.md:{line}: {name} before `toolscout serve`"));
            assert!(!gateway.client(Era::Legacy).tools().is_empty());
            return;
        }
        assert_eq!(entry["command"], "toolscout", "README.md:{line}: {name} starts something else");
        let args = entry["args"].as_array().into_iter().flatten().filter_map(Value::as_str);
        let mut command = Command::new(binary());
        // The gateway of the page may be up and hold the data folder; two clients are then two programs.
        command.args(args);
        self.surround(&mut command);
        let mut session = Session::spawn(&command);
        assert!(!Client::stdio(&mut session, Era::Legacy).tools().is_empty(), "README.md:{line}: {name}");
    }

    fn surround<'a>(&self, command: &'a mut Command) -> &'a mut Command {
        self.scratch.surround(command);
        let path = std::env::var("PATH").unwrap_or_default();
        command.env("PATH", format!("{}:{path}", self.commands.display()))
    }
}

/// A folder with `toolscout`, and stand-ins for what the reader has and a test has not.
fn stand_ins(scratch: &Scratch) -> PathBuf {
    let folder = scratch.path("commands");
    std::fs::create_dir(&folder).expect("a folder");
    std::os::unix::fs::symlink(binary(), folder.join("toolscout")).expect("a link");
    let tools = third_party();
    let tools = tools.display();
    let servers = "mcp-${2#@modelcontextprotocol/}";
    script(
        &folder.join("npx"),
        &format!("exec {tools}/bin/node {tools}/servers/node_modules/.bin/{servers} \"${{@:3}}\""),
    );
    script(&folder.join("uvx"), &format!("exec {tools}/python/bin/\"$@\""));
    // What follows `--` must be a program that serves until its input ends, and ends well.
    script(&folder.join("claude"), "while [ \"$1\" != -- ]; do shift; done; shift; exec \"$@\" </dev/null");
    folder
}

fn script(path: &Path, body: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, format!("#!/usr/bin/env bash\nset -euo pipefail\n{body}\n")).expect("write a script");
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).expect("make it executable");
}

fn blocks_of(page: &str) -> Vec<Block> {
    let mut blocks = Vec::new();
    let mut open: Option<Block> = None;
    for (n, line) in page.lines().enumerate() {
        match (line.trim_start().strip_prefix("```"), &mut open) {
            (Some(language), None) => {
                open = Some(Block { line: n + 1, language: language.trim().to_owned(), text: String::new() });
            }
            (Some(_), Some(_)) => blocks.extend(open.take()),
            (None, Some(block)) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => {}
        }
    }
    assert!(open.is_none(), "an open code block at the end");
    blocks
}

/// The commands of a shell block: lines, continued ones joined, comments and blank lines left out.
fn commands_of(text: &str) -> Vec<String> {
    let joined = text.replace("\\\n", " ");
    let lines = joined.lines().map(|line| line.split("  #").next().unwrap_or_default().trim());
    lines.filter(|line| !line.is_empty() && !line.starts_with('#')).map(str::to_owned).collect()
}
