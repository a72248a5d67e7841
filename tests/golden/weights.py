"""Weights from names: the same numbers here and in crates/model/tests/common, so that no checkpoint is committed.

A weight is a function of (seed, tensor name, flat index) in integer arithmetic and exact float steps:

    key    = FNV-1a 64 of the text "{seed}/{name}"                  (Fowler, Noll, Vo)
    bits   = output number `index` of SplitMix64 started at key      (Steele, Lea, Flood 2014)
    u      = (bits >> 40) / 2^23 - 1                                 24 bits, exact in float32, in [-1, 1)
    weight = offset + scale * u                                      two float32 roundings, no fused multiply-add
"""
import json

import numpy as np


def fnv1a(text: str) -> int:
    key = 0xCBF29CE484222325
    for byte in text.encode():
        key = (key ^ byte) * 0x100000001B3 % 2**64
    return key


def bits(seed: int, name: str, count: int) -> np.ndarray:
    """The first `count` outputs of the tensor's SplitMix64 stream, uint64."""
    with np.errstate(over="ignore"):
        z = np.uint64(fnv1a(f"{seed}/{name}")) + np.arange(1, count + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
        z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
        z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
        return z ^ (z >> np.uint64(31))


def uniform(seed: int, name: str, count: int) -> np.ndarray:
    """float32 in [-1, 1)."""
    top = (bits(seed, name, count) >> np.uint64(40)).astype(np.float32)
    return top / np.float32(2**23) - np.float32(1)


def tensor(seed: int, name: str, shape, offset: float, scale: float) -> np.ndarray:
    u = uniform(seed, name, int(np.prod(shape)))
    return (np.float32(offset) + np.float32(scale) * u).reshape(shape)


def token_ids(seed: int, count: int, vocab: int) -> list[int]:
    return [int(n) for n in bits(seed, "prompt", count) % np.uint64(vocab)]


def write(path, golden: dict) -> None:
    """JSON with a line for each entry of the two upper levels: small, and readable in a diff."""

    def compact(value):
        return json.dumps(value, ensure_ascii=False)

    parts = []
    for key, value in golden.items():
        if isinstance(value, list) and value and isinstance(value[0], (list, dict)):
            body = "[\n" + ",\n".join("  " + compact(v) for v in value) + "\n ]"
        elif isinstance(value, dict) and value:
            body = "{\n" + ",\n".join(f"  {compact(k)}: {compact(v)}" for k, v in value.items()) + "\n }"
        else:
            body = compact(value)
        parts.append(f" {compact(key)}: {body}")
    path.write_text("{\n" + ",\n".join(parts) + "\n}\n", encoding="utf-8")
