#!/usr/bin/env python3
"""Writes smollm2.json: greedy tokens and log-probabilities of SmolLM2-135M-Instruct Q4_1.

transformers reads the GGUF file itself: weights dequantized to float32, tokenizer and chat template converted.
"""
import argparse
import os
import pathlib

os.environ["HF_HUB_OFFLINE"] = "1"  # everything is in the file

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

import weights

NEW, TOP = 32, 5
CASES = {"chat": "What is the capital of France?", "code": "def fibonacci(n):", "text": "The sky is blue and the grass is"}


def best(row):
    return [[int(i), round(float(v), 5)] for v, i in zip(*row.topk(TOP))]


@torch.no_grad()
def case(name: str, prompt: str, tokenizer, model) -> dict:
    if name == "chat":
        messages = [{"role": "user", "content": prompt}]
        prompt = tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False)
    ids = tokenizer(prompt, add_special_tokens=False).input_ids
    out = model(torch.tensor([ids]), use_cache=True)
    rows = out.logits[0].log_softmax(-1)
    prompt_logprobs = [round(float(rows[i, token]), 5) for i, token in enumerate(ids[1:])]
    steps, row = [], rows[-1]
    for _ in range(NEW):
        token = int(row.argmax())
        steps.append({"token": token, "logprob": round(float(row[token]), 5), "top": best(row)})
        if token == tokenizer.eos_token_id:
            break
        out = model(torch.tensor([[token]]), past_key_values=out.past_key_values, use_cache=True)
        row = out.logits[0, -1].log_softmax(-1)
    tokens = [step["token"] for step in steps if step["token"] != tokenizer.eos_token_id]
    return {"name": name, "prompt": prompt, "prompt_tokens": ids, "prompt_logprobs": prompt_logprobs,
            "text": tokenizer.decode(tokens), "steps": steps}


def main():
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("model", type=pathlib.Path, help="SmolLM2-135M-Instruct.Q4_1.gguf")
    path = ask.parse_args().model
    place = {"pretrained_model_name_or_path": path.parent, "gguf_file": path.name}
    tokenizer = AutoTokenizer.from_pretrained(**place)
    model = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32, attn_implementation="eager").eval()
    cases = [case(name, prompt, tokenizer, model) for name, prompt in CASES.items()]
    made_with = f"transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}, float32, eager"
    weights.write(pathlib.Path(__file__).parent / "smollm2.json", {"model": path.name, "made_with": made_with, "cases": cases})


if __name__ == "__main__":
    main()
