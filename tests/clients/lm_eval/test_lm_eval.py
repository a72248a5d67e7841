"""lm-evaluation-harness, unmodified, on tasks of its own making. What it logs is compared with log-probabilities that
`transformers` gave (tests/golden/smollm2.json). The numbers are the lines of docs/dialects/openai.md."""

import json
import math
import os
import subprocess
import sys
from pathlib import Path

import pytest

GOLDEN = json.loads((Path(__file__).parents[2] / "golden/smollm2.json").read_text())["cases"]
QUESTIONS = [("The capital of France is", [" Paris", " Madrid"], 0), ("1, 2, 3,", [" 7", " 4"], 1)]
PASSAGE = "The quick brown fox jumps over the lazy dog. Once upon a time there was a naïve café."

TASKS = {
    "score": """output_type: loglikelihood
doc_to_text: "{{context}}"
doc_to_target: "{{continuation}}"
target_delimiter: ""
metric_list: [{metric: acc}]""",
    "choose": """output_type: multiple_choice
doc_to_text: "{{question}}"
doc_to_choice: choices
doc_to_target: gold
target_delimiter: ""
metric_list: [{metric: acc}]""",
    "write": """output_type: generate_until
doc_to_text: "{{prompt}}"
doc_to_target: "{{answer}}"
generation_kwargs: {until: ["\\n"], max_gen_toks: 8, do_sample: false}
metric_list: [{metric: exact_match}]""",
    "roll": """output_type: loglikelihood_rolling
doc_to_text: ""
doc_to_target: "{{text}}"
metric_list: [{metric: bits_per_byte}]""",
}


@pytest.fixture(scope="module")
def golden(call):
    """Context, continuation, the log-probability expected of it and whether it is the greedy one."""
    rows = []
    for case in GOLDEN:
        tokens, half = case["prompt_tokens"], len(case["prompt_tokens"]) // 2
        head, tail = (call("/detokenize", {"tokens": part})["prompt"] for part in (tokens[:half], tokens[half:]))
        rows.append((head, tail, math.fsum(case["prompt_logprobs"][half - 1 :]), False))
        # The last step may be the end token, which has no text.
        count = call("/tokenize", {"prompt": case["text"], "add_special_tokens": False})["count"]
        steps = case["steps"][:count]
        rows.append((case["prompt"], case["text"], math.fsum(step["logprob"] for step in steps), True))
    return rows


@pytest.fixture(scope="module")
def tasks(golden, greedy, call, tmp_path_factory):
    """A folder of tasks and their lines."""

    def said(prompt):
        messages = [{"role": "user", "content": prompt}]
        body = {"messages": messages, "max_tokens": 8, "temperature": 0, "stop": ["\n"]}
        return call("/v1/chat/completions", body)["choices"][0]["message"]["content"]

    folder = tmp_path_factory.mktemp("tasks")
    prompts = [question for question, _, _ in QUESTIONS]
    lines = {
        "score": [{"context": context, "continuation": after} for context, after, _, _ in golden],
        "choose": [{"question": q, "choices": choices, "gold": gold} for q, choices, gold in QUESTIONS],
        "write": [{"prompt": prompt, "answer": greedy(prompt, 8).split("\n")[0]} for prompt in prompts],
        "talk": [{"prompt": prompt, "answer": said(prompt)} for prompt in prompts],
        "roll": [{"text": PASSAGE}],
    }
    for name, rows in lines.items():
        data = folder / f"{name}.jsonl"
        data.write_text("".join(json.dumps(row) + "\n" for row in rows))
        head = f"task: {name}\ndataset_path: json\ndataset_kwargs: {{data_files: {{test: {data}}}}}\ntest_split: test\n"
        kind = TASKS["write" if name == "talk" else name]
        (folder / f"{name}.yaml").write_text(f"{head}{kind}\nmetadata: {{version: 1}}\n")
    return folder


@pytest.fixture(scope="module")
def run(url, model, tasks, tmp_path_factory):
    """Runs lm-eval; answers with each task's results and its samples."""

    def run(names: str, kind: str, options: str, *more: str):
        out = tmp_path_factory.mktemp("out")
        command = [Path(sys.executable).parent / "lm-eval", "run", "--model", kind, "--model_args", options]
        command += ["--tasks", names, "--include_path", tasks, "--output_path", out, *more]
        offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(out / "hf")}
        done = subprocess.run(command, env=os.environ | offline, capture_output=True, text=True, timeout=400)
        assert done.returncode == 0, done.stderr[-3000:]
        assert "retry" not in done.stderr.lower(), done.stderr[-3000:]
        results = json.loads(next(out.rglob("results_*.json")).read_text())["results"]
        logged = {name: list(out.rglob(f"samples_{name}_*.jsonl")) for name in names.split(",")}
        return results, {
            name: [json.loads(line) for path in paths for line in path.read_text().splitlines()]
            for name, paths in logged.items()
        }

    return run


def scores(samples):
    """Log-probability and greediness of each line, in the lines' order."""
    return [sample["filtered_resps"][0] for sample in sorted(samples, key=lambda sample: sample["doc_id"])]


def check(results, samples, golden):
    for (value, is_greedy), (context, _, expected, greedy) in zip(scores(samples["score"]), golden, strict=True):
        assert float(value) == pytest.approx(expected, abs=0.01 * max(1, abs(expected) / 10)), context
        assert str(is_greedy) == str(greedy), context
    if "choose" in results:
        assert results["choose"]["acc,none"] == 1
    if "write" in results:
        assert results["write"]["exact_match,none"] == 1


@pytest.mark.parametrize(
    "options",
    ["num_concurrent=1", "num_concurrent=4", "num_concurrent=2,tokenized_requests=False"],
)
def test_all_kinds_of_tasks(run, url, model, golden, options):  # 1 - 13, 15 - 19, 23
    base = f"model={model},base_url={url}/v1/completions,{options}"
    results, samples = run("score,choose,write,roll", "local-completions", base, "--log_samples")
    check(results, samples, golden)
    assert 0 < results["roll"]["bits_per_byte,none"] < 8


def test_batches(run, url, model, golden):  # 6, 12
    base = f"model={model},base_url={url}/v1/completions"
    check(*run("score,choose", "local-completions", base, "--log_samples", "--batch_size", "2"), golden)


def test_the_gguf_backend_reads_offsets(run, url, golden):  # 21
    results, _ = run("choose", "gguf", f"base_url={url}")
    assert results["choose"]["acc,none"] == 1


@pytest.mark.parametrize(
    ("kind", "path"), [("local-completions", "/v1/completions"), ("local-chat-completions", "/v1/chat/completions")]
)
def test_the_chat_template_is_applied_by_us(run, url, model, kind, path):  # 5, 22, 24
    # Without samples: lm-eval cannot write down a prompt that is a list of messages.
    results, _ = run("talk", kind, f"model={model},base_url={url}{path}", "--apply_chat_template")
    assert results["talk"]["exact_match,none"] == 1


def test_its_textsynth_model_scores_and_writes(url, model, greedy, golden):  # TextSynth 18, 19, 28
    os.environ["TEXTSYNTH_API_SECRET_KEY"] = "k"
    from lm_eval.models.textsynth import TextSynthLM

    lm = TextSynthLM(engine=model)
    lm.api_url = url
    for (value, is_greedy), (context, _, expected, is_best) in zip(
        lm.loglikelihood([row[:2] for row in golden]), golden, strict=True
    ):
        assert value == pytest.approx(expected, abs=0.01 * max(1, abs(expected) / 10)), context
        assert is_greedy == is_best, context
    prompt = "The capital of France is"
    assert lm.generate_until([(prompt, {"until": ["\n"]})])[0] == greedy(prompt, 256).split("\n")[0]
