"""Sentences about licences: whether one speaks of the page that it stands in, and which licence it names.

English, and the set phrases of Creative Commons in German, French, Spanish, Italian, Portuguese and Dutch.
"""

from __future__ import annotations

import re
from typing import Final

from groundup.rights.licences.names import by_words, name_at

_ABOUT: Final = re.compile(
    r"\b(?:this|these|the|all|our|its|my|any|original|wiki|site|page|blog|web\s?site)\b(?:\s+[\w'’.:-]+){0,4}?\s+"
    r"(?:works?|pages?|sites?|web\s?sites?|wiki|contents?|texts?|articles?|materials?|blogs?|posts?|documents?"
    r"|documentation|books?|publications?|reports?|translations?|manuals?|papers?|chapters?|lessons?|courses?"
    r"|tutorials?|essays?|guides?|handbooks?|stor(?:y|ies)|encyclop[a-z]+|entr(?:y|ies)|weblogs?|resources?|files?)\b"
    r"|^\W*(?:text|content|contents|articles?|documentation)\b(?=[^.]{0,60}\b(?:licen[sc]ed|available|under)\b)"
    r"|(?:except|unless|save) (?:where )?(?:otherwise|noted|stated|indicated)|except where"
    r"|where not otherwise|if not otherwise (?:noted|stated)"
    r"|\b(?:diese[rs]?|der|die|das|alle|unsere|meine)\s+(?:[\w.:-]+\s+){0,3}?(?:werk|arbeit|texte?|artikel|inhalte?|seiten?"
    r"|web-?site|web-?seiten?|blogs?|beitr[aä]ge?|beitrag|buch|dokument|wiki|b[uü]cher|homepage)\b"
    r"|\b(?:soweit|sofern|falls|wenn|wo)\s+nicht\s+anders|inhalte dieser"
    r"|\b(?:cet?|cette|le|les|tous les)\s+(?:[\w-]+\s+){0,2}?(?:œuvre|articles?|textes?|sites?|pages?|documents?|livre"
    r"|contenus?|blog)\b|sauf (?:mention|indication)"
    r"|\b(?:est[ae]|el|los|la|todos? os?|todos los|os?|nuestr[oa]s?)\s+(?:[\w-]+\s+){0,2}?(?:obra|p[aá]gina|textos?"
    r"|sitio|site|art[ií]culos?|artigos?|libro|livro|contenidos?|conte[uú]dos?|blog)\b"
    r"|salvo (?:que|donde|indica|quando|dis|men)"
    r"|\b(?:quest[oa]|il|i|tutti i)\s+(?:[\w-]+\s+){0,2}?(?:opera|pagina|sito|testo|testi|articolo|articoli|libro"
    r"|contenuto|contenuti|blog)\b|salvo dove|dove non diversamente"
    r"|\b(?:dit|deze|de|alle)\s+(?:[\w-]+\s+){0,2}?(?:werk|pagina|site|tekst|teksten|inhoud|artikelen?)\b"
    r"|tenzij anders",
    re.IGNORECASE,
)
_LICENSING: Final = re.compile(
    r"licen[sc]ed|licen[sc]e\b|released|available|distributed|published|shared|used|reuse|offered|provided|covered"
    r"|copied|redistribut|is under|are under|steh(?:t|en) |unterliegt|lizen[zs]|licenci|licence|licença|licenz|gelicen",
    re.IGNORECASE,
)
_OTHER_THING: Final = re.compile(
    r"\b(?:photos?|photographs?|images?|pictures?|illustrations?|icons?|logos?|fonts?|figures?|videos?|music|audio|sounds?"
    r"|themes?|templates?|maps?|graphics?|screenshots?|thumbnails?|data|datasets?|software|programs?|source code|code"
    r"|librar(?:y|ies)|packages?|plugins?|fotos?|bild(?:er|es)?\d*|abbildung(?:en)?|grafiken?|imagen(?:es)?|immagini?|afbeelding(?:en)?|photographies?"
    r"|stylesheets?|css|javascript|components?|tools?|models?|dictionar(?:y|ies)|quotes?|lyrics)\b",
    re.IGNORECASE,
)
_UNDER: Final = re.compile(
    r"\b(?:under|in|by)\s+(?:the\s+)?(?:(?:terms|conditions)\s+(?:and\s+conditions\s+)?of\s+)?(?:either\s+)?(?:the|a|an)?\s*",
    re.IGNORECASE,
)
_NEGATION: Final = re.compile(
    r"\bnot\s+(?:be\s+)?(?:licen[sc]ed|available|released|covered)|\bif you\b|\bwould\b|\bshould\b", re.IGNORECASE
)
_SENTENCE_END: Final = re.compile(r"(?<=[a-z)\]0-9])[.!?]\s+(?=[A-Z©])")


def is_about_page(before: str, after: str, footer: bool = False) -> bool:
    """Whether a sentence around a licence speaks of the page. ``footer``: it stands where pages speak of themselves.

    >>> is_about_page("This work is licensed under a ", "license")
    True
    >>> is_about_page("Photo by Ann, ", ""), is_about_page("The icons on this page are licensed under ", "")
    (False, False)
    """
    begin = _SENTENCE_END.split(before)[-1]
    sentence = begin + " " + _SENTENCE_END.split(after)[0]
    if _NEGATION.search(sentence):
        return False
    about = _ABOUT.search(sentence)
    other = _OTHER_THING.search(begin)
    if other and (about is None or other.start() < about.start() or other.start() < about.end()):
        return False
    return footer or (about is not None and _LICENSING.search(sentence) is not None)


def named_in(text: str) -> str | None:
    """The licence named behind the first "under the" of a text; None if there is none that we know.

    >>> named_in("licensed under the terms of the GNU Free Documentation License, version 1.3 or later.")
    'GFDL-1.3-or-later'
    """
    under = _UNDER.match(text) or _UNDER.search(text[:120])
    if under is None:
        return None
    rest = text[under.end() : under.end() + 160]
    named = name_at(rest)
    if named is not None and named.startswith("LicenseRef-"):
        return None  # "under a proprietary license" names none
    return named or (by_words(rest) if re.match(r"creative\s+commons|cc\b", rest, re.IGNORECASE) else None)
