"""The clients against real hosts."""

from __future__ import annotations

import io
import time
import uuid
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from visavis_client import ProblemError, Result, Status, TaskError, UnreachableError, WaitTimeoutError

from network import Forgetful, Stranger


def stub(milliseconds: int) -> bytes:
    """A photograph for the stub analyzer, which takes so long."""
    return f"stub wait={milliseconds} angle=0\n".encode()


def started(client: Any, task_id: str) -> None:
    """Waits until a worker is at the task."""
    for _ in range(600):
        if client.status(task_id).status is Status.STARTED:
            return
        time.sleep(0.05)
    raise AssertionError(f"{task_id} did not start")


def test_one_person_is_verified(client: Any, photos: Path) -> None:
    result: Result = client.verify(photos / "obama.jpg", str(photos / "obama2.jpg"))
    assert result.verified and result.euclidean_distance <= result.threshold and result.verification_score > 0.5
    assert result.face1_frontal and result.face2_frontal and min(result.confidence1, result.confidence2) > 0.9
    first = result.faces[0]
    left, top, right, bottom = first.box
    assert 0 <= left < right <= first.image.width and 0 <= top < bottom <= first.image.height
    assert len(first.landmarks) == 5 and first.landmarks[0].x < first.landmarks[1].x
    assert abs(first.pose.yaw) < 25
    assert len(result.components.scorer.digest) == 64 and result.components.analyzer.generation >= 1
    assert {model.name.split("/")[0] for model in result.models} >= {"mtcnn"}
    assert result.timings_ms.total > 0 and "decode" in result.timings_ms.image1
    assert result.raw["verified"] is True


def test_two_people_are_not_and_files_and_bytes_do_as_well(client: Any, photos: Path) -> None:
    second = (photos / "biden.jpg").read_bytes()
    with (photos / "obama.jpg").open("rb") as first:
        result: Result = client.verify(first, memoryview(second))
    assert not result.verified and result.euclidean_distance > result.threshold


def test_the_threshold_decides(client: Any, photos: Path) -> None:
    result: Result = client.verify(photos / "obama.jpg", photos / "obama2.jpg", threshold=0.1, non_frontal="report")
    assert not result.verified and result.threshold == pytest.approx(0.1)


def test_a_photograph_without_a_face_is_named(client: Any, photos: Path) -> None:
    with pytest.raises(TaskError) as caught:
        client.verify(photos / "obama.jpg", photos / "coffee.png")
    error = caught.value
    assert (error.code, error.image, error.worth_another_try) == ("no_face", 2, False)
    assert "photograph 2" in error.detail and error.code in str(error)
    assert error.task.status is Status.FAILURE and client.status(error.task_id) == error.task


def test_a_refusal_says_what_is_wrong_and_where(client: Any, photos: Path) -> None:
    with pytest.raises(ProblemError) as caught:
        client.submit(photos / "obama.jpg", photos / "obama.jpg", threshold=3)
    problem = caught.value
    assert (problem.status, problem.code, problem.field) == (422, "invalid_field", "threshold")
    assert "0 to 2" in problem.detail and problem.title and problem.image is None
    assert problem.retry_after is None and not problem.worth_another_try
    with pytest.raises(ProblemError) as caught:
        client.submit(b"", photos / "obama.jpg")
    assert (caught.value.code, caught.value.image) == ("missing_field", 1)


def test_an_address_that_the_operator_has_not_listed_is_refused(client: Any, photos: Path) -> None:
    with pytest.raises(ProblemError) as caught:
        client.submit(photos / "obama.jpg", photos / "obama.jpg", callback_url="https://hooks.example.org/ended")
    assert (caught.value.code, caught.value.field) == ("invalid_field", "callback_url")
    assert "webhooks.allow" in caught.value.detail


def test_an_unknown_task_is_not_waited_for(client: Any) -> None:
    for task_id in ("face_verification_" + 32 * "0", "../verify?x=1"):
        for ask in (client.status, client.wait, client.revoke):
            with pytest.raises(ProblemError) as caught:
                ask(task_id)
            assert caught.value.status == 404
    with pytest.raises(ValueError, match="0 to 30"):
        client.status("face_verification_" + 32 * "0", wait=31)


def test_files_that_cannot_be_read_are_errors_here(client: Any, photos: Path) -> None:
    with pytest.raises(FileNotFoundError):
        client.submit(photos / "nobody.jpg", photos / "obama.jpg")
    with pytest.raises(TypeError, match="rb"):
        client.submit(io.StringIO("text"), b"bytes")


def test_one_key_is_one_task(client: Any, photos: Path) -> None:
    key = uuid.uuid4().hex
    pair = (photos / "obama.jpg", photos / "coffee.png")
    task_id = client.submit(*pair, idempotency_key=key)
    assert client.submit(*pair, idempotency_key=key) == task_id
    with pytest.raises(ProblemError) as caught:
        client.submit(*reversed(pair), idempotency_key=key)
    assert (caught.value.status, caught.value.code) == (409, "conflict")
    assert client.wait(task_id).error.code == "no_face"
    assert client.submit(*pair) != task_id, "without a key each call is a task of its own"


def test_a_slow_task_is_waited_for_and_can_be_revoked(slow: Any) -> None:
    task_id = slow.submit(stub(60_000), stub(0))
    started(slow, task_id)
    for timeout in (0.2, 1.1):
        begin = time.monotonic()
        with pytest.raises(WaitTimeoutError) as caught:
            slow.wait(task_id, timeout=timeout)
        assert time.monotonic() - begin >= timeout - 0.1
        assert (caught.value.task_id, caught.value.status) == (task_id, Status.STARTED)
    assert slow.status(task_id, wait=1).result is None
    task = slow.revoke(task_id)
    assert task.status is Status.REVOKED and task.error.code == "revoked" and task.status.is_final
    with pytest.raises(ProblemError) as problem:
        slow.revoke(task_id)
    assert problem.value.code == "conflict"


def test_a_task_that_goes_on_when_verify_gives_up_can_be_taken_up(slow: Any) -> None:
    with pytest.raises(WaitTimeoutError) as caught:
        slow.verify(stub(1_500), stub(0), timeout=0.8)
    task = slow.wait(caught.value.task_id)
    assert task.status is Status.SUCCESS and task.result.verified


# Pauses are long, and only their clock differs from one client to the other: each takes one of the two tests.
@pytest.mark.parametrize("connect", ["async"], indirect=True)
def test_a_full_queue_is_tried_again_when_it_says(
    connect: Callable[..., Any], slow: Any, slow_host: str, key: str
) -> None:
    for _ in range(40):  # what Retry-After says follows from how fast tasks ended lately
        slow.verify(stub(0), stub(0))
    first = slow.submit(stub(2_000), stub(0))
    started(slow, first)
    second = slow.submit(stub(0), stub(0))
    with pytest.raises(ProblemError) as caught:
        slow.submit(stub(0), stub(0))
    refusal = caught.value
    assert refusal.status == 503 and refusal.worth_another_try and refusal.retry_after is not None
    begin = time.monotonic()
    third = connect(slow_host, patience=60.0, api_key=key).submit(stub(0), stub(0))
    assert time.monotonic() - begin >= 1, "Retry-After is at least a second"
    for task_id in (first, second, third):
        assert slow.wait(task_id).status is Status.SUCCESS


def test_a_lost_answer_does_not_make_a_second_task(connect: Callable[..., Any], host: str, photos: Path) -> None:
    with Forgetful(host, lost=1) as network:
        client = connect(network.url)
        task_id = client.submit(photos / "obama.jpg", photos / "coffee.png")
        assert network.answers == 2 and network.task_ids == {task_id}
        with pytest.raises(TaskError):
            client.verify(photos / "obama.jpg", photos / "coffee.png")


def test_names_of_files_stay_here(connect: Callable[..., Any], host: str, photos: Path, tmp_path: Path) -> None:
    secret = tmp_path / "jane-doe-passport.jpg"
    secret.write_bytes((photos / "coffee.png").read_bytes())
    with Forgetful(host, lost=0) as network, secret.open("rb") as file:
        connect(network.url).submit(secret, file)
        assert b"image1" in network.sent and b"jane-doe" not in network.sent


@pytest.mark.parametrize("connect", ["sync"], indirect=True)
def test_a_host_that_is_away_or_not_one_is_unreachable(connect: Callable[..., Any]) -> None:
    with Stranger(status=502) as stranger:
        with pytest.raises(UnreachableError, match="502") as caught:
            connect(stranger.url, patience=0).status("x")
        assert caught.value.worth_another_try
        with pytest.raises(UnreachableError):
            connect(stranger.url, patience=1).status("x")
        assert stranger.requests == 3, "once without patience, and twice within a second"
    for status in (200, 404):
        with Stranger(status) as stranger:
            with pytest.raises(UnreachableError) as caught:
                connect(stranger.url).wait("x")
            assert not caught.value.worth_another_try and stranger.requests == 1
    with pytest.raises(UnreachableError, match="no answer"):
        connect(stranger.url, patience=0.7).submit(b"1", b"2")
    with pytest.raises(WaitTimeoutError):
        connect(stranger.url).wait("x", timeout=0.7)


def test_an_address_without_a_scheme_is_an_error_here(connect: Callable[..., Any]) -> None:
    with pytest.raises(ValueError, match="http://"):
        connect("127.0.0.1:8080")


def test_a_host_that_asks_for_a_key_refuses_without(connect: Callable[..., Any], slow_host: str, key: str) -> None:
    for shown in (None, key[:-1], key[:-1] + ("1" if key.endswith("0") else "0")):
        client = connect(slow_host, api_key=shown)
        for ask, arguments in ((client.status, ("x",)), (client.submit, (stub(0), stub(0)))):
            with pytest.raises(ProblemError) as caught:
                ask(*arguments)
            assert (caught.value.status, caught.value.code) == (401, "unauthorized")
            assert not caught.value.worth_another_try and key not in str(caught.value)


def test_headers_go_with_each_request(connect: Callable[..., Any], host: str) -> None:
    with Forgetful(host, lost=0) as network:
        with pytest.raises(ProblemError):
            connect(network.url + "/", headers={"Authorization": "Bearer of-a-proxy"}).status("x")
        assert b"authorization: bearer of-a-proxy" in network.sent.lower()
