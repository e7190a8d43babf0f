"""Tables of projects for the packages of data analysis that are installed."""

import importlib
import json
from collections.abc import Iterable
from datetime import date, datetime
from decimal import Decimal
from typing import Any, Final

from spawn.client.problems import MissingPackage
from spawn.client.records import ProjectRecord

_TIMES: Final = frozenset({"created_at", "updated_at"})


def to_columns(projects: Iterable[ProjectRecord]) -> dict[str, list[Any]]:
    """Return the columns of projects: exact decimals, dates, instants; objects as JSON texts.

    Without a project they are the columns that every project has, without values.
    """
    documents = [project.document for project in projects]
    names = dict.fromkeys(name for document in documents for name in document)
    if not documents:
        names = dict.fromkeys(ProjectRecord.__struct_fields__[:-2])
    return {
        name: _unify([_to_cell(name, document.get(name)) for document in documents])
        for name in names
    }


def to_arrow(projects: Iterable[ProjectRecord]) -> Any:
    """Return a `pyarrow.Table` of projects.

    Raises:
        MissingPackage: pyarrow is not installed.
    """
    return _load("pyarrow").table(to_columns(projects))


def to_pandas(projects: Iterable[ProjectRecord]) -> Any:
    """Return a `pandas.DataFrame` of projects.

    Raises:
        MissingPackage: pandas is not installed.
    """
    return _load("pandas").DataFrame(to_columns(projects))


def to_polars(projects: Iterable[ProjectRecord]) -> Any:
    """Return a `polars.DataFrame` of projects.

    Raises:
        MissingPackage: polars is not installed.
    """
    return _load("polars").DataFrame(to_columns(projects))


def _load(package: str) -> Any:
    try:
        return importlib.import_module(package)
    except ImportError as error:
        raise MissingPackage(f"The package {package} is not installed: install it.") from error


def _to_cell(name: str, value: Any) -> Any:
    if isinstance(value, str) and name.endswith("_amount"):
        return Decimal(value)
    if isinstance(value, str) and name in _TIMES:
        return datetime.fromisoformat(value)
    if isinstance(value, str) and name.endswith("_date"):
        return _to_date(value)
    if isinstance(value, dict | list):
        return json.dumps(value, default=str, ensure_ascii=False)
    return value


def _to_date(text: str) -> date | str:
    try:
        return date.fromisoformat(text)
    except ValueError:
        return text


def _unify(values: list[Any]) -> list[Any]:
    """Return a column of one type: integers among decimals are decimals, mixtures are texts."""
    types = {type(value) for value in values if value is not None}
    if types == {int, Decimal}:
        return [Decimal(value) if isinstance(value, int) else value for value in values]
    if len(types) > 1:
        return [None if value is None else str(value) for value in values]
    return values
