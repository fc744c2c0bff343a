"""One opening of a batch run: what is missing is planned and sent, what has come is read, rows are answered from it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from fewshot.bulk.batch_api.files import (
    Line,
    PartWriter,
    error_from_json,
    error_to_json,
    lines_of,
    look_whole,
    problem_to_json,
    reason,
)
from fewshot.bulk.batch_api.service import Batch, BatchApi, is_lost
from fewshot.bulk.batch_api.store import Asked, BatchStore, Part
from fewshot.errors import InputError, ServiceError
from fewshot.inference.predictor import Predictor
from fewshot.models.cache import canonical, key_of
from fewshot.models.client import ClientWrapper
from fewshot.models.completion_store import from_json, to_json
from fewshot.models.connection import Connection
from fewshot.models.facts import ModelFacts
from fewshot.models.pricing import cost_of
from fewshot.models.wire.request import Dialect, parameters
from fewshot.models.wire.response import Reply, read_completion
from fewshot.models.wire.service_errors import as_answer, may_teach, read_complaint
from fewshot.result import Result
from fewshot.types import Completion, Request, Usage

__all__ = ["Session"]

_MOST_TRIES = 6
"""Rounds in which a request may fail, expire or get lost before its row ends with that error."""
_TOO_MUCH = ("token_limit_exceeded", "too_many_tasks", "file_too_large")

_log = logging.getLogger("fewshot")


class Session:
    """A batch run with its folder and its service open."""

    def __init__(
        self,
        task: Predictor[Any],
        connection: Connection,
        api: BatchApi | None,
        store: BatchStore,
        max_requests: int,
        max_bytes: int,
    ) -> None:
        self.task = task
        self.connection = connection
        self._api = api
        self.store = store
        self._max_requests = store.fact("max_requests") or max_requests
        self._max_bytes = max_bytes
        known = store.fact("dialect")
        self._dialect = Dialect.from_dict(known) if known else Dialect()

    @property
    def api(self) -> BatchApi:
        """The service; not there when a finished run is only read."""
        assert self._api is not None  # noqa: S101 - who sends has opened it
        return self._api

    @property
    def under_way(self) -> bool:
        """Whether a batch is at the service, or about to be."""
        return bool(self.store.parts("written", "uploaded", "creating", "created"))

    async def plan(self) -> int:
        """Put into parts whatever rows want and have not asked yet; gives how many requests are missing."""
        await self._calibrate()
        self.store.give_up(_MOST_TRIES)
        writer = PartWriter(
            store=self.store,
            endpoint=self.connection.endpoint,
            run=self.store.fact("run"),
            dialect=self._dialect,
            max_requests=self._max_requests,
            max_bytes=self._max_bytes,
        )
        missing = 0
        done: list[int] = []
        try:
            for position, row in self.store.rows(undone=True):
                outcome = await self._answer(position, row)
                if isinstance(outcome, Result):
                    done.append(position)
                    continue
                missing += len(outcome)
                for key, request in outcome.items():
                    asked = self.store.asked(key=key)
                    if asked is None or asked.part is None:
                        writer.add(position, key, request)
            writer.close()
        finally:
            writer.abandon()
        with self.store.transaction():
            for position in done:
                self.store.mark_done(position)
            self.store.note("finished", value=not missing)
        return missing

    async def send(self) -> None:
        """Upload and create every part that is not at the service yet; each step is on the disk before the next."""
        for part in self.store.parts("written", "uploaded", "creating"):
            file_id, state = part.file_id, part.state
            if file_id is None:
                file_id = await self.api.upload(self.store.part_file(part.number))
                self.store.move(part.number, "uploaded", file_id=file_id)
                state = "uploaded"
            if state == "uploaded":
                self.store.move(part.number, "creating")
            batch = await self.api.create(
                file_id,
                "/v1/chat/completions" if self._form == "chat" else "/v1/completions",
                {"fewshot_run": self.store.fact("run"), "fewshot_part": str(part.number)},
                since=self.store.part_file(part.number).stat().st_mtime,
                first=state == "uploaded",
            )
            self.store.move(part.number, "created", batch_id=batch.id, status=batch.status)

    async def collect(self) -> bool:
        """Read every batch that has ended; gives whether others are still under way.

        That a batch was refused as a whole, or cancelled, is noted as the fact `stopped`.

        Raises:
            ServiceError: the service does not answer, or the replies of a batch are not to be had.
        """
        stopped: list[str] = []
        lost: ServiceError | None = None
        for part in self.store.parts("created"):
            try:
                stopped += await self._collected(part)
            except ServiceError as error:
                if not is_lost(error):
                    raise
                self.store.move(part.number, part.state, problem=str(error))
                lost = error
        if stopped:
            self.store.note("stopped", "; ".join(stopped))
        if lost:
            lost.args = (f"{lost}; if it stays so, submit with retry_failed asks its requests again and pays again",)
            raise lost
        return self.under_way

    async def give_up_lost(self) -> None:
        """Take back the requests of batches whose replies were not to be had, and still are not."""
        for part in self.store.parts("created"):
            if part.problem is None:
                continue
            try:
                await self._collected(part)
            except ServiceError as error:
                if not is_lost(error):
                    raise
                with self.store.transaction():
                    self.store.release_part(part.number, problem_to_json(str(error)), counts=False)
                    self.store.move(part.number, "done", problem=str(error))

    async def _collected(self, part: Part) -> list[str]:
        """Read a batch if it has ended; gives what the user must put right."""
        batch = await self.look(part)
        if batch.status == "failed":
            return self._refused(part, batch)
        if batch.status == "completed" and not batch.files:
            batch = await self.api.look(batch.id, replies=True)
        if batch.ended:
            await self._read(part, batch)
        return [f"batch {batch.id} was cancelled"] if batch.status == "cancelled" else []

    async def look(self, part: Part) -> Batch:
        """Ask how far a batch is, and write it down."""
        batch = await self.api.look(str(part.batch_id))
        self.store.move(part.number, part.state, status=batch.status)
        return batch

    def _refused(self, part: Part, batch: Batch) -> list[str]:
        """Take the requests of a refused batch back; gives the reasons that the user must put right."""
        problems = [f"batch {batch.id} was refused: {code}: {message}" for code, message in batch.problems[:3]]
        problems = problems or [f"batch {batch.id} was refused without a reason"]
        too_much = {code for code, _ in batch.problems} & set(_TOO_MUCH) and part.requests > 1
        with self.store.transaction():
            self.store.release_part(part.number, problem_to_json(problems[0]), counts=False)
            self.store.move(part.number, "refused", problem=problems[0])
            if too_much:
                self._max_requests = max(1, part.requests // 2)
                self.store.note("max_requests", self._max_requests)
        if too_much:
            _log.warning("%s: the next batches hold %d requests", problems[0], self._max_requests)
        return [] if too_much else problems

    async def _read(self, part: Part, batch: Batch) -> None:
        """Read the replies of a batch that has ended; whatever is missing there is free to be asked again."""
        paths = [self.store.folder / f"{file_id}.jsonl".replace("/", "_") for file_id in batch.files]
        for once_more in (True, False):
            for file_id, path in zip(batch.files, paths, strict=True):
                await self.api.download(file_id, path, requests=part.requests)
            if batch.status == "cancelled" or look_whole(paths, part.requests):
                break
            if not once_more:  # so it is at the service, unless it is cut off on the way every time
                for file_id, path in zip(batch.files, paths, strict=True):
                    await self.api.check_size(file_id, path)
        strange = 0
        with self.store.transaction():
            for path in paths:
                for line in lines_of(path):
                    asked = None if line is None else self.store.asked(name=line.name)
                    if line is None or asked is None or asked.part != part.number:
                        strange += asked is None or not asked.settled
                        continue
                    await self._take(line, asked, part)
            lost = f"batch {batch.id} ({batch.status}) has no line for this request"
            missing = self.store.release_part(part.number, problem_to_json(lost), counts=True)
            self.store.note("dialect", self._dialect.to_dict())
            self.store.move(part.number, "done", status=batch.status)
        if strange or missing:
            _log.warning(
                "batch %s: %d lines that belong to no request of it, %d requests without a line, which are asked again",
                batch.id,
                strange,
                missing,
            )
        for path in (*paths, self.store.part_file(part.number)):
            path.unlink(missing_ok=True)

    async def _take(self, line: Line, asked: Asked, part: Part) -> None:
        error = line.error
        reply = None if line.reply is None else as_answer(line.reply)
        if reply is not None and reply.status == 200:
            try:
                completion = read_completion(reply, self._blank, dropped=asked.dropped)
            except ServiceError as rubbish:
                error = rubbish
            else:
                self.store.settle(asked.key, reply=to_json(completion))
                return
        elif reply is not None:
            if await self._learns(reply, asked, part):
                self.store.release(asked.key, problem_to_json("refused for a parameter"), counts=False)
                return
            error = reason(reply, self.connection.endpoint)
        assert error is not None  # noqa: S101 - a line has a reply or an error
        if error.transient:
            self.store.release(asked.key, error_to_json(error), counts=True)
        else:
            self.store.settle(asked.key, error=error_to_json(error))

    async def _learns(self, reply: Reply, asked: Asked, part: Part) -> bool:
        """Tell whether a refusal is about a parameter that the model does not take, so that asking without it helps."""
        outcome = await self._answer(asked.row, self.store.row(asked.row))
        request = None if isinstance(outcome, Result) else outcome.get(asked.key)
        if request is None:
            return False
        complaint = read_complaint(reply)
        wanted = parameters(request, self.connection.endpoint)
        if self._dialect.known > part.known and may_teach(reply.status, complaint, wanted):
            return True
        sent, _ = self._dialect.apply(wanted, request.schema)
        return self._dialect.learn(reply.status, complaint, sent, request)

    async def result(self, position: int, row: Any) -> Result[Any]:
        """Give the result of a row of a finished run.

        Raises:
            ServiceError: something is missing after all.
        """
        outcome = await self._answer(position, row)
        if isinstance(outcome, Result):
            return outcome
        raise ServiceError(f"row {position} wants a reply that is not there: fetch the batch run again")

    async def finish_live(self) -> None:
        """Answer live whatever is missing; each reply is kept as it comes."""
        await self._calibrate()
        self.store.give_up(_MOST_TRIES)
        for position, row in self.store.rows(undone=True):
            await self._answer(position, row, live=True)
            self.store.mark_done(position)
        self.store.note("finished", value=True)

    async def _answer(self, position: int, row: Any, *, live: bool = False) -> Result[Any] | Mapping[str, Request]:
        """Answer a row from the replies that are there; gives the requests that are missing, by key, if any are."""
        replay = _Replay(self, position, live=live)
        # A connection of its own, since what one learns of the endpoint would change what later rows ask.
        connection = replace(self.connection, client=replay, learnt=ModelFacts())
        await asyncio.sleep(0)  # the loop is shared with other calls
        try:
            task, inputs = self._bound(row)
            result = await task._answer(inputs, connection, deadline=connection.deadline(task.settings.timeout))
        except InputError as problem:
            error = InputError(f"row {position + 1}: {problem}", field=problem.field, row=position)
            given = row if isinstance(row, Mapping) else {"given": row}
            return Result(error=error, row=position, task=self.task.name, inputs=given)
        except _PendingError:
            return replay.wanted
        return replace(result, row=position, cost=replay.cost())

    def _bound(self, row: Any) -> tuple[Predictor[Any], Mapping[str, Any]]:
        if isinstance(row, InputError):
            raise row
        return self.task._bind_row(row)

    async def _calibrate(self) -> None:
        """Fit a calibration first, live, where one is wanted: replies come too late for that."""
        if not self.task.settings.calibrate or self.store.fact("calibrated"):
            return
        for _, row in self.store.rows(undone=True):
            try:
                task, inputs = self._bound(row)
            except InputError:  # an error of that row alone, told where its result is
                continue
            await task._answer(inputs, self.connection, deadline=self.connection.deadline(task.settings.timeout))
            self.store.note("calibrated", value=True)
            return

    @property
    def _form(self) -> str:
        return self.task.settings.form or self.connection.form

    @property
    def _blank(self) -> Request:
        """Stands for the request when a reply is read: only its form matters there."""
        return Request(model=self.connection.model, text=None if self._form == "chat" else "")


class _PendingError(Exception):
    """A reply is not there yet."""


class _Replay(ClientWrapper):
    """Answers a row's requests from the store, and notes those that it cannot answer; or asks for them live."""

    def __init__(self, session: Session, row: int, *, live: bool) -> None:
        super().__init__(session.connection.client)
        self.wanted: dict[str, Request] = {}
        self._session = session
        self._row = row
        self._live = live
        self._paid = {True: Usage(), False: Usage()}

    async def complete(self, request: Request, *, deadline: float | None = None) -> Completion:
        """Give the reply that is in the store."""
        store, connection = self._session.store, self._session.connection
        key = key_of(canonical(request, connection.endpoint, ""))
        asked = store.asked(key=key)
        if asked is not None and asked.reply is not None:
            return self._counted(from_json(asked.reply), asked)
        if asked is not None and asked.error is not None:
            raise error_from_json(asked.error, request)
        if not self._live:
            self.wanted[key] = request
            await asyncio.sleep(0)  # so that what is asked side by side is noted before the first of them gives up
            raise _PendingError
        if asked is None:
            store.put(key, store.name_for(store.fact("run"), self._row), self._row, None)
        try:
            completion = await self.ask(request, deadline)
        except ServiceError as error:
            store.settle(key, error=error_to_json(error), live=True)
            raise
        store.settle(key, reply=to_json(completion), live=True)
        return completion

    async def window_of(self, model: str) -> int:
        """Give what the model was first said to hold: texts are cut alike at every opening."""
        store = self._session.store
        if store.fact("window") is None:
            store.note("window", 0)  # where its service does not say, or has no list of models
            if look := getattr(self.client, "window_of", None):
                store.note("window", await look(model))
        return int(store.fact("window"))

    def cost(self) -> float | None:
        """Give what the row's replies cost: batch ones at the batch's price."""
        model, own = self._session.connection.model, self._session.task.settings.price
        batch = cost_of(model, self._paid[False], batch=True, own=own)
        live = cost_of(model, self._paid[True], own=own) if self._paid[True] != Usage() else 0.0
        return None if batch is None or live is None else batch + live

    def _counted(self, completion: Completion, asked: Asked) -> Completion:
        """Mark a reply as cached when another row has paid for it."""
        if asked.row != self._row:
            return completion
        self._paid[asked.live] += completion.usage
        return replace(completion, cached=False, attempts=1)
