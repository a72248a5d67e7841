"""Quantized tensors from names: random bytes whose block factors are set, the same here and in crates/model/tests/common."""
import importlib.metadata

import gguf
import numpy as np

import weights

# Where a block's half-precision factors stand: byte of the scale, byte of the second factor, and the second as a multiple of the
# first, chosen so that weights lie around 0. The last entry makes weights of about 0.1.
FACTORS = {
    "Q4_0": (0, None, 0.0, 2**-6),
    "Q4_1": (0, 2, -7.5, 2**-6),
    "Q5_0": (0, None, 0.0, 2**-7),
    "Q5_1": (0, 2, -15.5, 2**-7),
    "Q8_0": (0, None, 0.0, 2**-10),
    "Q4_K": (0, 2, 7.5, 2**-12),
    "Q5_K": (0, 2, 15.5, 2**-13),
    "Q6_K": (208, None, 0.0, 2**-14),
}


def blocks(seed: int, name: str, format: str, count: int) -> np.ndarray:
    """`[count, bytes of a block]`: little-endian words of the tensor's stream, then the factors.

    The scale is the table's, times 1, 1.25, 1.5 or 1.75 by the low two bits of the byte it replaces: exact in half precision.
    """
    size = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[format]][1]
    words = weights.bits(seed, name, -(-count * size // 8))
    data = words.astype("<u8").view(np.uint8)[: count * size].reshape(count, size).copy()
    first, second, ratio, unit = FACTORS[format]
    scale = unit * (1 + (data[:, first] & 3) / 4)
    data[:, first:first + 2] = scale.astype("<f2")[:, None].view(np.uint8)
    if second is not None:
        data[:, second:second + 2] = (scale * ratio).astype("<f2")[:, None].view(np.uint8)
    return data


def tensor(seed: int, name: str, format: str, shape) -> tuple[np.ndarray, np.ndarray]:
    """A matrix as `format` stores it, and the float32 numbers that mean the same."""
    if format in FACTORS:
        per_block = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[format]][0]
        data = blocks(seed, name, format, int(np.prod(shape)) // per_block)
    else:
        data = gguf.quantize(weights.tensor(seed, name, shape, 0.0, 0.125), gguf.GGMLQuantizationType[format])
    return data, dequantize(data, format).reshape(shape)


def dequantize(data: np.ndarray, format: str) -> np.ndarray:
    return gguf.dequantize(data, gguf.GGMLQuantizationType[format]).astype(np.float32)


def version() -> str:
    return importlib.metadata.version("gguf")
