#!/usr/bin/env python3
"""Decodes token ids by a GGUF model in 64-bit floats, to judge engines by: oracle.py MODEL.gguf <IDS >ANSWERS

A line of IDS is the JSON list of a sequence's token ids. Its line of ANSWERS is {"argmax": [...], "logprobs": [...]} with an
entry for each token but the first: the likeliest token in its place, and the log-probability of the one that is there.

Weights are widened from the file's formats and nothing is rounded after that. All sequences go through a layer before the
next is read, so that one layer's floats are in memory at a time. There is no cache and no speed.

Families: llama and gemma3. Where the mathematics comes from:
  file, names of keys and tensors      GGUF specification, ggml-org/ggml docs/gguf.md; the formats by PyPI gguf
  decoder, SwiGLU                      Touvron et al. 2023 (arXiv 2302.13971), Shazeer 2020 (2002.05202)
  root mean square norm                Zhang & Sennrich 2019 (1910.07467)
  rotary positions                     Su et al. 2021 (2104.09864)
  keys and values shared by heads      Ainslie et al. 2023 (2305.13245)
  norms after sub-layers and of queries and keys, local and global layers    Gemma 2 and 3 reports (2408.00118, 2503.19786)
Needs: requirements.txt beside this file.
"""
import json
import sys
from dataclasses import dataclass

import numpy as np
from gguf import GGUFReader, dequantize

# Keys under the architecture's name whose meaning is computed below, or that say nothing of the mathematics.
KNOWN_KEYS = {
    "block_count", "context_length", "embedding_length", "feed_forward_length", "vocab_size", "attention.head_count",
    "attention.head_count_kv", "attention.key_length", "attention.value_length", "attention.layer_norm_rms_epsilon",
    "attention.sliding_window", "rope.freq_base", "rope.dimension_count",
}
VOCABULARY_ROWS = 16384  # of the head at a time


class File:
    """Tensors of a GGUF file as 64-bit floats, rows first, and what its keys say."""

    def __init__(self, path):
        reader = GGUFReader(path)
        self.tensors = {tensor.name: tensor for tensor in reader.tensors}
        self.unread = set(self.tensors)
        self.family = reader.fields["general.architecture"].contents()
        start = self.family + "."
        self.keys = {key.removeprefix(start): field.contents() for key, field in reader.fields.items() if key.startswith(start)}

    def __contains__(self, name):
        return name in self.tensors

    def __call__(self, name, rows=slice(None)):
        self.unread.discard(name)
        tensor = self.tensors[name]
        return dequantize(tensor.data[rows], tensor.tensor_type).astype(np.float64)


@dataclass
class Shape:
    """What the keys say of a model, and what its family adds."""

    layers: int
    width: int
    heads: int
    shared: int  # heads of keys and values
    head_width: int
    epsilon: float
    rope_base: float
    gemma: bool
    window: int | None

    @classmethod
    def of(cls, file):
        keys, gemma = file.keys, file.family == "gemma3"
        if file.family not in ("llama", "gemma3"):
            sys.exit(f"oracle: no family {file.family}: llama and gemma3 are known")
        if unknown := keys.keys() - KNOWN_KEYS:
            sys.exit(f"oracle: keys that would be left out: {', '.join(sorted(unknown))}")
        width, heads = keys["embedding_length"], keys["attention.head_count"]
        head_width = keys.get("attention.key_length", width // heads)
        if keys.get("rope.dimension_count", head_width) != head_width or keys.get("attention.value_length", head_width) != head_width:
            sys.exit("oracle: rotary positions of a part of a head, and values of another width than keys, are not known")
        return cls(
            keys["block_count"], width, heads, keys["attention.head_count_kv"], head_width,
            keys["attention.layer_norm_rms_epsilon"], keys.get("rope.freq_base", 10000.0), gemma,
            keys["attention.sliding_window"] if gemma else None,
        )

    def local(self, layer):
        """Gemma 3: five layers that see a window, then one that sees all."""
        return self.gemma and layer % 6 != 5


def norm(x, scale, epsilon):
    return scale * x / np.sqrt(np.mean(np.square(x), axis=-1, keepdims=True) + epsilon)


def rotate(x, base, halves):
    """Turns pairs of x [time, heads, head width] by their position: each pair is a complex number.

    Pairs are the two halves of a head. llama's converter has moved the rows of queries and keys so that they lie side by side.
    """
    length, _, width = x.shape
    angles = np.outer(np.arange(length), base ** (-np.arange(0, width, 2) / width))
    pairs = x[..., :width // 2] + 1j * x[..., width // 2:] if halves else x[..., ::2] + 1j * x[..., 1::2]
    pairs = pairs * np.exp(1j * angles)[:, None]
    parts = [pairs.real, pairs.imag]
    return np.concatenate(parts, -1) if halves else np.stack(parts, -1).reshape(x.shape)


def attend(q, k, v, window):
    """One sequence: q [time, heads, head width], k and v [time, shared heads, head width]."""
    length, heads, width = q.shape
    shared = k.shape[1]
    # [shared heads, heads of each, time, head width]
    q = q.reshape(length, shared, heads // shared, width).transpose(1, 2, 0, 3)
    k, v = k.transpose(1, 0, 2)[:, None], v.transpose(1, 0, 2)[:, None]
    distance = np.arange(length)[:, None] - np.arange(length)
    seen = (distance >= 0) & (distance < (window or length))
    scores = np.where(seen, q @ k.swapaxes(-1, -2) / np.sqrt(width), -np.inf)
    weights = np.exp(scores - scores.max(-1, keepdims=True))
    mixed = weights / weights.sum(-1, keepdims=True) @ v
    return mixed.transpose(2, 0, 1, 3).reshape(length, heads * width)


def attention(x, file, layer, shape, cuts):
    """x [rows, width]; a row is a token of one of the sequences that `cuts` part."""
    block = f"blk.{layer}.attn_"
    q, k, v = (np.split((x @ file(f"{block}{which}.weight").T).reshape(len(x), -1, shape.head_width), cuts) for which in "qkv")
    if shape.gemma:
        q, k = ([norm(one, file(f"{block}{which}_norm.weight"), shape.epsilon) for one in each] for which, each in (("q", q), ("k", k)))
    base, window = (10000.0, shape.window) if shape.local(layer) else (shape.rope_base, None)
    q, k = ([rotate(one, base, halves=shape.gemma) for one in each] for each in (q, k))
    return np.concatenate([attend(*one, window) for one in zip(q, k, v)]) @ file(f"{block}output.weight").T


def feed_forward(x, file, layer, shape):
    gate, up, down = (file(f"blk.{layer}.ffn_{which}.weight") for which in ("gate", "up", "down"))
    gate = x @ gate.T
    # The logistic function, and GELU by its approximation with tanh.
    active = gate * (0.5 + 0.5 * np.tanh(np.sqrt(2 / np.pi) * (gate + 0.044715 * gate**3))) if shape.gemma else gate / (1 + np.exp(-gate))
    return (active * (x @ up.T)) @ down.T


def decode(file, sequences):
    """What the last layer says of every token: [rows, width]."""
    shape = Shape.of(file)
    cuts = np.cumsum([len(ids) for ids in sequences])[:-1]
    x = file("token_embd.weight", np.concatenate(sequences))
    if shape.gemma:
        x = x * np.sqrt(shape.width)
    for layer in range(shape.layers):
        scaled = lambda x, name: norm(x, file(f"blk.{layer}.{name}.weight"), shape.epsilon)
        after = scaled if shape.gemma else lambda x, _: x
        x = x + after(attention(scaled(x, "attn_norm"), file, layer, shape, cuts), "post_attention_norm")
        x = x + after(feed_forward(scaled(x, "ffn_norm"), file, layer, shape), "post_ffw_norm")
    return norm(x, file("output_norm.weight"), shape.epsilon)


def judge(x, file, following):
    """The likeliest token after each row of x, and the log-probability of the one that follows."""
    head = "output.weight" if "output.weight" in file else "token_embd.weight"
    rows = np.arange(len(x))
    best, highest, total, logit = (np.full(len(x), fill) for fill in (0, -np.inf, -np.inf, np.nan))
    vocabulary = len(file.tensors[head].data)
    for start in range(0, vocabulary, VOCABULARY_ROWS):
        logits = x @ file(head, slice(start, start + VOCABULARY_ROWS)).T
        top = logits.argmax(-1)
        peak = logits[rows, top]
        best = np.where(peak > highest, start + top, best)
        highest = np.maximum(highest, peak)
        total = np.logaddexp(total, peak + np.log(np.exp(logits - peak[:, None]).sum(-1)))
        here = (following >= start) & (following < start + logits.shape[1])
        logit[here] = logits[rows[here], following[here] - start]
    return best, logit - total


def main():
    file = File(sys.argv[1])
    sequences = [np.array(json.loads(line)) for line in sys.stdin]
    x = decode(file, sequences)
    following = np.concatenate([np.append(ids[1:], 0) for ids in sequences])
    best, logprobs = judge(x, file, following)
    if file.unread:
        sys.exit(f"oracle: tensors that were left out: {', '.join(sorted(file.unread))}")
    start = 0
    for ids in sequences:
        end = start + len(ids) - 1
        print(json.dumps({"argmax": best[start:end].tolist(), "logprobs": logprobs[start:end].tolist()}))
        start = end + 1


if __name__ == "__main__":
    main()
