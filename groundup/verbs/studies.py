"""The verbs that train small models to decide about a large one: each writes a recipe, and runs it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from groundup.verbs.options import JsonOption, OverridesArgument, RecipeArgument, WorkspaceOption, open_store

if TYPE_CHECKING:
    from groundup.artifact.store import Store

SWEEP_EXAMPLES: Final = (
    "Examples:  groundup sweep quickstart base   ·   groundup sweep my.yaml base --depths 2,3,4 --ratios 5,10"
    "   ·   groundup sweep my.yaml base base.depth=12 --no-verify"
)
ABLATE_EXAMPLES: Final = (
    "Examples:  groundup ablate quickstart base --variant 'no-filters: corpus.filters=[]'   ·   "
    "groundup ablate my.yaml base --variant 'gopher: corpus.filters=\\[gopher]' --variant 'even: mix.temperature=4 "
    "mix.size=1 GB' --seeds 5 --depth 6   ·   groundup ablate my.yaml base --variants ideas.yaml --horizon '5M tokens'"
)


def sweep(
    recipe: RecipeArgument,
    artifact: Annotated[str, typer.Argument(help="The pretrained model to predict, such as base.")],
    overrides: OverridesArgument = None,
    workspace: WorkspaceOption = None,
    depths: Annotated[
        str | None, typer.Option(help="Depths of the small models, such as 2,3,4; below the model's own if not set.")
    ] = None,
    ratios: Annotated[
        str | None, typer.Option(help="Lengths of their runs in tokens a parameter, such as 5,10,20,40.")
    ] = None,
    verify: Annotated[bool, typer.Option(help="Train the predicted model too, and compare.")] = True,
    as_json: JsonOption = False,
) -> None:
    """Predict a model before training it: train a small family, fit a scaling law, and test it.

    The sweep is an artifact like any other. Its recipe is kept beside its report, for 'groundup run' (with --nproc).
    """
    from groundup.derive import sweep_of
    from groundup.recipe import load
    from groundup.stages.pretrain.sweep.report import said

    store = open_store(workspace)
    written = sweep_of(load(recipe, overrides or []), artifact, store.runs, depths=depths, ratios=ratios, verify=verify)
    _study(written, store, said, as_json)


def ablate(
    recipe: RecipeArgument,
    artifact: Annotated[str, typer.Argument(help="The pretrained model whose data are varied, such as base.")],
    overrides: OverridesArgument = None,
    workspace: WorkspaceOption = None,
    variant: Annotated[
        list[str] | None,
        typer.Option(help="'NAME: CHANGES', as artifact.field=value with spaces between them; again for each variant."),
    ] = None,
    variants: Annotated[
        Path | None, typer.Option(help="A YAML file that maps names to changes, or lists of them.")
    ] = None,
    seeds: Annotated[int, typer.Option(min=2, max=100, help="How often each variant is trained.")] = 3,
    depth: Annotated[
        int | None, typer.Option(min=1, max=128, help="Depth of the small model; 2, or the model's own if less.")
    ] = None,
    horizon: Annotated[
        str | None,
        typer.Option(help="Length of each training, such as 5M tokens; 1M tokens, or the model's own if less."),
    ] = None,
    confidence: Annotated[float, typer.Option(min=0.51, max=0.999, help="Of intervals and verdicts.")] = 0.95,
    as_json: JsonOption = False,
) -> None:
    """Say which rule or mixture helps: train small models on variants of the data, several times, and compare.

    What a variant changes is made anew for it, up to the token store; the tokenizer stays the same.

    The ablation is an artifact like any other. Its recipe is kept beside its report, for 'groundup run' (with --nproc).
    """
    from groundup.derive import ablate_of
    from groundup.stages.pretrain.ablation.report import said
    from groundup.stages.pretrain.ablation.variants import read_variants

    store, wanted = open_store(workspace), read_variants(variant or [], variants)
    sizes = {"seeds": seeds, "depth": depth, "horizon": horizon, "confidence": confidence}
    written = ablate_of(recipe, overrides or [], artifact, store.runs, wanted, **sizes)
    _study(written, store, said, as_json)


def _study(written: Path, store: Store, said: Callable[[Mapping[str, Any]], list[str]], as_json: bool) -> None:
    """Run a recipe whose last artifact is the study, and print what came out: ``said`` puts metrics into words."""
    from groundup.base.progress import Progress
    from groundup.flow import run

    result = run(str(written), [], store, Progress())
    found = result.steps[-1].artifact
    if as_json:
        print(found.file("report.json").read_text(encoding="utf-8").rstrip())
        return
    print("\n".join(said(found.record.metrics)))
    print(f"recipe:    {written}")
    print(f"report:    {result.report}")
