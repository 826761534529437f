#!/usr/bin/env python3
"""Compares this folder's model with its unquantised form, on real tool cards, and tries the published example.

    /tmp/make/bin/pip install onnxruntime==1.31.1 tokenizers==0.23.3
    /tmp/make/bin/python make.py --form fp32 --out /tmp/fp32
    /tmp/make/bin/python check.py --reference /tmp/fp32 --tools tools.jsonl

tools.jsonl: one tool a line with "server", "name" and "description" (see the README on eval files).
Exit code 1 when the mean cosine is below 0.9995 or the example is off by more than 0.01.
"""

import argparse
import json
import pathlib
import random
import sys
import time

import numpy as np
import onnxruntime
import tokenizers

EXAMPLE = ["That is a happy person", "That is a happy dog", "That is a very happy person", "Today is a sunny day"]
PUBLISHED = [0.695, 0.943, 0.257]


class Model:
    def __init__(self, folder, threads=1):
        self.manifest = json.loads((folder / "manifest.json").read_text())
        self.tokenizer = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        self.tokenizer.enable_truncation(self.manifest["max_tokens"])
        self.tokenizer.enable_padding()
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads
        self.session = onnxruntime.InferenceSession(str(folder / "model.onnx"), options, ["CPUExecutionProvider"])

    def embed(self, texts):
        encoded = self.tokenizer.encode_batch(texts)
        ids = np.array([one.ids for one in encoded], dtype=np.int64)
        mask = np.array([one.attention_mask for one in encoded], dtype=np.int64)
        (tokens,) = self.session.run(None, {"input_ids": ids, "attention_mask": mask})
        pooled = (tokens * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        return pooled / np.linalg.norm(pooled, axis=1, keepdims=True)


def cards(path, n):
    rows = [json.loads(line) for line in open(path, encoding="utf-8")]
    random.Random(1).shuffle(rows)
    texts = [f"{row['server']} {row['name']}: {row.get('description') or ''}" for row in rows]
    return texts[:n]


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--model", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    arguments.add_argument("--reference", type=pathlib.Path, required=True)
    arguments.add_argument("--tools", required=True)
    arguments.add_argument("--n", type=int, default=600)
    arguments = arguments.parse_args()
    model, reference = Model(arguments.model), Model(arguments.reference)

    a, *others = model.embed(EXAMPLE)
    example = [float(a @ other) for other in others]
    print("example", [f"{x:.3f}" for x in example], "published", PUBLISHED)

    texts = cards(arguments.tools, arguments.n)
    started = time.perf_counter()
    ours = np.concatenate([model.embed([text]) for text in texts])
    per_second = len(texts) / (time.perf_counter() - started)
    theirs = np.concatenate([reference.embed([text]) for text in texts])
    cosine = (ours * theirs).sum(axis=1)
    print(f"{len(texts)} cards: cosine mean {cosine.mean():.5f}, min {cosine.min():.5f}; {per_second:.0f} cards/s, one at a time")

    # Each card as a query: how much of the reference's ten nearest does the model find?
    queries = range(0, len(texts), 5)
    top = lambda vectors, i: set(np.argsort(-(vectors @ vectors[i]), kind="stable")[:10])
    overlap = np.mean([len(top(ours, i) & top(theirs, i)) / 10 for i in queries])
    print(f"ten nearest in common: {overlap:.3f}")

    for size in (4, 8):
        batched = np.concatenate([model.embed(texts[i : i + size]) for i in range(0, 160, size)])
        shift = (batched * ours[:160]).sum(axis=1).min()
        same = (batched == ours[:160]).all(axis=1).mean()
        print(f"in batches of {size} with padding: {same:.0%} of the vectors are the same bits, cosine at least {shift:.7f}")

    good = cosine.mean() >= 0.9995 and np.abs(np.array(example) - PUBLISHED).max() <= 0.01
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
