"""What elements, class names and words say of a block of text: small tables of bits, and the machines that find them.

A tag is known by a hash of its name, so that the compiled scanner compares numbers. Class names, ids and roles are free
text: their parts (``sidebar``, ``comment-list``, ``articleBody``) are found by one automaton (Aho and Corasick 1975)
that reads each byte once, whatever the number of words; so are the words of menus, notices and share buttons in the
text itself, in the languages that web pages are written in most.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Final, NamedTuple

import numpy as np
from numpy.typing import NDArray

BLOCK: Final = 1 << 0
SKIP: Final = 1 << 1
RAW: Final = 1 << 2
VOID: Final = 1 << 3
BREAK: Final = 1 << 4
PRE: Final = 1 << 5
CELL: Final = 1 << 6
ROW: Final = 1 << 7
ITEM: Final = 1 << 8
HEADING: Final = 1 << 9
LINK: Final = 1 << 10
PARAGRAPH: Final = 1 << 11
TABLE: Final = 1 << 12
NAV: Final = 1 << 13
ASIDE: Final = 1 << 14
FOOTER: Final = 1 << 15
HEADER: Final = 1 << 16
ARTICLE: Final = 1 << 17
MAIN: Final = 1 << 18
FORM: Final = 1 << 19
FIGURE: Final = 1 << 20
LIST: Final = 1 << 21
QUOTE: Final = 1 << 22
DEFINITIONS: Final = 1 << 23
STRONG: Final = 1 << 24
ORDERED: Final = 1 << 25
SPACED: Final = 1 << 26
"""Browsers leave a margin around the element: what follows is a new paragraph, not a new line."""
TOP_HEADING: Final = 1 << 27
CODE: Final = 1 << 28

_TAGS: Final[Mapping[int, str]] = {
    BLOCK: "html body div section hgroup details summary center fieldset legend dialog search frameset noscript "
    "optgroup thead tbody tfoot colgroup caption label output",
    SKIP: "head template svg math object canvas select audio video datalist map textarea button applet "
    "rt rp meter progress",
    SKIP | RAW: "script style iframe noembed noframes",
    VOID: "area base basefont bgsound col embed frame img input keygen link meta param source track wbr",
    VOID | BREAK: "br",
    VOID | BLOCK | SPACED: "hr",
    BLOCK | PRE | SPACED: "pre listing",
    BLOCK | PRE | RAW | SPACED: "xmp plaintext",
    BLOCK | CELL: "td th",
    BLOCK | ROW: "tr",
    BLOCK | TABLE | SPACED: "table",
    BLOCK | ITEM: "li",
    BLOCK | LIST | SPACED: "ul menu dir",
    BLOCK | LIST | ORDERED | SPACED: "ol",
    BLOCK | DEFINITIONS | SPACED: "dl",
    BLOCK | DEFINITIONS: "dt dd",
    BLOCK | HEADING | TOP_HEADING | SPACED: "h1",
    BLOCK | HEADING | SPACED: "h2 h3 h4 h5 h6",
    LINK: "a",
    BLOCK | PARAGRAPH | SPACED: "p",
    BLOCK | NAV: "nav",
    BLOCK | ASIDE: "aside",
    BLOCK | FOOTER: "footer",
    BLOCK | HEADER: "header",
    BLOCK | ARTICLE: "article",
    BLOCK | MAIN: "main",
    BLOCK | FORM: "form",
    BLOCK | FIGURE | SPACED: "figure",
    BLOCK | FIGURE: "figcaption",
    BLOCK | QUOTE | SPACED: "blockquote",
    BLOCK | FOOTER | SPACED: "address",
    STRONG: "b strong em i",
    CODE: "code samp kbd tt",
}

HIDDEN_HINT: Final = 12
LINE_NUMBER_HINT: Final = 23
_HINTS: Final[Sequence[str]] = (
    "nav menu breadcrumb pager pagination toc jump skip",
    "foot copyright legal imprint impressum disclaimer",
    "sidebar aside rail secondary right-col col-right marginal left-col",
    "share sharing social facebook twitter follow whatsapp -like sns addthis bookmark",
    "advert banner sponsor promo anzeige werbung taboola outbrain adsense -ad- -ads- -ad-slot",
    "related recommend similar popular trending most-read also teaser latest recent more- -more next prev",
    "comment disqus respond reply kommentar trackback -cmt",
    "meta byline author -date- date tags category categories timestamp published credit",
    "cookie consent modal popup overlay gdpr newsletter subscri signup login search dialog",
    "widget gadget module -box-",
    "header masthead logo topbar branding",
    "caption bildunter figure image gallery photo media video player",
    "hidden sr-only screen-reader d-none noprint display:none visibility:hidden invisible",
    "article story hentry",
    "content inhalt contenu contenido",
    "body",
    "main primary",
    "post- -post entry blog",
    "text prose rich -copy paragraph",
    "title headline heading",
    "lead- -lead intro standfirst excerpt dek subtitle summary abstract",
    "code highlight listing programlisting screen source",
    "recipe ingredient instruction product description",
    "linenos line-numbers lineno gutter",
    "button btn -cta- toggle dropdown -tab",
)

_WORDS: Final[Sequence[str]] = (
    "copyright rights-reserved alle-rechte tous-droits todos-los-derechos",
    "cookie javascript browser adblock",
    "newsletter subscribe abonn sign-up e-mail-adress email-address",
    "share teilen tweet facebook twitter pinterest whatsapp linkedin instagram compartir partager",
    "comment kommentar antwort reply respuesta commentaire",
    "read-more continue-reading weiterlesen lire-la-suite leer-mas mehr-zum -more- -mehr- read-next",
    "log-in login sign-in anmelden register registrier passwor connexion",
    "posted published updated veröffentlicht aktualisiert publié publicado geschrieben written-by",
    "tags- tagged filed-under categor kategorie schlagw rubrik",
    "impressum datenschutz privacy terms-of agb kontakt contact about-us mentions-l",
    "drucken print e-mail per-mail senden rss feed",
    "related similar also-like ähnliche see-also das-könnte weitere recommended empfehl popular lesen-sie",
    "photo foto: bild: image: getty dpa- reuters quelle: source: credit",
    "advert anzeige sponsor werbung promoted",
    "january february march april june july august september october november december januar februar märz mai- juni "
    "juli oktober dezember janvier février avril juillet septembre octobre novembre décembre",
    "previous next- zurück vorher nächst weiter- suivant précédent",
)


def name_hash(name: bytes) -> int:
    """The number that the scanner makes of a tag's or attribute's name."""
    value = 0
    for byte in name:
        value = (value * 31 + byte) & 0x7FFFFFFF
    return value


class Tags(NamedTuple):
    """Known tags: ``codes`` (tags,) int64, sorted hashes of names; ``flags`` (tags,) int64, what each is."""

    codes: NDArray[np.int64]
    flags: NDArray[np.int64]


@cache
def tags() -> Tags:
    """The table of known elements; any other element is inline."""
    rows = sorted((name_hash(name.encode()), flags) for flags, names in _TAGS.items() for name in names.split())
    codes = np.array([code for code, _ in rows], np.int64)
    assert len(np.unique(codes)) == len(codes), "two tags of one hash"
    return Tags(codes, np.array([flags for _, flags in rows], np.int64))


class Automaton(NamedTuple):
    """Finds words of many kinds in one pass.

    ``symbols`` (256,) uint8 maps bytes to symbols; ``step`` (states, symbols) int16 is the next state; ``found``
    (states,) int64 has a bit set for each kind of which a word ends there.
    """

    symbols: NDArray[np.uint8]
    step: NDArray[np.int16]
    found: NDArray[np.int64]


@cache
def hint_automaton() -> Automaton:
    """Finds parts of class names, ids and roles; any sign between letters reads as ``-``."""
    return automaton([kind.split() for kind in _HINTS])


@cache
def word_automaton() -> Automaton:
    """Finds words of menus and notices in text; any sign between letters reads as ``-``."""
    return automaton([kind.split() for kind in _WORDS])


def automaton(kinds: Sequence[Sequence[str]]) -> Automaton:
    """An automaton that sets bit k where a word of ``kinds[k]`` ends."""
    symbols = np.full(256, 1, np.uint8)  # whatever is no letter separates words
    for number, letter in enumerate(b"abcdefghijklmnopqrstuvwxyz"):
        symbols[letter] = symbols[letter - 32] = number + 2
    symbols[ord(":")] = 28
    for byte in range(128, 256):
        symbols[byte] = 29 + byte % 35  # UTF-8 of letters outside ASCII: told apart well enough
    width = 64
    step: list[list[int]] = [[0] * width]
    found = [0]
    for kind, words in enumerate(kinds):
        for word in words:
            state = 0
            for byte in word.encode():
                symbol = int(symbols[byte])
                if not step[state][symbol]:
                    step.append([0] * width)
                    found.append(0)
                    step[state][symbol] = len(step) - 1
                state = step[state][symbol]
            found[state] |= 1 << kind
    _complete(step, found)
    return Automaton(symbols, np.array(step, np.int16), np.array(found, np.int64))


def _complete(step: list[list[int]], found: list[int]) -> None:
    """Fill in, for each state and symbol that goes on no word, where the longest suffix that does leads."""
    fallback = [0] * len(step)
    queue = deque(state for state in step[0] if state)
    while queue:
        state = queue.popleft()
        found[state] |= found[fallback[state]]
        for symbol, after in enumerate(step[state]):
            elsewhere = step[fallback[state]][symbol]
            if after:
                fallback[after] = elsewhere
                queue.append(after)
            else:
                step[state][symbol] = elsewhere
