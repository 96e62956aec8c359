"""Characters of the pretraining set: any script but Latin, nothing that looks like a benchmark class."""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterable

from analysis.glyphs.fonts import Font

_CATEGORIES = {"Lu", "Ll", "Lo", "Nd", "No", "So", "Sm"}
_LOOKALIKE_NAMES = re.compile(
    r"LATIN|FULLWIDTH|HALFWIDTH|MATHEMATICAL|DIGIT|CIRCLED|PARENTHE|COMPATIB|LETTERLIKE|TURNED|ROMAN NUM|FRACTION"
    r"|SUPERSCRIPT|SUBSCRIPT|SCRIPT |DOUBLE-STRUCK|LIGATURE|PRESENTATION|BRAILLE|COMBINING|BLACK-LETTER|MODIFIER"
    r"| WITH |AMPERSAND|QUESTION|LISU|CHEROKEE"
)
_LOOKALIKES = frozenset("ΑΒΕΖΗΙΚΜΝΟΡΤΥΧοαυνιγρκϲϳАВЕКМНОРСТХЅІЈаеорсухѕіјԛԝԁһӀ")


def is_unlike_latin(character: str) -> bool:
    """Whether a character may be used for pretraining."""
    code = ord(character)
    name = unicodedata.name(character, "")
    return (
        code > 0x7F
        and not 0x2100 <= code < 0x2150
        and not 0x1F000 <= code < 0x20000
        and unicodedata.category(character) in _CATEGORIES
        and bool(name)
        and character not in _LOOKALIKES
        and _LOOKALIKE_NAMES.search(name) is None
        and unicodedata.normalize("NFKD", character) == character
    )


def common_characters(fonts: Iterable[Font], count: int) -> list[str]:
    """The `count` usable characters that most fonts have, most frequent first, then by code point."""
    frequency = Counter(c for font in fonts for c in font.characters if is_unlike_latin(c))
    return sorted(frequency, key=lambda c: (-frequency[c], c))[:count]
