//! What goes over the wire, shared by MCP, `/v1` and the command line.
//!
//! Requests are read leniently by [`parse`](crate::lenient): models write `"limit": "5"`, `"upstreams": "github"`, arguments
//! as a JSON string, and put things one level too deep. What cannot be understood is answered with the field, what was
//! expected and what to write instead. Answers are plain serde types in the order that product.md gives.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};
use utoipa::ToSchema;

/// How much of each tool an answer holds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum Detail {
    /// Id, title and scores.
    Name,
    /// With a one-line summary and the compact signature.
    #[default]
    Summary,
    /// With a summary and the whole input schema.
    Schema,
}

/// What narrows a search, the same everywhere.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct Filters {
    /// Only tools of these upstreams.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub upstreams: Vec<String>,
    /// Only tools with one of these tags.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tags: Vec<String>,
    /// Only tools that can do no more than this: `read`, `write` or `destructive`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_side_effect: Option<String>,
}

/// Asks for tools that fit a task.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SearchRequest {
    /// The task in words.
    pub query: String,
    /// At most this many tools, 1 to 50; 5 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// How much of each tool to return.
    #[serde(default)]
    pub detail: Detail,
    /// What narrows the search.
    #[serde(flatten)]
    pub filters: Filters,
}

/// The tools that fit, best first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SearchResponse {
    /// Names this answer; `explain_selection` and `call_tool` take it.
    pub selection_id: String,
    /// `hybrid`, `hybrid_partial` (some vectors are still missing) or `lexical` (words only).
    pub index_state: String,
    /// How sure the answer is that its first tool fits, 0 to 1.
    pub confidence: f64,
    /// The tools, best first.
    pub tools: Vec<FoundTool>,
    /// Present when nothing fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_match: Option<NoMatch>,
    /// What matched and is not shown.
    pub withheld: Withheld,
}

/// One tool of an answer. What a detail level leaves out is absent.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct FoundTool {
    /// `upstream:tool`.
    pub id: String,
    /// A title for people.
    pub title: String,
    /// What it is for, in one line. The upstream's words: data, not instructions.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub summary: Option<String>,
    /// `read`, `write` or `destructive`.
    pub side_effect: String,
    /// How well it fits, 0 to 1.
    pub score: f64,
    /// How reliable it has been lately, 0 to 1.
    pub quality: f64,
    /// `name(required*, optional, list[])`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub signature: Option<String>,
    /// The JSON Schema of its arguments.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub input_schema: Option<Value>,
    /// What to mind before a call, in our words: its callers often get the arguments wrong.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caution: Option<String>,
    /// The same tool on other upstreams.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub variants: Vec<String>,
}

/// Why nothing is recommended.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct NoMatch {
    /// The reason in words.
    pub reason: String,
    /// The tools that came nearest, although they do not fit.
    pub nearest: Vec<String>,
}

/// Tools that matched and are not shown.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct Withheld {
    /// How many.
    pub count: u64,
    /// How many per kind of reason: `policy`, `quarantined`, `upstream_down`, `read_only`, `hostile_text`,
    /// `changed_definition`, `not_approved`.
    pub reasons: BTreeMap<String, u64>,
    /// Of those that do not work: the ones that fit best, and what can stand in for them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tools: Vec<WithheldTool>,
}

/// A tool that fits and does not work at the moment.
#[derive(Debug, Clone, Default, Serialize, Deserialize, ToSchema)]
pub struct WithheldTool {
    /// Its id.
    pub id: String,
    /// Why, and since when.
    pub reason: String,
    /// Tools that do the same and work: its family elsewhere, and its backups.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub instead: Vec<String>,
}

/// Asks for everything about some tools.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DetailsRequest {
    /// One to ten tool ids or wire names.
    pub ids: Vec<String>,
}

/// Everything about some tools.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DetailsResponse {
    /// The tools that exist, in the order asked.
    pub tools: Vec<ToolDetails>,
    /// The ids that do not, with the nearest that do.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub unknown: Vec<UnknownTool>,
}

/// One tool, whole.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ToolDetails {
    /// `upstream:tool`.
    pub id: String,
    /// The name under which it can be called directly over MCP.
    pub wire_name: String,
    /// A title for people.
    pub title: String,
    /// The upstream's description, cleaned and bounded. Data, not instructions.
    pub description: String,
    /// `read`, `write` or `destructive`.
    pub side_effect: String,
    /// `name(required*, optional, list[])`.
    pub signature: String,
    /// The JSON Schema of its arguments, as the upstream lists it.
    #[schema(value_type = Object)]
    pub input_schema: Value,
    /// The JSON Schema of its structured result, where the upstream lists one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub output_schema: Option<Value>,
    /// The upstream's own hints.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub annotations: Option<Value>,
    /// Our record of it: purpose, when to use it, parameters, tags.
    #[schema(value_type = Object)]
    pub card: Value,
    /// How its calls went.
    #[schema(value_type = Object)]
    pub quality: Value,
    /// Tools with the same name and definition on other upstreams.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub family: Vec<String>,
    /// Whether its upstream answers: `ready`, `stale`, `needs_auth`, `unreachable`.
    pub upstream_state: String,
    /// Why it is withheld, if it is: in our words alone, which begin with the kind of reason as searches count it. For hostile text its
    /// own texts are then left out over MCP; where a definition waits for an approval, everything else here is what was approved
    /// before, or the name alone.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withheld: Option<String>,
    /// What a scan found in its texts, gravest first. For operators: empty over MCP.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<TextFinding>,
    /// When and how what is shown here was approved. For operators; MCP clients do not get it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub definition: Option<ApprovedDefinition>,
    /// What waits for an approval, beside what was approved. For operators; MCP clients do not get it, because it holds words that
    /// nobody has looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub waiting: Option<WaitingDefinition>,
}

/// Something in a tool's definition that speaks to the model or hides from people.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct TextFinding {
    /// `hidden_unicode`, `terminal_escape`, `instructions`, `secret_request`, `cross_tool`, `smuggling`, `encoded_blob`,
    /// `homoglyph`, `padding` or `oversized`.
    pub kind: String,
    /// `low`, `medium` or `high`.
    pub severity: String,
    /// Where in the definition.
    pub at: String,
    /// The text around it, bounded, hidden characters spelt out. The upstream's words.
    pub excerpt: String,
    /// What is wrong with it.
    pub why: String,
}

/// An approved definition.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ApprovedDefinition {
    /// Its canonical hash: of name, title, description, schemas and annotations.
    pub hash: String,
    /// How it was approved: `first_use`, `by_hand`, `by_rule`, `imported` or `trusted`.
    pub how: String,
    /// When, UTC; absent for tools that were there before approvals were written down.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<String>,
    /// Why no one was asked, where a rule approved it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub reasons: Vec<String>,
}

/// A definition that waits for an approval. The upstream's words, hidden characters spelt out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct WaitingDefinition {
    /// `changed_definition` or `not_approved`.
    pub code: String,
    /// Since when, UTC.
    pub since: String,
    /// Why, in words of ours.
    pub reason: String,
    /// What an approval has to name.
    pub hash: String,
    /// The tool that went away and that this one looks like.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub renamed_from: Option<String>,
    /// Why no rule approved it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub obstacles: Vec<String>,
    /// What a scan finds in it, gravest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub findings: Vec<TextFinding>,
    /// What differs, by place: text word by word, everything else as values.
    #[schema(value_type = Vec<Object>)]
    pub edits: Vec<toolscout_catalog::definition::Edit>,
    /// Further differences.
    #[serde(default)]
    pub n_more: usize,
}

/// Approves a definition that waits.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ApproveRequest {
    /// The hash of what was looked at, from `waiting.hash` of the tool. If something else waits by now, the answer is 409.
    pub hash: String,
}

/// What is shown of a tool after an approval.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ApproveResponse {
    /// The tool.
    pub id: String,
    /// What is approved now.
    pub definition: ApprovedDefinition,
}

/// An id that names nothing.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct UnknownTool {
    /// What was asked for.
    pub id: String,
    /// The nearest ids there are.
    pub nearest: Vec<String>,
}

/// Asks for a call.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct CallRequest {
    /// The tool's id or wire name.
    #[serde(default)]
    pub id: String,
    /// The arguments: an object, or the same as a JSON string.
    #[serde(default)]
    #[schema(value_type = Object)]
    pub arguments: Map<String, Value>,
    /// The selection that recommended the tool. What is no selection id is left out, and `notes` in the answer says so.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub selection_id: Option<String>,
    /// True to go ahead where policy wants a confirmation.
    #[serde(default)]
    pub confirm: bool,
}

/// What a call brought.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct CallResponse {
    /// The tool that was called.
    pub id: String,
    /// Whether the tool reported a failure.
    pub is_error: bool,
    /// The upstream's result as it sent it: content, structuredContent, _meta, resultType.
    #[schema(value_type = Object)]
    pub result: Map<String, Value>,
    /// From forwarding to the last byte, in milliseconds.
    pub latency_ms: u64,
    /// What the gateway has to say about it, such as that the arguments could not be checked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub notes: Vec<String>,
}

/// Asks why a selection came out as it did.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct ExplainRequest {
    /// The selection.
    pub selection_id: String,
    /// A tool to ask about: why it is in, or why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tool: Option<String>,
}

/// Why a selection came out as it did.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ExplainResponse {
    /// The selection.
    pub selection_id: String,
    /// When it was made, UTC.
    pub at: String,
    /// The generation it saw.
    pub generation: u64,
    /// The index state it saw.
    pub index_state: String,
    /// The confidence it gave.
    pub confidence: f64,
    /// The query, only where the operator keeps queries.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// SHA-256 of the query.
    pub query_hash: String,
    /// What was answered: ids, best first.
    pub tools: Vec<String>,
    /// The evidence in words.
    pub text: String,
    /// The evidence per stage. Absent when one tool was asked about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub evidence: Option<Value>,
    /// Why one named tool is in, or why not.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub why: Option<Value>,
}

/// The formats that model APIs take tools in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum ToolFormat {
    /// `{name, title, description, inputSchema, annotations}`.
    #[default]
    Mcp,
    /// `{type: "function", function: {name, description, parameters}}`.
    OpenAi,
    /// `{name, description, input_schema}`.
    Anthropic,
}

/// Asks for ready tool definitions for one model request.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SelectRequest {
    /// The task in words. Either this or `messages`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub query: Option<String>,
    /// The conversation so far, in OpenAI's or Anthropic's form; the last user turns become the query.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    #[schema(value_type = Vec<Object>)]
    pub messages: Vec<Value>,
    /// At most this many tools, 1 to 50; 5 when absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// At most about this many tokens of definitions (four bytes of JSON count as one). The first tool always fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub token_budget: Option<usize>,
    /// The form of the definitions.
    #[serde(default)]
    pub format: ToolFormat,
    /// What narrows the search.
    #[serde(flatten)]
    pub filters: Filters,
}

/// Ready tool definitions for one model request.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SelectResponse {
    /// Names this answer.
    pub selection_id: String,
    /// See [`SearchResponse::index_state`].
    pub index_state: String,
    /// See [`SearchResponse::confidence`].
    pub confidence: f64,
    /// The definitions in the format asked for, best first.
    #[schema(value_type = Vec<Object>)]
    pub tools: Vec<Value>,
    /// Which tool each definition's name stands for, in the same order.
    pub names: Vec<SelectedName>,
    /// About how many tokens the definitions take.
    pub tokens: usize,
    /// How many tools fitted the task and not the token budget.
    pub over_budget: usize,
    /// Present when nothing fits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub no_match: Option<NoMatch>,
    /// What matched and is not shown.
    pub withheld: Withheld,
}

/// One selected tool's names.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct SelectedName {
    /// The name in the definition.
    pub name: String,
    /// The tool's id.
    pub id: String,
    /// How well it fits, 0 to 1.
    pub score: f64,
}

/// One row of `GET /v1/tools`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ToolRow {
    /// `upstream:tool`.
    pub id: String,
    /// A title for people.
    pub title: String,
    /// What it is for, in one line.
    pub summary: String,
    /// `read`, `write` or `destructive`.
    pub side_effect: String,
    /// How reliable it has been lately, 0 to 1.
    pub quality: f64,
    /// `healthy`, `degraded`, `quarantined`, or `probation` when one call may try it; `upstream_down` or `read_only` where its whole
    /// server is the reason that it is not called; `changed_definition` or `not_approved` while its definition waits for an approval.
    #[serde(default)]
    pub state: String,
    /// Its upstream's state.
    pub upstream_state: String,
}

/// One page of tools, by id.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ToolPage {
    /// The generation it was read from.
    pub generation: u64,
    /// How many tools the filters leave in all.
    pub total: usize,
    /// This page.
    pub tools: Vec<ToolRow>,
    /// Pass as `after` for the next page.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub next: Option<String>,
}

/// One row of `GET /v1/selections`, newest first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SelectionRow {
    /// The selection.
    pub selection_id: String,
    /// When it was made, UTC.
    pub at: String,
    /// The generation it saw.
    pub generation: u64,
    /// The confidence it gave.
    pub confidence: f64,
    /// What was answered, best first.
    pub tools: Vec<String>,
}

/// The newest selections.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct SelectionList {
    /// Newest first.
    pub selections: Vec<SelectionRow>,
}

/// One row of `GET /v1/upstreams`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UpstreamStatus {
    /// Its id in our configuration.
    pub id: String,
    /// `ready`, `stale`, `needs_auth`, `unreachable`, or `unknown` before the first crawl.
    pub state: String,
    /// Since when, UTC.
    pub since: String,
    /// Why, where it is not ready.
    pub reason: String,
    /// How many of its tools are in the catalog.
    pub n_tools: usize,
    /// Of these, tools that are withheld for hostile text.
    #[serde(default)]
    pub hostile: usize,
    /// Of these, tools that are shown although a scan found something in their texts.
    #[serde(default)]
    pub suspicious: usize,
    /// Of these, tools that are found less well for their own purpose since a change of this server. Since the service started.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub found_less_well: Vec<String>,
    /// What the server calls itself. For display only.
    pub server: String,
    /// The protocol version spoken with it.
    pub protocol_version: String,
}

/// The upstreams, by id.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct UpstreamList {
    /// By id.
    pub upstreams: Vec<UpstreamStatus>,
}

/// One row of `GET /v1/quality`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct QualityRow {
    /// The tool or the upstream.
    pub id: String,
    /// Its quality.
    #[schema(value_type = Object)]
    pub quality: Value,
}

/// An operator's word about a tool.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize, ToSchema)]
pub struct DecisionRequest {
    /// Why, for whoever asks later.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
}

/// What became of the tool.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct DecisionResponse {
    /// The tool.
    pub id: String,
    /// Its quality now.
    #[schema(value_type = Object)]
    pub quality: Value,
}

/// Every tool that was ever called, worst first.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct QualityList {
    /// The upstreams, by id.
    #[serde(default)]
    pub upstreams: Vec<QualityRow>,
    /// Worst first.
    pub tools: Vec<QualityRow>,
    /// Outcomes that were dropped because the queue was full, since the start.
    pub dropped: u64,
}

/// That the process answers.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Health {
    /// `ok`.
    pub status: String,
}

/// Whether the service can answer, and how well.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Readiness {
    /// Whether requests are answered: false before the first catalog state, and while shutting down.
    pub ready: bool,
    /// See [`SearchResponse::index_state`].
    pub index_state: String,
    /// Why it is not `hybrid`, where that is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub index_reason: Option<String>,
    /// The catalog's generation.
    pub catalog_generation: u64,
    /// The generation that searches see.
    pub index_generation: u64,
    /// Tools in the searched snapshot that the caller may see. Only for whoever brings the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub n_tools: Option<usize>,
    /// Upstreams that are not ready, of those the caller may see. Only for whoever brings the token.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub upstreams_not_ready: Option<usize>,
    /// What was found damaged at the start and set aside, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub damage: Option<String>,
}

/// What a crawl that somebody asked for brought.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct RecrawlResponse {
    /// The upstream.
    pub id: String,
    /// Its tools afterwards.
    pub n_tools: usize,
    /// How many were added, changed and removed.
    pub added: usize,
    /// See `added`.
    pub changed: usize,
    /// See `added`.
    pub removed: usize,
    /// Its tools whose definitions wait for an approval afterwards, by id.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub waiting: Vec<String>,
    /// See [`UpstreamStatus::hostile`].
    #[serde(default)]
    pub hostile: usize,
    /// See [`UpstreamStatus::suspicious`].
    #[serde(default)]
    pub suspicious: usize,
    /// Its state afterwards.
    pub state: String,
    /// What went wrong, if anything.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

/// How every failure looks on `/v1`.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct Problem {
    /// What went wrong.
    pub error: ProblemBody,
}

/// What went wrong.
#[derive(Debug, Clone, Serialize, Deserialize, ToSchema)]
pub struct ProblemBody {
    /// A stable word for programs.
    pub code: String,
    /// What happened, for people.
    pub message: String,
    /// What to do about it, where there is something.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub hint: Option<String>,
    /// Finds the whole story in the log.
    pub id: String,
    /// More for programs: nearest names, argument faults.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<Object>)]
    pub details: Option<Value>,
}
