#!/usr/bin/env python3
"""Which cards does a model take for the right one? Per query of the hand-written sets, the wrong cards nearest to it; per near miss,
the nearest cards of its server.

    /tmp/train/bin/python mine.py --data DATA --base WHEEL --tuned tuned2.safetensors --mix 0.7 --out mined.json

A card that says nearly the same as the right one is left out, and so is one that stands as near as it: catalogs hold many
servers for the same product, and a model must not learn that one of two right answers is wrong.
"""

import argparse
import json
import pathlib
import random

from safetensors.torch import load_file

import bert
import data
from measure import encode
from train import CARD_TOKENS, QUERY_TOKENS

SETS = ["written", "authored_train"]
N_LOOKED, N_KEPT = 30, 6
# Cosine to the right card from which a card may mean the same.
TWIN = 0.82


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--data", required=True)
    a.add_argument("--base", required=True)
    a.add_argument("--tuned", required=True)
    a.add_argument("--mix", type=float, default=0.7)
    a.add_argument("--tools", type=int, default=9000, help="how many other tools stand beside those that are asked for")
    a.add_argument("--out", type=pathlib.Path, required=True)
    a = a.parse_args()
    base, tokenizer = bert.read_wheel(a.base)
    model = bert.mixture(base, load_file(a.tuned), a.mix)
    pairs = data.Pairs(a.data, 1)
    queries, misses = {}, {}
    for name in SETS:
        tools, asked, servers = pairs.sets[name]
        right = {i for _, relevant in asked for i in relevant}
        if name == "written":
            right |= {i for _, tool in pairs.misses for i in servers[tools[tool]["server"]]}
        good = sorted(i for ids in servers.values() for i in ids if i not in right and not data.is_held_out(tools[i].get("server") or ""))
        ids = sorted(right) + random.Random(1).sample(good, min(a.tools, len(good)))
        place = {i: n for n, i in enumerate(ids)}
        cards, _ = encode(model, tokenizer, [data.card_text(tools[i]) for i in ids], CARD_TOKENS)
        texts = [q for q, _ in asked]
        vectors, _ = encode(model, tokenizer, texts, QUERY_TOKENS)
        for start in range(0, len(texts), 256):
            scores = vectors[start : start + 256] @ cards.T
            for (query, relevant), row in zip(asked[start : start + 256], scores):
                known = [place[i] for i in relevant]
                best = max(row[n] for n in known)
                near = row.topk(N_LOOKED).indices
                alike = (cards[near] @ cards[known].T).amax(1)
                kept = [ids[n] for n, twin in zip(near.tolist(), alike) if n not in known and twin < TWIN and row[n] < 0.97 * best]
                queries[query] = kept[:N_KEPT]
        if name == "written":
            vectors, _ = encode(model, tokenizer, [q for q, _ in pairs.misses], QUERY_TOKENS)
            for (query, tool), vector in zip(pairs.misses, vectors):
                own = servers[tools[tool]["server"]]
                scores = cards[[place[i] for i in own]] @ vector
                misses[query] = [own[n] for n in scores.argsort(descending=True)[:3].tolist()]
        print(f"{name}: {len(texts)} queries over {len(ids)} tools", flush=True)
    a.out.write_text(json.dumps({"queries": queries, "misses": misses}))
    print(f"{sum(map(bool, queries.values()))} of {len(queries)} queries have such cards → {a.out}")


if __name__ == "__main__":
    main()
