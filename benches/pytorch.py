#!/usr/bin/env python3
"""Measures transformers with PyTorch on a llama of a GGUF file's shape and prints one line of JSON in the words of llama.mjs:

    pytorch.py --model FILE.gguf [--device cuda|cpu] [--threads 2] [--prompt 512] [--decode 128] [--sequences 1] [--rounds 1]

(PyPI torch, transformers and gguf; tests/golden/requirements.txt has versions that work.) Weights are random, in 16 bits on a GPU and 32 on a CPU: PyTorch has no kernels for the file's
formats, and values do not change speed; so loading is not measured.
Figures are medians over the rounds that follow one untimed round.
"""
import argparse
import json
import resource
import statistics
import sys
import time

import torch
import transformers
from gguf import GGUFReader

parser = argparse.ArgumentParser()
parser.add_argument("--model", required=True)
parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda")
for name, default in ("threads", 2), ("prompt", 512), ("decode", 128), ("sequences", 1), ("rounds", 1):
    parser.add_argument(f"--{name}", type=int, default=default)
asked = parser.parse_args()
torch.set_num_threads(asked.threads)
device = torch.device(asked.device)


def now():
    """Seconds, once the device has nothing left to do."""
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter()


def llama():
    """A llama of the file's shape on the device."""
    reader = GGUFReader(asked.model)
    if reader.get_field("general.architecture").contents() != "llama":
        sys.exit(f"pytorch.py: {asked.model} is no llama, and of other families it does not know the shape")
    entry = lambda key: reader.get_field(f"llama.{key}").contents()
    tensors = {tensor.name: tensor for tensor in reader.tensors}
    config = transformers.LlamaConfig(
        vocab_size=int(tensors["token_embd.weight"].shape[1]),
        hidden_size=entry("embedding_length"),
        intermediate_size=entry("feed_forward_length"),
        num_hidden_layers=entry("block_count"),
        num_attention_heads=entry("attention.head_count"),
        num_key_value_heads=entry("attention.head_count_kv"),
        max_position_embeddings=asked.prompt + asked.decode + 8,
        tie_word_embeddings="output.weight" not in tensors,
    )
    torch.set_default_dtype(torch.float16 if device.type == "cuda" else torch.float32)
    with device:
        return transformers.LlamaForCausalLM(config).eval()


before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024
model = llama()
prompt = torch.tensor([[100 + i * 37 % 1000 for i in range(asked.prompt)]] * asked.sequences, device=device)


@torch.inference_mode()
def answer():
    """A greedy answer of each sequence: seconds until all have their first token, and seconds for the rest."""
    start = now()
    out = model(prompt, use_cache=True, logits_to_keep=1)
    token = out.logits[:, -1:].argmax(-1)
    first = now()
    for _ in range(asked.decode):
        out = model(token, past_key_values=out.past_key_values, use_cache=True)
        token = out.logits[:, -1:].argmax(-1)
    return first - start, now() - first


answer()
firsts, rests = zip(*(answer() for _ in range(asked.rounds)))
first, rest = statistics.median(firsts), statistics.median(rests)
on_gpu = device.type == "cuda"
print(json.dumps({
    "engine": "transformers",
    "version": f"transformers {transformers.__version__}, PyTorch {torch.__version__}",
    "device": torch.cuda.get_device_name() if on_gpu else "cpu",
    "threads": asked.threads,
    "prompt_tokens": asked.prompt,
    "decode_tokens": asked.decode,
    "sequences": asked.sequences,
    "ttft_s": first,
    "prefill_tokens_per_s": asked.sequences * asked.prompt / first,
    "decode_tokens_per_s": asked.sequences * asked.decode / rest,
    "peak_memory_bytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024,
    "baseline_memory_bytes": before,
}))
