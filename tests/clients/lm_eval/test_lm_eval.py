"""lm-evaluation-harness, unmodified, on tasks of its own making (tasks/). What it logs is what `transformers` gave
(tests/golden/lm_eval.json). The numbers are the lines of docs/dialects/openai.md."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

TASKS = Path(__file__).parent / "tasks"
GOLDEN = json.loads((Path(__file__).parents[2] / "golden/lm_eval.json").read_text())


def rows(task: str) -> list[dict]:
    return [json.loads(line) for line in (TASKS / f"{task}.jsonl").read_text().splitlines()]


def by_line(samples: dict) -> dict[str, list]:
    """The responses of each task in the order of its lines."""
    return {task: [line["resps"] for line in sorted(lines, key=lambda line: line["doc_id"])] for task, lines in samples.items()}


@pytest.fixture(scope="module")
def offline(tmp_path_factory) -> dict[str, str]:
    """Variables under which lm-eval asks no hub. It reads them when it is imported."""
    return {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(tmp_path_factory.mktemp("hf"))}


@pytest.fixture(scope="module")
def task_manager(offline):
    """Knows these tasks alone: to read the thousands that lm-eval has takes longer than to run all of these."""
    os.environ.update(offline)
    from lm_eval.tasks import TaskManager

    return TaskManager(include_path=TASKS, include_defaults=False)


@pytest.fixture
def run(task_manager, caplog, monkeypatch):
    """Runs lm-eval; answers with each task's results, and the responses to each of its lines."""
    from lm_eval import simple_evaluate

    def run(tasks: str, kind: str, options: str, **more):
        caplog.set_level("INFO")
        monkeypatch.chdir(TASKS)
        done = simple_evaluate(kind, options, tasks.split(","), task_manager=task_manager, bootstrap_iters=0, **more)
        assert "retry" not in caplog.text.lower(), caplog.text[-3000:]
        return done["results"], by_line(done.get("samples", {}))

    return run


def check_scores(found, expected):
    """Pairs of log-probability and greediness."""
    for (logprob, is_greedy), wanted in zip(found, expected, strict=True):
        # The cache has half floats and activations 16 bits: sums of many unlikely tokens were seen 0.0055 and 0.0114 away from
        # -65.44, with one order of additions in attention and another, and 0.0005 with a cache of 32 bits.
        assert float(logprob) == pytest.approx(wanted["logprob"], abs=0.01, rel=5e-4)
        assert str(is_greedy) == str(wanted["is_greedy"])


def check(results, samples):
    check_scores([resps[0][0] for resps in samples["score"]], GOLDEN["score"])
    for resps, expected in zip(samples["choose"], GOLDEN["choose"], strict=True):
        check_scores([choice[0] for choice in resps], expected)
    assert results["choose"]["acc,none"] == 1
    if "write" in samples:
        assert [resps[0][0] for resps in samples["write"]] == GOLDEN["write"]
        assert results["write"]["exact_match,none"] == 1
    if "roll" in samples:
        # Activations have 16 bits here: the sum over a whole text was seen 0.018 away from -43.98.
        assert [float(resps[0][0]) for resps in samples["roll"]] == pytest.approx(GOLDEN["roll"], rel=1e-3)


@pytest.mark.parametrize(
    ("options", "more"),
    [("num_concurrent=1", {}), ("num_concurrent=4", {}), ("num_concurrent=1", {"batch_size": 2}), ("tokenized_requests=False", {})],
)
def test_all_kinds_of_tasks_have_the_answers_of_transformers(run, url, model, options, more):  # 1 - 13, 15 - 19, 23
    options = f"model={model},base_url={url}/v1/completions,{options}"
    check(*run("score,choose,write,roll", "local-completions", options, **more))


def test_the_command_asks_the_prefix_which_stays_in_front_of_the_tokenizer_too(url, model, offline, tmp_path):  # 1 - 4
    command = [Path(sys.executable).parent / "lm-eval", "run", "--model", "local-completions"]
    command += ["--model_args", f"model={model},base_url={url}/openai/v1/completions", "--log_samples", "--output_path", tmp_path]
    command += ["--tasks", "score,choose", "--include_path", TASKS]
    done = subprocess.run(command, cwd=TASKS, env=os.environ | offline, capture_output=True, text=True, timeout=400)
    assert done.returncode == 0, done.stderr[-3000:]
    assert "retry" not in done.stderr.lower(), done.stderr[-3000:]
    results = json.loads(next(tmp_path.rglob("results_*.json")).read_text())["results"]
    samples = {path.name.split("_")[1]: map(json.loads, path.read_text().splitlines()) for path in tmp_path.rglob("samples_*.jsonl")}
    check(results, by_line(samples))


def test_the_gguf_backend_reads_offsets(run, url):  # 21
    check(*run("score,choose", "gguf", f"base_url={url}"))


@pytest.mark.parametrize(
    ("kind", "path"), [("local-completions", "/v1/completions"), ("local-chat-completions", "/v1/chat/completions")]
)
def test_the_chat_template_is_applied_by_us(run, url, model, kind, path):  # 5, 22, 24
    assert [row["answer"] for row in rows("chat")] == GOLDEN["chat"]
    # No samples: lm-eval fails to log prompts that are lists of messages.
    results, _ = run("chat", kind, f"model={model},base_url={url}{path}", apply_chat_template=True, log_samples=False)
    assert results["chat"]["exact_match,none"] == 1


def test_its_textsynth_model_scores_and_writes(url, model, greedy, monkeypatch):  # TextSynth 18, 19, 28
    monkeypatch.setenv("TEXTSYNTH_API_SECRET_KEY", "k")
    from lm_eval.models.textsynth import TextSynthLM

    lm = TextSynthLM(engine=model)
    lm.api_url = url
    check_scores(lm.loglikelihood([(row["context"], row["continuation"]) for row in rows("score")]), GOLDEN["score"])
    prompt = "The capital of France is"
    assert lm.generate_until([(prompt, {"until": ["\n"]})])[0] == greedy(prompt, 256).split("\n")[0]
