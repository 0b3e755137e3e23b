"""lm-evaluation-harness in process and through our server: the same accuracy as our own evaluation on three local tasks, every
likelihood within 1e-3."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.evaluate.conftest import write
from tests.inference.tiny import make_run, tokenizer
from tests.serve.conftest import Process
from yanmo.cli import main
from yanmo.core.errors import RequestError
from yanmo.core.registry import create
from yanmo.evaluate.harness import Opened, Served, run, writing
from yanmo.evaluate.harness_results import rows as harness_rows
from yanmo.evaluate.head import head_of
from yanmo.inference.model import Model

WORDS = ["ink", "stone", "brush", "paper", "light", "window"]
ENGLISH = [{"question": f"Who ground the {word} {i}?", "choices": [f"the {WORDS[(i + k) % 6]} of the study" + " slowly" * k for k in range(3)], "answer": i % 3}
           for i in range(8) for word in WORDS[:2]]  # fmt: skip
CHINESE = [{"question": f"第{i}日，床前{word}？", "choices": ["明月光" * (1 + k) + "。霜雪"[k] for k in range(3)], "answer": (i + 1) % 3}
           for i in range(6) for word in ("明月", "举头")]  # fmt: skip
LABELLED = [{"text": f"{word} {i} 🙂 naïve", "label": label} for i in range(7) for word, label in (("The ink is black", "good ink"), ("墨水", "bad paper"))]


def yaml(name: str, data: Path, **more) -> None:
    about = {"task": name, "dataset_path": "json", "dataset_kwargs": {"data_files": {"test": str(data.resolve())}}, "test_split": "test",
             "output_type": "multiple_choice", "metric_list": [{"metric": "acc"}, {"metric": "acc_norm"}], **more}  # fmt: skip
    Path("harness").mkdir(exist_ok=True)
    Path(f"harness/{name}.yaml").write_text(json.dumps(about, ensure_ascii=False))  # JSON is YAML


@pytest.fixture
def tasks(folder, monkeypatch):
    """Name → our own task, the harness's of the same name in harness/."""
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_OFFLINE", "1")
    monkeypatch.setenv("HF_DATASETS_CACHE", str(folder / "cache"))
    for name, rows in (("english", ENGLISH), ("chinese", CHINESE), ("labels", LABELLED)):
        write(Path(f"{name}.jsonl"), rows)
    yaml("english", Path("english.jsonl"), doc_to_text="Question: {{question}}\nAnswer:", doc_to_choice="{{choices}}", doc_to_target="answer")
    yaml("chinese", Path("chinese.jsonl"), doc_to_text="问题：{{question}}\n答案：", doc_to_choice="{{choices}}", doc_to_target="answer", target_delimiter="")
    yaml("labels", Path("labels.jsonl"), doc_to_text="Text: {{text}}\nLabel:", doc_to_choice=["bad paper", "good ink"],
         doc_to_target="{{['bad paper', 'good ink'].index(label)}}")  # fmt: skip
    prompt = {"normalize": "sum", "template": "Text: {text}\nLabel:"}
    return {"english": create("task", {"type": "multiple_choice", "path": "english.jsonl", "normalize": "sum"}),
            "chinese": create("task", {"type": "multiple_choice", "path": "chinese.jsonl", "normalize": "sum"}),
            "labels": create("task", {"type": "classify", "path": {"test": "labels.jsonl"}, "prompt": prompt})}  # fmt: skip


def agree(found: dict, model: Path, tasks: dict) -> None:
    opened = Model.open(model)
    for name, task in tasks.items():
        head, examples = head_of(task), task.load("test")
        lines = head.answer(opened, task, examples)
        figures = head.figures(task, lines)
        result = found["results"][name]
        assert result["acc,none"] == pytest.approx(figures["accuracy"].value), name
        if "accuracy_characters" in figures:
            assert result["acc_norm,none"] == pytest.approx(figures["accuracy_characters"].value), name
        assert len(found["samples"][name]) == len(lines)
        for sample, line in zip(sorted(found["samples"][name], key=lambda sample: sample["doc_id"]), lines):
            said = [response[0] if isinstance(response[0], list | tuple) else response for response in sample["resps"]]
            assert [float(logprob) for logprob, _ in said] == pytest.approx(line["logprobs"], abs=1e-3), (name, line)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_in_process_and_through_the_server_it_agrees_with_our_own_evaluation(tasks):
    pytest.importorskip("lm_eval", reason="lm-eval is not installed (extra 'harness')")
    pytest.importorskip("datasets", reason="datasets is not installed (extra 'harness')")
    made = make_run(Path("run"), context=128)
    for kind in ("ngram", "lstm", "transformer"):
        agree(run(made / kind, list(tasks), include="harness"), made / kind, tasks)
    server = Process(str(made), "--slots", "4")
    try:
        agree(run(server.url, list(tasks), include="harness", name="transformer"), made / "transformer", tasks)
        served, opened = Served(server.url, "transformer"), Opened(Model.open(made / "transformer"))
        texts = ["床前明月光，疑是地上霜。", "The ink is black. 🙂 e\u0301"]
        assert served.whole(texts) == pytest.approx(opened.whole(texts), abs=1e-3)
        long = ["The ink is black. " * 30]  # a server reads one token less in a window: it takes no prompt beyond the context
        assert served.whole(long) == pytest.approx(opened.whole(long), rel=0.01)
        settings = writing({"until": ["\n\n"], "max_gen_toks": 12})
        assert served.write(["The ink", "床前"], settings) == opened.write(["The ink", "床前"], settings)
        with pytest.raises(RequestError, match=r"/v1/completions|/tokenize"):
            Served(server.url, "nobody").score([("a", "b")])
    finally:
        server.stop()


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_command_line_gives_lines_like_those_of_our_own_evaluation(tasks, capsys):
    pytest.importorskip("lm_eval", reason="lm-eval is not installed (extra 'harness')")
    pytest.importorskip("datasets", reason="datasets is not installed (extra 'harness')")
    make_run(Path("run"), context=128)
    assert main(["evaluate", "run", "--harness", "english,chinese", "--include-path", "harness", "--json"]) == 0
    rows = json.loads(capsys.readouterr().out.splitlines()[-1])["results"]
    by = {(row["model"], row["task"], row["metric"]): row for row in rows}
    assert set(by) == {(model, task, metric) for task in ("english", "chinese")
                       for model, metric in (("transformer", "acc"), ("transformer", "acc_norm"), ("chance", "acc"))}  # fmt: skip
    head = head_of(tasks["english"])
    own = {row["metric"]: row for row in head.scored("transformer", "english", head.answer(Model.open("run/transformer"), tasks["english"], tasks["english"].load("test")))
           if "group" not in row}  # fmt: skip
    theirs = by["transformer", "english", "acc"]
    assert {key: theirs[key] for key in ("value", "low", "high", "n")} == {key: own["accuracy"][key] for key in ("value", "low", "high", "n")}
    assert theirs["signature"].startswith("lm-evaluation-harness|0.")
    assert by["chance", "english", "acc"]["value"] == pytest.approx(1 / 3, abs=1e-6)
    for arguments, told in (
        (["--harness", "english", "--include-path", "nowhere"], "nowhere: expected a folder of tasks as YAML files, got none"),
        (["--harness", "englisch", "--include-path", "harness"], "harness: expected a task of harness, got englisch - did you mean 'english'?"),
    ):
        assert main(["evaluate", "run", *arguments]) == 2
        assert told in capsys.readouterr().err
    Path("english.jsonl").unlink()
    assert main(["evaluate", "run", "--harness", "english", "--include-path", "harness"]) == 2
    assert "english: expected a task that lm-evaluation-harness can read, got FileNotFoundError" in capsys.readouterr().err


@pytest.mark.parametrize(("arguments", "told"), [
    ([], "no --task"), (["--task", "qa"], "no --data"), (["--harness", "x"], "no --include-path"), (["--limit", "3"], "no --harness"),
    (["--task", "qa", "--data", "x", "--harness", "x", "--include-path", "."], "--task too"),
])  # fmt: skip
def test_our_tasks_or_the_harness_s(arguments, told, capsys):
    assert main(["evaluate", "run", *arguments]) == 2
    assert f"evaluate: expected --task with --data, or --harness with --include-path, got {told}" in capsys.readouterr().err


def test_lines_of_what_the_harness_found():
    pytest.importorskip("lm_eval", reason="lm-eval is not installed (extra 'harness')")
    samples = [{"filter": "none", "metrics": ["acc"], "acc": float(i % 3 == 0), "arguments": [("q", " a"), ("q", " 乙")]} for i in range(9)]
    written = [{"filter": "strict", "metrics": ["exact_match"], "exact_match": 1.0, "arguments": [("q", {})]}] * 2
    words = [{"filter": "none", "metrics": ["word_perplexity"], "word_perplexity": (-3.0, 4), "arguments": [("text",)]}] * 2
    found = {"results": {"两": {"alias": "两", "acc,none": 3 / 9, "acc_stderr,none": "N/A"}, "w": {"exact_match,strict": 1.0},
                         "p": {"word_perplexity,none": 2.117}}, "samples": {"两": samples, "w": written, "p": words}}  # fmt: skip
    rows = {(row["model"], row["task"], row["metric"]): row for row in harness_rows("m", found)}
    assert set(rows) == {("m", "两", "acc"), ("chance", "两", "acc"), ("m", "w", "exact_match@strict"), ("m", "p", "word_perplexity")}
    acc, perplexity = rows["m", "两", "acc"], rows["m", "p", "word_perplexity"]
    assert acc["low"] < acc["value"] == round(1 / 3, 6) < acc["high"]
    assert rows["chance", "两", "acc"]["value"] == 0.5
    assert (perplexity["value"], perplexity["low"], perplexity["n"]) == (2.117, None, 2)


def test_what_the_harness_asks_of_a_text():
    assert writing({"until": ["\n"], "do_sample": False, "temperature": 0.7, "max_gen_toks": 5}) == {
        "max_tokens": 5, "temperature": 0.0, "seed": 1234, "stop": ["\n"]}  # fmt: skip
    assert writing({"until": "。", "do_sample": True, "top_p": 0.5})["temperature"] == 1.0
    with pytest.raises(RequestError, match="num_beams"):
        writing({"num_beams": 4})


def test_a_model_that_cannot_is_refused(folder):
    made = make_run(Path("run"))
    with pytest.raises(RequestError, match="it labels texts and gives no probability to text"):
        Opened(Model.open(made / "finetune"))
    opened = Opened(Model.open(made / "ngram"))
    [one, other, again] = opened.score([("床前", "明月光"), ("床前", "xyz"), ("床前", "明月光")])
    assert one == again
    assert (one.greedy, other.greedy) == (True, False)
    assert opened.write(["床前明月光，疑是地上霜。举头"], writing({"until": ["低头"], "max_gen_toks": 40})) == ["望明月，"]
    assert opened.whole(["春眠"])[0] == pytest.approx(opened.score([("", "春眠")])[0].logprob, abs=1e-4)
    assert tokenizer().bos_id == opened.loaded.tokenizer.bos_id


def test_a_server_that_is_not_there():
    with pytest.raises(RequestError, match=r"^http://127\.0\.0\.1:9/tokenize: expected an answer"):
        Served("http://127.0.0.1:9")
