"""Does a page look like running text? Rae et al. 2021, "Scaling Language Models: Methods, Analysis & Insights from
Training Gopher", appendix A.1.1, with the readings of datatrove's GopherQualityFilter:

- word counts and lengths leave out words that are all punctuation; all ratios a word count them;
- ``#`` and ellipses (``...`` or ``…``) have the same limit, each for itself;
- bullets are ``•`` and ``-``; blank lines count as lines;
- ``max_non_alpha_words_ratio`` is a least share of words with a letter (datatrove#202: the name misleads);
- stop words count once each and only in lower case (DCLM counts repeats).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from typing import Final

from groundup.stages.curate.config import GopherQuality
from groundup.stages.curate.split import Split, is_symbol
from groundup.stages.curate.verdict import Refusal, above, below

STOP_WORDS: Final = frozenset({"the", "be", "to", "of", "and", "that", "have", "with"})


def gopher_quality(document: Split, spec: GopherQuality) -> Refusal | None:
    """The first rule that the document breaks, in the published order; None if it is well."""
    return next((refusal for refusal in _rules(document, spec) if refusal is not None), None)


def _rules(document: Split, spec: GopherQuality) -> Iterator[Refusal | None]:
    text, words, lines = document.text, document.words, document.lines
    counts = Counter(words)  # each different word is looked at once
    plain = {word: count for word, count in counts.items() if not is_symbol(word)}
    number = sum(plain.values())
    yield below("too_few_words", number, spec.min_doc_words)
    yield above("too_many_words", number, spec.max_doc_words)
    average = sum(len(word) * count for word, count in plain.items()) / max(1, number)
    yield below("words_too_short", average, spec.min_avg_word_length)
    yield above("words_too_long", average, spec.max_avg_word_length)
    total = max(1, len(words))
    yield above("too_many_hashes", text.count("#") / total, spec.max_symbol_word_ratio)
    ellipses = text.count("...") + text.count("…")
    yield above("too_many_ellipses", ellipses / total, spec.max_symbol_word_ratio)
    bullets = sum(line.lstrip().startswith(("•", "-")) for line in lines)
    yield above("too_many_bullet_lines", bullets / len(lines), spec.max_bullet_lines_ratio)
    trailing = sum(line.rstrip().endswith(("...", "…")) for line in lines)
    yield above("too_many_ellipsis_lines", trailing / len(lines), spec.max_ellipsis_lines_ratio)
    with_letter = sum(count for word, count in counts.items() if any(character.isalpha() for character in word))
    yield below("too_few_words_with_letters", with_letter / total, spec.max_non_alpha_words_ratio)
    yield below("too_few_stop_words", len(STOP_WORDS.intersection(counts)), spec.min_stop_words)
