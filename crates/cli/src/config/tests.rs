//! 1. The shipped example is the defaults, and names every key.
//! 2. Defaults give way to the file, the file to the environment, the environment to flags.
//! 3. Every mistake of every file is reported at once, with file, line, key and a way out.
//! 4. Each client's dialect yields the upstreams it means; secrets never print.

use std::path::PathBuf;

use expect_test::{Expect, expect};

use super::*;
use toolscout_upstream::Transport;

/// A world in a temporary folder: `/here` is the current folder, `/home` the user's.
struct World {
    root: tempfile::TempDir,
    outside: Outside,
    flags: Flags,
}

impl World {
    fn new(files: &[(&str, &str)]) -> Self {
        let root = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(root.path().join("home")).unwrap();
        for (name, text) in files {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        std::fs::create_dir_all(root.path().join("here")).unwrap();
        let outside = Outside {
            env: [("TOKEN".to_owned(), "hunter2".to_owned())].into(),
            home: Some(root.path().join("home")),
            cwd: root.path().join("here"),
            config_dir: Some(root.path().join("home/.config")),
            data_dir: Some(root.path().join("home/.data")),
        };
        Self { root, outside, flags: Flags::default() }
    }

    fn env(mut self, name: &str, value: &str) -> Self {
        self.outside.env.insert(name.to_owned(), value.to_owned());
        self
    }

    fn load(&self) -> Result<Config, Mistakes> {
        load(&self.flags, &self.outside)
    }

    /// What loading gives as text: the upstreams, or the mistakes; the temporary folder's name taken out.
    fn show(&self) -> String {
        let text = match self.load() {
            Ok(config) => {
                let lines = config.upstreams.iter().map(|spec| format!("{spec}\n", spec = show_spec(spec)));
                let notes = config.notes.iter().map(|note| format!("note: {note}\n"));
                lines.chain(notes).collect()
            }
            Err(mistakes) => mistakes.to_string(),
        };
        assert!(
            !text.contains("hunter2") && !format!("{:?}", self.load()).contains("hunter2"),
            "a secret shows: {text}"
        );
        text.replace(&self.root.path().display().to_string(), "")
    }
}

/// One line per upstream; secrets as their length, so that expansion shows and the value does not.
fn show_spec(spec: &UpstreamSpec) -> String {
    let secrets = |map: &std::collections::BTreeMap<String, toolscout_core::Secret>| {
        map.iter().map(|(name, secret)| format!(" {name}=<{}>", secret.expose().len())).collect::<String>()
    };
    let transport = match &spec.transport {
        Transport::Stdio { command, args, env, cwd } => {
            let cwd = cwd.as_ref().map(|cwd| format!(" in {}", cwd.display())).unwrap_or_default();
            format!("{command} {}{cwd}{}", args.join(" "), secrets(env))
        }
        Transport::Http { url, headers, kind } => format!("{kind:?} {url}{}", secrets(headers)),
    };
    let off = if spec.enabled { "" } else { " (off)" };
    format!("{}{off}: {}", spec.id, transport.trim())
}

/// The one door for dialects and mistakes: files in, text out.
#[track_caller]
fn check(files: &[(&str, &str)], expect: Expect) {
    expect.assert_eq(&World::new(files).show());
}

/// A client's file, imported by path from a `toolscout.toml` beside it.
#[track_caller]
fn check_client(path: &str, text: &str, expect: Expect) {
    let import = format!("import = [{:?}]", format!("../{path}"));
    check(&[("here/toolscout.toml", &import), (path, text)], expect);
}

#[test]
fn the_example_is_the_defaults_and_names_every_key() {
    let world = World::new(&[("here/toolscout.toml", EXAMPLE)]);
    let config = world.load().unwrap();
    let defaults = Settings { data_dir: world.outside.data_dir.clone(), ..Settings::default() };
    assert_eq!(config.settings, defaults);
    for key in settings::keys().keys() {
        let name = key.rsplit('.').next().unwrap();
        let is_there = EXAMPLE.lines().any(|line| line.trim_start_matches("# ").starts_with(&format!("{name} = ")));
        assert!(is_there, "`{key}` is missing in toolscout.example.toml");
    }
}

#[test]
fn what_the_example_comments_out_is_valid_too() {
    let is_setting = |line: &str| {
        line.split_once(" = ").is_some_and(|(key, _)| key.chars().all(|c| c.is_ascii_lowercase() || c == '_'))
    };
    let uncommented: String = EXAMPLE
        .lines()
        .map(|line| match line.strip_prefix("# ") {
            Some(rest) if rest.starts_with('[') || is_setting(rest) => format!("{rest}\n"),
            _ => format!("{line}\n"),
        })
        .collect();
    let world = World::new(&[("here/toolscout.toml", &uncommented), ("here/.env", "A=1\n")]);
    let world = world.env("TOOLSCOUT_TOKEN", "t").env("DOCS_TOKEN", "d");
    let config = world.load().unwrap();
    assert_eq!(config.upstreams.len(), 2);
    assert!(config.settings.server.token.is_some() && !config.settings.policy.deny.is_empty());
}

#[test]
fn later_layers_win() {
    let file = "[server]\nbind = '127.0.0.1:1'\nmax_body_bytes = 2048\n[crawl]\nttl = '1m'\nconcurrency = 2";
    let mut world = World::new(&[("here/toolscout.toml", file)])
        .env("TOOLSCOUT_SERVER_BIND", "127.0.0.1:2")
        .env("TOOLSCOUT_CRAWL_TTL", "2m")
        .env("TOOLSCOUT_SEARCH_STORE_QUERIES", "true")
        .env("TOOLSCOUT_SERVER_ALLOWED_HOSTS", "a.example, b.example")
        .env("TOOLSCOUT_MINE", "x");
    world.flags.settings = vec![("server.bind", "127.0.0.1:3".to_owned())];
    let config = world.load().unwrap();
    let settings = &config.settings;
    assert_eq!(settings.server.bind.port(), 3, "flag");
    assert_eq!(settings.crawl.ttl.as_secs(), 120, "environment");
    assert_eq!(settings.crawl.concurrency, 2, "file");
    assert_eq!(settings.call, Settings::default().call, "default");
    assert!(settings.search.store_queries);
    assert_eq!(settings.server.allowed_hosts, ["a.example", "b.example"]);
    assert_eq!(config.notes, ["the variable TOOLSCOUT_MINE is no setting of toolscout"]);
}

#[test]
fn variables_stand_in_paths_too() {
    let file =
        "data_dir = '${WHERE}/data'\ncards = '~/cards'\n[embedding]\nmodel = '${WHERE}/model'\nruntime = '${GONE}/x'";
    let world = World::new(&[("here/toolscout.toml", file)]).env("WHERE", "/w");
    expect![[r#"
        the configuration has a mistake
          /here/toolscout.toml:5: `embedding.runtime`: the variable `GONE` is not set (set GONE in the environment, or write ${GONE:-default})"#]]
    .assert_eq(&world.show());
    let settings = world.env("GONE", "/g").load().unwrap().settings;
    assert_eq!(settings.data_dir, Some(PathBuf::from("/w/data")));
    assert_eq!(settings.embedding.model, settings::ModelChoice::Dir("/w/model".into()));
    assert!(settings.cards.unwrap().ends_with("home/cards"));
}

#[test]
fn the_environment_sets_the_policy_too_or_says_that_it_cannot() {
    let file =
        "[policy]\nmax_side_effect = 'destructive'\ndeny = ['a:*']\n[[policy.rules]]\neffect = 'deny'\ntags = ['x']";
    let world = World::new(&[("here/toolscout.toml", file)])
        .env("TOOLSCOUT_POLICY_MAX_SIDE_EFFECT", "read")
        .env("TOOLSCOUT_POLICY_DENY", "b:*, c:d");
    let policy = world.load().unwrap().settings.policy;
    assert_eq!(policy.max_side_effect, Some(toolscout_core::SideEffect::Read));
    assert_eq!((policy.deny.len(), policy.rules.len(), policy.allow.len()), (2, 1, 0));
    let world = World::new(&[])
        .env("TOOLSCOUT_POLICY_DEFAULT", "denied")
        .env("TOOLSCOUT_POLICY_MAX_SIDE_EFFECT", "none")
        .env("TOOLSCOUT_POLICY_RULES", "x");
    expect![[r#"
        the configuration has 3 mistakes
          environment: `TOOLSCOUT_POLICY_DEFAULT`: is neither allow nor deny (did you mean `deny`?)
          environment: `TOOLSCOUT_POLICY_MAX_SIDE_EFFECT`: is not a side effect (known here: read, write, destructive)
          environment: `TOOLSCOUT_POLICY_RULES`: is nothing that a variable can say (write it in [policy] of toolscout.toml)"#]]
    .assert_eq(&world.show());
}

#[test]
fn the_nearest_file_is_read() {
    let files =
        [("here/toolscout.toml", "[crawl]\nttl = 1"), ("home/.config/toolscout/toolscout.toml", "[crawl]\nttl = 2")];
    let ttl = |world: &World| world.load().unwrap().settings.crawl.ttl.as_secs();
    assert_eq!(ttl(&World::new(&files)), 1);
    assert_eq!(ttl(&World::new(&files[1..])), 2);
    assert_eq!(ttl(&World::new(&[])), 5 * 60);
    let mut world = World::new(&[("here/other.toml", "[crawl]\nttl = 3"), files[0]]);
    world.flags.config = Some(PathBuf::from("other.toml"));
    assert_eq!(ttl(&world), 3);
}

#[test]
fn all_mistakes_come_at_once() {
    let toml = r#"
import = ["cursro", "~/.cursor/mcp.json"]
sever = 1
[server]
bind = "nowhere"
prot = 7411
token = "${NO_TOKEN}"
[crawl]
ttl = "soon"
concurrency = 0
[search]
pinned = ["no-colon"]
[policy]
max_side_effect = "none"
denny = []
[upstreams.Git_Hub]
command = "x"
[upstreams.a]
comand = "npx"
[upstreams.b]
url = "https://x"
command = "y"
headers = { Authorization = "Bearer ${MISSING}" }
[upstreams.c]
url = "ftp://x"
[upstreams.d]
type = "ws"
url = "ws://x"
[upstreams.e]
command = "x"
args = "y"
env = { KEY = "${input:key}", GOOD = "${TOKEN}" }
tools = { alow = [] }
[upstreams.f]
command = "x"
env = { KEY = "${input:key}", HALF = "${" }
"#;
    let cursor = r#"{"mcpServers": {
      "one": {"command": "x", "env": {"K": "${env:UNSET_ONE}"}},
      "two": {"type": "carrier-pigeon", "url": "https://x"}
    }}"#;
    check(
        &[("here/toolscout.toml", toml), ("home/.cursor/mcp.json", cursor)],
        expect![[r#"
            the configuration has 24 mistakes
              /here/toolscout.toml:3: `sever`: is not a known key (did you mean `server`?)
              /here/toolscout.toml:5: `server.bind`: is not an address with a port (write 127.0.0.1:7411)
              /here/toolscout.toml:6: `server.prot`: is not a known key (known here: bind, allowed_hosts, allowed_origins, token, max_body_bytes, shutdown_grace)
              /here/toolscout.toml:7: `server.token`: the variable `NO_TOKEN` is not set (set NO_TOKEN in the environment, or write ${NO_TOKEN:-default})
              /here/toolscout.toml:9: `crawl.ttl`: is not a span of time (write 250ms, 30s, 5m or 2h)
              /here/toolscout.toml:10: `crawl.concurrency`: 0 is not a whole number from 1 to 256
              /here/toolscout.toml:12: `search.pinned[0]`: `no-colon` is not a tool id; write it as upstream:tool
              /here/toolscout.toml:14: `policy.max_side_effect`: unknown variant `none`, expected one of `read`, `write`, `destructive`
              /here/toolscout.toml:15: `policy.denny`: unknown field `denny`, expected one of `default`, `max_side_effect`, `allow`, `deny`, `rules`
              /here/toolscout.toml:16: `upstreams.Git_Hub`: upstream id `Git_Hub` must be 1 to 48 characters of a-z, 0-9 and - (call it `git-hub`)
              /here/toolscout.toml:19: `upstreams.a.comand`: is not a known key (did you mean `command`?)
              /here/toolscout.toml:18: `upstreams.a`: has neither a command nor a url (give it `command` or `url`)
              /here/toolscout.toml:20: `upstreams.b`: has both a command and a url (keep one, or say which by `type`)
              /here/toolscout.toml:26: `upstreams.d.type`: WebSocket is no MCP transport and is not supported (use the server's http address)
              /here/toolscout.toml:31: `upstreams.e.args`: must be a list of texts, not a text (write ["…", "…"])
              /here/toolscout.toml:33: `upstreams.e.tools.alow`: is not a known key (did you mean `allow`?)
              /here/toolscout.toml:2: `import`: `cursro` is neither a known client nor a path (did you mean `cursor`?)
              /home/.cursor/mcp.json:3: `mcpServers.two.type`: `carrier-pigeon` is not a transport (known here: stdio, http, streamable-http, sse)
              /here/toolscout.toml:20: `upstreams.b.headers.Authorization`: the variable `MISSING` is not set (set MISSING in the environment, or write ${MISSING:-default})
              /here/toolscout.toml:24: `upstreams.c.url`: must start with http:// or https://
              /here/toolscout.toml:29: `upstreams.e.env.KEY`: `${input:key}` asks a person at the client program, which nobody can answer here (write ${KEY} and set that environment variable)
              /here/toolscout.toml:34: `upstreams.f.env.HALF`: `${` is never closed (write ${VAR})
              /here/toolscout.toml:34: `upstreams.f.env.KEY`: `${input:key}` asks a person at the client program, which nobody can answer here (write ${KEY} and set that environment variable)
              /home/.cursor/mcp.json:2: `mcpServers.one.env.K`: the variable `UNSET_ONE` is not set (set UNSET_ONE in the environment, or write ${UNSET_ONE:-default})
              an imported upstream is left out by [upstreams.NAME] with enabled = false in toolscout.toml"#]],
    );
}

#[test]
fn the_second_stages_mistakes() {
    let check_ranking = |toml: &str, expect: Expect| check(&[("here/toolscout.toml", toml)], expect);
    check_ranking(
        r#"
[ranking]
cross_encoder = ""
cross_encoder_deadline = "0s"
crossencoder = "x"
[ranking.judge]
url = "ftp://x"
modle = "small-1"
api_key = "${NO_KEY}"
deadline_ms = 0
budget_per_hour = -1
top = 1
"#,
        expect![[r#"
            the configuration has 10 mistakes
              /here/toolscout.toml:3: `ranking.cross_encoder`: is empty (write off, or the path of a cross-encoder's folder)
              /here/toolscout.toml:4: `ranking.cross_encoder_deadline`: must be longer than nothing
              /here/toolscout.toml:5: `ranking.crossencoder`: is not a known key (did you mean `cross_encoder`?)
              /here/toolscout.toml:8: `ranking.judge.modle`: is not a known key (did you mean `model`?)
              /here/toolscout.toml:6: `ranking.judge`: has no model (write off, or { url = "https://api.example.org/v1", model = "…", api_key = "${VAR}" })
              /here/toolscout.toml:7: `ranking.judge.url`: must start with http:// or https://
              /here/toolscout.toml:9: `ranking.judge.api_key`: the variable `NO_KEY` is not set (set NO_KEY in the environment, or write ${NO_KEY:-default})
              /here/toolscout.toml:10: `ranking.judge.deadline_ms`: 0 is not a whole number from 1 to 60000
              /here/toolscout.toml:11: `ranking.judge.budget_per_hour`: -1 is not a whole number from 0 to 1000000
              /here/toolscout.toml:12: `ranking.judge.top`: 1 is not a whole number from 2 to 50"#]],
    );
    check_ranking(
        "[ranking]\ncross_encoder = 'models/x'\njudge = { url = 'http://api.example.org', model = 'm', api_key = '${TOKEN}' }",
        expect![[r#"
            the configuration has a mistake
              /here/toolscout.toml:3: `ranking.judge.url`: would send the key unencrypted (write https://)"#]],
    );
    check_ranking(
        "[ranking]\ncross_encoder = 'models/x'\njudge = { url = 'https://me:hunter3@api.example.org', model = '' }",
        expect![[r#"
            the configuration has 2 mistakes
              /here/toolscout.toml:3: `ranking.judge.url`: must hold no user, password, query or fragment (give the key as api_key)
              /here/toolscout.toml:3: `ranking.judge.model`: is empty"#]],
    );
    check_ranking(
        "[ranking]\ncross_encoder = 'models/x'\njudge = { url = 'https://api.example.org/v1', model = 'm' }",
        expect![[r#"
            the configuration has a mistake
              /here/toolscout.toml: `ranking`: has a cross-encoder and a judge; there is one second stage (switch one of them off: ranking.cross_encoder = "off", or ranking.judge = "off")"#]],
    );
    check_ranking(
        "[ranking]\njudge = 'on'",
        expect![[r#"
        the configuration has a mistake
          /here/toolscout.toml:2: `ranking.judge`: must be a table, not a text (write off, or { url = "https://api.example.org/v1", model = "…", api_key = "${VAR}" })"#]],
    );
}

#[test]
fn a_second_stage_is_read_and_can_be_switched_off() {
    let toml = "[ranking]\njudge = { url = 'http://localhost:11434/v1', model = 'm', api_key = '${TOKEN}', top = 10 }";
    let world = World::new(&[("here/toolscout.toml", toml)]);
    let judge = world.load().unwrap().settings.ranking.judge.unwrap();
    assert_eq!((judge.url.as_str(), judge.model.as_str()), ("http://localhost:11434/v1", "m"));
    assert_eq!(judge.api_key.unwrap().expose(), "hunter2");
    assert_eq!((judge.deadline.as_millis(), judge.budget_per_hour, judge.top), (2_000, 100, 10));
    let world = world.env("TOOLSCOUT_RANKING_JUDGE", "off").env("TOOLSCOUT_RANKING_CROSS_ENCODER", "models/x");
    let ranking = world.load().unwrap().settings.ranking;
    assert!(ranking.judge.is_none() && ranking.cross_encoder.unwrap().ends_with("here/models/x"));
}

#[test]
fn a_broken_file_does_not_hide_the_others_mistakes() {
    check(
        &[
            ("here/toolscout.toml", "import = ['../a.json', '../b.json', '../none.json', '../c.json']"),
            ("a.json", "{\n\"a\" 1}"),
            ("b.json", "{}"),
            ("c.json", r#"{"mcpServers": []}"#),
        ],
        expect![[r#"
            the configuration has 5 mistakes
              /here/../a.json:2: Expected colon after the string or word in object property
              /here/../b.json: holds no servers (expected `mcpServers`, `servers` or `mcp_servers`)
              /here/../none.json: cannot be read: No such file or directory (os error 2)
              /here/../c.json:1: `mcpServers`: must be a table of servers, not a list
              /here/../c.json: holds no servers (expected `mcpServers`, `servers` or `mcp_servers`)"#]],
    );
}

#[test]
fn own_upstreams() {
    let toml = r#"
[upstreams.files]
command = "./serve"
args = ["${TOKEN}", "~/x", "${WHERE:-here}"]
cwd = "~/work"
env_file = "a.env"
env = { A = "one" }
[upstreams.web]
url = "https://x/mcp"
headers = { Authorization = "Bearer ${TOKEN}" }
[upstreams.events]
type = "sse"
url = "https://x/sse"
[upstreams.off]
command = "x"
env = { A = "${NOT_SET}" }
enabled = false
[upstreams.slow]
command = "x"
timeout = "5m"
"#;
    // The secret is an argument here only to see expansion; `show` refuses to print it.
    let toml = toml.replace("\"${TOKEN}\", ", "");
    let files = [("here/toolscout.toml", toml.as_str()), ("here/a.env", "# c\nexport A=zero\nB=\"two words\"\n")];
    check(
        &files,
        expect![[r#"
        files: /here/./serve /home/x here in /home/work A=<3> B=<9>
        web: Auto https://x/mcp Authorization=<14>
        events: Sse https://x/sse
        off (off): x  A=<10>
        slow: x
    "#]],
    );
    let config = World::new(&files).load().unwrap();
    assert_eq!(config.upstreams[4].timeouts.call.as_secs(), 300);
    assert_eq!(config.upstreams[0].timeouts.call, config.settings.call.timeout);
}

#[test]
fn claude_desktop() {
    check_client(
        "home/.config/Claude/claude_desktop_config.json",
        r#"{"globalShortcut": "", "mcpServers": {
            "My Files": {"command": "npx", "args": ["-y", "server-filesystem", "/tmp"], "env": {"KEY": "v"}},
            "toolscout": {"command": "/usr/local/bin/toolscout", "args": ["serve", "--stdio"]}
        }}"#,
        expect![[r#"
            my-files: npx -y server-filesystem /tmp KEY=<1>
            note: /here/../home/.config/Claude/claude_desktop_config.json: `mcpServers.toolscout` is toolscout itself and is left out
        "#]],
    );
}

#[test]
fn claude_code_project() {
    check_client(
        "work/.mcp.json",
        r#"{"mcpServers": {
            "db": {"type": "stdio", "command": "./db.sh", "env": {"URL": "${DB_URL:-sqlite}"}},
            "api": {"type": "http", "url": "https://x/mcp", "headers": {"Authorization": "Bearer ${TOKEN}"}},
            "old": {"type": "sse", "url": "https://x/sse"},
            "self": {"type": "http", "url": "http://localhost:7411/mcp"}
        }}"#,
        expect![[r#"
            db: /work/./db.sh  in /work URL=<6>
            api: Streamable https://x/mcp Authorization=<14>
            old: Sse https://x/sse
            note: /here/../work/.mcp.json: `mcpServers.self` is toolscout itself and is left out
        "#]],
    );
    check_client(
        "work/.mcp.json",
        r#"{"mcpServers": {
            "socket": {"type": "ws", "url": "wss://x"},
            "helper": {"type": "http", "url": "https://x", "headersHelper": "./token.sh"}
        }}"#,
        expect![[r#"
            the configuration has 2 mistakes
              /here/../work/.mcp.json:2: `mcpServers.socket.type`: WebSocket is no MCP transport and is not supported (use the server's http address)
              /here/../work/.mcp.json:3: `mcpServers.helper.headersHelper`: a program that makes headers is not supported (write the header in [upstreams.…] of toolscout.toml, its value as ${VAR})
              an imported upstream is left out by [upstreams.NAME] with enabled = false in toolscout.toml"#]],
    );
}

#[test]
fn claude_code_user_file_with_projects() {
    check_client(
        "home/.claude.json",
        r#"{"numStartups": 7, "mcpServers": {"files": {"command": "f"}, "git": {"command": "g"}},
            "projects": {
              "/work/one": {"allowedTools": [], "mcpServers": {"git": {"command": "g", "args": ["--other"]}}},
              "/work/two": {"mcpServers": {"local": {"command": "l"}}},
              "/work/three": {}
        }}"#,
        expect![[r#"
            files: f
            git: g
            git-imported: g --other in /work/one
            local: l  in /work/two
            note: `git` of /here/../home/.claude.json becomes `git-imported`: another upstream has its name
        "#]],
    );
}

#[test]
fn cursor() {
    check_client(
        "proj/.cursor/mcp.json",
        r#"{"mcpServers": {
            "py": {"command": "python", "args": ["${workspaceFolder}/s.py", "${userHome}"], "envFile": "${workspaceFolder}/.env.absent"},
            "web": {"url": "https://x/mcp", "headers": {"X-Key": "${env:TOKEN}"}}
        }}"#,
        expect![[r#"
            the configuration has a mistake
              /here/../proj/.cursor/mcp.json:2: `mcpServers.py.env_file`: cannot read /proj/.env.absent: No such file or directory (os error 2)
              an imported upstream is left out by [upstreams.NAME] with enabled = false in toolscout.toml"#]],
    );
    check_client(
        "home/.cursor/mcp.json",
        r#"{"mcpServers": {"web": {"url": "https://x/mcp", "headers": {"X-Key": "${env:TOKEN}"}}, "py": {"command": "py"}}}"#,
        expect![[r#"
            web: Auto https://x/mcp X-Key=<7>
            py: py
        "#]],
    );
}

#[test]
fn vscode() {
    check_client(
        "proj/.vscode/mcp.json",
        r#"{
          // comments and trailing commas are fine
          "inputs": [{"id": "key", "type": "promptString"}],
          "servers": {
            "pw": {"type": "stdio", "command": "npx", "args": ["@playwright/mcp"], "cwd": "${workspaceFolder}/sub",},
            "gh": {"type": "http", "url": "https://api.githubcopilot.com/mcp/"},
          },
        }"#,
        expect![[r#"
            pw: npx @playwright/mcp in /proj/sub
            gh: Streamable https://api.githubcopilot.com/mcp/
        "#]],
    );
    check_client(
        "proj/.vscode/mcp.json",
        r#"{"servers": {"gh": {"type": "http", "url": "https://x", "headers": {"Authorization": "Bearer ${input:my-key}"}}}}"#,
        expect![[r#"
            the configuration has a mistake
              /here/../proj/.vscode/mcp.json:1: `servers.gh.headers.Authorization`: `${input:my-key}` asks a person at the client program, which nobody can answer here (write ${MY_KEY} and set that environment variable)
              an imported upstream is left out by [upstreams.NAME] with enabled = false in toolscout.toml"#]],
    );
    check_client(
        "home/settings.json",
        r#"{"mcp": {"servers": {"a": {"command": "x"}}}}"#,
        expect![[r#"
        a: x
    "#]],
    );
}

#[test]
fn gemini() {
    check_client(
        "home/.gemini/settings.json",
        r#"{"theme": "x", "mcpServers": {
            "http": {"httpUrl": "https://x/mcp", "headers": {"A": "$TOKEN"}, "timeout": 30000},
            "sse": {"url": "https://x/sse"},
            "py": {"command": "python", "args": ["-m", "s"], "cwd": "./d", "trust": false, "includeTools": ["a"], "excludeTools": ["b"]}
        }}"#,
        expect![[r#"
            http: Streamable https://x/mcp A=<7>
            sse: Auto https://x/sse
            py: python -m s in /home/./d
        "#]],
    );
}

#[test]
fn codex() {
    check_client(
        "home/.codex/config.toml",
        r#"model = "x"
[mcp_servers.ctx]
command = "npx"
args = ["-y", "ctx"]
env = { A = "1" }
env_vars = ["TOKEN"]
startup_timeout_sec = 20
enabled_tools = ["a"]
[mcp_servers.fig]
url = "https://x/mcp"
bearer_token_env_var = "TOKEN"
http_headers = { Region = "eu" }
[mcp_servers.off]
command = "x"
enabled = false
"#,
        expect![[r#"
            ctx: npx -y ctx A=<1> TOKEN=<7>
            fig: Auto https://x/mcp Authorization=<14> Region=<2>
            off (off): x
        "#]],
    );
}

#[test]
fn windsurf() {
    check_client(
        "home/.codeium/windsurf/mcp_config.json",
        r#"{"mcpServers": {"r": {"serverUrl": "https://x/mcp", "headers": {"A": "Bearer ${env:TOKEN}"}},
            "off": {"command": "x", "disabled": true, "disabledTools": ["q"], "alwaysAllow": []}}}"#,
        expect![[r#"
            r: Auto https://x/mcp A=<14>
            off (off): x
        "#]],
    );
}

#[test]
fn clients_by_name_merge_and_ours_override() {
    let files = [
        (
            "here/toolscout.toml",
            "import = ['cursor', 'windsurf']\n[upstreams.broken]\nenabled = false\n[upstreams.mine]\ncommand = 'own'",
        ),
        ("here/.cursor/mcp.json", r#"{"mcpServers": {"gh": {"url": "https://a"}, "mine": {"command": "theirs"}}}"#),
        (
            "home/.cursor/mcp.json",
            r#"{"mcpServers": {"gh": {"url": "https://a"}, "broken": {"type": "ws", "url": "ws://x"}}}"#,
        ),
        ("home/.codeium/windsurf/mcp_config.json", r#"{"mcpServers": {"gh": {"url": "https://b"}}}"#),
    ];
    check(
        &files,
        expect![[r#"
        mine: own
        gh: Auto https://a
        gh-windsurf: Auto https://b
        note: `gh` of /home/.codeium/windsurf/mcp_config.json becomes `gh-windsurf`: another upstream has its name
    "#]],
    );
    check(
        &files[..1],
        expect![[r#"
            the configuration has 2 mistakes
              /here/toolscout.toml:1: `import`: `cursor` has no file here (looked at /here/.cursor/mcp.json, /home/.cursor/mcp.json)
              /here/toolscout.toml:1: `import`: `windsurf` has no file here (looked at /home/.codeium/windsurf/mcp_config.json)"#]],
    );
}

#[test]
fn thresholds_and_probes_are_read_and_their_mistakes_told() {
    let good = "[quality]\nweight = 0\nfailed_share = 0.5\nfailures_in_a_row = 3\nread_only_fallback = true\n\
                [quality.probes]\n\"files:list_directory\" = { path = \".\", deep = 2 }";
    let settings = World::new(&[("here/toolscout.toml", good)]).load().unwrap().settings.quality;
    assert_eq!((settings.weight, settings.failed_share, settings.failures_in_a_row), (0.0, 0.5, 3));
    assert_eq!(settings.options().quarantine.in_a_row, 3);
    let probe = &settings.probes[&"files:list_directory".parse().unwrap()];
    assert_eq!((&probe["path"], probe.len()), (&serde_json::json!("."), 2));
    let bad = "[quality]\nweight = 2\nfailures_in_a_row = 1\nfail_share = 0.2\nfailed_share = \"half\"\n\
               [quality.probes]\nfiles = {}\n\"files:list\" = 5";
    check(
        &[("here/toolscout.toml", bad)],
        expect![[r#"
        the configuration has 6 mistakes
          /here/toolscout.toml:2: `quality.weight`: must be a number from 0 to 1
          /here/toolscout.toml:3: `quality.failures_in_a_row`: 1 is not a whole number from 2 to 1000
          /here/toolscout.toml:4: `quality.fail_share`: is not a known key (did you mean `failed_share`?)
          /here/toolscout.toml:5: `quality.failed_share`: must be a number from 0 to 1
          /here/toolscout.toml:7: `quality.probes."files"`: `files` is not a tool id; write it as upstream:tool (write [quality.probes] and "upstream:tool" = { argument = "value" })
          /here/toolscout.toml:8: `quality.probes."files:list"`: must be a table of arguments (write [quality.probes] and "upstream:tool" = { argument = "value" })"#]],
    );
}
