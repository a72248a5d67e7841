#!/usr/bin/env python3
"""Writes adapters.json: low-rank adapters of the tiny checkpoints in architectures/, by formula, and what PEFT computes with them.

Of each adapter: the adapter_config.json that PEFT saves, and the names and shapes in its adapter_model.safetensors; a tensor's values
are weights.py's for the name "{adapter}/{tensor}", offset 0, scale 0.25. Of each case: one adapter, or several and how PEFT's
add_weighted_adapter makes one of them, and all logits after the base's prompt.
"""
import json
import pathlib
import tempfile

import peft
import torch
import transformers
from safetensors.torch import load_file
from peft import LoraConfig, get_peft_model

import weights
from make_architectures import build

HERE = pathlib.Path(__file__).parent
LLAMA = ["q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj"]
ADAPTERS = {
    "llama": {
        "patterns": LoraConfig(r=4, lora_alpha=8, target_modules=LLAMA, rank_pattern={"layers.1.self_attn.q_proj": 2, "up_proj": 7},
                               alpha_pattern={"down_proj": 3, r"model\.layers\.[02]\.mlp\.gate_proj": 1}),
        "stabilized": LoraConfig(r=4, lora_alpha=3, use_rslora=True, target_modules="all-linear"),
        "regex": LoraConfig(r=2, lora_alpha=6, target_modules=r".*\.layers\.\d+\.self_attn\.[qv]_proj"),
        "two": LoraConfig(r=4, lora_alpha=6, target_modules=["q_proj", "v_proj"]),
    },
    "phi3": {"fused": LoraConfig(r=3, lora_alpha=6, target_modules=["qkv_proj", "o_proj", "gate_up_proj", "down_proj"])},
    "gpt2": {"conv": LoraConfig(r=3, lora_alpha=6, fan_in_fan_out=True, target_modules=["c_attn", "c_proj", "c_fc"])},
}
MERGES = [
    {"weights": [0.7, 0.4], "combination_type": "linear"},
    {"weights": [1.0, -0.5], "combination_type": "linear"},
    {"weights": [0.7, 0.9], "combination_type": "ties", "density": 0.5, "majority_sign_method": "total"},
    {"weights": [0.7, 0.9], "combination_type": "ties", "density": 0.25, "majority_sign_method": "frequency"},
]


def files(model, name: str):
    """What PEFT saves of an adapter."""
    with tempfile.TemporaryDirectory() as folder:
        model.save_pretrained(folder, selected_adapters=[name])
        folder = pathlib.Path(folder) / name
        tensors = load_file(folder / "adapter_model.safetensors")
        config = json.loads((folder / "adapter_config.json").read_text())
        if isinstance(config["target_modules"], list):
            config["target_modules"].sort()  # a set to PEFT, written in any order
        return config, [[name, list(tensor.shape)] for name, tensor in sorted(tensors.items())]


def fill(model, seed: int, name: str, tensors):
    parameters = dict(model.named_parameters())
    for tensor, shape in tensors:
        place = parameters[tensor.replace(".weight", f".{name}.weight")]
        place.copy_(torch.from_numpy(weights.tensor(seed, f"{name}/{tensor}", shape, 0, 0.25)))


@torch.no_grad()
def base(family: str):
    """Adapters and cases of one base."""
    golden = json.loads((HERE / "architectures" / f"{family}.json").read_text())
    model, _ = build(golden["config"], golden["seed"])
    names, adapters, cases = list(ADAPTERS[family]), [], []
    model = get_peft_model(model, ADAPTERS[family][names[0]], adapter_name=names[0])
    for name in names[1:]:
        model.add_adapter(name, ADAPTERS[family][name])
    for name in names:
        config, tensors = files(model, name)
        fill(model, golden["seed"], name, tensors)
        adapters.append({"base": family, "name": name, "config": config, "tensors": tensors})

    def case(name, used, merge):
        model.set_adapter(name)
        model.eval()
        logits = model(torch.tensor([golden["prompt"]]), use_cache=False).logits[0, -1].double()
        off = (logits - torch.tensor(golden["logits"])).abs().max()
        print(f"{family} {name}: logits move by up to {off:.2f}")
        assert off > 0.1
        cases.append({"base": family, "adapters": used, "merge": merge, "logits": [round(float(v), 5) for v in logits]})

    for name in names:
        case(name, [name], None)
    for index, merge in enumerate(MERGES if family == "llama" else []):
        model.add_weighted_adapter(adapter_name=f"merged{index}", adapters=["two", "stabilized"], **merge)
        case(f"merged{index}", ["two", "stabilized"], merge)
    return adapters, cases


def main():
    all_adapters, all_cases = [], []
    for family in ADAPTERS:
        adapters, cases = base(family)
        all_adapters += adapters
        all_cases += cases
    versions = f"peft {peft.__version__}, transformers {transformers.__version__}, torch {torch.__version__.split('+')[0]}, float32, eager"
    weights.write(HERE / "adapters.json", {"made_with": versions, "adapters": all_adapters, "cases": all_cases})


if __name__ == "__main__":
    main()
