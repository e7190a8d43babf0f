"""Places of the countries on a map of tiles: a tile a country, about where the country lies."""

from typing import Final

from spawn.domain.iso.countries import ALPHA_3

_ROWS: Final = """
.. .. .. .. .. .. .. .. .. .. .. .. .. .. .. SJ .. .. .. .. .. .. .. .. .. .. .. .. .. .. .. .. ..
.. .. .. .. .. .. .. GL .. .. .. IS .. FO .. NO SE AX FI .. .. .. .. .. .. .. .. .. .. .. .. .. ..
.. .. .. .. .. .. .. .. .. .. .. .. IM .. .. DK .. .. EE .. .. RU .. .. .. .. .. .. .. .. .. .. ..
.. .. CA .. .. .. .. .. .. .. .. IE GB .. NL DE PL LT LV BY .. .. .. .. .. .. .. .. .. .. .. .. ..
.. .. .. .. .. PM .. .. .. .. .. GG JE BE LU CZ SK .. UA .. .. .. .. .. .. .. .. .. .. .. .. .. ..
.. .. US .. .. .. .. .. .. .. .. .. FR CH LI AT HU RO MD .. .. .. KZ .. .. .. .. .. .. .. .. .. ..
.. .. .. .. .. .. BM .. .. .. .. AD MC IT SI HR RS BG .. GE .. .. UZ KG .. .. .. .. .. .. .. .. ..
.. MX .. CU BS TC .. .. .. .. PT ES .. SM BA ME XK MK TR AM AZ TM TJ .. .. MN .. KP .. .. .. .. ..
GT BZ KY JM HT DO PR VG AI .. .. GI .. VA .. AL GR CY LB SY IQ IR AF .. .. CN .. KR JP .. .. .. ..
SV HN .. .. .. VI MF BL .. .. .. MA DZ TN MT .. .. IL PS JO KW .. .. PK NP BT MO HK TW .. .. .. ..
.. NI .. .. .. SX KN AG .. .. EH .. .. .. LY EG .. .. .. SA BH QA AE .. IN BD MM LA .. .. MP .. ..
.. CR .. .. .. MS GP DM .. CV .. MR ML NE TD SD ER .. .. .. YE .. OM .. .. .. TH KH VN PH GU .. ..
.. PA AW CW BQ .. MQ LC .. GM SN GN BF BJ NG CF SS ET DJ .. .. .. .. .. LK .. .. MY BN PW FM MH UM
.. .. CO VE TT GD VC BB .. GW SL CI GH TG CM CG UG KE SO .. .. .. MV .. .. .. SG ID TL PG NR KI ..
.. .. EC .. GY SR GF .. .. .. LR .. ST GQ GA CD RW TZ .. SC .. .. IO .. .. CC CX .. .. SB TV TK WS
.. .. PE BO BR .. .. .. .. .. .. SH .. .. AO ZM BI MW KM YT .. .. .. .. .. .. .. AU .. VU FJ WF AS
.. .. CL PY .. .. .. .. .. .. .. .. .. .. NA BW ZW MZ MG RE MU .. .. .. .. .. .. .. .. NC TO NU CK
.. .. .. AR UY .. .. .. .. .. .. .. .. .. ZA LS SZ .. .. .. .. .. .. .. .. .. .. .. .. NF .. .. PF
.. .. .. FK .. GS .. .. .. .. .. .. .. BV .. .. .. .. .. .. TF .. HM .. .. .. .. .. .. NZ .. .. PN
.. .. .. .. .. .. .. .. .. .. .. .. .. .. .. .. AQ .. .. .. .. .. .. .. .. .. .. .. .. .. .. .. ..
"""

COUNTRY_PLACES: Final = tuple(
    (ALPHA_3[alpha_2], column, row)
    for row, line in enumerate(_ROWS.strip().splitlines())
    for column, alpha_2 in enumerate(line.split())
    if alpha_2 != ".."
)
"""Alpha-3 code of each country with its column from the west and its row from the north.

Neighbours keep their order from west to east and from north to south where the grid has room.
"""

COLUMNS: Final = 1 + max(column for _, column, _ in COUNTRY_PLACES)
ROWS: Final = 1 + max(row for _, _, row in COUNTRY_PLACES)
"""Size of the grid."""
