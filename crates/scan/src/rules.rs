//! What texts are looked through for: a table of forms that attacks have had.
//!
//! A rule runs only on texts that hold one of its triggers, so a text without any costs one pass. Patterns are matched against
//! folded text (see `text::fold`), so they are plain lower case with single spaces.

use std::sync::LazyLock;

use aho_corasick::AhoCorasick;
use regex::Regex;
use unicode_normalization::UnicodeNormalization as _;

use crate::Kind::{CrossTool, Instructions, SecretRequest, Smuggling};
use crate::Severity::{High, Low, Medium};
use crate::text::looks_like;
use crate::{Kind, Severity, tongues};

/// One form.
pub(crate) struct Rule {
    pub(crate) kind: Kind,
    pub(crate) severity: Severity,
    /// Words without which the pattern cannot match.
    triggers: &'static [&'static str],
    pattern: &'static str,
    /// Whether it speaks of what a parameter asks for, and of no other text.
    pub(crate) of_params: bool,
    pub(crate) why: &'static str,
}

const fn rule(
    kind: Kind,
    severity: Severity,
    triggers: &'static [&'static str],
    pattern: &'static str,
    why: &'static str,
) -> Rule {
    Rule { kind, severity, triggers, pattern, of_params: false, why }
}

/// As [`rule`], for texts of parameters alone.
const fn of_params(
    kind: Kind,
    severity: Severity,
    triggers: &'static [&'static str],
    pattern: &'static str,
    why: &'static str,
) -> Rule {
    Rule { of_params: true, ..rule(kind, severity, triggers, pattern, why) }
}

/// Places where secrets lie. Examples and documentation name some of them too, so a verb has to stand before.
const SECRET_PLACES: &[&str] = &[
    ".ssh",
    "id_rsa",
    "id_ed25519",
    ".aws",
    "/etc/shadow",
    "mcp.json",
    ".netrc",
    ".git-credentials",
    ".gnupg",
    ".kube/config",
    "claude_desktop_config",
    ".bash_history",
    ".zsh_history",
    "wallet.dat",
    ".env",
];

pub(crate) static RULES: [Rule; 32] = [
    rule(
        Instructions,
        High,
        &["ignore", "disregard", "forget"],
        r"\b(?:ignore|disregard|forget)(?: (?:all|any|the|your|of|my|these|those|previous|prior|above|earlier|preceding|other|existing|system|safety)){1,6} (?:instructions?|prompts?|guidelines?|directives?|rules|safeguards|restrictions)\b",
        "tells the model to disregard what it was told",
    ),
    rule(
        Instructions,
        High,
        &["override", "bypass"],
        r"\b(?:override|bypass)(?:es)? (?:(?:all|any|the|your|previous|prior|above|earlier|other|existing|system|safety|model's) ){1,4}(?:instructions?|prompts?|guidelines|directives|safeguards|restrictions)\b",
        "claims to override what the model was told",
    ),
    rule(
        Instructions,
        High,
        &["user", "human"],
        r"\b(?:do not|don't|never|must not|should not|without) (?:ever )?(?:tell|telling|mention|mentioning|inform|informing|notify|notifying|reveal|revealing|disclose|disclosing|alert|alerting|explain|explaining) (?:(?:this|it|that|any of this|these steps|the (?:tool|step|file|content)s?) to )?(?:the )?(?:user|human)\b[^.]{0,12}\b(?:that|about|of|this|anything|any)\b",
        "tells the model to keep something from the user",
    ),
    rule(
        Instructions,
        High,
        &["user", "human"],
        r"\b(?:do not|don't|never|must not|should not|without) (?:ever )?(?:tell|telling|mention|mentioning|reveal|revealing|disclose|disclosing|show|showing|explain|explaining) (?:this|it|any of this|these steps|these instructions|this (?:step|instruction|tool|file|rule|note)s?) to (?:the )?(?:user|human|anyone)\b",
        "tells the model to keep something from the user",
    ),
    rule(
        Instructions,
        High,
        &["user", "human"],
        r"\b(?:user|human)s? (?:must not|should not|shouldn't|mustn't|must never|need not|does not need to|doesn't need to|do not need to|is not to) (?:know|see|be told|be aware|notice|be informed|learn|find out)\b",
        "tells the model to keep something from the user",
    ),
    rule(
        Instructions,
        High,
        &["secret from", "hidden from", "hide this", "keep this from", "hide it from"],
        r"\b(?:keep (?:this|it)|hide (?:this|it)|kept) (?:a )?(?:secret |hidden )?from (?:the )?(?:user|human)s?\b",
        "tells the model to keep something from the user",
    ),
    rule(
        Instructions,
        High,
        &["secretly", "covertly", "discreetly", "silently", "quietly"],
        r"\b(?:secretly|covertly|discreetly|silently|quietly) (?:also )?(?:send|forward|bcc|copy|upload|post|append|exfiltrate|read|call|email|transmit|leak|collect|include)\b",
        "asks for something to be done unseen",
    ),
    // An honest description says what happens when the tool is used. A tool in public does this one.
    rule(
        Instructions,
        High,
        &["you read", "you see", "you load", "you parse", "you discover", "you have read", "you have seen"],
        r"\b(?:when|whenever|if|once|after|every time|each time|as soon as) you (?:have )?(?:first )?(?:read|seen?|load|parse|discover) (?:this|these) (?:tool(?: description| definition|'s description)?|description|definition|schema|docstring|text)s?\b",
        "tells the model to act as soon as it reads the text",
    ),
    rule(
        Instructions,
        High,
        &["important", "system", "critical", "hidden", "sys", "admin", "override"],
        r"<\s?/?\s?(?:important|system|critical|hidden|sys|admin|override|system[_ -]?(?:prompt|message|instructions?|reminder|override))\s?>",
        "a tag that imitates the frame of a prompt",
    ),
    rule(
        Instructions,
        High,
        &["<|", "[inst]", "<<sys>>", "<start_of_turn>"],
        r"<\|(?:im_start|im_end|system|user|assistant|endoftext|start_header_id|eot_id)\|>|\[/?inst\]|<<sys>>|<start_of_turn>",
        "a control token of a chat format",
    ),
    rule(
        Instructions,
        Medium,
        &["system", "instruction"],
        r"(?:^|[.!>#:] ?)(?:#{1,4} ?)?(?:system (?:message|note|notice|override|alert|instructions?)|new (?:system )?instructions?|hidden instructions?) ?:",
        "imitates a message of the system",
    ),
    rule(
        Instructions,
        Medium,
        &["you are now", "act as", "pretend", "developer mode"],
        r"\byou are now (?:an? |in |the |acting )|\b(?:act as|pretend to be|pretend you are) (?:an? )?(?:unrestricted|root|admin(?:istrator)?|system|jailbroken|different (?:ai|assistant|model))\b|\bdeveloper mode (?:is )?(?:on|enabled|activated)\b",
        "gives the model another role",
    ),
    rule(
        Instructions,
        Medium,
        &["this tool", "this function", "the tool", "any tool"],
        r"\b(?:before|prior to|in order to|when|whenever) (?:you )?(?:using|calling|invoking|running|use|call) (?:this|the|any) (?:tool|function)[^.]{0,60}\b(?:read|open|cat|load|access)\b[^.]{0,30}\b(?:files?|contents?|~|/etc|/home)\b",
        "wants a file read before it is used",
    ),
    rule(
        Instructions,
        Medium,
        &["without"],
        r"\bwithout (?:the )?(?:user's|users?) (?:knowledge|knowing|consent|noticing)|\bwithout (?:asking|telling|informing|notifying|alerting|the user knowing)(?: the)? (?:user|human)(?: about| of| that|\.|,)",
        "wants something done without the user",
    ),
    rule(
        Instructions,
        Medium,
        &["<!--"],
        r"<!--[^>]{0,300}\b(?:must|ignore|tool|user|important|instruction|secret|model|assistant|ai)\b",
        "a comment that readers do not see and models do",
    ),
    rule(
        Instructions,
        Low,
        &["this tool", "this function"],
        r"\b(?:always|must)(?: always)? (?:use|call|prefer|choose|invoke|select) (?:this|the) (?:tool|function)\b",
        "wants to be preferred",
    ),
    rule(
        SecretRequest,
        High,
        SECRET_PLACES,
        r"\b(?:read|open|cat|load|access|fetch|include|pass|send|provide|copy|paste|put|append|attach|get|extract|upload|contents? of|content of)\b[^.]{0,80}(?:~/\.ssh|\.ssh/(?:id_|config|authorized)|\bid_rsa\b|\bid_ed25519\b|~/\.aws|\.aws/credentials|/etc/shadow|\.cursor/mcp\.json|~/\.netrc|\.git-credentials|~/\.gnupg|~/\.kube/config|claude_desktop_config|\.bash_history|\.zsh_history|wallet\.dat)",
        "asks for a file in which secrets lie",
    ),
    rule(
        SecretRequest,
        High,
        &[".env"],
        r"\b(?:contents? of|read|include|pass|send|paste|append|attach|upload) (?:the |your |any |all |user's |project's |local ){0,3}[`'\x22]?\.env\b",
        "asks for a file in which secrets lie",
    ),
    rule(
        SecretRequest,
        High,
        &["system prompt", "system message", "initial prompt", "initial instructions", "system instructions"],
        r"\b(?:include|pass|send|provide|copy|paste|put|append|attach|write|repeat|output|reveal|print|return|insert|share|leak)\b[^.]{0,40}\b(?:your|full|entire|complete|whole|original|exact|verbatim|own)(?: [a-z]{1,12}){0,2} (?:system (?:prompt|message|instructions?)|initial (?:prompt|instructions))\b",
        "asks for what the model was told",
    ),
    rule(
        SecretRequest,
        Medium,
        &["api key", "credential", "password", "token", "secret", "environment variable", "private key", "cookie"],
        r"\b(?:include|pass|send|append|attach|put|paste|copy|collect|gather|upload|leak) (?:all |any |every )(?:of )?(?:the |your |available |user's |stored ){0,3}(?:api keys?|credentials?|passwords?|access tokens?|tokens|secrets|environment variables|private keys?|session cookies|cookies)\b",
        "asks for whatever secrets there are",
    ),
    of_params(
        SecretRequest,
        Low,
        &["private key", "seed phrase", "mnemonic", "recovery phrase"],
        r"\b(?:private key|seed phrase|mnemonic|recovery phrase)\b",
        "a parameter that takes a private key or what stands for one: it passes through the model's hands",
    ),
    rule(
        CrossTool,
        Medium,
        &["before"],
        r"\bbefore (?:using |calling |invoking |running |you (?:use|call|run) )?(?:any|every|all|each)(?: of)?(?: the)?(?: other)? (?:tools?|functions?)\b",
        "wants to come before every other tool",
    ),
    rule(
        CrossTool,
        Medium,
        &["all other tools", "any other tool", "other tools", "other servers"],
        r"\b(?:instead of|rather than|do not use|don't use|never use|avoid|ignore|disable|takes precedence over|overrides|supersedes)(?: using)? (?:all|any|every|the)? ?(?:other|another) (?:tools?|servers?|functions?)\b",
        "speaks against other tools",
    ),
    of_params(
        Smuggling,
        Medium,
        &["conversation", "chat", "dialogue", "context window"],
        r"\b(?:(?:the |your )?(?:entire|whole|full|complete)|verbatim)(?: (?:current|previous|prior|user|raw))? (?:conversation|chat|dialogue|context window)(?: history| log| transcript| context| so far)?\b",
        "a parameter that wants the whole conversation",
    ),
    of_params(
        Smuggling,
        Medium,
        &["you know about the user", "about the user", "previous tool", "other tool"],
        r"\b(?:everything|anything|all)(?: that)? you know about the user\b|\b(?:results?|outputs?|responses?) (?:of|from) (?:all |any |every |your )?(?:previous|prior|other|earlier) tools?\b",
        "a parameter that wants what it has no need of",
    ),
    of_params(
        Smuggling,
        Medium,
        &["chain of thought", "internal reasoning", "hidden reasoning"],
        r"\b(?:your|the model's|full|complete) (?:chain of thought|internal reasoning|hidden reasoning)\b",
        "a parameter that wants the model's own thoughts",
    ),
    rule(Instructions, High, tongues::OF_IGNORE, tongues::IGNORE, "tells the model to disregard what it was told"),
    rule(Instructions, High, tongues::OF_CONCEAL, tongues::CONCEAL, "tells the model to keep something from the user"),
    rule(Instructions, High, tongues::OF_UNSEEN, tongues::UNSEEN, "asks for something to be done unseen"),
    rule(Instructions, High, tongues::OF_TAG, tongues::TAG, "a tag that imitates the frame of a prompt"),
    rule(SecretRequest, High, tongues::OF_PROMPT, tongues::PROMPT, "asks for what the model was told"),
    rule(CrossTool, Medium, tongues::OF_FIRST, tongues::FIRST, "wants to come before every other tool"),
];

/// Triggers and patterns, compiled once.
pub(crate) struct Compiled {
    triggers: AhoCorasick,
    /// The rule of each trigger.
    rule_of: Vec<u8>,
    patterns: Vec<Regex>,
    mention: Regex,
}

pub(crate) static COMPILED: LazyLock<Compiled> = LazyLock::new(|| {
    let (mut words, mut rule_of): (Vec<String>, Vec<u8>) = (Vec::new(), Vec::new());
    for (rule, n) in RULES.iter().zip(0u8..) {
        words.extend(rule.triggers.iter().map(|word| plain(word)));
        rule_of.extend(rule.triggers.iter().map(|_| n));
    }
    // Folded text is plain enough for boundaries of ASCII words, which need no tables.
    let pattern =
        |pattern: &str| Regex::new(&plain(pattern).replace(r"\b", r"(?-u:\b)")).expect("a test compiles every pattern");
    Compiled {
        triggers: AhoCorasick::new(words).expect("a test builds the triggers"),
        rule_of,
        patterns: RULES.iter().map(|rule| pattern(rule.pattern)).collect(),
        mention: pattern(MENTION),
    }
});

/// A pattern or a word as folded text has it: in it a Cyrillic letter that looks like a Latin one is the Latin one.
fn plain(pattern: &str) -> String {
    pattern.nfkc().map(|c| if c.is_ascii() { c } else { looks_like(c).unwrap_or(c) }).collect()
}

/// Words that begin a sentence about when to use a tool, and a name that looks like a tool's: with a mark inside, or called one.
const MENTION: &str = r"\b(when|whenever|every time|each time|before|after|prior to|instead of|rather than|do not use|don't use|never use|avoid)(?: (?:you|using|calling|invoking|running|use|call|invoke|the|tool|function|mcp)){0,3} [`'\x22(]?(?:([a-z][a-z0-9]*(?:[_-][a-z0-9]+)+)[`'\x22)]?(?: tool| function)?|([a-z][a-z0-9]{3,63})[`'\x22)]? (?:tool|function)\b)((?: is| are| gets| will be)? (?:called|invoked|used|available|run|executed))?";

/// What a sentence says that changes how another tool is used.
const SHADOWS: [&str; 9] =
    ["must", "instead", "change", "replace", "redirect", "bcc", "side effect", "recipient", "also send"];
/// How far behind a mention that is looked for, in bytes.
const SHADOW_REACH: usize = 160;

/// A name that a text speaks of, in its folded form.
pub(crate) struct Spoken {
    pub(crate) name: String,
    pub(crate) range: std::ops::Range<usize>,
    pub(crate) is_shadowing: bool,
}

impl Compiled {
    /// The rules that match a folded text, with where; each once.
    pub(crate) fn matches(&self, folded: &str, is_param: bool) -> Vec<(&'static Rule, std::ops::Range<usize>)> {
        let mut tried = [false; RULES.len()];
        for found in self.triggers.find_overlapping_iter(folded) {
            tried[usize::from(self.rule_of[found.pattern().as_usize()])] = true;
        }
        let asked = (0..RULES.len()).filter(|n| tried[*n] && (is_param || !RULES[*n].of_params));
        asked.filter_map(|n| Some((&RULES[n], self.patterns[n].find(folded)?.range()))).collect()
    }

    #[cfg(test)]
    pub(crate) fn pattern(&self, rule: usize) -> &Regex {
        &self.patterns[rule]
    }

    /// The tool-like names that a folded text speaks of, at most `max`.
    pub(crate) fn mentions(&self, folded: &str, max: usize) -> Vec<Spoken> {
        // Most texts are ruled out by one look for what every such name needs.
        let has_name =
            folded.contains('_') || folded.contains('-') || folded.contains(" tool") || folded.contains(" function");
        if !has_name {
            return Vec::new();
        }
        let spoken = self.mention.captures_iter(folded).take(max).filter_map(|captures| {
            let name = captures.get(2).or(captures.get(3))?;
            let range = captures.get(0)?.range();
            let whenever = matches!(captures.get(1)?.as_str(), "when" | "whenever" | "every time" | "each time");
            let behind: String = folded[range.end..].chars().take(SHADOW_REACH).collect();
            let commands = SHADOWS.iter().any(|word| behind.contains(word));
            let is_shadowing = whenever && captures.get(4).is_some() && commands;
            Some(Spoken { name: name.as_str().to_owned(), range, is_shadowing })
        });
        spoken.collect()
    }
}
