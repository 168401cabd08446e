"""What a host answers, as types.

Owns the names and shapes of the answers. Must never know how they travel. What a host says beyond what is known here is
ignored by the types and kept in ``Result.raw``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum
from typing import Any, NamedTuple


class Status(str, Enum):
    """The state of a task."""

    PENDING = "PENDING"
    """It waits for a worker."""
    STARTED = "STARTED"
    """A worker is at it."""
    RETRY = "RETRY"
    """A try failed through the host's fault; it waits for the next one."""
    SUCCESS = "SUCCESS"
    """There is a result."""
    FAILURE = "FAILURE"
    """There is none; ``Task.error`` says why."""
    REVOKED = "REVOKED"
    """It was taken back."""

    @property
    def is_final(self) -> bool:
        """Whether a task in this state will change no more."""
        return self in (Status.SUCCESS, Status.FAILURE, Status.REVOKED)


class Point(NamedTuple):
    """A place in the upright photograph, in pixels from its top left corner."""

    x: float
    y: float


@dataclass(frozen=True)
class Pose:
    """Where a head points, in degrees; all zero looks straight into the camera."""

    yaw: float
    """Positive when the nose points to the right of the photograph."""
    pitch: float
    """Positive when the nose points down."""
    roll: float
    """Positive when the head is turned clockwise in the photograph."""


@dataclass(frozen=True)
class ImageSize:
    """The size of the upright photograph, in pixels."""

    width: int
    height: int


@dataclass(frozen=True)
class Face:
    """The face that was compared. Lengths are pixels of the upright photograph."""

    box: tuple[float, float, float, float]
    """Left, top, right, bottom."""
    landmarks: tuple[Point, ...]
    """Left eye, right eye, nose, left and right corner of the mouth, as seen in the photograph."""
    pose: Pose
    image: ImageSize


@dataclass(frozen=True)
class Component:
    """A component that took part in the decision."""

    digest: str
    """SHA-256 of the component."""
    generation: int
    """Counts the deployments on the node."""


@dataclass(frozen=True)
class Components:
    """Which code decided."""

    analyzer: Component
    scorer: Component


@dataclass(frozen=True)
class Model:
    """A network that was asked."""

    name: str
    digest: str
    """SHA-256 of the model's file."""


@dataclass(frozen=True)
class Timings:
    """How long it took, in milliseconds."""

    image1: Mapping[str, float]
    """By step: ``decode``, ``detect``, ``crop``, ``embed``; ``cache`` alone where the analysis was kept from an earlier task."""
    image2: Mapping[str, float]
    score: float
    total: float


@dataclass(frozen=True)
class Result:
    """A verdict. It holds numbers and no pixels."""

    verified: bool
    """Whether the distance is at most the threshold."""
    verification_score: float
    """0 to 1, 0.5 at the threshold. It orders pairs and is no probability."""
    euclidean_distance: float
    """Between the two embeddings, which have length 1."""
    cosine_similarity: float
    face1_frontal: bool
    face2_frontal: bool
    confidence1: float
    """The detector's probability that the first face is one."""
    confidence2: float
    threshold: float
    """The distance that decided."""
    faces: tuple[Face, Face]
    components: Components
    models: tuple[Model, ...]
    timings_ms: Timings
    raw: Mapping[str, Any] = field(repr=False, compare=False)
    """The result as the host wrote it."""


@dataclass(frozen=True)
class Failure:
    """Why a task has no result."""

    code: str
    """For programs, as ``no_face``."""
    message: str
    """For people: what is wrong, and what would mend it."""
    image: int | None
    """The photograph that it concerns, 1 or 2."""
    details: Mapping[str, Any]
    """``faces`` with ``multiple_faces``, ``pose`` with ``non_frontal_face``; else empty."""


@dataclass(frozen=True)
class Task:
    """A task as the host describes it."""

    task_id: str
    status: Status
    result: Result | None = None
    """With ``SUCCESS``."""
    error: Failure | None = None
    """With ``FAILURE`` and ``REVOKED``."""


def task_of(value: Mapping[str, Any]) -> Task:
    """Reads a status body. Raises ``KeyError``, ``TypeError`` or ``ValueError`` when it is none."""
    result, error = value.get("result"), value.get("error")
    task = Task(
        task_id=str(value["task_id"]),
        status=Status(value["status"]),
        result=None if result is None else _result(result),
        error=None if error is None else _failure(error),
    )
    if task.status.is_final and (task.result is None) == (task.error is None):
        raise ValueError("a task that has ended has either a result or an error")
    return task


def _result(value: Mapping[str, Any]) -> Result:
    first, second = value["faces"]
    components, timings = value["components"], value["timings_ms"]
    return Result(
        verified=bool(value["verified"]),
        verification_score=float(value["verification_score"]),
        euclidean_distance=float(value["euclidean_distance"]),
        cosine_similarity=float(value["cosine_similarity"]),
        face1_frontal=bool(value["face1_frontal"]),
        face2_frontal=bool(value["face2_frontal"]),
        confidence1=float(value["confidence1"]),
        confidence2=float(value["confidence2"]),
        threshold=float(value["threshold"]),
        faces=(_face(first), _face(second)),
        components=Components(_component(components["analyzer"]), _component(components["scorer"])),
        models=tuple(Model(str(it["name"]), str(it["digest"])) for it in value["models"]),
        timings_ms=Timings(
            image1=_milliseconds(timings["image1"]),
            image2=_milliseconds(timings["image2"]),
            score=float(timings["score"]),
            total=float(timings["total"]),
        ),
        raw=value,
    )


def _face(value: Mapping[str, Any]) -> Face:
    left, top, right, bottom = map(float, value["box"])
    pose, image = value["pose"], value["image"]
    return Face(
        box=(left, top, right, bottom),
        landmarks=tuple(Point(float(x), float(y)) for x, y in value["landmarks"]),
        pose=Pose(float(pose["yaw"]), float(pose["pitch"]), float(pose["roll"])),
        image=ImageSize(int(image["width"]), int(image["height"])),
    )


def _component(value: Mapping[str, Any]) -> Component:
    return Component(str(value["digest"]), int(value["generation"]))


def _milliseconds(value: Mapping[str, Any]) -> Mapping[str, float]:
    # A step may come to say more than how long it took; then only what is a number is a duration.
    return {step: float(took) for step, took in value.items() if isinstance(took, (int, float))}


def _failure(value: Mapping[str, Any]) -> Failure:
    image = value.get("image")
    return Failure(
        code=str(value["code"]),
        message=str(value["message"]),
        image=None if image is None else int(image),
        details=dict(value.get("details") or {}),
    )
