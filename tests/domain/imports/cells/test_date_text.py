"""Dates as registers write them, to days and instants."""

import pytest

from spawn.domain.imports.cells.date_text import (
    compile_date_parser,
    compile_instant_parser,
    is_date_format,
    parse_utc_offset,
    read_midnight,
)
from spawn.domain.imports.mapping import DayOfPeriod

pytestmark = pytest.mark.core


@pytest.mark.parametrize(
    ("date_format", "text", "day"),
    [
        ("%d.%m.%Y %H:%M", "15.03.1974 00:00", "1974-03-15"),
        ("%d/%m/%Y %H:%M:%S", "15/03/1974 23:59:59", "1974-03-15"),
        ("%m/%Y", "3/2019", "2019-03-01"),
        ("%b %Y", "Mar 2019", "2019-03-01"),
        ("year", "1990.0", "1990-01-01"),
        ("year", "1990", "1990-01-01"),
        ("quarter", "Q3 2021", "2021-07-01"),
        ("quarter", "2021-Q3", "2021-07-01"),
        ("serial", "45292", "2024-01-01"),
        ("serial", "45292.75", "2024-01-01"),
        ("serial", "1", "1900-01-01"),
        ("serial", "59", "1900-02-28"),
        ("serial", "61", "1900-03-01"),
        ("serial_1904", "43830", "2024-01-01"),
        ("iso", "2024-02-29T12:00:00+01:00", "2024-02-29"),
        ("iso", "2024-02-29Z", "2024-02-29"),
        ("quarter", "2021Q3", "2021-07-01"),
        ("quarter", "3T2021", "2021-07-01"),
        ("quarter", "Q3/21", "2021-07-01"),
        ("quarter", "3rd quarter of 2021", "2021-07-01"),
        ("quarter", "3. Quartal 2021", "2021-07-01"),
        ("quarter", "2021 3T", "2021-07-01"),
        ("half_year", "H2 2021", "2021-07-01"),
        ("half_year", "2021S1", "2021-01-01"),
        ("half_year", "2H21", "2021-07-01"),
        ("fiscal_year_04", "2020-21", "2020-04-01"),
        ("fiscal_year_04", "2020/2021", "2020-04-01"),
        ("fiscal_year_04", "FY2021", "2020-04-01"),
        ("fiscal_year_10", "FY 21", "2020-10-01"),
        ("fiscal_year_01", "FY2021", "2021-01-01"),
        ("%d %B %Y", "15 mars 2021", "2021-03-15"),
        ("%d. %b %Y", "3. Okt. 2021", "2021-10-03"),
        ("%d %B %Y", "3 de diciembre de 2021", "2021-12-03"),
        ("%b %Y", "Sept 2016", "2016-09-01"),
    ],
)
def test_a_date_is_read_by_its_format(date_format: str, text: str, day: str) -> None:
    assert is_date_format(date_format)
    assert compile_date_parser([date_format])(text) == day


@pytest.mark.parametrize(
    ("date_format", "text", "day"),
    [
        ("year", "2020", "2020-12-31"),
        ("quarter", "Q1 2024", "2024-03-31"),
        ("%m/%Y", "02/2024", "2024-02-29"),
        ("%d/%m/%Y", "05/02/2024", "2024-02-05"),
    ],
)
def test_a_period_may_stand_for_its_last_day(date_format: str, text: str, day: str) -> None:
    assert compile_date_parser([date_format], DayOfPeriod.END)(text) == day


@pytest.mark.parametrize(
    ("date_format", "text"),
    [
        ("serial", "60"),  # 1900-02-29 never was
        ("serial", "0"),
        ("serial", "2958466"),
        ("serial_1904", "2958465"),
        ("year", "20.5"),
        ("quarter", "Q5 2024"),
        ("%d/%m/%Y", "31/02/2024"),
        ("iso", "2024-02-30"),
    ],
)
def test_what_is_no_date_of_the_format_is_none(date_format: str, text: str) -> None:
    assert compile_date_parser([date_format])(text) is None


def test_several_formats_are_tried_in_order() -> None:
    parse = compile_date_parser(["%d/%m/%Y", "%m/%d/%Y", "%b %Y", "serial"])
    texts = ["03/04/2021", "12/31/2021", "May 2021", "44197", "no"]
    days = ["2021-04-03", "2021-12-31", "2021-05-01", "2021-01-01", None]
    assert [parse(text) for text in texts] == days


def test_a_local_time_takes_the_offset_of_its_place() -> None:
    parse = compile_instant_parser(["%d.%m.%Y %H:%M", "iso"], parse_utc_offset("+05:30"))
    assert parse("01.02.2024 10:00") == "2024-02-01T10:00:00+05:30"
    assert parse("2024-02-01T10:00:00+00:00") == "2024-02-01T10:00:00+00:00"
    assert parse("10:00") is None
    assert compile_instant_parser(["%d.%m.%Y"], None)("01.02.2024") is None
    assert [parse_utc_offset(text) for text in ("Z", "+24:00", "1")][1:] == [None, None]


@pytest.mark.parametrize(
    ("date_format", "text"),
    [
        ("quarter", "Q5 2021"),
        ("quarter", "Q0 2021"),
        ("half_year", "H3 2021"),
        ("fiscal_year_04", "2020-22"),
        ("fiscal_year_04", "2021"),
        ("%d %B %Y", "15 mois 2021"),
        ("%d %B %Y", "31 février 2021"),
    ],
)
def test_another_text_is_no_date_of_the_format(date_format: str, text: str) -> None:
    assert compile_date_parser([date_format])(text) is None


def test_a_fiscal_year_and_a_half_end_on_their_last_day() -> None:
    formats = ["fiscal_year_07", "fiscal_year_01", "half_year"]
    parse = compile_date_parser(formats, DayOfPeriod.END)
    assert [parse(text) for text in ("2020-21", "H1 2024")] == ["2021-06-30", "2024-06-30"]
    assert compile_date_parser(["fiscal_year_01"], DayOfPeriod.END)("FY2024") == "2024-12-31"
    assert not is_date_format("fiscal_year_13")
    assert not is_date_format("fiscal_year")


@pytest.mark.parametrize(
    ("text", "day"),
    [
        ("2024-02-29", "2024-02-29"),
        ("2024-02-29 00:00:00", "2024-02-29"),
        ("2024-02-29T00:00:00.000Z", "2024-02-29"),
        ("2024-02-29T12:00:00Z", None),
        ("29/02/2024", None),
    ],
)
def test_only_midnight_is_left_out_of_a_date_without_a_format(text: str, day: str | None) -> None:
    assert read_midnight(text) == day
