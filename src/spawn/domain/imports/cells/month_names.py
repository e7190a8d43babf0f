"""Names of months in the languages of registers, for dates such as `15 mars 2021`."""

import re
from typing import Final

_NAMES: Final = (
    # English, German, French, Spanish, Portuguese, Italian, Dutch, Swedish and Danish, Polish.
    "january jan januar jänner janvier janv enero ene janeiro gennaio gen januari stycznia styczeń",
    "february feb februar februari février févr fév febrero fevereiro fev febbraio lutego luty",
    "march mar märz mrz maart mrt mars marzo março marts marca marzec",
    "april apr avril avr abril abr aprile kwietnia kwiecień",
    "may mai maj mayo maio maggio mag mei maja",
    "june jun juni juin junio junho giugno giu czerwca czerwiec",
    "july jul juli juillet juil julio julho luglio lug lipca lipiec",
    "august aug août aoû agosto ago agostos augusti augustus sierpnia sierpień",
    "september sept sep septembre septiembre setiembre setembro set settembre września wrzesień",
    "october oct oktober okt octobre octubre outubro out ottobre ott października październik",
    "november nov novembre noviembre novembro listopada listopad",
    "december dec dezember dez décembre déc diciembre dic dezembro dicembre grudnia grudzień",
)
_ENGLISH: Final = [names.partition(" ")[0] for names in _NAMES]
_NUMBERS: Final = {name: number for number, names in enumerate(_NAMES) for name in names.split()}
_WORD = re.compile(r"[^\W\d_]+\.?")
_DE: Final = re.compile(r"\b(?:de|del|of)\b", re.IGNORECASE)


def translate_months(text: str, directive: str) -> str:
    """Return a date with its month in English, in the form of `%b` or `%B`; `de` is left out."""

    def translate(match: re.Match[str]) -> str:
        number = _NUMBERS.get(match[0].rstrip(".").casefold())
        if number is None:
            return match[0]
        return _ENGLISH[number] if directive == "%B" else _ENGLISH[number][:3]

    return " ".join(_DE.sub(" ", _WORD.sub(translate, text)).split())
