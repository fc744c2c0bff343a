"""What multiplies a number: suffixes and scale words of several languages, and the words that forbid reading it."""

from __future__ import annotations

import re

__all__ = [
    "BEFORE",
    "EUROPEAN",
    "FOREIGN",
    "FRACTIONS",
    "MONEY",
    "SCALES",
    "SUFFIXES",
    "VAGUE",
    "factor_of",
    "multiplies",
]

SUFFIXES = {"k": 10**3, "K": 10**3, "M": 10**6, "B": 10**9, "bn": 10**9, "mn": 10**6, "mln": 10**6}
_OF_MONEY = {"m": 10**6, "b": 10**9, "t": 10**12, "tn": 10**12, "l": 10**5}
SCALES = {
    word: factor
    for factor, words in {
        10: "dizaine dizaines",
        12: "dozen dozens dutzend douzaine douzaines darjan",
        100: "hundred hundreds hundert centaine centaines",
        10**3: "thousand thousands tausend tsd mille millier milliers hazar hazaar",
        10**5: "lakh lakhs lac lacs",
        10**6: "million millions millionen mio",
        10**7: "crore crores cr",
        10**9: "billion milliard milliards milliarde milliarden mrd",
        10**12: "trillion billionen",
    }.items()
    for word in words.split()
}
VAGUE = frozenset("few several many some of the in by per to into tens a or and".split())  # noqa: SIM905
FOREIGN = frozenset(
    "un deux trois quatre cinq sept huit neuf dix onze douze treize quatorze quinze seize vingt trente quarante "  # noqa: SIM905
    "cinquante soixante cent cents".split()
)
EUROPEAN = re.compile(r"\s?(?:€|EUR|Euro|[A-ZÄÖÜ][a-zäöüß]{2,})")
MONEY = re.compile(r"\s?[$€£¥₩₹]")


def factor_of(suffix: str, money: bool) -> int:
    """Give what a suffix multiplies by: `5k`, `$5m`, `2Mrd`, `5lakh`; 1 for a unit."""
    word = suffix.lower()
    if money and word in _OF_MONEY:
        return _OF_MONEY[word]
    return SUFFIXES.get(suffix) or SCALES.get(word, 1)


def multiplies(word: str) -> bool:
    """Tell whether a word multiplies a number, as far as one can tell, and is none of those understood."""
    return bool(_UNKNOWN_SCALE.match(word)) and word.lower() not in SCALES


_UNKNOWN_SCALE = re.compile(
    r"\w*(?:illion|illiard|illon|ilh[oaõã])"
    r"|(?:score|gross|arab|kharab|padma|mila|sau|tys)\w{0,2}$|(?:mill?|trn|tn|tr|mlrd|mld|thou|dz|doz|myriads?|fold)$|(?:тыс|млн|млрд|милли)\w*"
    r"|[십백천만억조경十百万萬億亿兆\u0900-\u097f]|千(?![克米瓦卡])",
    re.IGNORECASE,
)
FRACTIONS = re.compile(
    r"\s*-?(?:half|halves|thirds?|quarters?|fourths?|fifths?|sixths?|sevenths?|eighths?|ninths?|tenths?|hundredths?"
    r"|thousandths?|millionths?|einhalb|drittel|viertel|fünftel|zehntel|tiers|quarts?|demie?s?|cinquièmes?|dixièmes?)\b"
    r"|\s+(?:\w+\s+)?(?:and|et|und|aur)\s+(?:(?:a|one|un|une|ein|eine|three|trois)\s+)?"
    r"(?:half|third|quarter|fifth|demie?|tiers|quarts?|halb\w*|drittel|viertel|aadha|adha)\b",
    re.IGNORECASE,
)
BEFORE = re.compile(
    r"(?:half|quarter|third|point|virgule|komma|dot|anderthalb|demi|sadhe|saade|sava|paune|dhai|dedh|ensemble)"
    r"(?:\s+of)?[\s-]+$|[^\W\d_]-$",
    re.IGNORECASE,
)
