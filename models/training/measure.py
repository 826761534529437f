#!/usr/bin/env python3
"""How well does a model find tools by itself? Recall@5 / nDCG@10 of the pooled vectors, and of late interaction over the top 64.

    /tmp/train/bin/python measure.py --data DATA --base WHEEL --tuned tuned.safetensors --mix 0 0.5 0.7 1

`--mix`: how much of the tuned weights; 0 is the base model. Queries that were trained on are never asked here.
"""

import argparse
import pathlib
import random

import numpy as np
import torch
from safetensors.torch import load_file

import bert
import data
from train import CARD_TOKENS, QUERY_TOKENS, inner, late, tokens


def sets(folder, n_queries, n_tools):
    folder = pathlib.Path(folder)
    drawn = random.Random(3)
    for name in ["azure_mcp", "mcpproxy_golden", "metatool", "toolbench_stable"]:
        tools = data.rows(folder / "sets" / name / "tools.jsonl")
        queries = [q for q in data.rows(folder / "sets" / name / "queries.jsonl") if q["relevant"] and q.get("slice") != "train"]
        yield name, tools, drawn.sample(queries, min(n_queries, len(queries)))
    pairs = data.Pairs(folder, 1)
    tools, queries = pairs.held_out
    yield "authored, held out", list(tools.values()), drawn.sample(queries, min(n_queries, len(queries)))
    # Near misses among them: what must not look like an answer.
    everything, _, servers = pairs.sets["written"]
    tools = [{**everything[i], "id": i} for server, ids in sorted(servers.items()) if data.is_held_out(server) for i in ids]
    asked = [{"query": query, "relevant": sorted(relevant)} for query, relevant in pairs.written_held_out]
    missed = [{"query": query, "relevant": []} for query, _ in pairs.misses_held_out]
    yield "written, held out", tools, drawn.sample(asked, min(2 * n_queries, len(asked))) + missed


@torch.inference_mode()
def encode(model, tokenizer, texts, most):
    whole, short = [], []
    order = sorted(range(len(texts)), key=lambda i: len(texts[i]))
    for start in range(0, len(order), 16):
        ids, mask = tokens(tokenizer, [texts[i] for i in order[start : start + 16]], most)
        x = model(ids, mask)
        whole += list(bert.pooled(x, mask))
        keep = inner(mask)
        short += [row[k] for row, k in zip(late(model, x), keep)]
    places = np.argsort(order)
    return torch.stack([whole[i] for i in places]), [short[i] for i in places]


def told_apart(relevant, best):
    """How often the best score of a query that has an answer is above that of one that has none (area under the curve)."""
    good = np.array([b for r, b in zip(relevant, best) if r])
    bad = np.array([b for r, b in zip(relevant, best) if not r])
    return f"  told apart {(good[:, None] > bad[None, :]).mean():.3f}" if len(bad) else ""


def figures(relevant, best):
    relevant, best = zip(*[(r, b) for r, b in zip(relevant, best) if r])
    hits = [len(set(b[:5]) & r) / len(r) for r, b in zip(relevant, best)]
    gain = lambda n: sum(1 / np.log2(i + 2) for i in range(n))
    ndcg = [sum(1 / np.log2(i + 2) for i, b in enumerate(bs[:10]) if b in r) / gain(min(10, len(r))) for r, bs in zip(relevant, best)]
    return f"{np.mean(hits):.3f}/{np.mean(ndcg):.3f}"


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--data", required=True)
    a.add_argument("--base", required=True)
    a.add_argument("--tuned", required=True)
    a.add_argument("--mix", type=float, nargs="+", default=[0, 1])
    a.add_argument("--queries", type=int, default=300)
    a.add_argument("--only", default="")
    a = a.parse_args()
    base, tokenizer = bert.read_wheel(a.base)
    tuned = load_file(a.tuned)
    for name, tools, queries in sets(a.data, a.queries, 0):
        if a.only and name not in a.only.split(","):
            continue
        cards, asked = [data.card_text(tool) for tool in tools], [q["query"] for q in queries]
        relevant, ids = [set(q["relevant"]) for q in queries], [tool["id"] for tool in tools]
        for mix in a.mix:
            model = bert.mixture(base, tuned, mix)
            c, cl = encode(model, tokenizer, cards, CARD_TOKENS)
            q, ql = encode(model, tokenizer, asked, QUERY_TOKENS)
            cosines = q @ c.T
            near = cosines.argsort(dim=1, descending=True)
            dense = [[ids[i] for i in row[:10]] for row in near]
            by_late, best_late = [], []
            for i, row in enumerate(near):
                top = row[:64].tolist()
                score = [float((ql[i] @ cl[j].T).amax(1).mean()) if len(cl[j]) and len(ql[i]) else -1 for j in top]
                by_late.append([ids[j] for _, j in sorted(zip(score, top), reverse=True)])
                best_late.append(max(score))
            apart = [told_apart(relevant, one) for one in (cosines.amax(1).tolist(), best_late)]
            print(f"{name:20} mix {mix:.2f}  pooled {figures(relevant, dense)}{apart[0]}  late {figures(relevant, by_late)}{apart[1]}", flush=True)


if __name__ == "__main__":
    main()
