"""Records of XML: their JSON, their bounds, and documents that attack."""

import io
import json

import pytest

from spawn.application.imports.files.file_records import MAX_LINE_BYTES
from spawn.application.imports.files.xml_records import read_xml_records
from spawn.domain.errors import InvalidInput
from spawn.domain.imports.record_parser import Record


def read(document: str | bytes, element: str | None = None) -> list[Record]:
    data = document.encode() if isinstance(document, str) else document
    return list(read_xml_records(io.BytesIO(data), element))


def test_elements_become_members_lists_and_texts() -> None:
    document = """<?xml version="1.0"?>
    <list><a id="1"> <n>One</n><n lang="fr">Un</n><e/><d> x <b>y</b> z </d></a>
    <a>Two</a></list>"""
    first, second = read(document)
    assert json.loads(first.raw) == {
        "@id": "1",
        "n": ["One", {"@lang": "fr", "text": "Un"}],
        "e": "",
        "d": {"b": "y", "text": "x y z"},
    }
    assert json.loads(second.raw) == {"text": "Two"}
    assert [first.line, second.line] == [2, 3]
    assert 0 < first.end < second.end


def test_a_text_with_elements_in_it_is_read_as_a_whole() -> None:
    document = """<l><p id="1"><n>A &amp; <b>bold <i>and</i></b> tail</n>
    <c><t>in</t> <t>side</t></c></p></l>"""
    (record,) = read(document)
    b = {"i": "and", "text": "bold and"}
    assert json.loads(record.raw) == {
        "@id": "1",
        "n": {"b": b, "text": "A & bold and tail"},
        "c": {"t": ["in", "side"]},
    }


def test_an_element_that_is_nil_has_no_content() -> None:
    document = """<r xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance">
    <a><n xsi:nil="true"/><u unit="m" xsi:nil="1"/><v xsi:nil="false">2</v></a></r>"""
    (record,) = read(document)
    assert json.loads(record.raw) == {"n": "", "u": {"@unit": "m", "text": ""}, "v": "2"}


def test_an_element_of_attributes_alone_has_an_empty_text() -> None:
    (record,) = read('<r><a id="1"><c unit="m"/><d e="2"><f/></d></a></r>')
    members = {"@id": "1", "c": {"@unit": "m", "text": ""}, "d": {"@e": "2", "f": ""}}
    assert json.loads(record.raw) == members


def test_records_may_be_named_at_any_level() -> None:
    document = "<r><page><row><v>1</v></row></page><page><row><v>2</v></row></page></r>"
    assert [json.loads(record.raw) for record in read(document, "row")] == [{"v": "1"}, {"v": "2"}]


def test_a_document_declares_its_encoding() -> None:
    document = '<?xml version="1.0" encoding="{}"?><r><a>Ágüeda</a></r>'
    for encoding in ("iso-8859-1", "utf-16", "utf-8", "windows-1252"):
        (record,) = read(document.format(encoding).encode(encoding))
        assert json.loads(record.raw) == {"text": "Ágüeda"}


BOMB = (
    '<!DOCTYPE r [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;">]><r><x>&b;</x></r>',
    '<!DOCTYPE r [<!ENTITY a SYSTEM "file:///etc/passwd">]><r><x>&a;</x></r>',
    '<!DOCTYPE r [<!ENTITY % a SYSTEM "http://127.0.0.1/x">%a;]><r><x/></r>',
)


@pytest.mark.parametrize("document", BOMB)
def test_a_document_that_declares_entities_is_rejected(document: str) -> None:
    with pytest.raises(InvalidInput, match="declares the entity"):
        read(document)


def test_a_document_type_without_entities_is_read_and_loads_nothing() -> None:
    document = '<!DOCTYPE r SYSTEM "http://127.0.0.1:1/r.dtd"><r><x>1</x></r>'
    assert len(read(document)) == 1


@pytest.mark.parametrize("document", ["", "<r>", "<r><a></r>", "<r/><r/>", "<r>&b;</r>", "x"])
def test_what_is_not_well_formed_is_rejected(document: str) -> None:
    with pytest.raises(InvalidInput, match="not well-formed"):
        read(document)


def test_depth_and_size_are_bounded() -> None:
    with pytest.raises(InvalidInput, match="levels"):
        read("<a>" * 30 + "</a>" * 30)
    long = "<r><a>" + "x" * (MAX_LINE_BYTES + 1) + "</a><a>" + "<b>y</b>" * 10 + "</a></r>"
    first, second = read(long)
    assert first.parse_error is not None
    assert first.parse_error.code == "line_too_long"
    assert len(first.raw) < 5000
    assert second.parse_error is None
    # Names count, of elements and of attributes: neither alone makes this record too long.
    wide = "<r><a>" + f"<{'b' * 40} {'c' * 40}=''/>" * 14_000 + "</a></r>"
    (record,) = read(wide)
    assert record.parse_error is not None
