#!/usr/bin/env python3
"""Writes lm_eval.json: what lm-evaluation-harness must log for the tasks in tests/clients/lm_eval/tasks.

transformers reads the GGUF file itself: weights dequantized to float32, tokenizer and chat template converted.
"""
import argparse
import json
import os
import pathlib

os.environ["HF_HUB_OFFLINE"] = "1"  # everything is in the file

import torch
import transformers
from transformers import AutoModelForCausalLM, AutoTokenizer

import weights

HERE = pathlib.Path(__file__).parent
TASKS = HERE.parent / "clients/lm_eval/tasks"
NEW = 8  # max_gen_toks of write.yaml and chat.yaml


def rows(task: str) -> list[dict]:
    return [json.loads(line) for line in (TASKS / f"{task}.jsonl").read_text().splitlines()]


class Judge:
    def __init__(self, path: pathlib.Path):
        place = {"pretrained_model_name_or_path": path.parent, "gguf_file": path.name}
        self.tokenizer = AutoTokenizer.from_pretrained(**place)
        self.model = AutoModelForCausalLM.from_pretrained(**place, dtype=torch.float32, attn_implementation="eager").eval()

    def ids(self, text: str) -> list[int]:
        return self.tokenizer(text, add_special_tokens=False).input_ids

    @torch.no_grad()
    def logprobs(self, ids: list[int]) -> torch.Tensor:
        return self.model(torch.tensor([ids])).logits[0].log_softmax(-1)

    def score(self, context: list[int], whole: list[int]) -> dict:
        """Sum of the log-probabilities of what follows the context, and whether each token of it is the likeliest."""
        after = torch.tensor(whole[len(context) :])
        found = self.logprobs(whole)[len(context) - 1 : -1]
        logprob = found.gather(1, after[:, None]).double().sum()
        return {"logprob": round(float(logprob), 5), "is_greedy": bool((found.argmax(-1) == after).all())}

    def pair(self, context: str, continuation: str) -> dict:
        return self.score(self.ids(context), self.ids(context + continuation))

    def roll(self, text: str) -> float:
        start = [self.tokenizer.bos_token_id]
        return self.score(start, start + self.ids(text))["logprob"]

    def write(self, prompt: str) -> str:
        ids, new = self.ids(prompt), []
        while len(new) < NEW and self.tokenizer.eos_token_id not in new:
            new.append(int(self.logprobs(ids + new)[-1].argmax()))
        return self.tokenizer.decode(new, skip_special_tokens=True).split("\n")[0]

    def chat(self, prompt: str) -> str:
        messages = [{"role": "user", "content": prompt}]
        return self.write(self.tokenizer.apply_chat_template(messages, add_generation_prompt=True, tokenize=False))


def main():
    ask = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    ask.add_argument("model", type=pathlib.Path, help="SmolLM2-135M-Instruct.Q4_1.gguf")
    path = ask.parse_args().model
    judge = Judge(path)
    weights.write(HERE / "lm_eval.json", {
        "model": path.name,
        "made_with": f"transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}, float32, eager",
        "score": [judge.pair(row["context"], row["continuation"]) for row in rows("score")],
        "choose": [[judge.pair(row["question"], f" {choice}") for choice in row["choices"]] for row in rows("choose")],
        "roll": [judge.roll(row["text"]) for row in rows("roll")],
        "write": [judge.write(row["prompt"]) for row in rows("write")],
        "chat": [judge.chat(row["prompt"]) for row in rows("chat")],
    })


if __name__ == "__main__":
    main()
