"""Reduce an environment to what the service imports: `image_packages.py /opt/spawn`.

The image build runs it with the environment's own Python, after the installation. Afterwards the
same locks and sources give the same bytes: every file has the date of `SOURCE_DATE_EPOCH` and the
same permissions, and every module is compiled code in the place of its source. With
`PYTHONNODEBUGRANGES=1` that code has lines but no columns, which only a source could use.
"""

import ast
import importlib.util
import lzma
import marshal
import os
import pkgutil
import re
import shutil
import struct
import sys
from importlib.metadata import PathDistribution
from pathlib import Path

UNUSED_DISTRIBUTIONS = frozenset(
    {
        "cffi",  # cryptography needs its extension module alone
        "faker",
        "markdown-it-py",
        "mdurl",
        "polyfactory",
        "pycparser",
        "pygments",
        "python-dotenv",
        "rich",
        "rich-click",
        "watchfiles",
        "websockets",  # the server speaks no WebSocket
    }
)
"""Distributions that other packages require and the service never imports."""

SHARED_FILES = frozenset({"_cffi_backend"})
"""Files of unused distributions that the service imports, by the start of their names."""

UNUSED_PARTS = (
    "anyio/_backends/_trio.py",
    "anyio/pytest_plugin.py",
    "click/testing.py",
    "duckdb/experimental",
    "google/api",
    "google/cloud",
    "google/gapic",
    "google/logging",
    "google/longrunning",
    "google/type",
    "litestar/channels",
    "litestar/contrib",
    "litestar/repository",
    "litestar/testing",
    "multidict/_testcapi.*.so",
    "nats/micro",
    "numpy/_core/*_tests.*.so",
    "numpy/_core/_simd.*.so",  # of NumPy's tests; the kernels are in _multiarray_umath
    "numpy/distutils",
    "numpy/f2py",
    "numpy/fft",
    "numpy/polynomial",
    "numpy/testing",
    "obstore/auth",
    "obstore/fsspec.py",
    "spawn/testing",  # needs test tools
    "urllib3/contrib/emscripten",  # of Python in a browser
    "uvicorn/protocols/websockets",
    "uvloop/_testbase.py",
)
"""Parts of distributions that the service never imports."""

OPTIONAL_MODULES = (
    "cryptography.hazmat.primitives.ciphers.aead",
    "cryptography.hazmat.primitives.kdf.hkdf",
    "duckdb_extension_httpfs",
    "holidays",
    "jinja2.ext",
    "joserfc.jwt",
    "nanoarrow.ipc",
    "nats",
    "obstore.store",
    "opentelemetry.exporter.otlp.proto.http.trace_exporter",
    "pyarrow.ipc",
    "python_calamine",
    "uvloop",
    "xlsxwriter",
)
"""Modules that the service imports when they are first needed."""

PACKED_MODULES = (
    "cryptography/hazmat/bindings/_rust.abi3.so",  # for OpenID Connect, signatures and encryption
    "obstore/_obstore.abi3.so",  # for backups in a bucket
)
"""Extension modules that a service needs only where it is configured to, and that are large."""

PRESET = 6
"""Effort of the compression, from 0 to 9."""

READ_SOURCES = frozenset({"nanoarrow/_static_version.py"})
"""Modules whose text another module reads, so that they stay as they are."""

_UNUSED_FOLDERS = frozenset({"tests", "test", "include", "__pycache__"})
_UNUSED_SUFFIXES = frozenset({".pyi", ".a", ".pxd", ".pyx", ".h", ".c", ".pyc"})
# The list of a distribution's files, the path of a wheel on the machine that built the image, and
# what an installer alone reads.
_UNNEEDED_METADATA = tuple(
    f"*.dist-info/{name}"
    for name in ("INSTALLER", "RECORD", "REQUESTED", "WHEEL", "direct_url.json", "top_level.txt")
)
_COMMANDS = frozenset({"spawn", "python", "python3"})
_UNCHECKED_HASH = (1).to_bytes(4, "little")
_ELF_64 = b"\x7fELF\x02\x01"


def remove_unused(environment: Path, packages: Path) -> None:
    """Remove distributions, test suites, headers and commands that the service never uses."""
    for metadata in sorted(packages.glob("*.dist-info")):
        if _normalize(metadata.name.split("-")[0]) in UNUSED_DISTRIBUTIONS:
            _remove_distribution(packages, metadata)
    for pattern in (*UNUSED_PARTS, *_UNNEEDED_METADATA):
        for path in sorted(packages.glob(pattern)):
            _remove(path)
    for path in sorted(packages.rglob("*"), reverse=True):
        is_folder = path.is_dir() and path.name in _UNUSED_FOLDERS and _is_unused_folder(path)
        if is_folder or (path.is_file() and path.suffix in _UNUSED_SUFFIXES):
            _remove(path)
    for path in (environment / "bin").iterdir():
        if path.name not in _COMMANDS and not path.name.startswith("python3."):
            _remove(path)
    shutil.rmtree(environment / "include", ignore_errors=True)
    (environment / ".gitignore").unlink(missing_ok=True)


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def _normalize(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _is_unused_folder(path: Path) -> bool:
    """Whether a folder is a test suite, headers or a cache, and not a package named like one."""
    return path.name != "test" or not (path / "__init__.py").exists()


def _remove_distribution(packages: Path, metadata: Path) -> None:
    for file in PathDistribution(metadata).files or ():
        path = packages / file
        if ".." not in file.parts and not path.name.startswith(tuple(SHARED_FILES)):
            path.unlink(missing_ok=True)
    shutil.rmtree(metadata, ignore_errors=True)
    for folder in sorted(packages.rglob("*"), reverse=True):
        if folder.is_dir() and not any(folder.iterdir()):
            folder.rmdir()


def remove_symbols(packages: Path) -> None:
    """Cut debug symbols off the extension modules: what no segment loads is at their end."""
    for path in sorted(packages.rglob("*.so*")):
        content = path.read_bytes()
        if content.startswith(_ELF_64):
            path.write_bytes(strip_sections(content))


def strip_sections(content: bytes) -> bytes:
    """Return a 64-bit little-endian ELF file without the sections that are never loaded."""
    headers, entry_bytes, count = _read_program_headers(content)
    end = headers + entry_bytes * count
    for index in range(count):
        offset = headers + index * entry_bytes
        file_offset, file_bytes = struct.unpack_from("<Q16xQ", content, offset + 8)
        end = max(end, file_offset + file_bytes)
    kept = bytearray(content[:end])
    struct.pack_into("<Q", kept, 0x28, 0)  # e_shoff
    struct.pack_into("<HH", kept, 0x3C, 0, 0)  # e_shnum, e_shstrndx
    return bytes(kept)


def _read_program_headers(content: bytes) -> tuple[int, int, int]:
    """Return the offset, the bytes of an entry and the number of the program headers."""
    (offset,) = struct.unpack_from("<Q", content, 0x20)
    entry_bytes, count = struct.unpack_from("<HH", content, 0x36)
    return offset, entry_bytes, count


def import_every_module(package: str = "spawn") -> None:
    """Import every module of the service: the build fails if one needs what was removed."""
    root = importlib.import_module(package)
    names = [module.name for module in pkgutil.walk_packages(root.__path__, f"{package}.")]
    for name in names:
        # The contract suites need test tools, and __main__ runs the command.
        if not name.startswith(f"{package}.testing") and not name.endswith("__main__"):
            importlib.import_module(name)
    for name in OPTIONAL_MODULES:
        if importlib.util.find_spec(name.split(".")[0]) is not None:
            importlib.import_module(name)


def replace_sources(packages: Path) -> None:
    """Put the compiled code of each module in the place of its source.

    Nothing is compiled at a start, and code is not stored twice. A stack trace has files, lines and
    functions, but not the text of the lines. The code is valid without a source, so at any date.
    Only our own docstrings stay: the documents of the interface are made of them.
    """
    kept = {packages / name for name in READ_SOURCES}
    for source in sorted(set(packages.rglob("*.py")) - kept):
        text = source.read_bytes()
        tree = ast.parse(text, str(source))
        if source.relative_to(packages).parts[0] != "spawn":
            _remove_docstrings(tree)
        code = compile(tree, str(source), "exec", dont_inherit=True, optimize=0)
        header = importlib.util.MAGIC_NUMBER + _UNCHECKED_HASH + importlib.util.source_hash(text)
        source.with_suffix(".pyc").write_bytes(header + marshal.dumps(code))
        source.unlink()


def _remove_docstrings(tree: ast.Module) -> None:
    """Remove the docstrings of a module; unlike with `python -OO`, assertions stay."""
    for node in ast.walk(tree):
        if not isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef):
            continue
        if ast.get_docstring(node, clean=False) is not None:
            node.body[:1] = [] if node.body[1:] else [ast.copy_location(ast.Pass(), node.body[0])]


def compress_extensions(packages: Path) -> None:
    """Compress large libraries that few services need, which are unpacked to memory on demand.

    The service unpacks the extensions of the engine, and `packed_modules.py` the modules. The
    filter for addresses of machine code makes 4.9 MB of 21.6, gzip 7.4; unpacking takes 0.5 s.
    """
    for path in sorted(packages.rglob("*.duckdb_extension")):
        _compress(path)
    modules = [packages / name for name in PACKED_MODULES if (packages / name).exists()]
    for path in modules:
        # A folder of the module's stubs would be taken for a package without code.
        shutil.rmtree(path.with_name(path.name.split(".")[0]), ignore_errors=True)
        _compress(path)
    if modules:
        finder = Path(__file__).with_name("packed_modules.py")
        shutil.copyfile(finder, packages / finder.name)
        (packages / "packed_modules.pth").write_text("import packed_modules\n", encoding="utf-8")


def _compress(path: Path) -> None:
    filters = [{"id": lzma.FILTER_X86}, {"id": lzma.FILTER_LZMA2, "preset": PRESET}]
    packed = lzma.compress(path.read_bytes(), filters=filters)
    path.with_name(f"{path.name}.xz").write_bytes(packed)
    path.unlink()


def remove_descriptions(packages: Path) -> None:
    """Cut the pages that packages have in the index; the fields of their metadata stay."""
    for path in sorted(packages.glob("*.dist-info/METADATA")):
        fields = path.read_text(encoding="utf-8").partition("\n\n")[0]
        path.write_text(f"{fields}\n", encoding="utf-8")


def set_dates(environment: Path, seconds: int) -> None:
    """Give every file one date, and permissions that do not depend on the umask of the build."""
    for path in [environment, *sorted(environment.rglob("*"))]:
        if not path.is_symlink():
            is_command = path.parent.name == "bin" and path.is_file()
            path.chmod(0o755 if path.is_dir() or is_command else 0o644)
        os.utime(path, (seconds, seconds), follow_symlinks=False)


def main(environment: Path) -> None:
    """Reduce the environment that runs this script."""
    sys.dont_write_bytecode = True
    packages = next(Path(path) for path in sys.path if path.endswith("site-packages"))
    remove_unused(environment, packages)
    remove_symbols(packages)
    remove_descriptions(packages)
    compress_extensions(packages)
    replace_sources(packages)
    if (packages / "packed_modules.pth").exists():
        importlib.import_module("packed_modules")  # other processes do so at their start
    import_every_module()
    set_dates(environment, int(os.environ["SOURCE_DATE_EPOCH"]))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
