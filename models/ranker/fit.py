#!/usr/bin/env python3
"""Fits the learned ranker: ranker.json from what `toolscout eval run --features` wrote for several labelled sets.

    python3 -m venv /tmp/fit && /tmp/fit/bin/pip install numpy==2.4.6 scipy==1.17.1
    for set in …; do toolscout eval run --catalog $set/tools.jsonl --queries $set/queries.jsonl --features features/$set.jsonl; done
    /tmp/fit/bin/python fit.py --features features --sets azure_mcp,… --out ranker.json

Weights: maximum likelihood of the right tools under a softmax over a query's candidates (ListNet's top-one likelihood, Cao 2007),
every set of equal weight, with a ridge. `--held-out` fits without each set in turn and says how that set then fares, beside the
plain weighted sum: those are the figures to believe.

Confidence: a logistic function of a query's signs; right if the first tool is. Queries of the slice `foreign` have no right tool.
"""

import argparse
import json
import pathlib

import numpy as np
from scipy.optimize import minimize

# Features that need what is not there in the poorer cases.
TOKENS = ["tokens_rel", "tokens", "tokens_content", "tokens_name", "tokens_name_rel", "tokens_first", "tokens_long", "tokens_unknown", "tokens_multi"]
MEANING = ["meaning_rel", "cosine", "meaning_rank", "meaning_first", "meaning_long", "meaning_unknown", "meaning_multi", "upstream_middle"]


NAMES = []
N_SIGNS = 16
# Signs that need token vectors.
TOKEN_SIGNS = {2, 10, 11, 12, 13}
# Signs that are a feature of the first candidate.
OF_FIRST = {4: "words_abs", 5: "name_told", 9: "cosine", 10: "tokens", 13: "tokens_name", 14: "same_action", 15: "worse_action"}


class Query:
    def __init__(self, row):
        self.slice, self.n_relevant = row["slice"], row["n_relevant"]
        self.x = np.array([c[2] for c in row["candidates"]], dtype=np.float64).reshape(len(row["candidates"]), -1)
        self.y = np.array([c[1] for c in row["candidates"]], dtype=np.float64)
        self.signs = np.array(row["signs"] + [0.0] * (N_SIGNS - len(row["signs"])))

    def first(self, scores):
        return bool(len(scores)) and self.y[np.argmax(scores)] > 0

    def recall(self, scores, k):
        best = np.argsort(-scores, kind="stable")[:k]
        return self.y[best].sum() / self.n_relevant

    def ndcg(self, scores, k=10):
        best = np.argsort(-scores, kind="stable")[:k]
        gains = 1 / np.log2(np.arange(len(best)) + 2)
        return (self.y[best] * gains).sum() / (1 / np.log2(np.arange(min(k, self.n_relevant)) + 2)).sum()


def read(folder, sets):
    return {name: [Query(json.loads(line)) for line in open(folder / f"{name}.jsonl", encoding="utf-8")] for name in sets}


def fit(sets, names, off, ridge, shares=None):
    """One weight per feature; those of `off` stay 0."""
    keep = np.array([name not in off for name in names])
    parts = []
    shares = shares or {}
    total = sum(shares.get(name, 1.0) for name in sets)
    for name, queries in sets.items():
        good = [q for q in queries if q.y.sum() > 0]
        parts += [(q, shares.get(name, 1.0) / len(good) / total) for q in good]
    x = np.concatenate([q.x[:, keep] for q, _ in parts])
    starts = np.cumsum([0] + [len(q.x) for q, _ in parts])[:-1]
    owner = np.repeat(np.arange(len(parts)), [len(q.x) for q, _ in parts])
    y = np.concatenate([q.y / q.y.sum() for q, _ in parts])
    weight = np.array([w for _, w in parts])

    def loss(w):
        z = x @ w
        z -= np.maximum.reduceat(z, starts)[owner]
        e = np.exp(z)
        p = e / np.add.reduceat(e, starts)[owner]
        value = -(weight[owner] * y * np.log(np.maximum(p, 1e-300))).sum()
        return value + ridge * w @ w, x.T @ (weight[owner] * (p - y)) + 2 * ridge * w

    found = minimize(loss, np.zeros(keep.sum()), jac=True, method="L-BFGS-B", options={"maxiter": 400})
    weights = np.zeros(len(names))
    weights[keep] = found.x
    return weights


def signs(q, weights):
    """The signs as they are with these weights: some speak of the first candidate, the last of its lead."""
    own = q.signs.copy()
    if len(q.x):
        scores = q.x @ weights
        order = np.argsort(-scores, kind="stable")
        for at, name in OF_FIRST.items():
            own[at] = q.x[order[0], NAMES.index(name)]
        own[8] = (scores[order[0]] - scores[order[min(5, len(order) - 1)]]) / 5
    return own


def fit_confidence(sets, weights, off):
    keep = np.array([i not in off for i in range(len(next(iter(sets.values()))[0].signs))])
    x, y, w = [], [], []
    for queries in sets.values():
        answerable = [q for q in queries if q.n_relevant]
        foreign = [q for q in queries if not q.n_relevant]
        for part in (answerable, foreign):
            for q in part:
                x.append(signs(q, weights)[keep])
                y.append(float(q.first(q.x @ weights)))
                w.append(1.0 / len(part) / len(sets) / 2)
    x, y, w = np.array(x), np.array(y), np.array(w)

    def loss(b):
        z = x @ b
        p = 1 / (1 + np.exp(-z))
        value = (w * (np.logaddexp(0, z) - y * z)).sum() + 1e-4 * b[1:] @ b[1:]
        return value, x.T @ (w * (p - y)) + np.concatenate([[0], 2e-4 * b[1:]])

    found = np.zeros(len(keep))
    found[keep] = minimize(loss, np.zeros(keep.sum()), jac=True, method="L-BFGS-B").x
    return found


def figures(queries, score):
    answerable = [q for q in queries if q.n_relevant]
    s = [score(q) for q in answerable]
    mean = lambda f: float(np.mean([f(q, z) if len(z) else 0.0 for q, z in zip(answerable, s)]))
    return [mean(lambda q, z: q.recall(z, 1)), mean(lambda q, z: q.recall(z, 5)), mean(lambda q, z: q.ndcg(z))]


def main():
    a = argparse.ArgumentParser()
    a.add_argument("--features", type=pathlib.Path, required=True)
    a.add_argument("--sets", required=True)
    a.add_argument("--names", type=pathlib.Path, default=pathlib.Path(__file__).with_name("ranker.json"), help="a ranker.json with the features' names")
    a.add_argument("--out", type=pathlib.Path)
    a.add_argument("--ridge", type=float, default=3e-4)
    a.add_argument("--shares", default="", help="NAME=WEIGHT,… of sets that count less than one")
    a.add_argument("--held-out", action="store_true")
    a.add_argument("--confidence-only", action="store_true", help="keep the weights of --names, and fit the confidence to them")
    a.add_argument("--off", default="", help="features to do without")
    a = a.parse_args()
    known = json.loads(a.names.read_text())
    names = known["features"]
    NAMES.extend(names)
    sets = read(a.features, a.sets.split(","))
    has_tokens = any(q.x[:, names.index("tokens")].any() for queries in sets.values() for q in queries[:9] if len(q.x))
    shares = {name: float(share) for name, share in (one.split("=") for one in a.shares.split(",") if one)}
    off = set(filter(None, a.off.split(","))) | (set() if has_tokens else set(TOKENS))
    plain = np.array([{"meaning_rel": 0.6, "words_rel": 0.4}.get(name, 0.0) for name in names])
    whole = fit(sets, names, off, a.ridge, shares)
    print(f"{'R@1 / R@5 / nDCG@10':24} {'plain':>18} {'fitted':>18} {'without this set':>18}")
    for name, queries in sets.items():
        columns = [figures(queries, lambda q: q.x @ plain), figures(queries, lambda q: q.x @ whole)]
        if a.held_out:
            rest = fit({other: qs for other, qs in sets.items() if other != name}, names, off, a.ridge, shares)
            columns.append(figures(queries, lambda q: q.x @ rest))
        print(f"{name:24} " + " ".join(f"{r1:6.3f} {r5:5.3f} {n:5.3f}" for r1, r5, n in columns))
    for name, weight in zip(names, whole):
        print(f"  {name:18} {weight:8.3f}")
    if a.out:
        lexical_off = set(TOKENS) | set(MEANING)
        made = {"format": 1, "features": names, "sets": {}}
        cases = {"full": (off, set()), "hybrid": (off | set(TOKENS), TOKEN_SIGNS), "lexical": (off | lexical_off, TOKEN_SIGNS | {1, 9})}
        for case, (without, signs_off) in cases.items():
            weights = np.array(known["sets"][case]["weights"]) if a.confidence_only else fit(sets, names, without, a.ridge, shares)
            confidence = fit_confidence(sets, weights, signs_off | (set() if has_tokens else TOKEN_SIGNS))
            made["sets"][case] = {"weights": [round(w, 4) for w in weights], "confidence": [round(c, 4) for c in confidence]}
        how = f"fit.py --sets {a.sets} --shares {a.shares} --ridge {a.ridge}"
        made["how_made"] = f"{known['how_made']}; confidence: {how}" if a.confidence_only else how
        a.out.write_text(json.dumps(made, indent=1) + "\n")


if __name__ == "__main__":
    main()
