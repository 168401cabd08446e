"""What is asked of the host, in which order and how often, without doing it.

Owns the requests, the reading of answers, and patience: each conversation is a generator that yields what is to be sent or
how long to pause, and is given what came back. Must never open a connection or sleep; so the clients with and without
``async`` have one mind.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Generator
from dataclasses import dataclass, field
from time import monotonic
from typing import BinaryIO, Literal, TypeAlias, TypeVar
from urllib.parse import quote

import httpx

from ._errors import ProblemError, TaskError, UnreachableError, WaitTimeoutError
from ._types import Result, Status, Task, task_of

Photograph: TypeAlias = "bytes | bytearray | memoryview | str | os.PathLike[str] | BinaryIO"
"""The content of a file, the path of one, or a file that was opened to be read as bytes."""

NonFrontal: TypeAlias = Literal["reject", "report"]

LONGEST_WAIT = 30
"""So many seconds a host waits at most for the end of a task."""

FIRST_PAUSE = 0.5
LONGEST_PAUSE = 10.0


@dataclass(frozen=True)
class Send:
    """A request, and how many seconds the host may be silent until it answers."""

    method: str
    path: str
    silence: float = 0.0
    parameters: dict[str, str] = field(default_factory=dict)
    headers: dict[str, str] = field(default_factory=dict)
    data: dict[str, str] = field(default_factory=dict)
    files: dict[str, tuple[str, bytes, str]] = field(default_factory=dict)


@dataclass(frozen=True)
class Pause:
    """Seconds to let pass."""

    seconds: float


T = TypeVar("T")
Flow: TypeAlias = "Generator[Send | Pause, httpx.Response | None, T]"


@dataclass(frozen=True)
class Submission:
    """What is handed in. Is made once, so that each try sends the same."""

    photographs: tuple[bytes, bytes]
    threshold: float | None
    non_frontal: NonFrontal | None
    callback_url: str | None
    # A submission whose answer was lost is sent again under its key, and is still one task.
    key: str

    @classmethod
    def of(
        cls,
        image1: Photograph,
        image2: Photograph,
        threshold: float | None,
        non_frontal: NonFrontal | None,
        callback_url: str | None,
        key: str | None,
    ) -> Submission:
        photographs = (read(image1), read(image2))
        return cls(photographs, threshold, non_frontal, callback_url, key or str(uuid.uuid4()))

    def request(self, wait: int) -> Send:
        data = {} if self.threshold is None else {"threshold": repr(float(self.threshold))}
        if self.non_frontal is not None:
            data["non_frontal"] = self.non_frontal
        if self.callback_url is not None:
            data["callback_url"] = self.callback_url
        # The names of the files stay here: the host has no use for them, and they may say whom the photographs show.
        files = {
            f"image{number}": (f"image{number}", content, "application/octet-stream")
            for number, content in enumerate(self.photographs, start=1)
        }
        return Send("POST", "/verify", wait, _waiting(wait), {"Idempotency-Key": self.key}, data, files)


def read(photograph: Photograph) -> bytes:
    """The photograph's bytes."""
    if isinstance(photograph, (bytes, bytearray, memoryview)):
        return bytes(photograph)
    if isinstance(photograph, (str, os.PathLike)):
        with open(photograph, "rb") as file:
            return file.read()
    content = photograph.read()
    if not isinstance(content, bytes):
        raise TypeError("a photograph's file yields text; open it with mode 'rb'")
    return content


class Patience:
    """What is left of a time, and how long to pause in it."""

    def __init__(self, seconds: float) -> None:
        self._end = monotonic() + seconds
        self._pause = FIRST_PAUSE

    def left(self) -> float:
        return max(0.0, self._end - monotonic())

    def wait(self) -> int:
        """Whole seconds that a host may be asked to wait."""
        return int(min(self.left(), LONGEST_WAIT))

    def pause_for(self, retry_after: float | None) -> Pause | None:
        """What the host asks for, else longer each time; ``None`` when that is more than is left."""
        seconds = self._pause if retry_after is None else retry_after
        self._pause = min(2 * self._pause, LONGEST_PAUSE)
        return Pause(seconds) if seconds < self.left() else None


def _waiting(seconds: int) -> dict[str, str]:
    return {"wait": str(seconds)} if seconds else {}


def _task_path(task_id: str) -> str:
    return f"/status/{quote(task_id, safe='')}"


def submit(submission: Submission, patience: Patience) -> Flow[str]:
    """Hands two photographs in, and answers the task's id."""
    answer = yield from _ask(lambda: submission.request(0), patience)
    return _task_id(answer)


def status(task_id: str, wait: int, patience: Patience) -> Flow[Task]:
    """How a task stands, at its end or after so many seconds."""
    if not 0 <= wait <= LONGEST_WAIT:
        raise ValueError(f"wait is {wait}; it is 0 to {LONGEST_WAIT} seconds")
    answer = yield from _ask(lambda: Send("GET", _task_path(task_id), wait, _waiting(wait)), patience)
    return _task(answer)


def wait_for(task_id: str, timeout: float, patience: Patience) -> Flow[Task]:
    """Waits for a task's end."""
    known: Status | None = None

    def request() -> Send:
        wait = patience.wait()
        return Send("GET", _task_path(task_id), wait, _waiting(wait))

    while True:
        try:
            task = _task((yield from _ask(request, patience)))
        except (ProblemError, UnreachableError) as error:
            if not error.worth_another_try:
                raise
            # The time is over while the host is away or refuses for a while.
            raise WaitTimeoutError(task_id, known, timeout) from error
        known = task.status
        if known.is_final:
            return task
        # Less than a second is too little for the host to wait, so it passes here.
        rest = patience.left()
        if rest <= 0:
            raise WaitTimeoutError(task_id, known, timeout)
        if rest < 1:
            yield Pause(min(rest, 0.2))


def verify(submission: Submission, timeout: float, patience: Patience) -> Flow[Result]:
    """Hands two photographs in, waits, and answers the verdict."""
    answer = yield from _ask(lambda: submission.request(patience.wait()), patience)
    if answer.status_code == 200:
        task = _task(answer)
    else:
        task = yield from wait_for(_task_id(answer), timeout, patience)
    if task.result is not None:
        return task.result
    if task.error is not None:
        raise TaskError(task, task.error)
    raise UnreachableError(f"the host answered that {task.task_id} ended while it is {task.status.value}")


def revoke(task_id: str, patience: Patience) -> Flow[Task]:
    """Takes a task back."""
    answer = yield from _ask(lambda: Send("DELETE", _task_path(task_id)), patience)
    return _task(answer)


def _ask(request: Callable[[], Send], patience: Patience) -> Flow[httpx.Response]:
    """One answer that is no refusal; what passes is asked for again, as long as patience lasts."""
    while True:
        refusal: ProblemError | UnreachableError
        try:
            answer = yield request()
        except httpx.TransportError as error:
            what = f"the host gave no answer: {str(error) or type(error).__name__}"
            refusal, retry_after = UnreachableError(what, worth_another_try=True), None
            refusal.__cause__ = error
        else:
            assert answer is not None, "a request is answered by a response"
            if answer.is_success:
                return answer
            refusal, retry_after = _refusal(answer), _retry_after(answer)
            if not refusal.worth_another_try:
                raise refusal
        pause = patience.pause_for(retry_after)
        if pause is None:
            raise refusal
        yield pause


def _refusal(answer: httpx.Response) -> ProblemError | UnreachableError:
    try:
        problem = answer.json()
        field = problem.get("field")
        return ProblemError(
            status=answer.status_code,
            code=str(problem["code"]),
            title=str(problem["title"]),
            detail=str(problem["detail"]),
            field=None if field is None else str(field),
            retry_after=_retry_after(answer),
        )
    except (ValueError, KeyError, TypeError, AttributeError):
        # A proxy before the host answers in its own words.
        what = f"HTTP {answer.status_code} in words that are not a visavis host's, from {answer.url}"
        return UnreachableError(what, worth_another_try=answer.status_code in (429, 502, 503, 504))


def _retry_after(answer: httpx.Response) -> float | None:
    """Seconds. A date, the header's other form, comes from no host and counts as nothing said."""
    text = answer.headers.get("retry-after", "")
    return float(text) if text.isascii() and text.isdigit() else None


def _task(answer: httpx.Response) -> Task:
    try:
        return task_of(answer.json())
    except (ValueError, KeyError, TypeError) as error:
        raise UnreachableError(f"what {answer.url} answers is no task of visavis: {error!r}") from error


def _task_id(answer: httpx.Response) -> str:
    try:
        return str(answer.json()["task_id"])
    except (ValueError, KeyError, TypeError) as error:
        raise UnreachableError(f"what {answer.url} answers is no task of visavis: {error!r}") from error
