#!/usr/bin/env python3
"""Writes a GGUF file of llama-3.2-1B's shape with random weights: synthetic.py VOCABULARY.gguf TARGET.gguf FORMAT [LAYERS]

(PyPI gguf==0.19.0, numpy: benches/eval/requirements.txt.) Values do not change speed. Metadata and tokenizer are those of
VOCABULARY.gguf, a llama with a smaller vocabulary; with Q4_K the embedding is Q6_K, as in files called Q4_K_M.
"""
import sys

import numpy as np
from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, GGUFReader, GGUFValueType, GGUFWriter

WIDTH, FFN, HEADS, KV_HEADS, HEAD = 2048, 8192, 32, 8, 64
# Where a block has its scales (f16), and what these are: so small that sums stay finite.
SCALES = {
    "Q4_0": {0: 4e-4}, "Q8_0": {0: 4e-5}, "Q4_K": {0: 1e-4, 2: 8e-4}, "Q5_K": {0: 5e-5, 2: 8e-4}, "Q6_K": {208: 1e-5},
}

source, target, form = sys.argv[1:4]
layers = int(sys.argv[4]) if len(sys.argv) > 4 else 16
random = np.random.default_rng(1)
reader = GGUFReader(source)
writer = GGUFWriter(target, "llama")
shape = {
    "llama.embedding_length": WIDTH, "llama.feed_forward_length": FFN, "llama.block_count": layers,
    "llama.attention.head_count": HEADS, "llama.attention.head_count_kv": KV_HEADS, "llama.rope.dimension_count": HEAD,
    "general.file_type": 0,
}
for name, field in reader.fields.items():
    # The writer's own.
    if name.startswith("GGUF.") or name == "general.architecture":
        continue
    sub = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
    writer.add_key_value(name, shape.get(name, field.contents()), field.types[0], sub)


def add(name, rows, columns, form=form):
    """A matrix of random weights."""
    kind = GGMLQuantizationType[form]
    if form == "F16":
        values = random.standard_normal((rows, columns), dtype=np.float32) * 0.02
        return writer.add_tensor(f"{name}.weight", values.astype(np.float16))
    block, size = GGML_QUANT_SIZES[kind]
    blocks = random.integers(0, 256, (rows * columns // block, size), dtype=np.uint8)
    for at, scale in SCALES[form].items():
        blocks[:, at:at + 2] = np.frombuffer(np.float16(scale).tobytes(), np.uint8)
    writer.add_tensor(f"{name}.weight", blocks.reshape(rows, -1), raw_dtype=kind)


ones = np.ones(WIDTH, np.float32)
add("token_embd", len(reader.fields["tokenizer.ggml.tokens"].data), WIDTH, "Q6_K" if form == "Q4_K" else form)
writer.add_tensor("output_norm.weight", ones)
for layer in range(layers):
    for name in "attn_norm", "ffn_norm":
        writer.add_tensor(f"blk.{layer}.{name}.weight", ones)
    for name, rows, columns in [
        ("attn_q", HEADS * HEAD, WIDTH), ("attn_k", KV_HEADS * HEAD, WIDTH), ("attn_v", KV_HEADS * HEAD, WIDTH),
        ("attn_output", WIDTH, HEADS * HEAD), ("ffn_gate", FFN, WIDTH), ("ffn_up", FFN, WIDTH), ("ffn_down", WIDTH, FFN),
    ]:
        add(f"blk.{layer}.{name}", rows, columns)
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
