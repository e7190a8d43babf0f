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
BLM St. Barthélemy; St. Barts
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
FLK Falkland Islands (Islas Malvinas); Islas Malvinas
GBR UK; Great Britain; Britain; U.K.; England; Scotland; Wales; Northern Ireland
GMB Gambia, The
GRC EL; Ελλάδα; Hellas; Hellenic Republic
HMD Heard & McDonald Islands; Heard and McDonald Islands
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
MAC Macau; Macao SAR; Macao SAR, China; Macau SAR; Macau SAR, China; Macau, China; Macao, China
MAF Saint Martin; St. Martin; St. Martin (French part)
MAR Maroc
MEX México
MKD Macedonia; Macedonia, FYR; FYROM; Republic of North Macedonia
MKD Macedonia, the former Yugoslav Republic of
MMR Burma; Myanmar (Burma)
NLD Holland; Nederland; The Netherlands
NOR Norge
PAN Panamá
PER Perú
POL Polska
PRK North Korea; Korea, Dem. People's Rep.; Korea, North; Korea (North); DPRK
PSE West Bank and Gaza; Palestinian Territory, Occupied; Occupied Palestinian Territory
PSE Palestinian Territories
PCN Pitcairn Islands
ROU România
RUS Russia; Россия
SPM St. Pierre & Miquelon; St. Pierre and Miquelon; Saint Pierre & Miquelon
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
UMI U.S. Outlying Islands; US Minor Outlying Islands
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

_NO_CODES: Final = frozenset({"na"})
"""Codes that in small letters are words for an absent value."""

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
    if (code := _CODES_BY_NAME.get(_fold(text))) is not None:
        return code
    return None if text.lower() in _NO_CODES else ALPHA_3.get(text.upper())


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
