"""A quality model as a stage: trained from two corpora, measured on what it did not see, used by a curation."""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Any

import pytest

sys.path.insert(0, str(Path(__file__).parent))
from test_curate_stage import _artifact, _config, _curate, _page, _record, _rows, _story

from groundup.artifact.stage import Artifact, Task
from groundup.base.errors import RequestError
from groundup.base.progress import Silent
from groundup.stages.curate.quality import QualityConfig
from groundup.text.document import CORPUS, write_shards

ADVERTS = """buy cheap offer discount click now sale limited best price deal shop order free shipping today
bargain coupon""".split()  # noqa: SIM905


def _advert(seed: int) -> str:
    draw = random.Random(seed)
    return "\n".join(f"The {' '.join(draw.choice(ADVERTS) for _ in range(14))} to you." for _ in range(12))


def _corpus(folder: Path, name: str, texts: list[str]) -> Artifact:
    rows = [
        {"id": f"{at:032x}", "text": text, "source": name, "record": str(at), "url": None, "licence": "CC0-1.0",
         "language": "eng_Latn", "language_score": 1.0, "split": "train", "chars": len(text)}
        for at, text in enumerate(texts)
    ]  # fmt: skip
    write_shards(folder / name, "corpus", CORPUS, rows)
    return Artifact(folder / name, _record(name, "corpus", {}))


def _train(folder: Path, inputs: dict[str, Any], **fields: Any) -> tuple[Artifact, Task, dict[str, Any]]:
    config = QualityConfig.parse({"positives": ["good"], "negatives": ["bad"], **fields}, "t")
    payload = folder / "quality"
    payload.mkdir(parents=True)
    task = Task("quality", "q", inputs, {}, payload, folder / "scratch", Silent())
    outcome = config.run(task)
    return Artifact(payload, _record("quality", "quality", {})), task, outcome.metrics


def test_a_model_is_trained_measured_and_used(tmp_path: Path) -> None:
    good = _corpus(tmp_path, "good", [_story(seed) for seed in range(1000, 1220)])
    bad = _corpus(tmp_path, "bad", [_advert(seed) for seed in range(220)])
    model, task, metrics = _train(tmp_path, {"positives": (good,), "negatives": (bad,)})
    assert metrics["held_out"]["auc"] > 0.95
    assert task.exhibits
    pages = [_page(_story(seed), f"story {seed}") for seed in range(5)]
    pages += [_page(_advert(seed), f"advert {seed}") for seed in range(500, 505)]
    config = _config(quality="quality", filters=[], near_duplicates=None)
    outcome, _, corpus, rejects = _curate(
        tmp_path / "run", [_artifact(tmp_path, "pages", pages)], config, inputs={"quality": (model,)}
    )
    assert {row["record"] for row in corpus} == {f"story {seed}" for seed in range(5)}
    assert outcome.metrics["rejected"] == {"quality:below_threshold": 5}
    assert all("below" in row["detail"] for row in rejects)


def test_the_same_examples_make_the_same_model(tmp_path: Path) -> None:
    texts = [_story(seed) for seed in range(1000, 1200)], [_advert(seed) for seed in range(200)]
    files = []
    for number, order in enumerate((1, -1)):
        folder = tmp_path / str(number)
        good, bad = (_corpus(folder, name, part[::order]) for name, part in zip(("good", "bad"), texts, strict=True))
        model, *_ = _train(folder, {"positives": (good,), "negatives": (bad,)})
        files.append({path.name: path.read_bytes() for path in (model.path / "model").iterdir()})
    assert files[0] == files[1]


def test_too_few_examples_are_refused(tmp_path: Path) -> None:
    good, bad = _corpus(tmp_path, "good", [_story(1)]), _corpus(tmp_path, "bad", [_advert(1)])
    with pytest.raises(RequestError, match="examples"):
        _train(tmp_path, {"positives": (good,), "negatives": (bad,)})
    assert _rows(good.path, "corpus")
