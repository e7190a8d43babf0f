"""Run the recipes of `docs/data.md` against a service, and compare the tables that they read.

The plain addresses are read too, and compared cell by cell.

Runs in the tools' environment, which has pandas, Polars, PyArrow and DuckDB, with the client on its
path; R and LibreOffice run where they are installed. Arguments: the address of a running service,
and the page. The exit code is 1 if a table differs or lost the exactness of its amounts.
"""

import contextlib
import csv
import io
import json
import re
import shutil
import subprocess
import sys
import tempfile
from datetime import datetime
from decimal import Decimal
from pathlib import Path
from typing import Any
from urllib.request import urlopen

import duckdb
import pandas as pd  # type: ignore[import-not-found,import-untyped,unused-ignore]  # of the tools
import polars as pl  # type: ignore[import-not-found,unused-ignore]  # as above
import pyarrow as pa  # type: ignore[import-untyped,import-not-found,unused-ignore]  # as above

from spawn.client import SpawnClient
from spawn.client.tables import to_arrow, to_pandas, to_polars

PAGE_ADDRESS = "http://127.0.0.1:8000"
PACKAGES = {"pandas": to_pandas, "Polars": to_polars, "PyArrow": to_arrow}
Amounts = dict[str, Decimal]


def read_amounts(records: list[dict[str, Any]]) -> Amounts:
    """Return the amount of each project by its id."""
    return {str(one["project_id"]): Decimal(one["total_amount"]) for one in records}


def read_recipes(page: Path, url: str) -> dict[tuple[str, str], str]:
    """Return the code of each section and language, with the address of the service."""
    sections = re.split(r"^## (.+)$", page.read_text("utf-8"), flags=re.MULTILINE)
    return {
        (title, language): code.replace(PAGE_ADDRESS, url)
        for title, text in zip(sections[1::2], sections[2::2], strict=True)
        for language, code in re.findall(r"^```(\w+)\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    }


class _Names(dict[str, Any]):
    """Names of a recipe, which keep each value of `projects`."""

    def __init__(self) -> None:
        super().__init__()
        self.tables: list[Any] = []

    def __setitem__(self, name: str, value: Any) -> None:
        super().__setitem__(name, value)
        if name == "projects":
            self.tables.append(value)


def run_python(code: str) -> list[Any]:
    """Run a recipe; return the table of each assignment to `projects`, in order."""
    names = _Names()
    exec(compile(code, "recipe", "exec"), {}, names)  # noqa: S102 - our own page
    return names.tables


def to_records(table: Any) -> list[dict[str, Any]]:
    """Return the rows of a table of pandas, Polars or PyArrow."""
    if isinstance(table, pd.DataFrame):
        return list(table.to_dict("records"))
    if isinstance(table, pa.Table):
        return list(table.to_pylist())
    return list(table.to_dicts())


def run_javascript(code: str) -> list[dict[str, Any]]:
    """Run a recipe in Node, and return its projects."""
    script = f"{code}\nconsole.log(JSON.stringify(projects));"
    command = ["node", "--input-type=module", "--eval", script]
    output = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    return list(json.loads(output))


def run_r(code: str) -> Amounts:
    """Run a recipe in R, and return the amounts of its projects as R has them."""
    script = f"{code}\nwrite.csv(projects[c('project_id', 'total_amount')], row.names = FALSE)"
    command = ["Rscript", "--vanilla", "-e", script]
    output = subprocess.run(command, capture_output=True, check=True, text=True).stdout
    return read_amounts(list(csv.DictReader(io.StringIO(output))))


def open_in_libreoffice(url: str) -> Amounts:
    """Open the workbook in LibreOffice, save its sheet as CSV, and return the amounts of it."""
    with tempfile.TemporaryDirectory() as folder:
        workbook, table = Path(folder, "projects.xlsx"), Path(folder, "projects.csv")
        with urlopen(f"{url}/v1/data/projects.xlsx") as response:  # noqa: S310 - our own service
            workbook.write_bytes(response.read())
        profile = f"-env:UserInstallation=file://{folder}/profile"
        # Commas, quotes, UTF-8, values as they are shown.
        target = "csv:Text - txt - csv (StarCalc):44,34,76,1,,0,false,true,false"
        command = ["soffice", profile, "--headless", "--convert-to", target, "--outdir", folder]
        subprocess.run([*command, str(workbook)], capture_output=True, check=True)
        with table.open(encoding="utf-8", newline="") as file:
            return read_amounts(list(csv.DictReader(file)))


def run_duckdb(code: str, url: str) -> Amounts:
    """Download Parquet as the recipe says, run its query, and return the amounts of the file."""
    with tempfile.TemporaryDirectory() as folder:
        with urlopen(f"{url}/v1/data/projects.parquet") as response:  # noqa: S310 - our own service
            Path(folder, "projects.parquet").write_bytes(response.read())
        # DuckDB looks in the current folder first, where a run has an older file of this name.
        with contextlib.chdir(folder), duckdb.connect() as connection:
            (query,) = re.findall(r'duckdb -c "(.+)"', code)
            assert connection.execute(query).fetchall()
            rows = connection.execute("select project_id, total_amount from 'projects.parquet'")
            return {str(project_id): amount for project_id, amount in rows.fetchall()}


def read_plain_tables(url: str) -> dict[str, list[dict[str, Any]]]:
    """Return the rows that each package reads of the plain address of its format.

    Polars looks at every line of JSON: most columns of version 2 begin with hundreds of nulls.
    """
    data = f"{url}/v1/data/projects"
    with urlopen(f"{data}.arrow") as stream:  # noqa: S310 - our own service
        arrow = pa.ipc.open_stream(stream).read_all()
    with tempfile.NamedTemporaryFile(suffix=".parquet") as file, duckdb.connect() as connection:
        with urlopen(f"{data}.parquet") as response:  # noqa: S310 - our own service
            Path(file.name).write_bytes(response.read())
        connection.execute("set TimeZone = 'UTC'")
        duckdb_rows = connection.read_parquet(file.name).to_arrow_table().to_pylist()
    return {
        "open_stream": arrow.to_pylist(),
        "read_csv": pd.read_csv(f"{data}.csv").to_dict("records"),
        "read_parquet": pd.read_parquet(f"{data}.parquet").to_dict("records"),
        "read_ndjson": pl.read_ndjson(f"{data}.ndjson", infer_schema_length=None).to_dicts(),
        "DuckDB on Parquet": duckdb_rows,
    }


def read_cell(value: Any) -> Any:
    """Return a cell as a value that is equal in each format: null, number, instant or text."""
    if value is None or pd.isna(value):
        return None
    if isinstance(value, bool | int | float | Decimal):
        return float(value)
    text = value.isoformat() if hasattr(value, "isoformat") else str(value)
    if re.fullmatch(r"\d{4}-\d\d-\d\dT.+", text):
        return datetime.fromisoformat(text)
    return float(text) if re.fullmatch(r"-?\d+(\.\d+)?", text) else text or None


def find_different_tables(url: str) -> list[str]:
    """Return the readers of plain addresses whose table differs in a cell from the Arrow stream.

    Decimals are exact where the format has them, and else texts or binary numbers.
    """
    tables = read_plain_tables(url)
    cells = {
        name: [{column: read_cell(value) for column, value in row.items()} for row in rows]
        for name, rows in tables.items()
    }
    exact = [read_amounts(tables[name]) for name in ("open_stream", "read_parquet", "read_ndjson")]
    different = [name for name, rows in cells.items() if rows != cells["open_stream"]]
    return different if exact[0] == exact[1] == exact[2] else ["exact amounts", *different]


def main(url: str, page: Path) -> int:
    """Compare the amounts of every recipe with those of the API."""
    with urlopen(f"{url}/v1/data/projects.json") as response:  # noqa: S310 - our own service
        expected = read_amounts(json.load(response))
    recipes = read_recipes(page, url)
    results: dict[str, Amounts] = {}
    for (title, language), code in recipes.items():
        if language == "python":
            for number, table in enumerate(run_python(code), 1):
                results[f"{title} {number}"] = read_amounts(to_records(table))
        elif language == "javascript":
            results[title] = read_amounts(run_javascript(code))
        elif language == "r" and shutil.which("Rscript"):
            results[title] = run_r(code)
    with SpawnClient(url) as client:
        projects = list(client.iterate_projects())
    for package, to_table in PACKAGES.items():
        results[f"client to {package}"] = read_amounts(to_records(to_table(projects)))
    results["DuckDB"] = run_duckdb(recipes["DuckDB", "bash"], url)
    with urlopen(f"{url}/v1/data/projects.csv?bom=true") as response:  # noqa: S310 - our own service
        excel = response.read()
    assert excel.startswith(b"\xef\xbb\xbf")
    rows = csv.DictReader(io.StringIO(excel.decode("utf-8-sig"), newline=""))
    results["Excel"] = read_amounts(list(rows))
    if shutil.which("soffice"):
        results["LibreOffice"] = open_in_libreoffice(url)
    different = sorted(name for name, amounts in results.items() if amounts != expected)
    different += find_different_tables(url)
    print(f"{len(expected)} projects by {', '.join(results)}")
    if different:
        print(f"tables that differ: {', '.join(different)}", file=sys.stderr)
    return 1 if different or len(expected) == 0 else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], Path(sys.argv[2])))
