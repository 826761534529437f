//! The real binary, without any upstream.
//!
//! 1. A catalog from a file is searched, explained, shown and exported, with the real embedding model inside the binary.
//! 2. Exit codes mean what product.md says.
//! 3. With a server running, the same commands answer the same through it; it goes quietly when told to.
//! 4. No secret is ever printed, whatever the command.
//! 5. Every mistake is reported at once, and errors say what to do.
//! 6. What `upstreams add` writes is what the configuration reads again; what is wrong is not written.
//! 7. Files of others are taken as far as they go, and what was left out is told.

#![expect(clippy::unwrap_used, reason = "a test that cannot go on should say where, no more")]

use std::io::Write as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::Duration;

use serde_json::Value;

/// A world of its own: home, data and current folder in one temporary place.
struct World {
    root: tempfile::TempDir,
}

/// What a command left.
struct Ran {
    code: i32,
    out: String,
    err: String,
}

impl World {
    fn new() -> Self {
        let root = tempfile::tempdir().unwrap();
        for folder in ["home", "here"] {
            std::fs::create_dir(root.path().join(folder)).unwrap();
        }
        Self { root }
    }

    /// With thirty tools in the catalog.
    fn with_tools() -> Self {
        let world = Self::new();
        let file = repository().join("evals/tiny/tools.jsonl");
        let ran = world.run(&["catalog", "import", &file.display().to_string()]);
        assert_eq!(ran.code, 0, "{}{}", ran.out, ran.err);
        assert!(ran.out.contains("30 tools taken: 30 new"), "{}", ran.out);
        world
    }

    fn path(&self, name: &str) -> PathBuf {
        self.root.path().join(name)
    }

    fn write(&self, name: &str, text: &str) {
        std::fs::write(self.path(name), text).unwrap();
    }

    fn command(&self, args: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_toolscout"));
        command.args(args).current_dir(self.path("here")).env_clear();
        for keep in ["PATH", "LD_LIBRARY_PATH", "ORT_DYLIB_PATH", "SystemRoot"] {
            command.envs(std::env::var_os(keep).map(|value| (keep, value)));
        }
        command
            .env("HOME", self.path("home"))
            .env("TOOLSCOUT_DATA", self.path("data"))
            .env("TOOLSCOUT_SERVER_BIND", "127.0.0.1:0")
            .stdin(Stdio::null());
        command
    }

    #[track_caller]
    fn run(&self, args: &[&str]) -> Ran {
        ran(self.command(args).output().unwrap())
    }

    /// The one door: the exit code, and that nothing panicked.
    #[track_caller]
    fn check(&self, args: &[&str], code: i32) -> Ran {
        let ran = self.run(args);
        assert_eq!(ran.code, code, "toolscout {args:?}\n{}{}", ran.out, ran.err);
        ran
    }

    #[track_caller]
    fn json(&self, args: &[&str]) -> Value {
        let ran = self.check(args, 0);
        serde_json::from_str(&ran.out).unwrap_or_else(|error| panic!("{args:?}: {error}: {}", ran.out))
    }
}

fn ran(output: Output) -> Ran {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    let ran = Ran { code: output.status.code().unwrap_or(-1), out: text(output.stdout), err: text(output.stderr) };
    assert!(!ran.err.contains("panicked"), "{}", ran.err);
    ran
}

fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

#[test]
fn a_catalog_from_a_file_is_found_explained_shown_and_exported() {
    let world = World::with_tools();
    let answer = world.json(&["search", "track", "the shipment HB-2291-7", "--json", "--explain"]);
    assert_eq!(answer["tools"][0]["id"], "harbor:track_shipment", "{answer:#}");
    assert_eq!(answer["index_state"], "hybrid");
    assert_eq!(answer["evidence"]["candidates"][0]["id"], "harbor:track_shipment");
    let selection = answer["selection_id"].as_str().unwrap();

    // A later process still knows why.
    let explained = world.json(&["explain", selection, "--json"]);
    assert_eq!(explained["evidence"], answer["evidence"]);
    assert_eq!(explained["query"], Value::Null, "queries are not kept unless asked for");
    let why = world.json(&["explain", selection, "--tool", "lumen:lock_door", "--json"]);
    assert_eq!(why["why"]["id"], "lumen:lock_door");

    let text = world.check(&["search", "track the shipment HB-2291-7", "--explain", "--limit", "2"], 0).out;
    for part in ["harbor:track_shipment", "words", "meaning", "fusion", "confidence", selection_prefix(selection)] {
        assert!(text.contains(part), "{part} is missing in\n{text}");
    }

    let shown = world.json(&["tools", "show", "harbor:track_shipment", "--json"]);
    assert_eq!(shown["tools"][0]["input_schema"]["type"], "object");
    let listed = world.json(&["tools", "list", "--upstream", "tally", "--json"]);
    assert_eq!(listed["tools"].as_array().unwrap().len(), 6);

    let exported = world.check(&["catalog", "export"], 0).out;
    assert_eq!(exported.lines().count(), 30);
    // What was exported imports to the same catalog: nothing changes.
    world.write("here/again.jsonl", &exported);
    let again = world.json(&["catalog", "import", "again.jsonl", "--json"]);
    assert_eq!((&again["added"], &again["changed"], &again["removed"]), (&0.into(), &0.into(), &0.into()));
}

fn selection_prefix(selection: &str) -> &str {
    &selection[..2]
}

#[test]
fn exit_codes_mean_what_they_say() {
    let world = World::with_tools();
    let refusing = "[policy]\ndeny = [\"tally:*\"]\n";
    world.check(&["search", "create an invoice"], 0);
    world.check(&["search"], 2);
    world.check(&["search", "x", "--limit", "0"], 2);
    world.check(&["search", "x", "--upstream", "nobody"], 3);
    world.check(&["explain", "sel_nonsense"], 3);
    world.check(&["tools", "show", "tally:create_invoic"], 3);
    world.check(&["tools", "call", "tally:create_invoice", "{"], 2);
    // Imported tools have no server behind them.
    world.check(&["tools", "call", "lumen:list_devices"], 5);
    world.check(&["tools", "list", "--upstream", "tally"], 0);
    world.check(&["catalog", "import", "absent.jsonl"], 1);
    world.check(&["upstreams", "remove", "absent"], 2);
    world.check(&["upstreams", "check", "absent"], 2);
    world.check(&["upstreams", "check"], 0);
    world.write("here/toolscout.toml", refusing);
    world.check(&["tools", "call", "tally:create_invoice", "{}"], 3);
    let hidden = world.json(&["tools", "list", "--json"]).to_string();
    assert!(!hidden.contains("tally:"), "what policy denies is not there");
    world.write("here/toolscout.toml", "[server]\nbint = 1\n");
    let wrong = world.check(&["search", "x"], 2);
    assert!(
        wrong.err.contains("toolscout.toml:2: `server.bint`: is not a known key (did you mean `bind`?)"),
        "{}",
        wrong.err
    );
    world.check(&["doctor"], 1);
}

#[test]
fn an_upstream_that_fails_is_five_and_says_why() {
    let world = World::new();
    world.check(&["upstreams", "add", "gone", "--", "no-such-program-here"], 0);
    world.check(&["upstreams", "add", "silent", "--", "false"], 0);
    let config = world.path("home/.config/toolscout/toolscout.toml");
    assert!(config.exists(), "without a file here, the user's is written");
    let ran = world.check(&["upstreams", "check", "--json"], 5);
    let report: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!(report["healthy"], false);
    assert_eq!(report["upstreams"][0]["upstream"], "gone");
    assert!(report["upstreams"][0]["error"][0].as_str().unwrap().contains("no-such-program-here"), "{report:#}");
    let text = world.check(&["upstreams", "check", "gone"], 5).out;
    assert!(text.contains("unreachable") && text.contains("error:"), "{text}");
    world.check(&["crawl"], 5);
    let listed = world.json(&["upstreams", "list", "--json"]);
    assert_eq!(listed["upstreams"][0]["state"], "unreachable", "{listed:#}");
    // Broken, because its program is not there.
    world.check(&["doctor"], 1);
    world.check(&["upstreams", "remove", "gone"], 0);
    world.check(&["upstreams", "remove", "silent"], 0);
    world.check(&["doctor"], 0);
}

#[test]
fn no_secret_is_ever_printed() {
    const SECRET: &str = "hunter2-and-more";
    let world = World::new();
    world.write(
        "here/toolscout.toml",
        r#"[server]
token = "${DEEP}"
[upstreams.program]
command = "false"
args = ["--api-key", "hunter2-and-more"]
env = { TOKEN = "${DEEP}", BARE = "hunter2-and-more" }
[upstreams.web]
url = "http://user:hunter2-and-more@127.0.0.1:9/mcp?key=hunter2-and-more"
headers = { Authorization = "Bearer ${DEEP}" }
"#,
    );
    world.write(
        "here/mcp.json",
        r#"{"mcpServers": {"x": {"command": "y", "env": {"K": "hunter2-and-more"}, "args": ["--token=hunter2-and-more"]}}}"#,
    );
    for args in [
        &["upstreams", "list"][..],
        &["upstreams", "list", "--json"],
        &["upstreams", "check"],
        &["upstreams", "check", "--json"],
        &["-vvv", "upstreams", "check"],
        &["upstreams", "import", "./mcp.json", "--dry-run"],
        &["crawl"],
        &["crawl", "--json"],
        &["config", "check"],
        &["doctor"],
        &["-vv", "doctor", "--json"],
    ] {
        let mut command = world.command(args);
        let ran = ran(command.env("DEEP", SECRET).output().unwrap());
        assert!(!ran.out.contains(SECRET) && !ran.err.contains(SECRET), "{args:?}\n{}{}", ran.out, ran.err);
    }
}

#[test]
fn importing_copies_definitions_and_their_variables() {
    let world = World::new();
    world.write("here/mcp.json", r#"{"mcpServers": {"My Tool": {"command": "x", "env": {"K": "${SOME_KEY}"}}}}"#);
    let dry = world.check(&["upstreams", "import", "./mcp.json", "--dry-run"], 0);
    assert_eq!(dry.out, "[upstreams.my-tool]\ncommand = \"x\"\nenv = { K = \"${SOME_KEY}\" }\n");
    let config = world.path("home/.config/toolscout/toolscout.toml");
    assert!(!config.exists());
    world.check(&["upstreams", "import", "./mcp.json"], 0);
    assert_eq!(std::fs::read_to_string(&config).unwrap(), dry.out);
    let unset = world.check(&["upstreams", "list"], 2);
    assert!(unset.err.contains("`upstreams.my-tool.env.K`: the variable `SOME_KEY` is not set"), "{}", unset.err);
    world.check(&["upstreams", "import", "./absent.json"], 2);
}

#[test]
fn what_is_added_is_whole_and_can_be_read_again() {
    let world = World::new();
    let config = world.path("home/.config/toolscout/toolscout.toml");
    for (args, expect) in [
        (&["x", "--url", "ftp://x"][..], "`upstreams.x.url`: must start with http:// or https://"),
        (&["x", "--url", "not an address"], "must start with http"),
        (&["x", "--", "cmd", "${input:key}"], "`upstreams.x.args[0]`: `${input:key}` asks a person"),
        (&["x", "--", "cmd", "${"], "`${` is never closed"),
        (&["X_Y", "--", "cmd"], "call it `x-y`"),
        (&["x", "--", "A=1"], "neither a command nor an address is given"),
        (&["x", "-e", "A=1", "--url", "http://x"], "--env is for a command"),
    ] {
        let ran = world.check(&[&["upstreams", "add"], args].concat(), 2);
        assert!(ran.err.contains(expect), "{args:?} {}", ran.err);
        assert!(!config.exists(), "{args:?} wrote {}", std::fs::read_to_string(&config).unwrap());
    }
    // A variable may be set later.
    let later = world.check(&["upstreams", "add", "later", "--url", "${BASE}/mcp"], 0);
    assert!(later.err.contains("note: the variable `BASE` is not set"), "{}", later.err);
    let removed = world.json(&["upstreams", "remove", "later", "--json"]);
    assert_eq!(removed["removed"], "later");
    // Variables before the program, as `claude mcp add -e` takes several and a shell has them.
    let added = world.json(&["upstreams", "add", "env", "-e", "A=1", "API_KEY=2", "--json", "--", "cmd", "B=3"]);
    assert_eq!((&added["added"], &added["how"]), (&"env".into(), &"cmd B=3".into()));
    assert!(added["notes"][0].as_str().unwrap().contains("in clear"), "{added}");
    world.check(&["upstreams", "add", "-s", "project", "here", "--", "C=3", "cmd"], 0);
    let here = std::fs::read_to_string(world.path("here/toolscout.toml")).unwrap();
    assert_eq!(here, "[upstreams.here]\ncommand = \"cmd\"\nenv = { C = \"3\" }\n");
    assert_eq!(
        std::fs::read_to_string(&config).unwrap(),
        "[upstreams.env]\ncommand = \"cmd\"\nargs = [\"B=3\"]\nenv = { A = \"1\", API_KEY = \"2\" }\n"
    );
    world.write(
        "here/mcp.json",
        r#"{"mcpServers": {"here": {"command": "cmd", "env": {"C": "3"}}, "n": {"command": "n"}}}"#,
    );
    let imported = world.json(&["upstreams", "import", "./mcp.json", "--json"]);
    let new: Vec<&Value> = imported["upstreams"].as_array().unwrap().iter().map(|row| &row["new"]).collect();
    assert_eq!((new, &imported["written"]), (vec![&false.into(), &true.into()], &true.into()));
    world.check(&["upstreams", "list"], 0);
    // One that nobody can use keeps out none of the others, once it is switched off.
    world
        .write("here/mcp.json", r#"{"mcpServers": {"ws": {"type": "ws", "url": "ws://x"}, "good": {"command": "g"}}}"#);
    let refused = world.check(&["upstreams", "import", "./mcp.json"], 2);
    assert!(refused.err.contains("left out by [upstreams.NAME] with enabled = false"), "{}", refused.err);
    world.write("here/toolscout.toml", "[upstreams.ws]\nenabled = false\n");
    let imported = world.json(&["upstreams", "import", "./mcp.json", "--json"]);
    assert_eq!(imported["upstreams"][0]["id"], "good", "{imported}");
}

#[test]
fn every_mistake_of_a_configuration_is_told_to_programs_too() {
    let world = World::new();
    world.write(
        "here/toolscout.toml",
        "[server]\nbint = 1\n[upstreams.a]\ncommand = 'x'\nargs = 'y'\nenv = { K = '${UNSET}' }\n",
    );
    let wrong = world.check(&["config", "check", "--json"], 2);
    let told: Value = serde_json::from_str(&wrong.out).unwrap();
    let keys: Vec<&Value> = told["mistakes"].as_array().unwrap().iter().map(|mistake| &mistake["key"]).collect();
    assert_eq!(keys, ["server.bint", "upstreams.a.args", "upstreams.a.env.K"], "{told:#}");
    assert_eq!((&told["ok"], &told["mistakes"][0]["line"]), (&false.into(), &2.into()));
    world.write("here/toolscout.toml", "");
    let mut command = world.command(&["config", "check", "--json"]);
    let ran = ran(command.env_remove("TOOLSCOUT_DATA").env("TOOLSCOUT_DATA_DIR", "/elsewhere").output().unwrap());
    let told: Value = serde_json::from_str(&ran.out).unwrap();
    assert_eq!((&told["data_dir"], &told["notes"]), (&"/elsewhere".into(), &Value::Array(Vec::new())), "{told:#}");
}

#[test]
fn odd_files_are_taken_as_far_as_they_go() {
    let world = World::new();
    let lines = [
        r#"{"id":1,"server":"","name":"pay","description":"Pay an invoice","input_schema":"none"}"#,
        r#"{"id":"two","server":null,"name":"send","description":null,"input_schema":null,"annotations":[]}"#,
        "{broken",
    ];
    world.write("here/odd.jsonl", &format!("\u{feff}{}\r\n", lines.join("\r\n")));
    let ran = world.check(&["catalog", "import", "odd.jsonl"], 0);
    assert!(ran.err.contains("line 3 left out: not JSON"), "{}", ran.err);
    let found = world.json(&["search", "pay an invoice", "--detail", "schema", "--json", "-n", "1"]);
    assert_eq!(
        (&found["tools"][0]["id"], &found["tools"][0]["input_schema"]),
        (&"tools:pay".into(), &serde_json::json!({}))
    );
    let shown = world.json(&["tools", "show", "tools:send", "--json"]);
    assert_eq!(
        (shown["tools"][0].get("annotations"), &shown["tools"][0]["input_schema"]),
        (None, &serde_json::json!({}))
    );
    for text in ["", "garbage\n"] {
        world.write("here/empty.jsonl", text);
        let ran = world.check(&["catalog", "import", "empty.jsonl"], 1);
        assert!(ran.err.contains("error: no tool in empty.jsonl"), "{}", ran.err);
    }
    // Sets that number their queries and tools.
    world.write("here/q.jsonl", r#"{"id":7,"query":"pay an invoice","relevant":[1],"slice":"s"}"#);
    world.write("here/odd.jsonl", &lines[..2].join("\n"));
    let run = ["eval", "run", "--catalog", "odd.jsonl", "--queries", "q.jsonl", "--arms", "hybrid"];
    world.check(&[&run[..], &["--json", "out.json"]].concat(), 0);
    let report: Value = serde_json::from_slice(&std::fs::read(world.path("here/out.json")).unwrap()).unwrap();
    assert_eq!((&report["queries"][0]["id"], &report["queries"][0]["top"][0]["id"]), (&"7".into(), &"1".into()));
    assert_eq!(report["arms"][0]["slices"][0]["metrics"]["recall@1"]["value"], 1.0);
    for wrong in [["--k", "0"], ["--slices", "nosuch"]] {
        world.check(&[&run[..], &wrong].concat(), 2);
    }
    world.write("here/q.jsonl", "{broken");
    let ran = world.check(&run, 1);
    assert!(ran.err.contains("q.jsonl:1:") && ran.err.contains("hint: the formats are described"), "{}", ran.err);
}

/// A server that ends with the test.
struct Serving(Child);

impl Drop for Serving {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

#[cfg(unix)]
#[test]
fn commands_go_through_the_server_that_holds_the_store() {
    let world = World::with_tools();
    let before = world.json(&["search", "dim the lights", "--json"]);
    let mut command = world.command(&["serve"]);
    let serving = command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap();
    let mut serving = Serving(serving);
    let note = world.path("data/server.json");
    while !note.exists() {
        assert!(serving.0.try_wait().unwrap().is_none(), "the server ended");
        std::thread::sleep(Duration::from_millis(20));
    }
    // Words answer at once, and these words alone find nothing; the vectors follow when the model is there.
    let after = loop {
        let ran = world.run(&["search", "dim the lights", "--json"]);
        assert!(matches!(ran.code, 0 | 3), "{}", ran.err);
        let answer: Value = serde_json::from_str(&ran.out).unwrap();
        if answer["index_state"] == before["index_state"] {
            break answer;
        }
        std::thread::sleep(Duration::from_millis(50));
    };
    assert_eq!(after["tools"], before["tools"]);
    let selection = after["selection_id"].as_str().unwrap();
    assert_eq!(world.json(&["explain", selection, "--json"])["selection_id"], *selection);
    world.check(&["tools", "show", "lumen:set_brightness"], 0);
    world.check(&["tools", "show", "lumen:set_brightnes"], 3);
    assert_eq!(world.json(&["tools", "list", "--json"])["tools"].as_array().unwrap().len(), 30);
    let aside = world.json(&["tools", "quarantine", "lumen:set_brightness", "--reason", "flickers", "--json"]);
    assert_eq!(aside["quality"]["state"], "quarantined");
    let refused = world.check(&["tools", "call", "lumen:set_brightness", "{}"], 4);
    assert!(refused.err.contains("put aside by the operator: flickers"), "{}", refused.err);
    assert!(world.check(&["quality"], 0).out.contains("put aside by the operator: flickers"));
    let shown = world.check(&["tools", "show", "lumen:set_brightness"], 0).out;
    assert!(shown.contains("withheld as quarantined since 20") && shown.contains("tools release"), "{shown}");
    world.check(&["tools", "release", "lumen:set_brightness"], 0);
    world.check(&["tools", "release", "lumen:set_brightnes"], 3);
    world.check(&["quality"], 0);
    world.check(&["doctor"], 0);
    let held = world.check(&["catalog", "export"], 1);
    assert!(held.err.contains("hint: stop the server first"), "{}", held.err);
    let second = world.check(&["serve"], 1);
    assert!(second.err.contains("a server runs already"), "{}", second.err);

    // A client that starts its own server over standard streams is passed on to the one there is.
    let mut client = world.command(&["serve", "--stdio"]);
    let client = client.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    let mut client = Serving(client);
    let hello = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18","capabilities":{},"clientInfo":{"name":"t","version":"1"}}}"#;
    writeln!(client.0.stdin.as_mut().unwrap(), "{hello}").unwrap();
    let mut answer = String::new();
    let mut answers = std::io::BufReader::new(client.0.stdout.take().unwrap());
    std::io::BufRead::read_line(&mut answers, &mut answer).unwrap();
    let answer: Value = serde_json::from_str(&answer).unwrap();
    assert_eq!(answer["result"]["serverInfo"]["name"], "toolscout", "{answer}");
    drop(client.0.stdin.take());
    assert!(client.0.wait().unwrap().success(), "closing standard input ends it");

    let pid = serving.0.id().to_string();
    assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
    assert!(serving.0.wait().unwrap().success());
    assert!(!note.exists(), "the address is withdrawn");
    world.check(&["catalog", "export"], 0);
}

#[cfg(unix)]
#[test]
fn logs_in_json_are_json_and_nothing_else() {
    let world = World::new();
    let mut command = world.command(&["--log-format", "json", "serve"]);
    let mut serving = Serving(command.stdout(Stdio::null()).stderr(Stdio::piped()).spawn().unwrap());
    while !world.path("data/server.json").exists() {
        assert!(serving.0.try_wait().unwrap().is_none(), "the server ended");
        std::thread::sleep(Duration::from_millis(20));
    }
    assert!(Command::new("kill").args(["-TERM", &serving.0.id().to_string()]).status().unwrap().success());
    let mut logs = String::new();
    std::io::Read::read_to_string(&mut serving.0.stderr.take().unwrap(), &mut logs).unwrap();
    let told: Vec<Value> =
        logs.lines().map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"))).collect();
    let serves = told.iter().find(|line| line["message"] == "toolscout serves").unwrap_or_else(|| panic!("{logs}"));
    assert!(serves["base"].as_str().unwrap().starts_with("http://127.0.0.1:"), "{serves}");
}

#[test]
fn a_reader_that_goes_away_is_no_error() {
    let world = World::with_tools();
    let mut child =
        world.command(&["catalog", "export"]).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    drop(child.stdout.take());
    let ran = ran(child.wait_with_output().unwrap());
    assert_eq!((ran.code, ran.err.as_str()), (0, ""));
}

#[test]
fn what_needs_no_configuration_works_with_a_broken_one() {
    let world = World::new();
    world.write("here/toolscout.toml", "this is no toml");
    assert!(world.check(&["config", "example"], 0).out.contains("[upstreams.files]"));
    assert!(world.check(&["completions", "bash"], 0).out.contains("toolscout"));
    world.check(&["--help"], 0);
    world.check(&["search", "x"], 2);
}

#[test]
fn arguments_come_from_a_pipe_too() {
    let world = World::with_tools();
    let mut command = world.command(&["tools", "call", "lumen:list_devices", "-"]);
    let mut child = command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap();
    child.stdin.take().unwrap().write_all(b"[1]").unwrap();
    let ran = ran(child.wait_with_output().unwrap());
    assert_eq!(ran.code, 2);
    assert!(ran.err.contains("the arguments are no JSON object"), "{}", ran.err);
}

#[test]
fn the_same_tool_elsewhere_is_named_beside_it() {
    let world = World::new();
    let tool = |server: &str| {
        let input = r#"{"type":"object","properties":{"url":{"type":"string"}},"required":["url"]}"#;
        let about = "Clone a repository from its address.";
        format!(
            "{{\"id\":\"{server}\",\"server\":\"{server}\",\"name\":\"clone_repo\",\"description\":\"{about}\",\"input_schema\":{input}}}\n"
        )
    };
    world.write("here/tools.jsonl", &["forge", "mirror", "attic"].map(tool).concat());
    world.check(&["catalog", "import", "tools.jsonl"], 0);
    let shown = world.check(&["search", "clone a repository"], 0).out;
    let found = world.json(&["search", "clone a repository", "--json"]);
    let variants: Vec<&str> =
        found["tools"][0]["variants"].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!((found["tools"].as_array().unwrap().len(), variants.len()), (1, 2), "{found}");
    assert!(shown.contains(&format!("the same: {}", variants.join(", "))), "{shown}");
}

#[test]
fn recorded_searches_are_asked_again() {
    let world = World::with_tools();
    world.check(&["search", "track a shipment"], 0);
    let none = world.check(&["eval", "replay"], 3);
    assert!(none.out.contains("0 selections asked again, 1 without their query"), "{}", none.out);
    world.write("here/toolscout.toml", "[search]\nstore_queries = true\n");
    for query in ["track the shipment HB-2291-7", "make it darker in the living room"] {
        world.check(&["search", query], 0);
    }
    let same = world.json(&["eval", "replay", "--json"]);
    assert_eq!((&same["n"], &same["n_without_query"], &same["changed"]), (&2.into(), &1.into(), &Value::Array(vec![])));
    let refused = world.json(&["eval", "replay", "--abstain-below", "1", "--json"]);
    assert_eq!((&refused["newly_refused"], &refused["overlap_at_5"]), (&2.into(), &0.0.into()));
    assert_eq!(refused["changed"][0]["after"]["no_match"], true);
    let words = world.check(&["eval", "replay", "--arm", "bm25", "--limit", "2"], 0);
    assert!(words.out.contains("changed") && words.out.contains("make it darker"), "{}", words.out);
    for (flags, expect) in [
        (["--arm", "peer-codex"], "`peer-codex` is a peer"),
        (["--arm", "best"], "unknown arm `best`"),
        (["--dense-weight", "1.5"], "--dense-weight is out of range"),
    ] {
        let ran = world.check(&[&["eval", "replay"][..], &flags].concat(), 2);
        assert!(ran.err.contains(expect), "{}", ran.err);
    }
}

#[test]
fn reports_become_a_leaderboard() {
    let world = World::new();
    let tiny = repository().join("evals/tiny");
    let (tools, queries) = (tiny.join("tools.jsonl"), tiny.join("queries.jsonl"));
    let (tools, queries) = (tools.display().to_string(), queries.display().to_string());
    let run = ["eval", "run", "--catalog", &tools, "--queries", &queries, "--no-latency"];
    world.check(&[&run[..], &["--arms", "hybrid,peer-codex", "--json", "a.json"]].concat(), 0);
    let page = ["eval", "leaderboard", "a.json", "a.json", "--date", "2026-11-20", "--commit", "0123456789abcdef"];
    let files = ["--out", "board.md", "--svg", "board.svg", "--html", "board.html"];
    world.check(&[&page[..], &files].concat(), 0);
    let read = |name: &str| std::fs::read_to_string(world.path("here").join(name)).unwrap();
    let board = read("board.md");
    assert!(board.contains("Measured 2026-11-20 at commit 0123456789ab on "), "{board}");
    assert!(board.contains("(board.svg)") && board.contains("| peer-codex | "), "{board}");
    assert!(read("board.svg").starts_with("<svg xmlns=") && read("board.html").starts_with("<!doctype html>"));
    assert_eq!(world.check(&page, 0).out, board.replace("![recall@5 by arm and set](board.svg)\n\n", ""));
    let wrong = world.check(&["eval", "run", "--catalog", &tools, "--queries", &queries, "--arms", "peer"], 2);
    assert!(wrong.err.contains("there is no arm `peer`") && wrong.err.contains("groups ablations"), "{}", wrong.err);
}

#[test]
fn slips_of_the_keyboard_are_read_as_what_was_meant() {
    let world = World::with_tools();
    world.write("here/toolscout.toml", "[search]\nstore_queries = true\n");
    let answer = world.json(&["search", "Shwo where my pracel is, plaese", "--json", "--explain"]);
    assert_eq!(answer["tools"][0]["id"], "harbor:track_shipment", "{answer:#}");
    let slips: Vec<_> = answer["evidence"]["slips"].as_array().unwrap().iter().map(|s| &s["read"]).collect();
    assert_eq!(slips, ["show", "parcel"], "{answer:#}");
    let read = world.json(&["search", "show where my parcel is, plaese", "--json"]);
    assert_eq!((&answer["tools"], &answer["confidence"]), (&read["tools"], &read["confidence"]));
    let id = answer["selection_id"].as_str().unwrap();
    let why = world.check(&["explain", id, "--tool", "tally:create_invoice"], 0);
    assert!(!why.out.is_empty());
    let explained = world.check(&["explain", id], 0).out;
    assert!(explained.contains("slips    Shwo → show, pracel → parcel\n"), "{explained}");
}

#[test]
fn without_a_model_words_answer_and_say_so() {
    let world = World::new();
    world.write("here/toolscout.toml", "[embedding]\nmodel = \"./absent\"\n");
    let file = repository().join("evals/tiny/tools.jsonl").display().to_string();
    let ran = world.check(&["catalog", "import", &file], 0);
    assert!(ran.err.contains("warning: answering from words alone"), "{}", ran.err);
    let answer = world.json(&["search", "track shipment", "--json"]);
    assert_eq!(
        (answer["index_state"].as_str(), answer["tools"][0]["id"].as_str()),
        (Some("lexical"), Some("harbor:track_shipment"))
    );
    world.check(&["models", "verify"], 1);
    world.check(&["doctor"], 1);
}

#[test]
fn doctor_finds_probes_that_try_nothing() {
    let world = World::with_tools();
    let probes = "\"lumen:read_sensor\" = { room = \"hall\" }\n\"lumen:list_devices\" = {}\n\"lumen:lock_door\" = {}\n\"gone:x\" = {}";
    world.write("here/toolscout.toml", &format!("[quality.probes]\n{probes}\n"));
    let out = world.check(&["doctor"], 0).out;
    for expect in [
        "`lumen:read_sensor` cannot be tried so: kind is missing",
        "`lumen:lock_door` is never tried so: its effect is write",
        "there is no tool `gone:x`",
    ] {
        assert!(out.contains(expect), "{expect} is missing in\n{out}");
    }
    let fine = |line: &str| line.starts_with("ok") && line.ends_with("lumen:list_devices");
    assert!(out.lines().any(fine), "{out}");
}

#[test]
fn a_second_stage_orders_the_best_anew_and_doctor_tells_which() {
    let world = World::with_tools();
    let found = |world: &World| {
        let found = world.check(&["search", "send an email letter to mail", "--explain", "-n", "3"], 0);
        (found.out.clone(), found.out.lines().filter(|line| line.starts_with("second ")).collect::<String>())
    };
    let doctor = |world: &World, code| {
        let ran = world.run(&["doctor"]);
        assert_eq!(ran.code, code, "{}{}", ran.out, ran.err);
        ran.out.lines().filter(|line| line.contains("second stage")).collect::<String>()
    };
    assert_eq!(found(&world).1, "");
    assert!(doctor(&world, 0).ends_with(" off"));

    let folder = repository().join("crates/embed/tests/fixtures/overlap").canonicalize().unwrap();
    world.write("here/toolscout.toml", &format!("[ranking]\ncross_encoder = {folder:?}\n"));
    let (out, line) = found(&world);
    assert!(line.starts_with("second   cross_encoder overlap; ") && line.ends_with(" ms"), "{out}");
    assert!(out.contains("second_opinion"), "{out}");
    assert!(doctor(&world, 0).contains("cross-encoder overlap from /"), "{}", doctor(&world, 0));

    // A folder that is none: searches go on, doctor says what is wrong.
    world.write("here/toolscout.toml", "[ranking]\ncross_encoder = \"./none\"\n");
    let (out, line) = found(&world);
    assert!(line.ends_with("skipped: its model is not usable"), "{out}");
    assert!(doctor(&world, 1).contains("read model file"), "{}", doctor(&world, 1));

    let judge = "judge = { url = 'http://127.0.0.1:9/v1', model = 'small-1', api_key = '${JUDGE_KEY:-hunter2}' }";
    world.write("here/toolscout.toml", &format!("[ranking]\n{judge}\n"));
    let (out, line) = found(&world);
    assert!(line.ends_with("skipped: its endpoint could not be reached") && !out.contains("hunter2"), "{out}");
    let line = doctor(&world, 0);
    assert!(line.contains("judge small-1 at http://127.0.0.1:9/v1, with a key; best 20, 2000 ms"), "{line}");
    assert!(!line.contains("hunter2"), "{line}");
}

#[test]
fn spans_go_to_the_collector_that_the_environment_names() {
    use std::io::Read as _;
    let world = World::with_tools();
    let collector = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", collector.local_addr().unwrap());
    let received = std::thread::spawn(move || {
        let (mut stream, _) = collector.accept().unwrap();
        let mut head = Vec::new();
        let mut byte = [0];
        while !head.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap() == 1 {
            head.extend(byte);
        }
        let head = String::from_utf8(head).unwrap().to_ascii_lowercase();
        let length = head.lines().find_map(|line| line.strip_prefix("content-length: ")).unwrap();
        let mut body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body).unwrap();
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").unwrap();
        (head, body)
    });
    let mut command = world.command(&["search", "dim the lights"]);
    let ran = ran(command.env("OTEL_EXPORTER_OTLP_ENDPOINT", endpoint).output().unwrap());
    assert_eq!(ran.code, 0, "{}", ran.err);
    let (head, body) = received.join().unwrap();
    assert!(head.starts_with("post /v1/traces ") && head.contains("application/x-protobuf"), "{head}");
    let text = String::from_utf8_lossy(&body);
    assert!(text.contains("toolscout") && text.contains("search"), "{text}");
    assert!(!text.contains("dim the lights"), "a query is nobody else's business");
}
