"""Training pairs: a query, the card it means, and a card of the same server that it does not mean.

Reads labelled sets (`tools.jsonl`, `queries.jsonl`, the eval format) and catalogs (`tools.jsonl` alone). From a catalog it makes
pairs itself: a sentence of a description is the query, the card without that sentence is what it should find.
Leaves out every tool that `exclude_from_training.sha256` names, and every tool of the sets that are kept for measuring.

`written.jsonl` beside this file holds requests that we wrote for tools of the catalogs, which are named by their ids; `misses.jsonl` holds
near misses: requests that sound like a server's, and that none of its tools can do.
"""

import hashlib
import json
import pathlib
import random
import re

MAX_DESCRIPTION = 800  # characters; as `card_text` in crates/index/src/text.rs
MAX_PARAMS = 16

# Set → share of a batch. The hand-written pairs are the best there are; the rest keeps the model broad.
MIX = {
    "written": 0.46,
    "authored_train": 0.26,
    "self-made": 0.10,
    "sealtools": 0.04,
    "toollinkos": 0.04,
    "metatool": 0.05,
    "bfcl": 0.03,
    "toolalpaca": 0.02,
}
HERE = pathlib.Path(__file__).parent
# How often the other card is one that the model itself took for the right one, where such are known (mine.py).
MINED_SHARE = 0.6
CATALOGS = ["toucan", "toolgym", "mcphub", "docker", "mcp_zero"]
# No tool of these is trained on: they measure.
MEASURED = ["sets/azure_mcp", "sets/mcpproxy_golden", "sets/toolbench_stable", "catalogs/real81"]
# One server in so many of the hand-written set is kept for measuring.
HELD_OUT_EVERY = 7


def rows(path):
    with open(path, encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def is_held_out(server):
    """One server in HELD_OUT_EVERY, by its name alone."""
    return int(hashlib.sha256(server.encode()).hexdigest(), 16) % HELD_OUT_EVERY == 0


def catalog_tools(data):
    """Catalog/id → tool, of all catalogs."""
    found = {}
    for name in CATALOGS:
        for tool in rows(pathlib.Path(data) / "catalogs" / name / "tools.jsonl"):
            found[tool["id"] if tool["id"].startswith(name + "/") else f"{name}/{tool['id']}"] = tool
    return found


def key(tool):
    """The key that the exclusion list hashes."""
    name = re.sub(r"\W", "", tool["name"].lower())
    description = re.sub(r"\W+", " ", (tool.get("description") or "").lower()).strip()
    return f"{name}|{description}"


def name_words(name):
    name = re.sub(r"([a-z0-9])([A-Z])", r"\1 \2", name)
    name = re.sub(r"([A-Z]+)([A-Z][a-z])", r"\1 \2", name)
    return " ".join(re.split(r"[^0-9A-Za-z\u0080-\uffff]+", name)).strip().lower()


def params_of(tool):
    schema = tool.get("input_schema")
    properties = schema.get("properties") if isinstance(schema, dict) else None
    return [p.replace("_", " ") for p in list(properties)[:MAX_PARAMS]] if isinstance(properties, dict) else []


def card_text(tool, description=None, with_server=True, with_params=True):
    """What the index embeds of a card: the twin of `card_text` in crates/index/src/text.rs."""
    server = re.sub(r"[^a-z0-9]+", " ", (tool.get("server") or "tools").lower()).strip() or "tools"
    text = (f"{server}: " if with_server else "") + name_words(tool["name"])
    title = tool.get("title") or ""
    if title and title.lower() != name_words(tool["name"]):
        text += f" ({title})"
    description = (tool.get("description") or "") if description is None else description
    text += ". " + description[:MAX_DESCRIPTION]
    names = params_of(tool)
    if names and with_params:
        text += " Parameters: " + ", ".join(names)
    return text[:1200]


class Pairs:
    """Draws batches. Everything it draws follows from the seed."""

    def __init__(self, data, seed, mined=None):
        self.mined = json.loads(pathlib.Path(mined).read_text()) if mined else {"queries": {}, "misses": {}}
        self.random = random.Random(seed)
        data = pathlib.Path(data)
        excluded = set((data / "exclude_from_training.sha256").read_text().split())
        measured = {key(tool) for name in MEASURED for tool in rows(data / name / "tools.jsonl")}
        self.n_excluded = 0

        def allowed(tool):
            k = key(tool)
            out = k in measured or hashlib.sha256(k.encode()).hexdigest() in excluded
            self.n_excluded += out
            return not out

        self.sets, self.held_out = {}, None
        for name in MIX:
            if name in ("self-made", "written"):
                continue
            tools = {tool["id"]: tool for tool in rows(data / "sets" / name / "tools.jsonl")}
            queries = [q for q in rows(data / "sets" / name / "queries.jsonl") if q["relevant"]]
            if name == "metatool":
                queries = [q for q in queries if q.get("slice") == "train"]
            if name == "authored_train":
                held = {s for s in {t["server"] for t in tools.values()} if is_held_out(s)}
                self.held_out = (tools, [q for q in queries if tools[q["relevant"][0]]["server"] in held])
                queries = [q for q in queries if tools[q["relevant"][0]]["server"] not in held]
            good = {i for i, tool in tools.items() if allowed(tool)}
            queries = [(q["query"], set(q["relevant"])) for q in queries if all(i in good for i in q["relevant"])]
            self.sets[name] = (tools, queries, by_server(tools, good))
        everything = catalog_tools(data)
        good = {i for i, tool in everything.items() if allowed(tool)}
        lines = [line for line in rows(HERE / "written.jsonl") if line["tool"] in good]
        asked = [(q, {line["tool"]}, everything[line["tool"]]["server"]) for line in lines for q in line["queries"]]
        self.sets["written"] = (everything, [(q, r) for q, r, server in asked if not is_held_out(server)], by_server(everything, good))
        self.written_held_out = [(q, r) for q, r, server in asked if is_held_out(server)]
        missed = [(q, line["tool"], everything[line["tool"]]["server"]) for line in rows(HERE / "misses.jsonl") for q in line["queries"] if line["tool"] in good]
        self.misses = [(q, tool) for q, tool, server in missed if not is_held_out(server)]
        self.misses_held_out = [(q, tool) for q, tool, server in missed if is_held_out(server)]
        self.catalog = []
        seen = set()
        held_names = {tool["server"] for tool in self.held_out[0].values() if tool["server"] in held} | {t["server"] for t in everything.values() if is_held_out(t.get("server") or "")}
        for name in CATALOGS:
            for tool in rows(data / "catalogs" / name / "tools.jsonl"):
                k = key(tool)
                if k not in seen and tool.get("server") not in held_names and len(sentences(tool)) >= 1 and allowed(tool):
                    seen.add(k)
                    self.catalog.append(tool)
        self.siblings = by_server({i: t for i, t in enumerate(self.catalog)}, range(len(self.catalog)))

    def describe(self):
        counts = {name: len(queries) for name, (_, queries, _) in self.sets.items()}
        kept = {"held out": len(self.held_out[1]) + len(self.written_held_out), "misses": len(self.misses), "misses held out": len(self.misses_held_out)}
        return {**counts, "self-made": len(self.catalog), **kept, "tools excluded": self.n_excluded}

    def batch(self, n):
        """n times (query, card, other card or None, keys that the query must not be pushed away from)."""
        names = self.random.choices(list(MIX), list(MIX.values()), k=n)
        return [self.self_made() if name == "self-made" else self.labelled(name) for name in names]

    def labelled(self, name):
        tools, queries, servers = self.sets[name]
        query, relevant = self.random.choice(queries)
        tool = tools[self.random.choice(sorted(relevant))]
        mined = self.mined["queries"].get(query)
        if mined and self.random.random() < MINED_SHARE:
            near = [i for i in mined if i in tools]
        else:
            near = [i for i in servers.get(tool.get("server"), []) if i not in relevant]
        other = tools[self.random.choice(near)] if near else None
        return self.roughen(query), self.vary(tool), other and self.vary(other), {key(tools[i]) for i in relevant}, key(tool), other and key(other)

    def near_misses(self, n):
        """n times (a request that no tool of a server can do, the card of that server that is taken for it most easily)."""
        tools, _, servers = self.sets["written"]
        drawn = []
        for query, tool in self.random.choices(self.misses, k=n) if self.misses else []:
            near = self.mined["misses"].get(query) or servers[tools[tool]["server"]]
            drawn.append((query, self.vary(tools[self.random.choice(near[:3])])))
        return drawn

    def self_made(self):
        at = self.random.randrange(len(self.catalog))
        tool = self.catalog[at]
        parts = sentences(tool)
        query = self.random.choice(parts)
        description = tool["description"]
        if len(parts) > 1 or self.random.random() < 0.6:
            description = description.replace(query, " ", 1)
        near = [i for i in self.siblings.get(tool.get("server"), []) if i != at]
        other = self.catalog[self.random.choice(near)] if near else None
        return query[:300], self.vary(tool, description), other and self.vary(other), {key(tool)}, key(tool), other and key(other)

    def vary(self, tool, description=None):
        return card_text(tool, description, self.random.random() < 0.85, self.random.random() < 0.8)

    def roughen(self, query):
        """Now and then a slip of the keyboard: one pair of letters in the wrong order, or one letter missing."""
        if self.random.random() < 0.92 or len(query) < 12:
            return query
        at = self.random.randrange(1, len(query) - 2)
        swapped = query[:at] + query[at + 1] + query[at] + query[at + 2 :]
        return swapped if self.random.random() < 0.6 else query[:at] + query[at + 1 :]


def by_server(tools, ids):
    servers = {}
    for i in sorted(ids):
        if tools[i].get("server"):
            servers.setdefault(tools[i]["server"], []).append(i)
    return servers


def sentences(tool):
    text = tool.get("description") or ""
    parts = [part.strip() for part in re.split(r"(?<=[.!?])\s+|\n+", text[:MAX_DESCRIPTION])]
    return [part for part in parts if 4 <= len(part.split()) <= 40]
