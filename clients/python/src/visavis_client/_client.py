"""The clients, with and without ``async``.

Owns connections, clocks and what users call. Must never decide what is sent next: that is ``_flow``.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from types import TracebackType
from typing import TypeVar

import httpx

from . import _flow
from ._flow import Flow, NonFrontal, Patience, Pause, Photograph, Send, Submission
from ._types import Result, Task

T = TypeVar("T")

_AT_ONCE = 10.0
"""Seconds within which a host that was not asked to wait answers, connecting included."""


def _base(url: str) -> str:
    """What paths are appended to. What is no URL is an error here and now."""
    if not url.startswith(("http://", "https://")):
        raise ValueError(f"the host's address is {url!r}; it begins with http:// or https://")
    return url.rstrip("/")


def _authorization(api_key: str | None) -> dict[str, str]:
    return {} if api_key is None else {"Authorization": f"Bearer {api_key}"}


def _timeout(send: Send) -> httpx.Timeout:
    # A body of 20 MiB may need its time on a slow line; httpx counts from one write to the next.
    return httpx.Timeout(_AT_ONCE, read=_AT_ONCE + send.silence, write=60.0)


class Client:
    """A client of one visavis host.

    It may be used by many threads at once. ``patience`` is for how many seconds a request is repeated while the host cannot be
    reached, or refuses for a while (429, 503); it pauses for what ``Retry-After`` says. 0 repeats nothing. ``api_key`` is shown
    with each request, for a host that asks for one; give it to an ``https`` address alone where others can listen. ``headers`` go
    with each request as well, as for a proxy that wants to know who asks. ``http`` is an ``httpx.Client`` of your own, for
    proxies, certificates and the like; it is then yours to close, and all the rest counts all the same.
    """

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8080",
        *,
        patience: float = 30.0,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        http: httpx.Client | None = None,
    ) -> None:
        self._base = _base(base_url)
        self._headers = {**(headers or {}), **_authorization(api_key)}
        self._patience = patience
        self._owned = http is None
        self._http = httpx.Client() if http is None else http

    def verify(
        self,
        image1: Photograph,
        image2: Photograph,
        *,
        threshold: float | None = None,
        non_frontal: NonFrontal | None = None,
        callback_url: str | None = None,
        idempotency_key: str | None = None,
        timeout: float = 60.0,
    ) -> Result:
        """Hands two photographs in, waits for the end at most ``timeout`` seconds, and answers the verdict.

        ``threshold`` is the largest distance of one person's faces, 0 to 2, and ``non_frontal`` what to do with a face that
        does not look into the camera; without them the host's own hold. The host posts the task's end to ``callback_url`` as
        well, if its operator has listed that. Without an ``idempotency_key`` each call makes one, so that a repetition after a
        lost answer is still one task.

        Raises ``TaskError`` when there is no verdict, ``ProblemError`` when the host refuses, ``WaitTimeoutError`` when the
        task goes on, ``UnreachableError`` when there is no answer, ``OSError`` when a file cannot be read.
        """
        submission = Submission.of(image1, image2, threshold, non_frontal, callback_url, idempotency_key)
        return self._run(_flow.verify(submission, timeout, Patience(timeout)))

    def submit(
        self,
        image1: Photograph,
        image2: Photograph,
        *,
        threshold: float | None = None,
        non_frontal: NonFrontal | None = None,
        callback_url: str | None = None,
        idempotency_key: str | None = None,
    ) -> str:
        """Hands two photographs in and answers the task's id at once. Raises as ``verify`` does."""
        submission = Submission.of(image1, image2, threshold, non_frontal, callback_url, idempotency_key)
        return self._run(_flow.submit(submission, Patience(self._patience)))

    def status(self, task_id: str, *, wait: int = 0) -> Task:
        """How a task stands, at its end or after ``wait`` seconds (to 30).

        Raises ``ProblemError`` with the code ``not_found`` when it is unknown, or ended so long ago that it is forgotten.
        """
        return self._run(_flow.status(task_id, wait, Patience(self._patience)))

    def wait(self, task_id: str, *, timeout: float = 60.0) -> Task:
        """Waits for a task's end, however it ends. Raises ``WaitTimeoutError`` when it has not after ``timeout`` seconds."""
        return self._run(_flow.wait_for(task_id, timeout, Patience(timeout)))

    def revoke(self, task_id: str) -> Task:
        """Takes a task back; its photographs are deleted. Raises ``ProblemError`` (``conflict``) when it has ended."""
        return self._run(_flow.revoke(task_id, Patience(self._patience)))

    def close(self) -> None:
        """Closes the connections."""
        if self._owned:
            self._http.close()

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, flow: Flow[T]) -> T:
        try:
            action = next(flow)
            while True:
                try:
                    answer = self._act(action)
                except httpx.TransportError as error:
                    action = flow.throw(error)
                else:
                    action = flow.send(answer)
        except StopIteration as end:
            value: T = end.value
            return value

    def _act(self, action: Send | Pause) -> httpx.Response | None:
        if isinstance(action, Pause):
            time.sleep(action.seconds)
            return None
        return self._http.request(
            action.method,
            self._base + action.path,
            params=action.parameters or None,
            headers={**self._headers, **action.headers},
            data=action.data or None,
            files=action.files or None,
            timeout=_timeout(action),
        )


class AsyncClient:
    """The same for ``async``; see ``Client``. Reading a photograph from a path blocks for a moment."""

    def __init__(
        self,
        base_url: str = "http://127.0.0.1:8080",
        *,
        patience: float = 30.0,
        api_key: str | None = None,
        headers: Mapping[str, str] | None = None,
        http: httpx.AsyncClient | None = None,
    ) -> None:
        self._base = _base(base_url)
        self._headers = {**(headers or {}), **_authorization(api_key)}
        self._patience = patience
        self._owned = http is None
        self._http = httpx.AsyncClient() if http is None else http

    async def verify(
        self,
        image1: Photograph,
        image2: Photograph,
        *,
        threshold: float | None = None,
        non_frontal: NonFrontal | None = None,
        callback_url: str | None = None,
        idempotency_key: str | None = None,
        timeout: float = 60.0,
    ) -> Result:
        """As ``Client.verify``."""
        submission = Submission.of(image1, image2, threshold, non_frontal, callback_url, idempotency_key)
        return await self._run(_flow.verify(submission, timeout, Patience(timeout)))

    async def submit(
        self,
        image1: Photograph,
        image2: Photograph,
        *,
        threshold: float | None = None,
        non_frontal: NonFrontal | None = None,
        callback_url: str | None = None,
        idempotency_key: str | None = None,
    ) -> str:
        """As ``Client.submit``."""
        submission = Submission.of(image1, image2, threshold, non_frontal, callback_url, idempotency_key)
        return await self._run(_flow.submit(submission, Patience(self._patience)))

    async def status(self, task_id: str, *, wait: int = 0) -> Task:
        """As ``Client.status``."""
        return await self._run(_flow.status(task_id, wait, Patience(self._patience)))

    async def wait(self, task_id: str, *, timeout: float = 60.0) -> Task:
        """As ``Client.wait``."""
        return await self._run(_flow.wait_for(task_id, timeout, Patience(timeout)))

    async def revoke(self, task_id: str) -> Task:
        """As ``Client.revoke``."""
        return await self._run(_flow.revoke(task_id, Patience(self._patience)))

    async def close(self) -> None:
        """Closes the connections."""
        if self._owned:
            await self._http.aclose()

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, flow: Flow[T]) -> T:
        try:
            action = next(flow)
            while True:
                try:
                    answer = await self._act(action)
                except httpx.TransportError as error:
                    action = flow.throw(error)
                else:
                    action = flow.send(answer)
        except StopIteration as end:
            value: T = end.value
            return value

    async def _act(self, action: Send | Pause) -> httpx.Response | None:
        if isinstance(action, Pause):
            await asyncio.sleep(action.seconds)
            return None
        return await self._http.request(
            action.method,
            self._base + action.path,
            params=action.parameters or None,
            headers={**self._headers, **action.headers},
            data=action.data or None,
            files=action.files or None,
            timeout=_timeout(action),
        )
