"""The peer's HTTP interface: FastAPI in front of Celery.

`uvicorn service:service`. Takes photographs in and answers for tasks; the worker knows all about faces.
"""

import base64
import os

from celery import Celery
from celery.result import AsyncResult
from fastapi import FastAPI, HTTPException, UploadFile

service = FastAPI()
tasks = Celery("service", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])

PREFIX = "face_verification_"


@service.get("/")
async def root():
    return {"status": "up"}


@service.post("/verify")
async def verify(image1: UploadFile, image2: UploadFile):
    photographs = [await image.read() for image in (image1, image2)]
    if not all(photographs):
        raise HTTPException(400, "an image is empty")
    task = tasks.send_task("verify", [base64.b64encode(photograph).decode() for photograph in photographs])
    return {"task_id": PREFIX + task.id}


@service.get("/status/{task_id}")
async def status(task_id: str):
    task = AsyncResult(task_id.removeprefix(PREFIX), app=tasks)
    answer = {"task_id": task_id, "status": task.status}
    if answer["status"] == "SUCCESS":
        answer["result"] = task.result
    elif answer["status"] == "FAILURE":
        answer["error"] = str(task.result)
    return answer
