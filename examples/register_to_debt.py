# %% [markdown]
# # From a register to a sized debt
#
# A file of a public register is imported, searched and exported, and the debt of one of its
# projects is sized. The notebook needs a running service (`make run`), and of Python packages only
# `spawn`. `make docs` runs it and writes the results below.

# %%
import os
from pathlib import Path
from tempfile import TemporaryDirectory

from spawn.client import ImportMappingDocument, SpawnClient, UploadOptions

url = os.environ.get("SPAWN_URL", "http://127.0.0.1:8000")
client = SpawnClient(url, token=os.environ.get("SPAWN_KEY"))
folder = Path(os.environ.get("SPAWN_EXAMPLES", "."))
register = folder / "renewables_register.csv"
print(register.read_text(encoding="utf-8"))

# %% [markdown]
# The file has title lines, semicolons, decimal commas, dates of its own, and rows of totals that
# are no projects. A mapping says so; nothing is edited by hand.

# %%
mapping: ImportMappingDocument = {
    "delimiter": ";",
    "header_row": 3,
    "decimal": ",",
    "thousands": ".",
    "null": ["", "n/a"],
    "where": {"column": "Id", "is_null": False},
    "key": {"source": "renewables", "column": "Id"},
    "on_existing": "update",
    "columns": [
        {"attribute": "project_name", "column": "Project name"},
        {
            "attribute": "technology",
            "column": "Technology",
            "enum": {"Onshore": "ONSHORE_WIND", "Offshore": "OFFSHORE_WIND", "Solar": "SOLAR_PV"},
        },
        {"attribute": "capacity_mw", "column": "Capacity (MW)"},
        {"attribute": "total_amount", "column": "Cost", "unit_factor": "1000000"},
        {"attribute": "currency_code", "constant": "EUR"},
        {"attribute": "cod_date", "column": "Commissioning", "date_formats": ["%d.%m.%Y"]},
        {
            "attribute": "status",
            "column": "Status",
            "enum": {
                "Planned": "PROPOSED",
                "Under construction": "CONSTRUCTION",
                "In operation": "OPERATION",
            },
        },
    ],
}
client.put_mapping("renewables", mapping)

# %% [markdown]
# Try the file first. Nothing is written; each reason has its rows and a sample.

# %%
options = UploadOptions(mapping="renewables")
trial = client.try_file(register, options)
print(f"{trial.rows} rows: {trial.accepted} would be accepted, {trial.quarantined} quarantined")
for reason in trial.reasons:
    sample = reason["samples"][0]
    print(f"{reason['field']} {reason['code']}: line {sample['line']}, {sample['detail']}")

# %% [markdown]
# Import it. A row that cannot be read is quarantined with its reasons, not dropped. Here the cost
# of *Monte Solar* is published later, and the corrected file adds one project.

# %%
result = client.import_file(register, options).result
print(f"{result.accepted} accepted, {result.quarantined} quarantined")
corrected = register.read_text(encoding="utf-8").replace("not stated", "49,2")
result = client.import_file(corrected.encode(), options).result
print(f"{result.accepted} accepted, {result.unchanged} unchanged, {result.quarantined} quarantined")

# %% [markdown]
# ## Find
#
# Filters are those of the API; pages follow each other by themselves.

# %%
wind = {"external_ref.source": "renewables", "technology[in]": ["ONSHORE_WIND", "OFFSHORE_WIND"]}
print(client.count_projects(wind), "wind projects")
for project in client.iterate_projects({**wind, "sort": "-total_amount"}):
    print(
        f"{project.project_name:<18} {project['capacity_mw']:>6} MW {project.total_amount:>16,} EUR"
    )

# %% [markdown]
# ## Size a debt
#
# Cabo Norte has a tariff for fifteen years. Debt is sculpted on the cash flow available for debt
# service (CFADS) at a DSCR of 1.30, and may be at most 75 % of the uses of funds.

# %%
cabo_norte = next(client.iterate_projects({"external_ref": "renewables:W-1"}))
cost = float(cabo_norte["total_amount"]) / 1e6
cfads = [round(18.6 * 1.005**year, 3) for year in range(15)]
sized = client.calculate(
    "debt-sizing",
    {
        "cfads": cfads,
        "annual_rates": 0.052,
        "target_dscr": 1.30,
        "uses": {"capex": cost, "upfront_fee_share": 0.02},
        "max_gearing": 0.75,
    },
)
print(f"Debt {float(sized['debt']):.1f} million, bound by {sized['binding']}")
print(f"Gearing {float(sized['gearing']):.1%}, equity {float(sized['equity']):.1f} million")
print(f"Average life {float(sized['wal_years']):.1f} years")


# %%
class Picture:
    """Bars of debt service below a line of CFADS, as SVG."""

    def __init__(self, service: list[float], cfads: list[float]) -> None:
        self.service, self.cfads = service, cfads

    def _repr_svg_(self) -> str:
        top, step = max(self.cfads) * 1.1, 40
        bars = "".join(
            f'<rect x="{n * step + 6}" y="{200 - 180 * value / top:.1f}" width="28"'
            f' height="{180 * value / top:.1f}" fill="#35618f"/>'
            f'<text x="{n * step + 20}" y="215" text-anchor="middle">{n + 1}</text>'
            for n, value in enumerate(self.service)
        )
        line = " ".join(
            f"{n * step + 20},{200 - 180 * value / top:.1f}" for n, value in enumerate(self.cfads)
        )
        return (
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {step * len(self.cfads)} 225"'
            ' font-family="sans-serif" font-size="11" role="img">'
            "<title>Debt service in bars and CFADS as a line, in millions of euros by year</title>"
            f'<rect width="100%" height="100%" fill="#fff"/>{bars}'
            f'<polyline points="{line}" fill="none" stroke="#c8702a" stroke-width="2"/></svg>'
        )


service = [float(row["debt_service"]) for row in sized["rows"]]
Picture(service, cfads)

# %% [markdown]
# ## Export
#
# A file has the format of its suffix: `.csv`, `.ndjson`, `.json`, `.parquet` or `.arrow`. Amounts
# are exact.

# %%
fields = ["project_name", "total_amount", "currency_code", "cod_date"]
with TemporaryDirectory() as exports:
    target = Path(exports, "wind.csv")
    client.save_dataset(target, options={**wind, "fields": fields, "sort": "project_name"})
    head, *rows = (line.split(",") for line in target.read_text().splitlines())
for row in (head, *rows):
    print(*row[-len(fields) :], sep=", ")
client.close()
