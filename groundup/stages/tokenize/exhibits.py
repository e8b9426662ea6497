"""What the report shows of a tokenizer, trained or adopted: compression, fairness, use, habits, a text in pieces."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

from groundup.artifact.exhibit import Bars, Cell, Exhibit, Facts, Sample, Samples, Table
from groundup.base.errors import DataError
from groundup.text.measure import probes
from groundup.text.measure.tally import Measured, Tally, gini, measure
from groundup.text.measure.vocabulary import RARE, Uses, uses
from groundup.text.show import as_parts, show_text
from groundup.text.tokenizer import Tokenizer

_SHOWN: Final = "In 1865 naïve façades cost £12,345.67 — if (x == 0) { return; } 😀"
_EXCERPT: Final = 400
_ROWS: Final = 60
"""Languages and sources in a table at most; the rest is summed up in its last row."""


def tokenizer_exhibits(
    tokenizer: Tokenizer,
    samples: Iterable[Mapping[str, Any]],
    *,
    others: Mapping[str, Tokenizer] | None = None,
    measured_on: str = "held-out documents, which the tokenizer has not seen",
) -> tuple[tuple[Exhibit, ...], dict[str, Any]]:
    """The exhibits and the metrics of a tokenizer on ``samples``: rows with ``text``, ``source`` and ``language``.

    One pass over the samples in bounded memory. Rows that name their ``content`` (the same content in several
    languages has the same name) make the comparison of languages exact. ``others`` are tokenizers to compare with, by
    name. DataError if there is no text.
    """
    excerpt = _Longest(samples)
    found = measure(tokenizer, excerpt, others)
    if not found.all.tokens:
        raise DataError("there is no text to measure the tokenizer on")
    used = uses(found.uses, tokenizer.special_tokens.values(), tokenizer.decode)
    cut, blanks, code = probes.digits(tokenizer), probes.whitespace(tokenizer), probes.code(tokenizer)
    exhibits: list[Exhibit] = [
        _facts(tokenizer, found, used, measured_on),
        _compression("source", found.by_source),
        *_languages(found),
        Samples(
            title="How it cuts text",
            caption="Each colour change is a new token.",
            samples=tuple(
                Sample(label=label, parts=as_parts(show_text(tokenizer, text).pieces))
                for label, text in (("a document", excerpt.text), ("numbers, accents, code", _SHOWN))
            ),
        ),
        *_compared(found),
        *_vocabulary(used),
        _digits(cut),
        _probed("White space", "Letters around it are counted too.", blanks),
        _probed("Code", "A few lines of each, the same for every tokenizer.", code),
    ]
    return tuple(exhibits), _metrics(tokenizer, found, used, cut, blanks, code)


class _Longest:
    """Passes rows on and keeps the beginning of the longest text."""

    def __init__(self, rows: Iterable[Mapping[str, Any]]) -> None:
        self._rows = rows
        self._size = -1
        self.text = ""

    def __iter__(self) -> Iterator[Mapping[str, Any]]:
        for row in self._rows:
            if len(row["text"]) > self._size:
                self._size, self.text = len(row["text"]), row["text"][:_EXCERPT]
            yield row


def _facts(tokenizer: Tokenizer, found: Measured, used: Uses, measured_on: str) -> Facts:
    facts = [
        ("vocabulary", f"{tokenizer.vocab_size:,}", f"entries, {len(tokenizer.special_tokens)} of them special"),
        ("bytes a token", f"{found.all.bytes_per_token:.2f}", "more means shorter sequences"),
    ]
    if found.spaced.words:
        facts.append(("tokens a word", f"{found.spaced.tokens_per_word:.2f}", "1 would be a piece for every word"))
    facts.append(("never used", f"{used.never / used.entries:.1%}", f"of the entries, in {used.tokens:,} tokens"))
    if len(found.by_language) > 1:
        name, premium = _worst(found)
        facts.append(("worst language", f"{premium:.2f}×", f"{name}: tokens beside the cheapest language"))
    return Facts(title="The tokenizer in numbers", caption=f"Measured on {measured_on}.", facts=tuple(facts))


def _compression(what: str, groups: Mapping[str, Tally]) -> Table:
    rows = [
        (name, one.documents, one.bytes, one.tokens, round(one.bytes_per_token, 2), _fertility(one))
        for name, one in _largest(groups)
    ]
    columns = (what, "documents", "bytes", "tokens", "bytes a token", "tokens a word")
    return Table(
        title=f"Compression by {what}",
        caption="Words stand between white space. "
        "Scripts that don't write it are counted in tokens a character, marked c."
        if any(one.signs for one in groups.values())
        else "",
        columns=columns,
        rows=tuple(rows),
    )


def _fertility(one: Tally) -> Cell:
    """What a word takes, or a character; nothing where a group has texts of both kinds."""
    if one.counts_both:
        return "–"
    return round(one.tokens_per_word, 2) if one.counts_words else f"{one.tokens_per_word:.2f} c"


def _largest(groups: Mapping[str, Tally]) -> list[tuple[str, Tally]]:
    """Groups by name; beyond sixty, the smaller ones together."""
    if len(groups) <= _ROWS:
        return sorted(groups.items())
    by_size = sorted(groups.items(), key=lambda item: (-item[1].bytes, item[0]))
    rest = Tally()
    for _, one in by_size[_ROWS:]:
        rest.merge(one)
    return [*sorted(by_size[:_ROWS]), (f"{len(by_size) - _ROWS} others", rest)]


def _languages(found: Measured) -> Iterator[Exhibit]:
    """By language and by script, where there is more than one."""
    if len(found.by_language) > 1:
        yield _compression("language", found.by_language)
        premiums = found.premiums()
        basis = "the same content" if found.is_parallel else "an equal number of bytes"
        caveat = (
            ""
            if found.is_parallel
            else " The texts are not translations of each other; scripts of two or three bytes a letter look cheaper"
            " here than they are."
        )
        shown = sorted(premiums.items(), key=lambda item: (-item[1], item[0]))[:_ROWS]
        yield Bars(
            title="What each language pays",
            caption=f"Tokens for {basis}, beside the language with the fewest (Petrov et al. 2023). "
            f"Gini coefficient {gini(found.costs().values()):.3f}; 0 is equal.{caveat}",
            x_label="times the tokens of the cheapest",
            bars=tuple((name, round(premium, 4), None, None) for name, premium in shown),
            rules=(("equal", 1.0),),
        )
    if len(found.by_script) > 1:
        yield _compression("script", found.by_script)


def _compared(found: Measured) -> Iterator[Exhibit]:
    if found.others:
        own = found.others[""].tokens
        named = {name or "this tokenizer": one for name, one in found.others.items()}
        yield Table(
            title="Beside other tokenizers",
            caption=f"On the same {named['this tokenizer'].bytes:,} bytes of text.",
            columns=("tokenizer", "tokens", "bytes a token", "beside this one"),
            rows=tuple(
                (name, one.tokens, round(one.bytes_per_token, 3), f"{one.tokens / own:.3f}×")
                for name, one in sorted(named.items(), key=lambda item: item[1].tokens)
            ),
        )


def _vocabulary(used: Uses) -> Iterator[Exhibit]:
    yield Table(
        title="Use of the vocabulary",
        caption=f"Entries by their uses in {used.tokens:,} tokens; special tokens are left out. The hundred commonest "
        f"entries make up {used.top_share:.0%} of the text. An entry that training never uses can't be learned.",
        columns=("uses", "entries", "tokens of the text"),
        rows=used.bands,
    )
    if used.unused:
        yield Samples(
            title="Entries that were never used",
            caption="The longest of them.",
            samples=(Sample(label=f"{used.never:,} in all", parts=tuple(_marked(used.unused))),),
        )


def _marked(pieces: Iterable[str]) -> Iterator[tuple[str, str]]:
    for place, piece in enumerate(pieces):
        yield piece, f"token{place % 4}"
        yield " ", "plain"


def _digits(cut: list[probes.Digits]) -> Table:
    return Table(
        title="Numbers",
        caption="How numbers are cut: 3+1 is three digits, then one. A model counts better if all of a length are cut"
        " alike.",
        columns=("digits", "tokens", "commonest cut", "numbers cut so", "different cuts"),
        rows=tuple((one.length, round(one.tokens, 2), one.cut, f"{one.share:.0%}", one.cuts) for one in cut),
    )


def _probed(title: str, caption: str, rows: list[probes.Probe]) -> Table:
    return Table(
        title=title,
        caption=caption,
        columns=(title.lower(), "bytes", "tokens", "bytes a token", "comes back"),
        rows=tuple(
            (one.name, one.bytes, one.tokens, round(one.bytes_per_token, 2), "yes" if one.same else "no")
            for one in rows
        ),
    )


def _worst(found: Measured) -> tuple[str, float]:
    return max(found.premiums().items(), key=lambda item: (item[1], item[0]))


def _metrics(
    tokenizer: Tokenizer,
    found: Measured,
    used: Uses,
    cut: list[probes.Digits],
    blanks: list[probes.Probe],
    code: list[probes.Probe],
) -> dict[str, Any]:
    """What the record keeps; see the exhibits for what the numbers are."""
    whole_code = Tally(bytes=sum(one.bytes for one in code), tokens=sum(one.tokens for one in code))
    metrics: dict[str, Any] = {
        "vocab_size": tokenizer.vocab_size,
        "bytes_per_token": round(found.all.bytes_per_token, 4),
        "tokens_per_word": round(found.spaced.tokens_per_word, 4) if found.spaced.words else None,
        "entries_never_used": used.never,
        "entries_rare": used.rare,
        "rare_is_below": RARE,
        "measured_tokens": used.tokens,
        "number_cuts": {str(one.length): one.cut for one in cut},
        "code_bytes_per_token": round(whole_code.bytes_per_token, 4),
        "lossless_whitespace": all(one.same for one in blanks),
    }
    if len(found.by_language) > 1:
        name, premium = _worst(found)
        metrics |= {
            "bytes_per_token_by_language": {
                language: round(one.bytes_per_token, 4) for language, one in sorted(found.by_language.items())
            },
            "worst_language": name,
            "worst_language_premium": round(premium, 4),
            "language_gini": round(gini(found.costs().values()), 4),
            "languages_compared_on": "content" if found.is_parallel else "bytes",
        }
    if found.others:
        metrics["compared"] = {
            name: round(one.bytes_per_token, 4) for name, one in sorted(found.others.items()) if name
        }
    return metrics
