#!/usr/bin/env python3
"""Writes a GGUF file once more with every tensor in 32 bits: widen.py FROM.gguf TO.gguf (PyPI gguf==0.19.0, numpy)

llama.cpp rounds activations to 8 bits where weights are quantized, and not where they are floats: the same weights in 32 bits
show what of a difference is that rounding.
"""
import sys

from gguf import GGUFReader, GGUFValueType, GGUFWriter, dequantize

source, target = sys.argv[1:]
reader = GGUFReader(source)
fields = reader.fields
writer = GGUFWriter(target, fields["general.architecture"].contents())
for name, field in fields.items():
    # The writer's own.
    if name.startswith("GGUF.") or name == "general.architecture":
        continue
    sub = field.types[-1] if field.types[0] == GGUFValueType.ARRAY else None
    value = 0 if name == "general.file_type" else field.contents()
    writer.add_key_value(name, value, field.types[0], sub)
for tensor in reader.tensors:
    writer.add_tensor(tensor.name, dequantize(tensor.data, tensor.tensor_type).astype("float32"))
writer.write_header_to_file()
writer.write_kv_data_to_file()
writer.write_tensors_to_file()
writer.close()
