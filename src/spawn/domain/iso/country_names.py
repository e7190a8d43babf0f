"""Countries by their names, as registers write them: English forms, own names, customary codes."""

import re
import unicodedata
from collections.abc import Iterator
from functools import lru_cache
from typing import Final

from spawn.domain.iso.countries import ALPHA_3, COUNTRIES

_ALIASES: Final = """
ARE UAE; Emirates; Emirates, United Arab
AUT Österreich
BEL België; Belgique; Belgien
BGR Bulgarija; България
BHS Bahamas, The
BIH Bosnia; Bosnia-Herzegovina; Bosna i Hercegovina
BOL Bolivia, Plurinational State
BRA Brasil
BRN Brunei
BES Caribbean Netherlands
CHE Schweiz; Suisse; Svizzera
CHN China, People's Republic of; People's Republic of China; PRC; Mainland China; China, P.R.
CHN 中国; 中华人民共和国
CIV Ivory Coast
COD Congo, Dem. Rep.; Congo, Democratic Republic of; DR Congo; DRC; Congo-Kinshasa; Zaire
COD Congo (Kinshasa)
COG Congo, Rep.; Republic of Congo; Congo, Republic of the; Congo-Brazzaville; Congo (Brazzaville)
CPV Cape Verde
CZE Czech Republic; Česko; Česká republika
DEU Deutschland; Federal Republic of Germany
DNK Danmark
DOM Dominican Rep.
EGY Egypt, Arab Rep.; Egypt, Arab Republic of; Arab Republic of Egypt
ESP España; Kingdom of Spain
EST Eesti
FIN Suomi
FSM Micronesia, Fed. Sts.; Federated States of Micronesia
GBR UK; Great Britain; Britain; U.K.; England; Scotland; Wales; Northern Ireland
GMB Gambia, The
GRC EL; Ελλάδα; Hellas; Hellenic Republic
HKG Hong Kong SAR; Hong Kong SAR, China; Hong Kong, China
HRV Hrvatska
HUN Magyarország
IRL Éire; Republic of Ireland
IRN Iran, Islamic Rep.
ISL Ísland
ITA Italia
JPN 日本; 日本国
KGZ Kyrgyz Republic
KNA St. Kitts and Nevis; Saint Kitts & Nevis
KOR South Korea; Korea, Rep.; Korea, South; Korea (South); Korea (Republic of)
LAO Laos; Lao PDR; Lao, People's Democratic Republic
LBY Libyan Arab Jamahiriya
LCA St. Lucia
LTU Lietuva
LVA Latvija
MAC Macau; Macao SAR; Macao SAR, China
MAF Saint Martin; St. Martin (French part)
MAR Maroc
MEX México
MKD Macedonia; Macedonia, FYR; FYROM; Republic of North Macedonia
MKD Macedonia, the former Yugoslav Republic of
MMR Burma
NLD Holland; Nederland; The Netherlands
NOR Norge
PAN Panamá
PER Perú
POL Polska
PRK North Korea; Korea, Dem. People's Rep.; Korea, North; Korea (North); DPRK
PSE West Bank and Gaza; Palestinian Territory, Occupied; Occupied Palestinian Territory
PSE Palestinian Territories
ROU România
RUS Russia; Россия
SRB Srbija
SSD South Sudan, Republic of
STP Sao Tome & Principe
SVK Slovak Republic; Slovensko
SVN Slovenija
SWE Sverige
SWZ Swaziland
SYR Syria
TLS East Timor
TUR Turkey
KOR 대한민국; 한국
TWN Taiwan, China; Chinese Taipei; Taiwan, R.O.C.
UKR Україна
USA US; U.S.; U.S.A.; United States of America
VAT Vatican; Vatican City
VCT St. Vincent and the Grenadines
VEN Venezuela, RB
VGB British Virgin Islands
VIR US Virgin Islands; Virgin Islands (U.S.)
VNM Vietnam
XKX Republic of Kosovo; Kosova; XK
YEM Yemen, Rep.; Republic of Yemen
"""

_AMBIGUOUS: Final = frozenset({"congo", "korea", "virgin islands"})
"""Names of several countries, once what comes after the comma is left out."""

_MAX_NAME_LENGTH: Final = 80
_PARENTHESES = re.compile(r"\([^()]*\)")
_SEPARATORS = re.compile(r"[^\w]+")
_ARTICLE = re.compile(r"\bthe\b")


@lru_cache(4096)
def find_country_code(text: str) -> str | None:
    """Return the alpha-3 code for a code or a name in any case; None if it is unknown."""
    text = text.strip()
    if text in ALPHA_3:
        return ALPHA_3[text]
    if len(text) > _MAX_NAME_LENGTH:
        return None
    return _CODES_BY_NAME.get(_fold(text))


def _fold(name: str) -> str:
    """Return a name without accents, case, punctuation and articles."""
    letters = unicodedata.normalize("NFKD", name.casefold().replace("&", " and "))
    plain = "".join(c for c in letters if not unicodedata.combining(c))
    return " ".join(_ARTICLE.sub(" ", _SEPARATORS.sub(" ", plain.replace(".", ""))).split())


def _list_forms(name: str) -> Iterator[str]:
    """Yield the forms of a name: as it is, in natural order, and without its additions."""
    yield name
    yield _PARENTHESES.sub("", name)
    head, comma, tail = name.partition(", ")
    if comma:
        yield f"{tail} {head}"
        if _fold(head) not in _AMBIGUOUS and " and " not in tail:
            yield head


def _build_index() -> dict[str, str]:
    index: dict[str, str] = {}
    for code, (_, name) in COUNTRIES.items():
        for form in _list_forms(name):
            index.setdefault(_fold(form), code)
    for line in _ALIASES.strip().splitlines():
        code, _, names = line.partition(" ")
        for name in names.split(";"):
            index[_fold(name)] = code
    return index


_CODES_BY_NAME = _build_index()
