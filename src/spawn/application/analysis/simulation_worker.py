"""Valuing a simulation in a process of its own.

NumPy gives the interpreter lock away in each of its short operations, and a busy event loop takes
milliseconds to give it back: beside a loaded service threads would value a hundred times slower
than alone, and the service would wait for them. The process reads the case from its file, values
on its own threads and tells how far it is, one JSON document a line. It ends when its input does,
so that it does not outlive the service, however that may end.
"""

import os
import subprocess
import sys
import threading
from collections import deque
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import BinaryIO, Final, cast

import msgspec

from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.finance.simulation.monte_carlo_case import SimulationCase, SimulationResult

_END_S: Final = 10.0
_AHEAD: Final = 2  # units under way a thread, so that none waits while results are added up


class Told(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """One line: paths done so far, at the end with the result or what is wrong with the case."""

    done: int = 0
    result: SimulationResult | None = None
    refused: tuple[FieldError, ...] = ()


class ValuingProcess:
    """The process of one simulation; its methods block and belong on a thread."""

    def __init__(self, path: Path, workers: int) -> None:
        module = "spawn.application.analysis.simulation_worker"
        self._command = ["-m", module, str(path), str(workers)]
        self._lines = msgspec.json.Decoder(Told)
        # Whoever gives the simulation up may do so while it is just being started.
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    def next(self) -> Told:
        """The next line; the first call starts the process.

        Raises:
            InvalidInput: what is wrong with the case.
            RuntimeError: the process has ended without a result, or was closed.
        """
        line = self._output().readline()
        if not line.endswith(b"\n"):
            raise RuntimeError("the valuing process ended before its work was done")
        told: Told = self._lines.decode(line)
        if told.refused:
            raise InvalidInput(told.refused)
        return told

    def _output(self) -> BinaryIO:
        with self._lock:
            if self._closed:
                raise RuntimeError("the valuing process was closed")
            if self._process is None:
                self._process = subprocess.Popen(  # noqa: S603 - our own module and path
                    [sys.executable, *self._command],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=subprocess.DEVNULL,
                    env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
                    # An interrupt at the terminal is for the service, which ends this in turn.
                    start_new_session=True,
                )
            return cast("BinaryIO", self._process.stdout)

    def close(self) -> None:
        """End the process, whatever it does; idempotent."""
        with self._lock:
            process, self._process, self._closed = self._process, None, True
        if process is None:
            return
        process.kill()
        process.wait(_END_S)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def work(path: Path, workers: int, sink: BinaryIO) -> None:
    """Value the case in the file: what the process does."""
    # NumPy takes a tenth of a second to import, and only this process needs it.
    from spawn.domain.finance.simulation.monte_carlo import Simulation, Tally, Valued

    def tell(told: Told) -> None:
        sink.write(msgspec.json.encode(told) + b"\n")
        sink.flush()

    try:
        simulation = Simulation(msgspec.json.decode(path.read_bytes(), type=SimulationCase))
        tally = Tally(simulation)
        waiting, under_way = deque(simulation.units), deque[Future[Valued]]()
        with ThreadPoolExecutor(workers) as pool:
            while waiting or under_way:
                while waiting and len(under_way) < _AHEAD * workers:
                    under_way.append(pool.submit(simulation.value, waiting.popleft()))
                tally.add(under_way.popleft().result())
                tell(Told(done=tally.done))
        tell(Told(done=tally.done, result=tally.result()))
    except InvalidInput as failure:
        tell(Told(refused=failure.errors))


def _end_with(source: int) -> None:
    """End the process when the other end of its input is gone.

    The descriptor is read and not the file object, whose lock would be waited for at the end.
    """
    while os.read(source, 1):
        continue
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_end_with, args=(sys.stdin.fileno(),), daemon=True).start()
    work(Path(sys.argv[1]), int(sys.argv[2]), sys.stdout.buffer)
