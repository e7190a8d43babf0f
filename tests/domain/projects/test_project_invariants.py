"""The constructor checks every invariant of a project and reports every violation."""

from datetime import date, datetime
from decimal import Decimal
from typing import Any

import msgspec
import pytest

from spawn.domain.errors import InvalidInput
from spawn.domain.projects.project import (
    ExternalRef,
    Milestone,
    MilestoneKind,
    Project,
    ProjectStatus,
    Sponsor,
    Spv,
    apply_amendment,
    build_reservation_id,
    list_draw_stops,
    list_open_conditions,
    propose_project,
)
from spawn.testing.builders import a_condition, a_project, some_sponsors

pytestmark = pytest.mark.core


def errors_of(**overrides: Any) -> list[tuple[str, str]]:
    with pytest.raises(InvalidInput) as error:
        a_project(**overrides)
    return [(field_error.pointer, field_error.code) for field_error in error.value.errors]


def test_a_project_needs_only_a_name_and_an_amount() -> None:
    project = Project(project_id="p-1", project_name="Tunnel", total_amount=Decimal(5))
    assert (project.currency_code, project.status) == ("USD", ProjectStatus.PROPOSED)
    assert str(project.total_amount) == "5.00"


@pytest.mark.parametrize(
    ("overrides", "pointer", "code"),
    [
        ({"project_id": ""}, "/project_id", "empty"),
        ({"project_id": "p" * 65}, "/project_id", "too_long"),
        ({"project_name": ""}, "/project_name", "empty"),
        ({"project_name": " \u00a0"}, "/project_name", "empty"),
        ({"project_name": "n" * 501}, "/project_name", "too_long"),
        ({"project_name": " Solar"}, "/project_name", "not_trimmed"),
        ({"project_name": "Solar "}, "/project_name", "not_trimmed"),
        ({"project_name": "Solar\u2003"}, "/project_name", "not_trimmed"),
        ({"project_name": "So\nlar"}, "/project_name", "control_character"),
        ({"project_name": "Solar\x00"}, "/project_name", "control_character"),
        ({"project_name": "\x85Solar"}, "/project_name", "control_character"),
        ({"project_name": "\ud800"}, "/project_name", "control_character"),
        ({"total_amount": Decimal("NaN")}, "/total_amount", "not_finite"),
        ({"total_amount": Decimal("-Infinity")}, "/total_amount", "not_finite"),
        ({"total_amount": Decimal("-0.01")}, "/total_amount", "out_of_range"),
        ({"total_amount": Decimal(10) ** 18}, "/total_amount", "out_of_range"),
        ({"total_amount": Decimal("10.005")}, "/total_amount", "too_precise"),
        ({"total_amount": 10.5}, "/total_amount", "not_decimal"),
        (
            {"total_amount": Decimal("0.5"), "currency_code": "JPY"},
            "/total_amount",
            "too_precise",
        ),
        ({"currency_code": "EURO"}, "/currency_code", "unknown_currency"),
        ({"currency_code": "XAU"}, "/currency_code", "no_minor_unit"),
        ({"description": "d" * 10_001}, "/description", "too_long"),
        ({"description": "a\x00b"}, "/description", "control_character"),
        ({"sector": "s" * 101}, "/sector", "too_long"),
        ({"status_reason": "r" * 1_001}, "/status_reason", "too_long"),
        ({"country_code": "ES"}, "/country_code", "unknown_country"),
        ({"country_code": "XXX"}, "/country_code", "unknown_country"),
        ({"subdivision_code": "ES-XX"}, "/subdivision_code", "unknown_subdivision"),
        ({"subdivision_code": "es-ga"}, "/subdivision_code", "unknown_subdivision"),
        ({"subdivision_code": "PT-13"}, "/subdivision_code", "country_mismatch"),
        (
            {"subdivision_code": "ES-GA", "country_code": None},
            "/subdivision_code",
            "country_mismatch",
        ),
        ({"maturity_years": Decimal("0.49")}, "/maturity_years", "out_of_range"),
        ({"maturity_years": Decimal("99.01")}, "/maturity_years", "out_of_range"),
        ({"maturity_years": Decimal("18.125")}, "/maturity_years", "too_precise"),
        ({"maturity_years": Decimal("Infinity")}, "/maturity_years", "not_finite"),
        ({"expected_irr": Decimal("NaN")}, "/expected_irr", "not_finite"),
        ({"expected_irr": Decimal("-1.01")}, "/expected_irr", "out_of_range"),
        ({"expected_irr": Decimal("1E+8")}, "/expected_irr", "out_of_range"),
        ({"expected_irr": Decimal("1E-11")}, "/expected_irr", "too_precise"),
        ({"dscr": Decimal("1E+10")}, "/dscr", "out_of_range"),
        ({"dscr": Decimal("1E-9")}, "/dscr", "too_precise"),
        ({"suspended_from": ProjectStatus.OPERATION}, "/suspended_from", "out_of_range"),
        (
            {"status": ProjectStatus.SUSPENDED, "suspended_from": ProjectStatus.MANDATED},
            "/suspended_from",
            "out_of_range",
        ),
        ({"spv": Spv(name="")}, "/spv/name", "empty"),
        ({"spv": Spv(name="A", registration_number="")}, "/spv/registration_number", "empty"),
        ({"spv": Spv(name="A", country_code="QQQ")}, "/spv/country_code", "unknown_country"),
        ({"external_ref": ExternalRef(source="", id="1")}, "/external_ref/source", "empty"),
        ({"external_ref": ExternalRef(source="a", id="x" * 201)}, "/external_ref/id", "too_long"),
    ],
)
def test_a_violation_has_a_pointer_and_a_code(
    overrides: dict[str, Any], pointer: str, code: str
) -> None:
    assert errors_of(**overrides) == [(pointer, code)]


@pytest.mark.parametrize(
    ("years", "stored"),
    [
        *(("18", "18"), ("18.0", "18"), ("1.8E+1", "18"), ("18.50", "18.5"), ("17.75", "17.75")),
        *(("0.5", "0.5"), ("99.00", "99"), ("2E+1", "20")),
    ],
)
def test_a_maturity_has_one_form(years: str, stored: str) -> None:
    assert str(a_project(maturity_years=Decimal(years)).maturity_years) == stored


def test_several_violations_are_reported_at_once() -> None:
    errors = errors_of(
        project_name="", total_amount=Decimal(-1), maturity_years=Decimal(0), country_code="?"
    )
    assert {pointer for pointer, _ in errors} == {
        *("/project_name", "/total_amount", "/maturity_years", "/country_code")
    }


def test_a_subdivision_belongs_to_the_country() -> None:
    assert a_project(country_code="ESP", subdivision_code="ES-GA").subdivision_code == "ES-GA"
    assert a_project(country_code="PRT", subdivision_code=None).subdivision_code is None
    # The country is unknown itself, and no subdivision can agree with it.
    assert errors_of(country_code="QQQ", subdivision_code="ES-GA") == [
        ("/country_code", "unknown_country"),
        ("/subdivision_code", "country_mismatch"),
    ]


def test_text_in_any_script_and_prose_with_lines_are_valid() -> None:
    project = a_project(project_name="Énergie 太陽光 👩\u200d🚀 №1", description="a\r\n\tb\u2028c")
    assert project.description == "a\r\n\tb\u2028c"


def test_an_amount_has_the_scale_of_its_currency() -> None:
    assert str(a_project(total_amount=Decimal("5E+3")).total_amount) == "5000.00"
    yen = a_project(total_amount=Decimal("5000.00"), currency_code="JPY")
    assert str(yen.total_amount) == "5000"
    zero = a_project(total_amount=Decimal("-0")).total_amount
    assert zero is not None
    assert zero.is_signed() is False


def test_an_amount_may_be_unknown_only_where_that_is_allowed() -> None:
    values: dict[str, Any] = {"project_id": "p", "attributes": {}, "extensions": {}}
    fields = {"project_name": "a"}
    with pytest.raises(InvalidInput) as invalid:
        propose_project(fields=fields, **values)
    assert [error.pointer for error in invalid.value.errors] == ["/total_amount"]
    unknown = propose_project(fields=fields, allows_unknown_amount=True, **values)
    assert unknown.total_amount is None
    known = apply_amendment(unknown, {"total_amount": Decimal(7)}, {}, {})
    assert known.total_amount == Decimal("7.00")
    with pytest.raises(InvalidInput):
        apply_amendment(known, {"total_amount": None}, {}, {})


@pytest.mark.parametrize("shares", [("100",), ("33.33", "33.33", "33.34"), ("0.00000001",) * 1])
def test_shares_add_up_to_exactly_one_hundred(shares: tuple[str, ...]) -> None:
    if sum(map(Decimal, shares)) == 100:
        assert len(a_project(sponsors=some_sponsors(*shares)).sponsors) == len(shares)
    else:
        assert errors_of(sponsors=some_sponsors(*shares)) == [("/sponsors", "not_a_hundred")]


@pytest.mark.parametrize("shares", [("33.33",) * 3, ("100", "0.00000001"), ("50.005", "50.005")])
def test_shares_that_are_rounded_add_up_within_a_hundredth(shares: tuple[str, ...]) -> None:
    assert len(a_project(sponsors=some_sponsors(*shares)).sponsors) == len(shares)


@pytest.mark.parametrize("shares", [("33.3",) * 3, ("50.006", "50.005"), ("99.98999999",)])
def test_shares_further_from_one_hundred_are_rejected(shares: tuple[str, ...]) -> None:
    assert errors_of(sponsors=some_sponsors(*shares)) == [("/sponsors", "not_a_hundred")]


def test_beside_an_unknown_share_the_others_must_not_exceed_one_hundred() -> None:
    unknown = Sponsor(name="Unknown")
    for share in ("60", "100"):
        known = some_sponsors(share)
        assert a_project(sponsors=(*known, unknown)).sponsors[-1].share is None
    many = (*some_sponsors("60", "41"), unknown)
    assert errors_of(sponsors=many) == [("/sponsors", "not_a_hundred")]


@pytest.mark.parametrize(
    ("share", "code"),
    [
        ("0", "out_of_range"),
        ("-1", "out_of_range"),
        ("100.01", "out_of_range"),
        ("NaN", "not_finite"),
        ("Infinity", "not_finite"),
        ("99.999999999", "too_precise"),
    ],
)
def test_an_invalid_share_is_reported_with_its_pointer(share: str, code: str) -> None:
    sponsors = (*some_sponsors("50"), Sponsor(name="Other", share=Decimal(share)))
    assert errors_of(sponsors=sponsors) == [("/sponsors/1/share", code)]


def test_a_sponsor_name_is_unique() -> None:
    sponsors = tuple(Sponsor(name=name, share=Decimal(50)) for name in ("Iberwind", "IBERWIND"))
    assert errors_of(sponsors=sponsors) == [("/sponsors/1/name", "duplicate")]


def test_collections_are_bounded() -> None:
    many = tuple(Sponsor(name=f"s{number}", share=Decimal(1)) for number in range(101))
    assert errors_of(sponsors=many) == [("/sponsors", "too_many")]
    plan = tuple(Milestone(milestone_id=f"m{number}", title="t") for number in range(201))
    assert errors_of(milestones=plan) == [("/milestones", "too_many")]
    assert errors_of(attributes={f"a{number}": 1 for number in range(501)}) == [("", "too_many")]


CLOSE, COD, END = date(2030, 1, 1), date(2032, 1, 1), date(2050, 1, 1)


@pytest.mark.parametrize(
    ("dates", "pointer"),
    [
        ({"financial_close_date": COD, "cod_date": CLOSE}, "/cod_date"),
        ({"cod_date": END, "end_date": COD}, "/end_date"),
        ({"financial_close_date": END, "end_date": CLOSE}, "/end_date"),
    ],
)
def test_financial_close_operation_and_end_follow_each_other(
    dates: dict[str, date], pointer: str
) -> None:
    assert errors_of(**dates) == [(pointer, "date_order")]


def test_dates_may_coincide() -> None:
    project = a_project(financial_close_date=CLOSE, cod_date=CLOSE, end_date=CLOSE)
    assert project.end_date == CLOSE


def test_a_milestone_is_not_both_met_and_waived_and_its_id_is_unique() -> None:
    both = a_condition(met_on=CLOSE, waived_on=COD)
    assert errors_of(milestones=(both,)) == [("/milestones/0/waived_on", "met_and_waived")]
    assert errors_of(milestones=(a_condition(), a_condition())) == [
        ("/milestones/1/milestone_id", "duplicate")
    ]
    untold = a_condition(title="", evidence="e" * 2_001)
    assert errors_of(milestones=(untold,)) == [
        ("/milestones/0/title", "empty"),
        ("/milestones/0/evidence", "too_long"),
    ]


def test_financial_close_allows_no_open_condition_precedent() -> None:
    closed = {"status": ProjectStatus.FINANCIAL_CLOSE}
    assert errors_of(milestones=(a_condition(),), **closed) == [("/milestones", "open_condition")]
    resolved = (
        a_condition("cp-1", met_on=CLOSE),
        a_condition("cp-2", waived_on=CLOSE),
        Milestone(milestone_id="m-1", title="First power"),
    )
    assert list_open_conditions(a_project(milestones=resolved, **closed).milestones) == ()


def test_open_draw_stops_block_a_draw() -> None:
    plan = (
        a_condition("cp-1", draw_stop=True),
        a_condition("cp-2", draw_stop=True, met_on=CLOSE),
        a_condition("cp-3", draw_stop=True, waived_on=CLOSE),
        a_condition("cp-4"),
        Milestone(milestone_id="m-1", title="Permit", kind=MilestoneKind.MILESTONE, draw_stop=True),
    )
    stops = list_draw_stops(a_project(milestones=plan))
    assert [milestone.milestone_id for milestone in stops] == ["cp-1", "m-1"]


@pytest.mark.parametrize(
    ("name", "value", "code"),
    [
        ("capacity_mw", Decimal("NaN"), "not_finite"),
        ("capacity_mw", Decimal("1E+39"), "out_of_range"),
        ("capacity_mw", Decimal("1E-400000"), "out_of_range"),
        ("capacity_mw", Decimal("1." + "1" * 60), "out_of_range"),
        ("yield", float("inf"), "not_finite"),
        ("count", 2**63, "out_of_range"),
        ("note", "a\x00b", "control_character"),
        ("note", "n" * 65_537, "too_long"),
        ("seen_at", datetime(2030, 1, 1), "naive_time"),  # noqa: DTZ001 - rejected because it is naive
        ("note", None, "unsupported"),
        ("note", b"bytes", "unsupported"),
        ("version", 1, "unknown_field"),
        ("project_name", "x", "unknown_field"),
        ("x_note", "x", "unknown_field"),
    ],
)
def test_a_governed_value_is_storable_finite_and_bounded(name: str, value: Any, code: str) -> None:
    assert errors_of(attributes={name: value}) == [(f"/{name}", code)]


@pytest.mark.parametrize(
    ("name", "document", "code"),
    [
        ("x_", b"1", "invalid_name"),
        ("y_note", b"1", "invalid_name"),
        ("x_a/b", b"1", "invalid_name"),
        ("x_" + "n" * 63, b"1", "invalid_name"),
        ("x_note", b'"' + b"n" * 4095 + b'"', "too_long"),
        ("x_note", b"[" * 9 + b"]" * 9, "too_deep"),
        ("x_note", b"[" * 4096, "too_deep"),
        ("x_note", b"[1", "malformed"),
        ("x_note", b"", "malformed"),
        ("x_note", b"1 2", "malformed"),
        ("x_note", b"NaN", "malformed"),
        ("x_note", b'"\xff"', "malformed"),
        ("x_note", b'{"a": ["\\u0000"]}', "control_character"),
        ("x_note", b'{"\\u0000": 1}', "control_character"),
    ],
)
def test_an_extension_is_bounded_json(name: str, document: bytes, code: str) -> None:
    [(pointer, error_code)] = errors_of(extensions={name: msgspec.Raw(document)})
    assert error_code == code
    assert pointer == "/" + name[:100].replace("/", "~1")


def test_extensions_are_bounded_in_number_and_stored_as_received() -> None:
    many = {f"x_{number}": msgspec.Raw(b"1") for number in range(33)}
    assert errors_of(extensions=many) == [("", "too_many")]
    wild = b'{ "b[[[[[[[[[[" : 1.50, "a": [[[[[[[1]]]]]]], "\\\\u0000": "\\"[{" }'
    project = a_project(extensions={"x_wild": msgspec.Raw(wild)})
    assert bytes(project.extensions["x_wild"]) == wild


def test_no_two_references_share_a_reservation() -> None:
    one = build_reservation_id(ExternalRef(source="a:b", id="c"))
    other = build_reservation_id(ExternalRef(source="a", id="b:c"))
    assert (one, other) == ("a%3Ab:c", "a:b:c")
