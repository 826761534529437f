//! The grammar of the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand, ValueEnum};
use toolscout_core::SideEffect;

/// Finds the right MCP tool for an agent: crawls your servers, indexes their tools, and answers through one gateway.
///
/// Data goes to standard output, messages to standard error. Exit codes: 0 done, 1 failed, 2 wrong usage or configuration,
/// 3 nothing matched, 4 not permitted or withheld, 5 an upstream failed.
#[derive(Debug, Parser)]
#[command(name = "toolscout", version, about, long_about, max_term_width = 120, disable_help_subcommand = true)]
pub(crate) struct Cli {
    /// What all commands share.
    #[command(flatten)]
    pub(crate) global: Global,
    /// What to do.
    #[command(subcommand)]
    pub(crate) command: Command,
}

/// Options of every command.
#[derive(Debug, Args)]
pub(crate) struct Global {
    /// The configuration file [default: ./toolscout.toml, then the one in your configuration folder]
    #[arg(
        long,
        global = true,
        value_name = "FILE",
        env = "TOOLSCOUT_CONFIG",
        help_heading = "Options of every command"
    )]
    pub(crate) config: Option<PathBuf>,
    /// The data folder [default: your data folder, or what the configuration says]
    #[arg(long = "data", global = true, value_name = "DIR", help_heading = "Options of every command")]
    pub(crate) data_dir: Option<PathBuf>,
    /// Say more: once for what is done, twice for how, three times for everything. `RUST_LOG` chooses by crate
    #[arg(short, long, global = true, action = clap::ArgAction::Count, help_heading = "Options of every command")]
    pub(crate) verbose: u8,
    /// How log lines look
    #[arg(
        long,
        global = true,
        value_enum,
        default_value_t = LogFormat::Text,
        env = "TOOLSCOUT_LOG_FORMAT",
        hide_env_values = true,
        help_heading = "Options of every command"
    )]
    pub(crate) log_format: LogFormat,
}

/// How log lines look.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum LogFormat {
    /// For people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Whether a command prints for people or programs.
#[derive(Debug, Clone, Copy, Args)]
pub(crate) struct Output {
    /// Print JSON instead of text for people
    #[arg(long)]
    pub(crate) json: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Run the gateway: MCP at /mcp, JSON at /v1
    Serve(Serve),
    /// Ask upstreams for their tools now, and index them
    Crawl(Crawl),
    /// Find the tools that fit a task
    Search(Search),
    /// Say why a selection came out as it did
    Explain(Explain),
    /// Look at the tools in the catalog, or call one
    #[command(subcommand)]
    Tools(Tools),
    /// The MCP servers behind the gateway
    #[command(subcommand)]
    Upstreams(Upstreams),
    /// Say what makes tools hard to find or easy to misuse, and how to mend it
    Lint(Lint),
    /// How reliable tools have been
    Quality(Output),
    /// Fill the catalog from a file, or write it to one
    #[command(subcommand)]
    Catalog(CatalogCommand),
    /// Measure ranking against labelled queries
    #[command(subcommand)]
    Eval(Eval),
    /// Measure what indexing, starting and searching cost here
    Bench(Bench),
    /// The embedding models there are
    #[command(subcommand)]
    Models(Models),
    /// The configuration file
    #[command(subcommand)]
    Config(ConfigCommand),
    /// Check everything that has to work, and say how to mend it
    Doctor {
        /// Print instead the licences of what is inside this program
        #[arg(long)]
        licences: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Print the completion script of a shell
    Completions {
        /// Which shell
        shell: clap_complete::Shell,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Serve {
    /// Speak MCP over standard input and output instead of HTTP
    #[arg(long)]
    pub(crate) stdio: bool,
    /// Serve well-known public servers that start on this machine, besides the configured ones
    #[arg(long)]
    pub(crate) demo: bool,
    /// Address and port [default: 127.0.0.1:7411]
    #[arg(long, value_name = "ADDRESS", conflicts_with = "stdio")]
    pub(crate) bind: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Crawl {
    /// Which upstreams [default: all]
    pub(crate) upstreams: Vec<String>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Lint {
    /// Which upstreams of the catalog [default: all]
    pub(crate) upstreams: Vec<String>,
    /// The tools of this tools.jsonl instead of the catalog's
    #[arg(long, value_name = "FILE")]
    pub(crate) catalog: Option<PathBuf>,
    /// What fails the command: error, warning, note, or the id of a rule. May be repeated [default: error]
    #[arg(long, value_name = "LEVEL | RULE")]
    pub(crate) deny: Vec<String>,
    /// Tools that are searched for in their own words, at most; the other rules look at all
    #[arg(long, value_name = "N", default_value_t = 500)]
    pub(crate) max: usize,
    #[command(flatten)]
    pub(crate) output: Output,
    /// A server that need not be configured: `lint -- npx -y my-server`
    #[arg(last = true, value_name = "COMMAND", conflicts_with_all = ["catalog", "upstreams"])]
    pub(crate) command: Vec<String>,
}

#[derive(Debug, Args)]
pub(crate) struct Search {
    /// The task, in your own words
    #[arg(required = true)]
    pub(crate) query: Vec<String>,
    /// Show how each tool came to its place
    #[arg(long)]
    pub(crate) explain: bool,
    /// Also say why this tool is, or is not, among the answers
    #[arg(long, value_name = "ID")]
    pub(crate) tool: Option<String>,
    /// At most this many tools
    #[arg(long, short = 'n', default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=50))]
    pub(crate) limit: u64,
    /// Only tools of this upstream; may be repeated
    #[arg(long = "upstream", short = 'u', value_name = "ID")]
    pub(crate) upstreams: Vec<String>,
    /// Only tools with this tag; may be repeated
    #[arg(long = "tag", short = 't', value_name = "TAG")]
    pub(crate) tags: Vec<String>,
    /// Only tools that do no more than this
    #[arg(long, value_name = "EFFECT")]
    pub(crate) max_side_effect: Option<Effect>,
    /// How much to show of each tool
    #[arg(long, value_enum, default_value_t = Detail::Summary)]
    pub(crate) detail: Detail,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// What a tool may do.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum Effect {
    /// It only looks.
    Read,
    /// It adds or changes.
    Write,
    /// It may delete for good.
    Destructive,
}

impl From<Effect> for SideEffect {
    fn from(effect: Effect) -> Self {
        match effect {
            Effect::Read => Self::Read,
            Effect::Write => Self::Write,
            Effect::Destructive => Self::Destructive,
        }
    }
}

/// How much of each tool an answer holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum Detail {
    /// Names and scores.
    Name,
    /// A line on each, and its signature.
    Summary,
    /// The input schema.
    Schema,
}

#[derive(Debug, Args)]
pub(crate) struct Explain {
    /// The selection's id, from an earlier answer
    pub(crate) selection: String,
    /// Why this tool is, or is not, in it
    #[arg(long, value_name = "ID")]
    pub(crate) tool: Option<String>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Tools {
    /// List the tools in the catalog
    List {
        /// Only tools of this upstream; may be repeated
        #[arg(long = "upstream", short = 'u', value_name = "ID")]
        upstreams: Vec<String>,
        #[command(flatten)]
        output: Output,
    },
    /// Show everything about some tools
    Show {
        /// Which, as upstream:tool
        #[arg(required = true, value_name = "ID")]
        ids: Vec<String>,
        #[command(flatten)]
        output: Output,
    },
    /// Put a tool aside until it is released
    Quarantine(Decide),
    /// Take a tool back: for a day it is called whatever its calls say
    Release(Decide),
    /// Show definitions that changed and wait, and approve them
    ///
    /// Without anything: what waits. With ids, --upstream or --all: what changed, word by word, and whether to approve it.
    Approve(Approve),
    /// Call a tool
    Call {
        /// Which, as upstream:tool
        #[arg(value_name = "ID")]
        id: String,
        /// Its arguments as a JSON object; @FILE reads a file, - standard input
        #[arg(value_name = "JSON", conflicts_with = "args")]
        arguments: Option<String>,
        /// One argument; may be repeated. VALUE is read as the type that the tool wants
        #[arg(long = "arg", short = 'a', value_name = "NAME=VALUE")]
        args: Vec<String>,
        /// The selection that led here
        #[arg(long, value_name = "SELECTION")]
        selection: Option<String>,
        /// Confirm a call that the policy wants confirmed
        #[arg(long)]
        confirm: bool,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Decide {
    /// Which, as upstream:tool
    #[arg(value_name = "ID")]
    pub(crate) id: String,
    /// Why, for whoever asks later
    #[arg(long, value_name = "TEXT")]
    pub(crate) reason: Option<String>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct Approve {
    /// Which, as upstream:tool
    #[arg(value_name = "ID")]
    pub(crate) ids: Vec<String>,
    /// Whatever waits of this upstream; may be repeated
    #[arg(long = "upstream", short = 'u', value_name = "ID")]
    pub(crate) upstreams: Vec<String>,
    /// Whatever waits
    #[arg(long, conflicts_with_all = ["ids", "upstreams"])]
    pub(crate) all: bool,
    /// Only show what changed
    #[arg(long)]
    pub(crate) diff: bool,
    /// Approve without asking. Where nobody can be asked, nothing is approved without it
    #[arg(long, short = 'y', conflicts_with = "diff")]
    pub(crate) yes: bool,
    /// Approve only the definition with this hash, or the beginning of one: what was looked at before
    #[arg(long, value_name = "HASH", requires = "ids")]
    pub(crate) hash: Option<String>,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Upstreams {
    /// List the configured upstreams and how they are
    List(Output),
    /// Add one to the configuration: `add files -- npx -y @modelcontextprotocol/server-filesystem .`,
    /// `add docs --url https://docs.example.org/mcp`, or a well-known one by name: `add time`
    Add(Add),
    /// Take one out of the configuration
    Remove {
        /// Which
        name: String,
        #[command(flatten)]
        output: Output,
    },
    /// Copy upstreams from another program's file into the configuration
    Import {
        /// A file, or claude-desktop, claude-code, cursor, vscode, gemini, codex, windsurf
        source: String,
        /// Only show what would be written
        #[arg(long)]
        dry_run: bool,
        #[command(flatten)]
        output: Output,
    },
    /// Connect to each and show whether it works
    Check {
        /// Which [default: all]
        upstreams: Vec<String>,
        #[command(flatten)]
        output: Output,
    },
}

#[derive(Debug, Args)]
pub(crate) struct Add {
    /// A name of your choice, of a-z, 0-9 and -
    pub(crate) name: String,
    /// The address of an HTTP server, or the program of a stdio server and its arguments after --
    #[arg(trailing_var_arg = false, value_name = "URL | -- COMMAND ARGS…")]
    pub(crate) target: Vec<String>,
    /// The address of an HTTP server
    #[arg(long, value_name = "URL")]
    pub(crate) url: Option<String>,
    /// How to speak to it [default: stdio for a command; for an address http, and sse where that fails]
    #[arg(long, short = 't', value_enum)]
    pub(crate) transport: Option<AddTransport>,
    /// A variable for its environment; write ${VAR} to keep a secret out of the file. May be repeated
    #[arg(long, short = 'e', value_name = "NAME=VALUE")]
    pub(crate) env: Vec<String>,
    /// A header of every request. May be repeated
    #[arg(long, short = 'H', value_name = "NAME: VALUE")]
    pub(crate) header: Vec<String>,
    /// A tag for all its tools. May be repeated
    #[arg(long, value_name = "TAG")]
    pub(crate) tag: Vec<String>,
    /// Which file to write: the user's, or toolscout.toml in this folder [default: the one that would be read, else the user's]
    #[arg(long, short = 's', value_enum)]
    pub(crate) scope: Option<AddScope>,
    /// Replace an upstream of the same name
    #[arg(long)]
    pub(crate) force: bool,
    #[command(flatten)]
    pub(crate) output: Output,
}

/// Which file to write, in the words of `claude mcp add`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AddScope {
    /// This folder's file.
    Local,
    /// The user's file.
    User,
    /// This folder's file too: there is one for both.
    Project,
}

/// How to speak to a server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub(crate) enum AddTransport {
    /// A program's standard streams.
    Stdio,
    /// Streamable HTTP.
    Http,
    /// HTTP with server-sent events, as servers before 2025 have it.
    Sse,
}

#[derive(Debug, Subcommand)]
pub(crate) enum CatalogCommand {
    /// Fill the catalog from a tools.jsonl, without any server
    Import {
        /// The file; - reads standard input
        file: PathBuf,
        #[command(flatten)]
        output: Output,
    },
    /// Write every tool as a line of JSON
    Export {
        /// The file [default: standard output]
        file: Option<PathBuf>,
    },
}

#[derive(Debug, Subcommand)]
pub(crate) enum Models {
    /// Show the models there are
    List(Output),
    /// Load the configured model, check its files and try it
    Verify(Output),
}

#[derive(Debug, Subcommand)]
pub(crate) enum ConfigCommand {
    /// Print a file with every setting and its default
    Example,
    /// Check the configuration and say where it comes from
    Check(Output),
}

#[derive(Debug, Subcommand)]
pub(crate) enum Eval {
    /// Measure arms on a set of labelled queries
    Run(Box<EvalRun>),
    /// Compare two reports
    Compare(EvalCompare),
    /// Make one page and one picture of several reports
    Leaderboard(EvalLeaderboard),
    /// Ask recorded searches again under another configuration, and show what would change
    Replay(EvalReplay),
}

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// The tools, as tools.jsonl; several files are put together
    #[arg(long, value_name = "FILE", required = true, num_args = 1..)]
    pub(crate) catalog: Vec<PathBuf>,
    /// The queries, as queries.jsonl
    #[arg(long, value_name = "FILE")]
    pub(crate) queries: PathBuf,
    /// At most this many queries
    #[arg(short, default_value_t = 400, value_name = "N")]
    pub(crate) n: usize,
    #[command(flatten)]
    pub(crate) output: Output,
}

#[derive(Debug, Args)]
pub(crate) struct EvalRun {
    /// A suite file (TOML) that names servers and queries; the servers are set up and asked for their tools
    #[arg(conflicts_with_all = ["catalog", "queries"])]
    pub(crate) suite: Option<PathBuf>,
    /// The tools, as tools.jsonl
    #[arg(long, value_name = "FILE", required_unless_present = "suite")]
    pub(crate) catalog: Option<PathBuf>,
    /// Another catalog whose tools are put in the way, as tools.jsonl. May be repeated
    #[arg(long, value_name = "FILE")]
    pub(crate) distractors: Vec<PathBuf>,
    /// The labelled queries, as queries.jsonl
    #[arg(long, value_name = "FILE", required_unless_present = "suite")]
    pub(crate) queries: Option<PathBuf>,
    /// Ranking variants, separated by commas; also the groups ablations, peers and all
    #[arg(long, value_delimiter = ',', value_name = "ARM,…")]
    pub(crate) arms: Vec<String>,
    /// The set's name in the report [default: from the file's name]
    #[arg(long, value_name = "NAME")]
    pub(crate) set: Option<String>,
    /// Only queries of these slices, separated by commas
    #[arg(long, value_delimiter = ',', value_name = "SLICE,…")]
    pub(crate) slices: Vec<String>,
    /// Tools each arm is asked for [default: 10]
    #[arg(long, value_name = "N")]
    pub(crate) k: Option<usize>,
    /// Seed of the intervals; ranking has none
    #[arg(long, value_name = "N", default_value_t = 0)]
    pub(crate) seed: u64,
    /// A folder that keeps the vectors of tools from run to run
    #[arg(long, value_name = "DIR")]
    pub(crate) cache: Option<PathBuf>,
    /// Leave times out of the report, so that the same inputs give the same bytes
    #[arg(long)]
    pub(crate) no_latency: bool,
    /// Where to write the report as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Where to write the report as a page
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// Write what the learned ranker sees of every candidate, for training it, and measure nothing.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["json", "html", "baseline"])]
    pub(crate) features: Option<PathBuf>,
    /// An earlier report; fail if a decisive figure is clearly worse than there
    #[arg(long, value_name = "FILE")]
    pub(crate) baseline: Option<PathBuf>,
}

#[derive(Debug, Args)]
pub(crate) struct EvalCompare {
    /// The earlier report
    pub(crate) before: PathBuf,
    /// The later report
    pub(crate) after: PathBuf,
    /// Where to write the comparison as JSON
    #[arg(long, value_name = "FILE")]
    pub(crate) json: Option<PathBuf>,
    /// Queries that moved most, to show each way
    #[arg(long, default_value_t = 5)]
    pub(crate) moved: usize,
}

#[derive(Debug, Args)]
pub(crate) struct EvalLeaderboard {
    /// Reports of `eval run --json`, a column each
    #[arg(required = true, value_name = "REPORT")]
    pub(crate) reports: Vec<PathBuf>,
    /// Where to write the page as Markdown [default: standard output]
    #[arg(long, value_name = "FILE")]
    pub(crate) out: Option<PathBuf>,
    /// Where to write the picture
    #[arg(long, value_name = "FILE")]
    pub(crate) svg: Option<PathBuf>,
    /// Where to write a page with every report in full
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
    /// The commit that was measured [default: what git says here]
    #[arg(long, value_name = "HASH", env = "GITHUB_SHA")]
    pub(crate) commit: Option<String>,
    /// The day of the measurement [default: today]
    #[arg(long, value_name = "YYYY-MM-DD")]
    pub(crate) date: Option<String>,
    /// The machine of the measurement, in words [default: this one]
    #[arg(long, value_name = "TEXT")]
    pub(crate) machine: Option<String>,
}

#[derive(Debug, Args)]
pub(crate) struct EvalReplay {
    /// The newest so many of the recorded searches. Only those whose words were kept (search.store_queries) can be asked again
    #[arg(long, value_name = "N", default_value_t = 1000)]
    pub(crate) last: usize,
    /// Which of our arms answers, as in eval run. Model and policy are those of the configuration
    #[arg(long, value_name = "ARM", default_value = "hybrid")]
    pub(crate) arm: String,
    /// Weight of meaning against words, 0 to 1
    #[arg(long, value_name = "WEIGHT")]
    pub(crate) dense_weight: Option<f64>,
    /// Confidence below which nothing is selected, 0 to 1
    #[arg(long, value_name = "CONFIDENCE")]
    pub(crate) abstain_below: Option<f64>,
    /// Tools of an answer [default: as many as were asked for]
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u16).range(1..=50))]
    pub(crate) limit: Option<u16>,
    /// Differences to show
    #[arg(long, value_name = "N", default_value_t = 10)]
    pub(crate) show: usize,
    #[command(flatten)]
    pub(crate) output: Output,
}
