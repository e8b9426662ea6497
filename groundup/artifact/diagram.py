"""The picture of a flow: artifacts as boxes in ranks, arrows along their inputs, as inline SVG.

A small layered layout after Sugiyama, Tagawa and Toda (1981): rank by the longest path, give an edge that crosses
ranks a lane in each of them, order every rank by the mean position of its neighbours, then move boxes towards those
means. All arrows that leave one box share its lanes, which keeps a long recipe readable.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from markupsafe import Markup

from groundup.artifact.present import clean

_SWEEPS: Final = 12
_Item = tuple[str, int]  # a box or a lane: the name of the artifact, the rank


@dataclass(frozen=True)
class Box:
    """One artifact: ``key`` is unique, ``after`` are the keys it is made from, ``colour`` numbers its kind."""

    key: str
    name: str
    note: str
    href: str
    colour: int
    after: tuple[str, ...]


@dataclass(frozen=True)
class _Shape:
    """Sizes in SVG units. ``along`` is the direction of the flow, ``across`` the other one."""

    upright: bool
    along: float
    across: float
    rank_gap: float
    gap: float
    lane: float
    name_chars: int
    note_chars: int


_WIDE: Final = _Shape(False, 132, 54, 30, 16, 7, 14, 20)
_TALL: Final = _Shape(True, 50, 124, 30, 12, 7, 13, 18)


def flow_diagram(boxes: Sequence[Box], *, upright: bool = False) -> Markup:
    """Draw the flow from left to right, or from top to bottom if ``upright``. Boxes come after what they use."""
    shape = _TALL if upright else _WIDE
    ranks = _ranks(boxes)
    layers, links = _layers(boxes, ranks)
    layers = _ordered(layers, links)
    across = _places(layers, links, ranks, shape)
    height = max(across.values()) + shape.across / 2 + 6
    width = (max(ranks.values(), default=0) + 1) * (shape.along + shape.rank_gap) - shape.rank_gap + 12
    drawn = [_arrows(box, boxes, ranks, across, shape) for box in boxes]
    drawn += [_box(box, ranks[box.key], across[box.key, ranks[box.key]], shape) for box in boxes]
    size = (height, width) if upright else (width, height)
    return Markup('<svg class="flow {}" viewBox="0 0 {} {}" style="max-width:{}px" role="group">{}</svg>').format(
        "tall" if upright else "wide", _n(size[0]), _n(size[1]), _n(size[0]), Markup("\n").join(drawn)
    )


def _ranks(boxes: Sequence[Box]) -> dict[str, int]:
    """The longest path to each box; a box made from nothing stands just before the first that uses it."""
    ranks: dict[str, int] = {}
    for box in boxes:
        ranks[box.key] = max((ranks[key] + 1 for key in box.after), default=0)
    for box in boxes:
        users = [ranks[other.key] for other in boxes if box.key in other.after]
        if not box.after and users:
            ranks[box.key] = min(users) - 1
    return ranks


def _layers(boxes: Sequence[Box], ranks: Mapping[str, int]) -> tuple[list[list[_Item]], set[tuple[_Item, _Item]]]:
    """The items of each rank (boxes, and lanes of arrows that pass by), and the links between neighbouring ranks."""
    layers: list[list[_Item]] = [[] for _ in range(max(ranks.values(), default=0) + 1)]
    links: set[tuple[_Item, _Item]] = set()
    for box in boxes:
        layers[ranks[box.key]].append((box.key, ranks[box.key]))
        for key in box.after:
            path = [(key, rank) for rank in range(ranks[key], ranks[box.key])] + [(box.key, ranks[box.key])]
            links.update(pairwise(path))
            for item in path[1:-1]:
                if item not in layers[item[1]]:
                    layers[item[1]].append(item)
    return layers, links


def _neighbours(links: set[tuple[_Item, _Item]]) -> dict[_Item, list[_Item]]:
    found: dict[_Item, list[_Item]] = {}
    for one, other in sorted(links):
        found.setdefault(one, []).append(other)
        found.setdefault(other, []).append(one)
    return found


def _ordered(layers: list[list[_Item]], links: set[tuple[_Item, _Item]]) -> list[list[_Item]]:
    """The order with the fewest crossings among those that sweeping up and down visits."""
    near = _neighbours(links)
    best, fewest = [list(layer) for layer in layers], _crossings(layers, links)
    for sweep in range(_SWEEPS):
        forward = sweep % 2 == 0
        for index in range(len(layers)) if forward else reversed(range(len(layers))):
            side = index - 1 if forward else index + 1
            if not 0 <= side < len(layers):
                continue
            place = {item: spot for spot, item in enumerate(layers[side])}
            spots = {item: spot for spot, item in enumerate(layers[index])}
            means = {}
            for item in layers[index]:
                there = [place[other] for other in near.get(item, []) if other in place]
                means[item] = sum(there) / len(there) if there else float(spots[item])
            layers[index].sort(key=lambda item: (means[item], spots[item]))
        crossings = _crossings(layers, links)
        if crossings < fewest:
            best, fewest = [list(layer) for layer in layers], crossings
    return best


def _crossings(layers: list[list[_Item]], links: set[tuple[_Item, _Item]]) -> int:
    spot = {item: index for layer in layers for index, item in enumerate(layer)}
    ends = sorted((one[1], spot[one], spot[other]) for one, other in links)
    return sum(
        a[0] == b[0] and (a[1] - b[1]) * (a[2] - b[2]) < 0 for index, a in enumerate(ends) for b in ends[index + 1 :]
    )


def _places(
    layers: list[list[_Item]], links: set[tuple[_Item, _Item]], ranks: Mapping[str, int], shape: _Shape
) -> dict[_Item, float]:
    """The middle of every item across the flow, at least half its size from 0."""

    def size(item: _Item) -> float:
        return shape.across if ranks[item[0]] == item[1] else shape.lane

    near = _neighbours(links)
    middle: dict[_Item, float] = {}
    for layer in layers:
        edge = 0.0
        for item in layer:
            middle[item] = edge + size(item) / 2
            edge += size(item) + shape.gap
    for sweep in range(4 * _SWEEPS):
        for layer in layers if sweep % 2 else reversed(layers):
            wanted = {item: _mean([middle[other] for other in near.get(item, [item])]) for item in layer}
            _spread(layer, wanted, {item: size(item) for item in layer}, shape.gap, middle)
    top = min(middle[item] - size(item) / 2 for layer in layers for item in layer)
    return {item: value - top + 6 for item, value in middle.items()}


def _spread(
    layer: list[_Item],
    wanted: Mapping[_Item, float],
    size: Mapping[_Item, float],
    gap: float,
    middle: dict[_Item, float],
) -> None:
    """Move the items of a layer to where they want to be without overlap: neighbours that collide move as a block."""
    blocks: list[tuple[list[_Item], float]] = []  # items, the middle of the first
    for item in layer:
        members, start = [item], wanted[item]
        while blocks:
            before, first = blocks[-1]
            room = _extent(before, size, gap) + (size[before[-1]] + size[members[0]]) / 2
            if first + room + gap <= start + 1e-9:
                break
            blocks.pop()
            members = before + members
            offsets = _offsets(members, size, gap)
            start = _mean([wanted[one] - offset for one, offset in zip(members, offsets, strict=True)])
        blocks.append((members, start))
    for members, start in blocks:
        for item, offset in zip(members, _offsets(members, size, gap), strict=True):
            middle[item] = start + offset


def _offsets(members: Sequence[_Item], size: Mapping[_Item, float], gap: float) -> list[float]:
    offsets = [0.0]
    for one, other in pairwise(members):
        offsets.append(offsets[-1] + (size[one] + size[other]) / 2 + gap)
    return offsets


def _extent(members: Sequence[_Item], size: Mapping[_Item, float], gap: float) -> float:
    return _offsets(members, size, gap)[-1]


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def _arrows(
    box: Box, boxes: Sequence[Box], ranks: Mapping[str, int], across: Mapping[_Item, float], shape: _Shape
) -> Markup:
    """Every arrow that leaves ``box``, as one group, so that those which share a lane don't darken each other."""
    paths = []
    start = _front(ranks[box.key], shape) + shape.along
    for other in boxes:
        if box.key not in other.after:
            continue
        points = [(start, across[box.key, ranks[box.key]])]
        for rank in range(ranks[box.key] + 1, ranks[other.key]):
            front = _front(rank, shape)
            points += [(front, across[box.key, rank]), (front + shape.along, across[box.key, rank])]
        tip = (_front(ranks[other.key], shape), _entry(box, other, ranks, across, shape))
        points.append((tip[0] - 5, tip[1]))
        paths.append(Markup('<path d="{}"/>').format(_curve(points, shape)))
        head = [(tip[0] - 6, tip[1] - 4), tip, (tip[0] - 6, tip[1] + 4)]
        paths.append(Markup('<path class="tip" d="M{}Z"/>').format("L".join(_point(point, shape) for point in head)))
    return Markup('<g class="arrows k{}">{}</g>').format(box.colour, Markup("").join(paths))


def _entry(box: Box, other: Box, ranks: Mapping[str, int], across: Mapping[_Item, float], shape: _Shape) -> float:
    """Where the arrow meets ``other``: arrows are spread over its side in the order in which they come."""
    rank = ranks[other.key]
    coming = sorted(set(other.after), key=lambda key: (across[key, rank - 1], key))
    middle = across[other.key, rank]
    step = min(12.0, (shape.across - 20) / max(1, len(coming) - 1))
    return middle + step * (coming.index(box.key) - (len(coming) - 1) / 2)


def _curve(points: Sequence[tuple[float, float]], shape: _Shape) -> str:
    """A line through ``points`` that leaves and reaches each of them in the direction of the flow."""
    path = "M" + _point(points[0], shape)
    for (a, b), (c, d) in pairwise(points):
        half = (a + c) / 2
        path += f"C{_point((half, b), shape)} {_point((half, d), shape)} {_point((c, d), shape)}" if b != d else ""
        path += f"L{_point((c, d), shape)}" if b == d else ""
    return path


def _box(box: Box, rank: int, middle: float, shape: _Shape) -> Markup:
    corner = (_front(rank, shape), middle - shape.across / 2)
    x, y = reversed(corner) if shape.upright else corner
    width, height = (shape.across, shape.along) if shape.upright else (shape.along, shape.across)
    return Markup(
        '<a class="box k{colour}" href="{href}" aria-label="{name}: {note}"><title>{name}: {note}</title>'
        '<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="9"/>'
        '<rect class="stripe" x="{sx}" y="{sy}" width="4" height="{sh}" rx="2"/>'
        '<text class="name" x="{tx}" y="{ty}">{short}</text><text class="note" x="{tx}" y="{ny}">{low}</text></a>'
    ).format(
        colour=box.colour,
        href=box.href,
        name=clean(box.name),
        note=clean(box.note),
        x=_n(x),
        y=_n(y),
        w=_n(width),
        h=_n(height),
        sx=_n(x + 6),
        sy=_n(y + 9),
        sh=_n(height - 18),
        tx=_n(x + 17),
        ty=_n(y + height / 2 - 3),
        ny=_n(y + height / 2 + 14),
        short=_cut(clean(box.name), shape.name_chars),
        low=_cut(clean(box.note), shape.note_chars),
    )


def _front(rank: int, shape: _Shape) -> float:
    return 6 + rank * (shape.along + shape.rank_gap)


def _point(point: tuple[float, float], shape: _Shape) -> str:
    x, y = reversed(point) if shape.upright else point
    return f"{_n(x)} {_n(y)}"


def _n(value: float) -> str:
    return f"{value:.1f}".removesuffix(".0")


def _cut(text: str, limit: int) -> str:
    return text if len(text) <= limit else text[: limit - 1] + "…"
