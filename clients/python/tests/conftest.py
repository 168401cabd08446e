"""What the tests share: real hosts, whose addresses come by the environment, and one client of each kind.

``CLIENT_TEST_HOST`` is a host with everything, ``CLIENT_TEST_SLOW`` one with the stub analyzer, one worker and a queue of one
task that asks for ``CLIENT_TEST_KEY``, ``CLIENT_TEST_PHOTOS`` the folder of the sample photographs. ``cargo xtask test`` starts and names them.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from visavis_client import AsyncClient, Client


def _told(name: str) -> str:
    value = os.environ.get(name)
    if not value:
        pytest.exit(f"{name} is not set: run these tests by `cargo test --release --workspace --test integration clients`", 2)
    return value


class Blocking:
    """An ``AsyncClient`` that is called as a ``Client`` is, so that one test holds for both."""

    def __init__(self, client: AsyncClient, loop: asyncio.AbstractEventLoop) -> None:
        self._client, self._loop = client, loop

    def __getattr__(self, name: str) -> Callable[..., Any]:
        method = getattr(self._client, name)
        return lambda *arguments, **named: self._loop.run_until_complete(method(*arguments, **named))


@pytest.fixture(params=["sync", "async"])
def connect(request: pytest.FixtureRequest) -> Iterator[Callable[..., Any]]:
    """Makes clients, and closes them in the end."""
    loop = asyncio.new_event_loop()
    made: list[Any] = []

    def make(url: str, **options: Any) -> Any:
        client = Client(url, **options) if request.param == "sync" else Blocking(AsyncClient(url, **options), loop)
        made.append(client)
        return client

    yield make
    for client in made:
        client.close()
    loop.close()


@pytest.fixture
def client(connect: Callable[..., Any]) -> Any:
    return connect(_told("CLIENT_TEST_HOST"))


@pytest.fixture
def slow(connect: Callable[..., Any]) -> Any:
    """A client of the host whose photographs say how long they take."""
    return connect(_told("CLIENT_TEST_SLOW"), patience=0.0, api_key=_told("CLIENT_TEST_KEY"))


@pytest.fixture(scope="session")
def host() -> str:
    return _told("CLIENT_TEST_HOST")


@pytest.fixture(scope="session")
def slow_host() -> str:
    return _told("CLIENT_TEST_SLOW")


@pytest.fixture(scope="session")
def key() -> str:
    return _told("CLIENT_TEST_KEY")


@pytest.fixture(scope="session")
def photos() -> Path:
    return Path(_told("CLIENT_TEST_PHOTOS"))
