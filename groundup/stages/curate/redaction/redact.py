"""The operators that take personal data out of texts, and what may be reported of it: numbers, never values.

``redact`` tags: it rewrites ``text`` and counts what it found by kind. ``drop_personal`` decides: documents with kinds
that may not be in the corpus at all go. Each kind has one action.

- ``label`` puts ``[email]`` in its place;
- ``mask`` keeps the form, digits as 0 and letters as x;
- ``fake`` puts a value of the same form in its place that can be nobody's (``fakes.py``), a label for a secret;
- ``drop`` labels it, and the document goes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final, Literal

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from groundup.base.errors import RequestError, nearest
from groundup.stages.curate.engine.columns import texts
from groundup.stages.curate.engine.operator import VERDICT, Spec, refuse, with_column
from groundup.stages.curate.redaction.fakes import Placed, fill, is_fake
from groundup.stages.curate.redaction.identifiers import identifiers
from groundup.stages.curate.redaction.money import cards, ibans
from groundup.stages.curate.redaction.names import names
from groundup.stages.curate.redaction.network import addresses, emails
from groundup.stages.curate.redaction.phones import phones
from groundup.stages.curate.redaction.postal import postal_addresses
from groundup.stages.curate.redaction.scan import Windows, anchors, windows
from groundup.stages.curate.redaction.secrets import secrets
from groundup.stages.curate.redaction.spans import KINDS, LABELS, Kind, Span, resolve

Action = Literal["label", "mask", "fake", "drop"]
ACTIONS: Final[tuple[Action, ...]] = ("label", "mask", "fake", "drop")

DEFAULT_KINDS: Final[tuple[Kind, ...]] = ("secret", "email", "iban", "card", "national_id", "ip", "phone")
"""What is always personal. Names and addresses are also in novels, papers and imprints, so they are to be asked for."""

REDACTIONS: Final = "redactions"
STEP: Final = "redact"

_MOST_PASSES: Final = 20

_FINDERS: Final[dict[Kind, Callable[[str, Windows], Iterator[Span]]]] = {
    "secret": secrets,
    "email": emails,
    "iban": ibans,
    "card": cards,
    "national_id": identifiers,
    "ip": addresses,
    "phone": phones,
    "name": names,
    "address": postal_addresses,
}


def find(text: str, kinds: Iterable[Kind] = DEFAULT_KINDS) -> list[Span]:
    """What the text holds of these kinds, in order, none overlapping.

    >>> [(span.kind, span.rule) for span in find("SQLite 3.40.1.0, mail jo@example.org, host 93.184.216.34")]
    [('email', 'email'), ('ip', 'ipv4')]
    """
    encoded = text.encode("utf-8", "replace")
    data = np.frombuffer(encoded, np.uint8)
    found, _ = anchors(data, np.array([0, len(data)]))
    return _find(text, encoded, found, frozenset(kinds))


def _find(text: str, encoded: bytes, found: NDArray[np.int64], kinds: frozenset[Kind]) -> list[Span]:
    near = windows(text, encoded, found)
    return resolve(span for kind in KINDS if kind in kinds for span in _FINDERS[kind](text, near))


def rewrite(text: str, spans: Iterable[Span], actions: Mapping[Kind, Action]) -> str:
    """The text with each span replaced as its kind's action says, a label where a fake is to be; all else as it was."""
    parts, last = [], 0
    for span in spans:
        value = text[span.start : span.end]
        parts += [text[last : span.start], mask(value) if actions[span.kind] == "mask" else LABELS[span.kind]]
        last = span.end
    return "".join([*parts, text[last:]])


def redact(text: str, actions: Mapping[Kind, Action], document: str = "") -> tuple[str, Counter[Kind]]:
    """The text without what was found of these kinds, and how much of each that was.

    ``document`` is the id that fakes are chosen by.

    >>> redact("mail jo@example.org or call 212-555-0187", {"email": "label", "phone": "mask"})
    ('mail [email] or call 000-000-0000', Counter({'email': 1, 'phone': 1}))
    """
    return _settled(text, find(text, actions), actions, document)


def _settled(text: str, spans: list[Span], actions: Mapping[Kind, Action], document: str) -> tuple[str, Counter[Kind]]:
    """Rewritten until nothing more is found: what was taken out may have stood between a word and a number.

    So redacting a text again changes nothing. Fakes take the place of labels at the very end, so that what is found
    doesn't depend on them.
    """
    counts: Counter[Kind] = Counter()
    placed: list[Placed] = []
    for _ in range(_MOST_PASSES):
        # A mask or a fake may look like what it hides; it is not found anew.
        spans = [span for span in spans if not _is_ours(text[span.start : span.end], span.kind, actions[span.kind])]
        if not spans:
            break
        counts.update(span.kind for span in spans)
        placed = _placed(text, spans, actions, placed)
        text = rewrite(text, spans, actions)
        spans = find(text, actions)
    return fill(text, placed, document) if placed else text, counts


def _is_ours(value: str, kind: Kind, action: Action) -> bool:
    return mask(value) == value if action == "mask" else action == "fake" and is_fake(kind, value)


def _placed(text: str, spans: list[Span], actions: Mapping[Kind, Action], before: list[Placed]) -> list[Placed]:
    """Where labels will stand that wait for a fake, once ``spans`` are replaced; ``before``: where such stand now.

    A label that a span takes in goes with it.
    """
    places: list[Placed] = []
    waiting = iter(before)
    one = next(waiting, None)
    shift = 0
    for span in (*spans, None):
        while one is not None and (span is None or one.start < span.end):
            if span is None or one.end <= span.start:
                places.append(one._replace(start=one.start + shift, end=one.end + shift))
            one = next(waiting, None)
        if span is None:
            break
        value = text[span.start : span.end]
        length = len(rewrite(value, [span._replace(start=0, end=len(value))], actions))
        if actions[span.kind] == "fake":
            start = span.start + shift
            places.append(Placed(start, start + length, span.kind, value))
        shift += length - len(value)
    return places


def mask(value: str) -> str:
    """The form without the value: digits as 0, letters as x or X, all else as it was.

    >>> mask("Jo.Doe7@example.org")
    'Xx.Xxx0@xxxxxxx.xxx'
    """
    return "".join(
        "0" if character.isdigit() else ("X" if character.isupper() else "x") if character.isalpha() else character
        for character in value
    )


@dataclass(frozen=True)
class Redact:
    """Rewrites ``text`` and adds ``redactions``, a map from kind to how many were found (null where nothing was).

    ``actions``: by kind; others of ``kinds`` have ``action``. RequestError for an unknown kind or action.
    """

    kinds: tuple[Kind, ...] = DEFAULT_KINDS
    action: Action = "label"
    actions: Mapping[Kind, Action] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for kind in (*self.kinds, *self.actions):
            if kind not in KINDS:
                raise RequestError(f"unknown kind of personal data {kind!r}{nearest(kind, KINDS)}")
        for action in (self.action, *self.actions.values()):
            if action not in ACTIONS:
                raise RequestError(f"unknown action {action!r}{nearest(action, ACTIONS)}")

    @property
    def spec(self) -> Spec:
        """The actions by kind are all the parameters; fakes are chosen by the document's id."""
        reads = ("id", "text") if self._fakes else ("text",)
        return Spec("redact", 1, "tag", reads, ("text", REDACTIONS), {"actions": self._actions()})

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with both columns."""
        column = texts(batch)
        found, bounds = anchors(column.data, column.offsets)
        kinds, actions = frozenset(self.kinds), self._actions()
        documents = batch.column("id").to_pylist() if self._fakes else None
        rewritten: list[str | None] = []
        counts: list[dict[Kind, int] | None] = []
        for row, text in enumerate(batch.column("text").to_pylist()):
            encoded = column.data[column.offsets[row] : column.offsets[row + 1]].tobytes()
            spans = _find(text or "", encoded, found[bounds[row] : bounds[row + 1]], kinds)
            changed, number = _settled(text or "", spans, actions, str(documents[row]) if documents else "")
            rewritten.append(changed if number else text)
            counts.append(dict(sorted(number.items())) if number else None)
        batch = with_column(batch, "text", pa.array(rewritten, pa.large_string()))
        tags = [None if row is None else list(row.items()) for row in counts]
        return with_column(batch, REDACTIONS, pa.array(tags, pa.map_(pa.string(), pa.int32())))

    @property
    def _fakes(self) -> bool:
        return "fake" in self._actions().values()

    def _actions(self) -> dict[Kind, Action]:
        return {kind: self.actions.get(kind, self.action) for kind in sorted(self.kinds)}


@dataclass(frozen=True)
class DropPersonal:
    """Drops documents in which :class:`Redact` found any of these kinds; the rule is the kind. Reads no text."""

    kinds: tuple[Kind, ...]

    @property
    def spec(self) -> Spec:
        """The kinds are all the parameters."""
        return Spec("drop_personal", 1, "decide", (REDACTIONS,), VERDICT, {"kinds": sorted(self.kinds)})

    def __call__(self, batch: pa.RecordBatch) -> pa.RecordBatch:
        """The batch with verdicts."""
        rules: list[str | None] = []
        details: list[str | None] = []
        for row in batch.column(REDACTIONS).to_pylist():
            counts = dict(row or ())
            kind = next((kind for kind in KINDS if kind in self.kinds and counts.get(kind)), None)
            rules.append(kind)
            details.append(None if kind is None else f"{counts[kind]} found")
        return refuse(batch, STEP, rules, details)


def redact_operators(
    kinds: tuple[Kind, ...], action: Action, actions: Mapping[Kind, Action] | None = None
) -> tuple[Redact | DropPersonal, ...]:
    """The operators for these actions: :class:`DropPersonal` follows where a kind's action is ``drop``."""
    redactor = Redact(kinds, action, dict(actions or {}))
    dropping = tuple(kind for kind in kinds if redactor.actions.get(kind, action) == "drop")
    return (redactor, DropPersonal(dropping)) if dropping else (redactor,)


def tally(batch: pa.RecordBatch) -> Counter[tuple[str, str]]:
    """How many of each kind were found, by (source, kind): what a report may show. Needs ``source``."""
    counts: Counter[tuple[str, str]] = Counter()
    for source, row in zip(batch.column("source").to_pylist(), batch.column(REDACTIONS).to_pylist(), strict=True):
        for kind, number in row or ():
            counts[source or "", kind] += number
    return counts
