"""Asynchronous client."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping
from contextlib import aclosing, asynccontextmanager
from copy import copy
from pathlib import Path
from types import TracebackType
from typing import Any, ParamSpec, Self, TypeVar

import httpx
import msgspec
from tenacity import AsyncRetrying

from spawn.client import calls
from spawn.client.calls import (
    Call,
    Finished,
    Operation,
    ResolveConflict,
    advance,
    raise_problem,
    reading_response,
    to_params,
)
from spawn.client.financing.approvals import CommandDryRunRecord
from spawn.client.financing.async_methods import AsyncFinancingMethods
from spawn.client.financing.financing_records import reader_of
from spawn.client.mappings import ImportMappingDocument
from spawn.client.problems import ConnectionFailed
from spawn.client.records import (
    DryRunRecord,
    EventPage,
    FollowedEvent,
    HistoryRecord,
    ImportRecord,
    JobRecord,
    Json,
    ProjectRecord,
    read_project,
)
from spawn.client.retries import ClientRetries
from spawn.client.schemas.async_schema_methods import AsyncSchemaMethods
from spawn.client.uploads import (
    EventParser,
    FinishedImport,
    UploadOptions,
    UploadSource,
    part_path,
    read_chunks_async,
    read_row,
)

P = ParamSpec("P")
T = TypeVar("T")


class AsyncSpawnClient(AsyncFinancingMethods, AsyncSchemaMethods):
    """Client of one service; close it, or use it as a context manager.

    Requests that may be sent twice are repeated as `retries` says: reads, calculations, and
    changes, which have an idempotency key. No text of this class shows the token or the headers.

    Args:
        base_url: of the service, with `http://` or `https://`; it may have a path.
        token: sent as `Authorization: Bearer …`.
        headers: sent with every request.
        timeout_s: for connecting, and for each wait for data.
        retries: limits of repetition.
        transport: replaces the connection, as in tests.

    Raises:
        ValueError: with the address, token or time no request could be sent.
    """

    def __init__(
        self,
        base_url: str,
        *,
        token: str | None = None,
        headers: Mapping[str, str] | None = None,
        timeout_s: float = 30.0,
        retries: ClientRetries | None = None,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        self._is_trial = False
        self._retries = retries or ClientRetries()
        self._http = httpx.AsyncClient(
            base_url=calls.read_base_url(base_url),
            headers=calls.build_headers(headers, token),
            timeout=calls.check_timeout(timeout_s),
            transport=transport,
        )

    def __repr__(self) -> str:
        return f"AsyncSpawnClient({self._http.base_url.copy_with(userinfo=b'')!s})"

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self,
        error_type: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    # -- projects ---------------------------------------------------------------------------

    async def get_project(self, project_id: str, **options: Any) -> ProjectRecord:
        """Return a project; options are `as_of`, `fields` and `schema_version`."""
        return await self._run(calls.get_project(project_id, to_params(options)))

    async def find_project(self, source: str, reference_id: str) -> ProjectRecord | None:
        """Return the project of an external reference; None if there is none."""
        filters = calls.find_reference(source, reference_id)
        return await anext(self.iterate_projects(filters), None)

    async def iterate_projects(
        self, filters: Mapping[str, Any] | None = None, *, limit: int = 500
    ) -> AsyncIterator[ProjectRecord]:
        """Yield projects under filters, `sort`, `fields` and `as_of`, page by page."""
        async for item in self._iterate(calls.PROJECTS, {**(filters or {}), "limit": limit}):
            with reading_response():
                project = read_project(item)
            yield project

    async def count_projects(self, filters: Mapping[str, Any] | None = None) -> int:
        """Return the number of projects under filters."""
        return await self._run(calls.count_projects(to_params(filters or {})))

    async def iterate_history(
        self, project_id: str, options: Mapping[str, Any] | None = None
    ) -> AsyncIterator[HistoryRecord]:
        """Yield the versions of a project; options are `sort` and ranges, as over HTTP."""
        async for item in self._iterate(calls.history_path(project_id), options or {}):
            with reading_response():
                record = msgspec.convert(item, HistoryRecord)
            yield record

    async def create_project(
        self, fields: Mapping[str, Json], *, key: str | None = None
    ) -> ProjectRecord:
        """Create a project; a repetition with the same key returns the first result."""
        return await self._run(calls.create_project(fields, key))

    async def update_project(
        self,
        project: ProjectRecord,
        changes: Mapping[str, Json],
        *,
        resolve: ResolveConflict | None = None,
        key: str | None = None,
    ) -> ProjectRecord:
        """Amend exactly this version of a project.

        If another change came first, the current project goes to `resolve`, whose changes are sent
        instead, at most five times in all. A repetition with the same key returns the first result.

        Raises:
            StaleVersionProblem: another change came first and nothing resolved it.
        """
        return await self._run(calls.update_project(project, changes, resolve, key))

    async def transition_project(
        self, project: ProjectRecord, *, key: str | None = None, **transition: Json
    ) -> ProjectRecord:
        """Move exactly this version to another status: `to`, `reason`, `effective_on`.

        With a `key` a repetition returns the first result.
        """
        return await self._run(calls.transition_project(project, transition, key))

    async def try_command(
        self, command: Callable[P, Awaitable[Any]], *args: P.args, **kwargs: P.kwargs
    ) -> CommandDryRunRecord:
        """Return what a command would change now, with its arguments; nothing is written.

        `command` is a method of this client, such as `client.add_entry`. One that the service
        has no dry run of is an `InvalidInputProblem`.

        Raises:
            ValueError: the method sends no command.
            ProblemError: the command itself would be one.
        """
        trial = copy(self)
        trial._is_trial = True  # noqa: SLF001 - a copy of this client
        method = getattr(trial, getattr(command, "__name__", ""), None)
        if getattr(command, "__self__", None) is not self or method is None:
            raise ValueError("a dry run is that of a method of this client")
        try:
            await method(*args, **kwargs)
        except calls.CommandTried as tried:
            with reading_response():
                return reader_of(CommandDryRunRecord)(tried.response)
        raise ValueError("only a command has a dry run")

    # -- calculators and events -------------------------------------------------------------

    async def calculate(self, calculator: str, case: Mapping[str, Json]) -> dict[str, Json]:
        """Return the result of a calculator, such as `debt-sizing`, for a case."""
        return await self._run(calls.calculate(calculator, case))

    async def iterate_event_pages(
        self, after: str | None = None, **options: Any
    ) -> AsyncIterator[EventPage]:
        """Yield the pages of the feed after a cursor, up to its end; store `next` of each."""
        while True:
            page = await self._run(calls.read_event_page(to_params({**options, "after": after})))
            if not page.events and page.next == after:
                return
            after = page.next
            yield page

    async def follow_events(
        self, after: str | None = None, **options: Any
    ) -> AsyncIterator[FollowedEvent]:
        """Yield events as they happen, without an end; reconnect after the last one if cut."""
        failure_count = 0
        parser = EventParser(after)
        while True:
            try:
                following = {**options, "after": parser.position}
                async with self._stream(calls.EVENT_STREAM, following) as response:
                    async for line in response.aiter_lines():
                        with reading_response():
                            event = parser.read_line(line)
                        if event is not None:
                            failure_count = 0
                            yield event
            except ConnectionFailed:
                if failure_count + 1 >= self._retries.attempts:
                    raise
            # A stream also ends when the service stops; a new one continues after the last message.
            parser = EventParser(parser.position)
            await asyncio.sleep(self._retries.backoff_s(failure_count))
            failure_count += 1

    # -- imports ----------------------------------------------------------------------------

    async def put_mapping(
        self, name: str, mapping: ImportMappingDocument | Mapping[str, Json]
    ) -> None:
        """Create an import mapping; the same content again changes nothing."""
        await self._run(calls.put_mapping(name, mapping))

    async def try_file(self, source: UploadSource, options: UploadOptions) -> DryRunRecord:
        """Return what an import of a file would do, with its reasons; nothing is written."""
        response: httpx.Response = await self._retry(
            lambda: self._upload(source, options, dry_run=True), is_repeatable=True
        )
        with reading_response():
            return calls.read_dry_run(response)

    async def import_file(self, source: UploadSource, options: UploadOptions) -> FinishedImport:
        """Upload a file as a stream, wait for its job, and return the counts.

        Raises:
            JobFailed: the job failed or was cancelled; rows committed before stay.
        """
        key = calls.new_key()
        response: httpx.Response = await self._retry(
            lambda: self._upload(source, options, key=key), is_repeatable=True
        )
        with reading_response():
            job = calls.read_job(response)
        job = await self.wait_for_job(job, options)
        return FinishedImport(job, await self.get_import(job.job_id))

    async def wait_for_job(self, job: JobRecord, options: UploadOptions | None = None) -> JobRecord:
        """Read a job until it has ended, not before its Retry-After, and return it.

        Raises:
            JobFailed: the job failed or was cancelled.
        """
        options = options or UploadOptions()
        while not job.is_final:
            await asyncio.sleep(options.wait_s(job))
            job = await self.get_job(job.job_id)
            if options.report_job is not None:
                options.report_job(job)
        calls.check_job(job)
        return job

    async def _upload(
        self,
        source: UploadSource,
        options: UploadOptions,
        *,
        key: str | None = None,
        dry_run: bool = False,
    ) -> httpx.Response:
        if self._is_trial:
            raise ValueError("the dry run of a file is try_file")
        headers = {"Content-Type": options.media_type}
        if key is not None:
            headers["Idempotency-Key"] = key
        try:
            response = await self._http.post(
                calls.IMPORTS,
                params=options.to_params(dry_run=dry_run),
                headers=headers,
                content=read_chunks_async(source, options.report_upload),
            )
        except httpx.TransportError as error:
            raise ConnectionFailed("The upload got no response.") from error
        return raise_problem(response)

    async def get_job(self, job_id: str) -> JobRecord:
        """Return the state of a job."""
        return await self._run(calls.get_job(job_id))

    async def get_import(self, import_id: str) -> ImportRecord:
        """Return the counts of an import."""
        return await self._run(calls.get_import(import_id))

    async def iterate_quarantine(self, import_id: str) -> AsyncIterator[dict[str, Json]]:
        """Yield the quarantined rows of an import, with the reasons of each, as a stream."""
        path = calls.quarantine_path(import_id)
        async with self._stream(path, {}, accept="application/x-ndjson") as response:
            async for line in response.aiter_lines():
                if line:
                    yield read_row(line)

    async def download_dataset(
        self,
        dataset: str,
        media_type: str = "*/*",
        *,
        options: Mapping[str, Any] | None = None,
    ) -> AsyncGenerator[bytes]:
        """Yield the bytes of a dataset as they arrive.

        Args:
            dataset: its name, perhaps with a suffix: `projects`, `history.parquet`.
            media_type: selects the format of a name without a suffix.
            options: filters, `fields`, `sort`, `as_of` and the like.
        """
        path = calls.dataset_path(dataset)
        async with self._stream(path, options or {}, accept=media_type) as response:
            async for chunk in response.aiter_bytes():
                yield chunk

    async def save_dataset(
        self, target: Path, dataset: str = "projects", *, options: Mapping[str, Any] | None = None
    ) -> None:
        """Write a dataset to a file, in the format of its suffix; whole, or not at all.

        Raises:
            ValueError: no format has this suffix.
            ConnectionFailed: the download broke; an earlier file of the name is as it was.
        """
        name = calls.dataset_file(dataset, target)
        part = part_path(target)
        try:
            with part.open("wb") as file:
                async with aclosing(self.download_dataset(name, options=options)) as chunks:
                    async for chunk in chunks:
                        await asyncio.to_thread(file.write, chunk)
            part.replace(target)
        finally:
            part.unlink(missing_ok=True)

    # -- transport --------------------------------------------------------------------------

    async def _iterate(
        self, path: str, options: Mapping[str, Any]
    ) -> AsyncIterator[dict[str, Json]]:
        params = to_params(options)
        while True:
            page = await self._run(calls.read_page(path, params))
            for item in page.items:
                yield item
            if page.next is None:
                return
            params["after"] = page.next

    async def _run(self, operation: Operation[T]) -> T:
        if self._is_trial:
            raise calls.CommandTried(await self._finish(calls.try_command(operation)))
        return await self._finish(operation)

    async def _finish(self, operation: Operation[T]) -> T:
        step = advance(operation, None)
        while not isinstance(step, Finished):
            step = advance(operation, await self._send(step))
        return step.result

    async def _send(self, call: Call) -> httpx.Response:
        response: httpx.Response = await self._retry(
            lambda: self._send_once(call), is_repeatable=call.is_repeatable
        )
        return response

    async def _retry(self, send: Any, *, is_repeatable: bool) -> Any:
        options = self._retries.options(is_repeatable=is_repeatable)
        retrying = AsyncRetrying(
            retry=options.retry, stop=options.stop, wait=options.wait, reraise=True
        )
        async for attempt in retrying:
            with attempt:
                return await send()
        raise AssertionError("the last attempt returns or raises")

    async def _send_once(self, call: Call) -> httpx.Response:
        try:
            response = await self._http.request(
                call.method, call.path, params=call.params, headers=call.headers, content=call.body
            )
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise ConnectionFailed(f"{call.method} {call.path} got no response.") from error
        is_stale = response.status_code == calls.STALE and not call.raises
        return response if is_stale else raise_problem(response)

    @asynccontextmanager
    async def _stream(
        self, path: str, options: Mapping[str, Any], *, accept: str = "text/event-stream"
    ) -> AsyncIterator[httpx.Response]:
        call = Call(method="GET", path=path, params=to_params(options), headers={"Accept": accept})
        response: httpx.Response = await self._retry(lambda: self._open(call), is_repeatable=True)
        try:
            yield response
        except (httpx.TransportError, httpx.DecodingError) as error:
            raise ConnectionFailed(f"The response to {path} ended early.") from error
        finally:
            await response.aclose()

    async def _open(self, call: Call) -> httpx.Response:
        request = self._http.build_request(
            call.method, call.path, params=call.params, headers=call.headers
        )
        try:
            response = await self._http.send(request, stream=True)
            if not response.is_success:
                await response.aread()
        except httpx.TransportError as error:
            raise ConnectionFailed(f"{call.method} {call.path} got no response.") from error
        return raise_problem(response)
