"""Asks a visavis host whether two photographs show the same person.

    from visavis_client import Client

    with Client("http://127.0.0.1:8080") as client:
        result = client.verify("a.jpg", "b.jpg")
    print(result.verified, result.euclidean_distance)

``AsyncClient`` has the same methods as coroutines.
"""

from ._client import AsyncClient, Client
from ._errors import ProblemError, TaskError, UnreachableError, VisavisError, WaitTimeoutError
from ._flow import NonFrontal, Photograph
from ._types import (
    Component,
    Components,
    Face,
    Failure,
    ImageSize,
    Model,
    Point,
    Pose,
    Result,
    Status,
    Task,
    Timings,
)

__all__ = [
    "AsyncClient",
    "Client",
    "Component",
    "Components",
    "Face",
    "Failure",
    "ImageSize",
    "Model",
    "NonFrontal",
    "Photograph",
    "Point",
    "Pose",
    "ProblemError",
    "Result",
    "Status",
    "Task",
    "TaskError",
    "Timings",
    "UnreachableError",
    "VisavisError",
    "WaitTimeoutError",
]
