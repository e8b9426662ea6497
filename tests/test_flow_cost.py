"""What an artifact took is in its record."""

from __future__ import annotations

from pathlib import Path
from typing import ClassVar

from groundup import flow
from groundup.artifact.stage import Node, Outcome, StageConfig, Task
from groundup.artifact.store import Store
from groundup.base.progress import Silent
from groundup.base.team import Leader


class Heater(StageConfig):
    """A stage that leaves a file and has a GPU draw power."""

    stage: ClassVar[str] = "heater"
    kind: ClassVar[str] = "model"

    def run(self, task: Task) -> Outcome:
        (task.payload / "ash").write_text("grey")
        return Outcome(device_joules=5000.0)


def test_measured_energy_is_added_to_that_of_the_cpu(tmp_path: Path) -> None:
    node = Node("base", Heater(), {}, {}, "ab" * 32)
    cost = flow._attempt(node, Store(tmp_path), Silent(), {}, Leader.alone()).record.cost
    assert abs(cost.energy_joules - 5000.0 - cost.cpu_seconds * cost.watts_per_core) < 0.2
