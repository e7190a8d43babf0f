"""Generate clients from the OpenAPI document, compile them, and use each against a service.

Generators are the readers of the document that users have: what one of them drops or types wrongly
is a fault of the document, even if every validator accepts it.
"""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Final

HERE: Final = Path(__file__).parent
PYTHON_CONFIG: Final = {
    "content_type_overrides": {
        "application/x-ndjson": "application/octet-stream",
        "application/xml": "application/octet-stream",
        "text/csv": "application/octet-stream",
        "application/vnd.openxmlformats-officedocument.spreadsheetml.sheet": (
            "application/octet-stream"
        ),
        "application/merge-patch+json": "application/json",
    },
    "post_hooks": [],
}
"""Media types that the generator does not know, as ones that it does."""

TYPESCRIPT_CONFIG: Final = {
    "compilerOptions": {
        "strict": True,
        "noUncheckedIndexedAccess": True,
        "target": "ES2022",
        "module": "NodeNext",
        "moduleResolution": "NodeNext",
        "lib": ["ES2023", "DOM"],
        "types": [],
        "outDir": "out",
    },
    "files": ["generated_client.ts"],
}

RunTool = Callable[..., str]
"""Function that runs a command in the folder of the documents and returns its output."""


def use_python_client(run: RunTool, tools: Path, folder: Path, url: str) -> str:
    """Generate a client with openapi-python-client, check its types, and run the script."""
    target = folder / "python-client"
    shutil.rmtree(target, ignore_errors=True)
    config = folder / "python-client.json"
    config.write_text(json.dumps(PYTHON_CONFIG))
    # What it does not understand it leaves out, with a warning.
    generator = (str(tools / "openapi-python-client"), "generate", "--fail-on-warning")
    files = ("--path", "openapi.json", "--output-path", str(target), "--config", str(config))
    run(*generator, *files)
    script = target / "generated_client.py"
    shutil.copy(HERE / script.name, script)
    cache = ("--cache-dir", str(folder / "mypy"))
    run(str(tools / "mypy"), "--strict", *cache, "spawn_client", script.name, folder=target)
    return run(str(tools / "python"), script.name, url, folder=target).strip()


def use_typescript_client(run: RunTool, node_modules: Path, folder: Path, url: str) -> str:
    """Generate types with openapi-typescript, compile the script with them, and run it."""
    target = folder / "typescript-client"
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()
    (target / "node_modules").symlink_to(node_modules)
    (target / "package.json").write_text('{"type": "module"}')
    (target / "tsconfig.json").write_text(json.dumps(TYPESCRIPT_CONFIG))
    shutil.copy(HERE / "generated_client.ts", target)
    # By default a property with a default value would be required in requests.
    generator = (str(node_modules / ".bin" / "openapi-typescript"), str(folder / "openapi.json"))
    run(*generator, "--default-non-nullable", "false", "-o", "schema.d.ts", folder=target)
    run(str(node_modules / ".bin" / "tsc"), "-p", ".", folder=target)
    return run("node", "out/generated_client.js", url, folder=target).strip()
