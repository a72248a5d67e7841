#!/usr/bin/env python3
"""Writes formats.json: blocks of every storage format (see quantized.py) and the float32 numbers gguf-py reads from them."""
import pathlib

import gguf
import numpy as np

import quantized
import weights


def main():
    formats = []
    for name in ["F32", "F16", "BF16", *quantized.FACTORS]:
        block = gguf.GGML_QUANT_SIZES[gguf.GGMLQuantizationType[name]][0]
        data, values = quantized.tensor(0, name, name, [max(64, 2 * block)])
        # str of a float32 is the shortest decimal that reads back as the same bits.
        formats.append({"format": name, "bytes": data.tobytes().hex(), "values": [float(str(v)) for v in values]})
    made_with = f"gguf {quantized.version()}, numpy {np.__version__}"
    weights.write(pathlib.Path(__file__).parent / "formats.json", {"made_with": made_with, "formats": formats})


if __name__ == "__main__":
    main()
