"""Benchmarks through lm-eval: task definitions from ``tasks/``, rows from local files, nothing from a network."""

from __future__ import annotations

import contextlib
import copy
import json
import os
import shutil
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Final

import numpy as np

from groundup.base.errors import DataError, missing_extra
from groundup.infer.engine import Engine
from groundup.stages.evaluate.config import TASKS
from groundup.text.benchmark import item_id, item_texts, read_rows

_OFFLINE: Final = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")
_NEEDED: Final = {"hellaswag": ("activity_label", "ctx_a", "ctx_b")}
"""Fields that a prompt needs beyond those that every reader of the benchmark needs."""


@dataclass(frozen=True)
class Item:
    """One item as a model answered it. ``correct`` is by each metric of the task: acc, and acc_norm if it has it."""

    item: str
    log_likelihoods: tuple[float, ...]
    predicted: int
    label: int
    correct: Mapping[str, bool]
    prompt_hash: str

    @property
    def choices(self) -> int:
        """The number of answers to choose from."""
        return len(self.log_likelihoods)


def check_rows(name: str, path: Path) -> list[dict[str, Any]]:
    """The rows of a benchmark; DataError that names file and row if one lacks a field or its right answer."""
    rows = read_rows(path)
    for number, row in enumerate(rows, 1):
        try:
            item_texts(name, row)
        except DataError as error:
            raise DataError(f"{path.name} row {number}: {error}") from None
        for field in _NEEDED.get(name, ()):
            if field not in row:
                raise DataError(f"{path.name} row {number}: {name} needs the field {field!r}")
    return rows


class Harness:
    """Runs benchmarks on models. ``folder`` keeps rows and lm-eval's cache, ``log`` what lm-eval has to say.

    ``benchmarks`` maps names to checked rows. All of it is used within ``quiet_offline``.
    """

    def __init__(self, benchmarks: Mapping[str, Sequence[dict[str, Any]]], folder: Path, log: IO[str]) -> None:
        self._benchmarks = benchmarks
        self._folder = folder
        self._log = log
        shutil.rmtree(folder, ignore_errors=True)
        (folder / "tasks").mkdir(parents=True)
        for name, rows in benchmarks.items():
            data = folder / f"{name}.jsonl"
            data.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
            # JSON is YAML: a task definition that adds to ours where the rows lie on this machine.
            local = {
                "include": str(TASKS / f"{name}.yaml"),
                "task": name,
                "dataset_kwargs": {"data_files": {"test": str(data)}, "cache_dir": str(folder / "cache")},
            }
            (folder / "tasks" / f"{name}.yaml").write_text(json.dumps(local), encoding="utf-8")

    def run(
        self, engine: Engine, limit: int | None, report: Any = None
    ) -> tuple[dict[str, Any], dict[str, list[Item]]]:
        """Ask one model every benchmark: results in lm-eval's shape, and the items of each benchmark in file order."""
        with quiet_offline(self._log):
            from lm_eval import __version__ as version
            from lm_eval.evaluator import evaluate

            from groundup.stages.evaluate.adapter import EngineLM

            tasks = self.tasks()
            found = evaluate(EngineLM(engine, report), {"tasks": tasks}, limit=limit)
            samples = found.pop("samples")
            items = {name: self._items(tasks[name], rows) for name, rows in samples.items()}
        return _portable({**found, "lm_eval_version": version}), items

    def tasks(self) -> dict[str, Any]:
        """lm-eval's task objects by name, in the order of the benchmarks."""
        from lm_eval.tasks import TaskManager

        manager = TaskManager(include_path=str(self._folder / "tasks"), include_defaults=False)
        loaded = manager.load(list(self._benchmarks))["tasks"]
        for task in loaded.values():
            task.set_fewshot_seed(seed=1234)
        return {name: loaded[name] for name in self._benchmarks}

    def _items(self, task: Any, samples: Sequence[dict[str, Any]]) -> list[Item]:
        rows = self._benchmarks[task.config.task]
        found = []
        for sample in sorted(samples, key=lambda sample: int(sample["doc_id"])):
            number, doc = int(sample["doc_id"]), sample["doc"]
            log_likelihoods = tuple(float(answers[0][0]) for answers in sample["resps"])
            found.append(
                Item(
                    item=item_id(rows[number], number + 1),
                    log_likelihoods=log_likelihoods,
                    predicted=int(np.argmax(log_likelihoods)),
                    label=int(task.doc_to_text(doc) if task.multiple_input else task.doc_to_target(doc)),
                    correct={metric: bool(sample[metric]) for metric in sample["metrics"]},
                    prompt_hash=sample["prompt_hash"],
                )
            )
        return found


@contextlib.contextmanager
def quiet_offline(log: IO[str]) -> Iterator[None]:
    """Keep lm-eval and datasets off the network, and send their prints, bars, logging and warnings to ``log``."""
    before = {name: os.environ.get(name) for name in _OFFLINE}
    os.environ.update(dict.fromkeys(_OFFLINE, "1"))
    try:
        with (
            warnings.catch_warnings(record=True) as caught,
            contextlib.redirect_stdout(log),
            contextlib.redirect_stderr(log),
            _library_settings(),
        ):
            warnings.simplefilter("always")
            yield
        for warning in caught:
            log.write(f"{warning.category.__name__}: {warning.message}\n")
    finally:
        for name, value in before.items():
            if value is None:
                del os.environ[name]
            else:
                os.environ[name] = value


@contextlib.contextmanager
def _library_settings() -> Iterator[None]:
    """The environment is only read at import: where the libraries are loaded already, set what it sets."""
    try:
        import datasets
        import huggingface_hub.constants as hub
        import lm_eval  # noqa: F401
    except ImportError as error:
        raise missing_extra("lm-eval", "evaluate") from error
    holders = ((hub, "HF_HUB_OFFLINE"), (datasets.config, "HF_HUB_OFFLINE"))
    before = [getattr(holder, name) for holder, name in holders]
    bars = datasets.are_progress_bars_disabled()
    try:
        for holder, name in holders:
            setattr(holder, name, True)
        datasets.disable_progress_bars()
        yield
    finally:
        for (holder, name), value in zip(holders, before, strict=True):
            setattr(holder, name, value)
        if not bars:
            datasets.enable_progress_bars()


def _portable(results: dict[str, Any]) -> dict[str, Any]:
    """lm-eval's results without what differs between runs: the folders of the rows, and functions' addresses."""
    found = copy.deepcopy(results)
    for name, config in found["configs"].items():
        config["dataset_kwargs"] = {"data_files": {"test": f"{name}.jsonl"}}
        config["metadata"].pop("config_source", None)
        config.pop("fewshot_config", None)
    plain: dict[str, Any] = json.loads(json.dumps(found, default=str, sort_keys=True))
    return plain
