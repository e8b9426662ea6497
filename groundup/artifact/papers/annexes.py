"""What lies beside a model card: the list of licences, and what making the model cost."""

from __future__ import annotations

from typing import Final

from groundup.artifact.lineage import Branch
from groundup.artifact.papers.templating import render
from groundup.artifact.record import Record

LICENCES_FILE: Final = "LICENSES.md"
COST_FILE: Final = "log/cost.md"


def render_licences(model: Record) -> str:
    """Every source with its licence and origin, grouped by licence: Markdown."""
    sources = model.terms.sources
    groups = [(name, [one for one in sources if one.licence == name]) for name in model.terms.licences]
    return render("licences.md.j2", model=model, groups=groups)


def render_cost(lineage: Branch) -> str:
    """What making each artifact of the lineage took, and on which machine: Markdown."""
    records = [branch.record for branch in lineage.walk()]
    total = {
        "seconds": sum(record.cost.seconds for record in records),
        "cpu_seconds": sum(record.cost.cpu_seconds for record in records),
        "energy_joules": sum(record.cost.energy_joules for record in records),
        "peak_memory_bytes": max(record.cost.peak_memory_bytes for record in records),
    }
    machines: list[dict[str, str]] = []
    for record in records:
        machines += [record.environment] if record.environment not in machines else []
    watts = sorted({record.cost.watts_per_core for record in records})
    return render("cost.md.j2", records=records, total=total, machines=machines, watts=watts, model=lineage.record)
