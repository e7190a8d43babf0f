"""Valuation of a simulation in a subprocess.

NumPy releases the interpreter lock in each of its short operations, and a busy event loop takes
milliseconds to return it: beside a loaded service threads would value a hundred times slower than
alone, and would delay the service. The process reads the case from its file, values it on its own
threads and reports progress, one JSON document a line. It ends when its input closes, so that it
does not outlive the service, however that ends.
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

from spawn.adapters.workers.child_process import pass_file
from spawn.domain.errors import FieldError, InvalidInput
from spawn.domain.finance.simulation.monte_carlo_case import SimulationCase
from spawn.ports.runtime import ReadableFile
from spawn.ports.workers import SimulationProgress, WorkerEnded

_STOP_TIMEOUT_S: Final = 10.0
_UNITS_PER_THREAD: Final = 2  # units in progress, so that none idles while results are added


class WorkerMessage(SimulationProgress, frozen=True, kw_only=True, omit_defaults=True):
    """One line of output: the progress, or at the end the errors."""

    errors: tuple[FieldError, ...] = ()


class SimulationSubprocess:
    """The subprocess of one simulation; see `SimulationWorker`."""

    def __init__(self, file: ReadableFile, threads: int) -> None:
        self._file = file
        self._threads = threads
        self._decoder = msgspec.json.Decoder(WorkerMessage)
        # The simulation may be cancelled while the process is starting.
        self._lock = threading.Lock()
        self._process: subprocess.Popen[bytes] | None = None
        self._closed = False

    def read_progress(self) -> SimulationProgress:
        """Read the next message; the first call starts the process.

        Raises:
            InvalidInput: the case or a path is outside the limits of the engine.
            WorkerEnded: the process has ended without a result, or was closed.
        """
        line = self._output_stream().readline()
        if not line.endswith(b"\n"):
            raise WorkerEnded
        message: WorkerMessage = self._decoder.decode(line)
        if message.errors:
            raise InvalidInput(message.errors)
        return message

    def _output_stream(self) -> BinaryIO:
        with self._lock:
            if self._closed:
                raise WorkerEnded
            if self._process is None:
                self._process = self._start_process()
            return cast("BinaryIO", self._process.stdout)

    def _start_process(self) -> "subprocess.Popen[bytes]":
        module = "spawn.adapters.workers.simulation_worker"
        with pass_file(self._file) as child_file:
            return subprocess.Popen(  # noqa: S603 - our own module and path
                [sys.executable, "-m", module, child_file.path, str(self._threads)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**os.environ, "OPENBLAS_NUM_THREADS": "1"},
                pass_fds=child_file.descriptors,
                # An interrupt at the terminal is for the service, which then ends this process.
                start_new_session=True,
            )

    def close(self) -> None:
        """Kill the process; idempotent."""
        with self._lock:
            process, self._process, self._closed = self._process, None, True
        if process is None:
            return
        process.kill()
        process.wait(_STOP_TIMEOUT_S)
        for pipe in (process.stdin, process.stdout):
            if pipe is not None:
                pipe.close()


def run_worker(path: Path, threads: int, sink: BinaryIO) -> None:
    """Value the case in the file and write messages to `sink`."""
    # NumPy takes a tenth of a second to import, and only this process needs it.
    from spawn.domain.finance.simulation.monte_carlo import ResultAggregator, Simulation, UnitResult

    def write_message(message: WorkerMessage) -> None:
        sink.write(msgspec.json.encode(message) + b"\n")
        sink.flush()

    try:
        simulation = Simulation(msgspec.json.decode(path.read_bytes(), type=SimulationCase))
        aggregator = ResultAggregator(simulation)
        queued_units, running_units = deque(simulation.units), deque[Future[UnitResult]]()
        with ThreadPoolExecutor(threads) as pool:
            while queued_units or running_units:
                while queued_units and len(running_units) < _UNITS_PER_THREAD * threads:
                    running_units.append(pool.submit(simulation.value_unit, queued_units.popleft()))
                aggregator.add(running_units.popleft().result())
                write_message(WorkerMessage(valued_paths=aggregator.valued_paths))
        write_message(
            WorkerMessage(valued_paths=aggregator.valued_paths, result=aggregator.build_result())
        )
    except InvalidInput as error:
        write_message(WorkerMessage(errors=error.errors))


def _exit_when_closed(source: int) -> None:
    """Exit the process when its input closes.

    It reads the descriptor and not the file object, whose lock would delay the exit.
    """
    while os.read(source, 1):
        continue
    os._exit(1)


if __name__ == "__main__":
    threading.Thread(target=_exit_when_closed, args=(sys.stdin.fileno(),), daemon=True).start()
    run_worker(Path(sys.argv[1]), int(sys.argv[2]), sys.stdout.buffer)
