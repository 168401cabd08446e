"""What can go wrong, as exceptions.

Owns what each of them carries. Must never know when it is raised.
"""

from __future__ import annotations

from ._types import Failure, Status, Task


class VisavisError(Exception):
    """The base of all exceptions of this package."""

    worth_another_try: bool = False
    """Whether the same request may succeed later."""


class ProblemError(VisavisError):
    """The host refused the request, with a problem document (RFC 9457)."""

    def __init__(
        self, *, status: int, code: str, title: str, detail: str, field: str | None, retry_after: float | None
    ) -> None:
        super().__init__(f"{detail} ({code}, HTTP {status})")
        self.status = status
        """The HTTP status."""
        self.code = code
        """For programs, as ``queue_full``."""
        self.title = title
        """The phrase of the HTTP status."""
        self.detail = detail
        """For people: what is wrong, where, and what would mend it."""
        self.field = field
        """The field or parameter that it concerns."""
        self.retry_after = retry_after
        """Seconds after which another try makes sense; ``None`` where the same request is refused again."""
        self.worth_another_try = retry_after is not None

    @property
    def image(self) -> int | None:
        """The photograph that it concerns, 1 or 2."""
        return {"image1": 1, "image2": 2}.get(self.field or "")


class TaskError(VisavisError):
    """The task ended without a verdict: a photograph could not be used, the host failed, or somebody revoked it."""

    def __init__(self, task: Task, failure: Failure) -> None:
        super().__init__(f"{failure.message} ({failure.code})")
        self.task = task
        self.failure = failure
        self.worth_another_try = failure.code in ("timeout", "processing_failed")

    @property
    def task_id(self) -> str:
        return self.task.task_id

    @property
    def code(self) -> str:
        """For programs, as ``no_face``."""
        return self.failure.code

    @property
    def detail(self) -> str:
        """For people: what is wrong, and what would mend it."""
        return self.failure.message

    @property
    def image(self) -> int | None:
        """The photograph that it concerns, 1 or 2."""
        return self.failure.image


class WaitTimeoutError(VisavisError):
    """The task had not ended when the time that was given for it was over. It goes on; ``wait`` can take it up again."""

    def __init__(self, task_id: str, status: Status | None, timeout: float) -> None:
        state = "" if status is None else f", it is {status.value}"
        super().__init__(f"{task_id} did not end within {timeout:g} s{state}; wait for it again, or revoke it")
        self.task_id = task_id
        self.status = status
        """What was last known of it."""


class UnreachableError(VisavisError):
    """There was no answer, or one that is not a visavis host's, as from a proxy before it."""

    def __init__(self, what: str, *, worth_another_try: bool = False) -> None:
        super().__init__(what)
        self.worth_another_try = worth_another_try
