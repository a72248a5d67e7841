#!/usr/bin/env python3
"""Writes architectures/llama-quantized.json: a GGUF llama whose matrices use all storage formats, judged by transformers in float32.

The blocks are random (quantized.py), so Rust writes the same file without a quantizer; transformers gets what gguf-py reads from them.
"""
import pathlib

import torch
from transformers import AutoConfig, AutoModelForCausalLM

import gguf_names
import make_architectures
import quantized
import weights
from families import LLAMA

CONFIG = LLAMA | {"hidden_size": 256, "intermediate_size": 512, "num_hidden_layers": 2, "num_attention_heads": 8,
                  "tie_word_embeddings": False}
FORMATS = {
    "model.embed_tokens": "Q6_K", "lm_head": "Q8_0",
    "model.layers.0.self_attn.q_proj": "Q4_K", "model.layers.0.self_attn.k_proj": "Q5_0",
    "model.layers.0.self_attn.v_proj": "Q6_K", "model.layers.0.self_attn.o_proj": "Q5_K",
    "model.layers.0.mlp.gate_proj": "Q4_0", "model.layers.0.mlp.up_proj": "Q4_1", "model.layers.0.mlp.down_proj": "Q8_0",
    "model.layers.1.self_attn.q_proj": "F16", "model.layers.1.self_attn.k_proj": "BF16",
    "model.layers.1.self_attn.v_proj": "Q5_1", "model.layers.1.self_attn.o_proj": "Q4_K",
    "model.layers.1.mlp.gate_proj": "Q5_K", "model.layers.1.mlp.up_proj": "Q5_K", "model.layers.1.mlp.down_proj": "Q6_K",
}
# Kernels may round activations: a greedy token leads by more than in the float checkpoints.
MARGIN = 0.1


def halves(matrix: torch.Tensor, heads: int) -> torch.Tensor:
    """Undoes GGUF's interleaving: in each head, even rows first, then odd ones."""
    rows, columns = matrix.shape
    return matrix.reshape(heads, rows // heads // 2, 2, columns).transpose(1, 2).reshape(rows, columns)


def build(seed: int):
    model = AutoModelForCausalLM.from_config(
        AutoConfig.for_model(**CONFIG), attn_implementation="eager", dtype=torch.float32).eval()
    tensors, blocks = [], []
    names = gguf_names.names(CONFIG)
    for name, parameter in model.state_dict().items():
        shape = list(parameter.shape)
        if len(shape) == 1:
            tensors.append([name, shape, 1.0, 0.25])
            parameter.copy_(torch.from_numpy(weights.tensor(seed, *tensors[-1])))
            continue
        stored, format = names(name), FORMATS[name.removesuffix(".weight")]
        values = torch.from_numpy(quantized.tensor(seed, stored, format, shape)[1])
        interleaved = gguf_names.change(CONFIG, name).removeprefix("interleave ")
        parameter.copy_(halves(values, int(interleaved)) if interleaved.isdigit() else values)
        blocks.append([stored, shape, format])
    return model, tensors, blocks


@torch.no_grad()
def main():
    path = pathlib.Path(__file__).parent / "architectures" / "llama-quantized.json"
    for seed in range(30):
        model, tensors, blocks = build(seed)
        golden = make_architectures.golden("llama-quantized", CONFIG, seed, model, tensors)
        if golden["least_lead"] >= MARGIN:
            golden["gguf"]["blocks"] = blocks
            return weights.write(path, golden)
    raise SystemExit("no seed gives clear winners")


if __name__ == "__main__":
    main()
