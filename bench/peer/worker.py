"""The peer's worker: facenet-pytorch as a Celery task.

`celery -A worker worker --pool=solo`. Owns everything about faces. `REDIS_URL` names the broker and the store of results,
`PEER_FACENET` the embedder's weights.
"""

import base64
import io
import os

import torch
from celery import Celery
from facenet_pytorch import MTCNN, InceptionResnetV1
from PIL import Image, UnidentifiedImageError

application = Celery("worker", broker=os.environ["REDIS_URL"], backend=os.environ["REDIS_URL"])
application.conf.update(
    task_acks_late=True,
    worker_prefetch_multiplier=1,
    result_expires=3600,
    # A solo worker can not stop a task, so that no time limit is set: none would hold.
    broker_connection_retry_on_startup=True,
)

THRESHOLD = 1.06
SECOND_FACE = 0.9

_networks = None


def networks():
    """Both networks, loaded once in each process."""
    global _networks
    if _networks is None:
        device = "cuda" if torch.cuda.is_available() else "cpu"
        detector = MTCNN(image_size=160, margin=32, keep_all=True, post_process=True, device=device)
        embedder = InceptionResnetV1(pretrained=None, classify=False).eval().to(device)
        embedder.load_state_dict(torch.load(os.environ["PEER_FACENET"], map_location=device))
        _networks = detector, embedder, device
    return _networks


class Rejected(Exception):
    """The photographs can not be compared; says why."""


def analyse(photograph):
    """The one face of a photograph: its embedding, confidence, and whether it looks into the camera."""
    detector, embedder, device = networks()
    try:
        image = Image.open(io.BytesIO(photograph)).convert("RGB")
    except (UnidentifiedImageError, OSError) as error:
        raise Rejected("invalid image") from error
    boxes, probabilities, landmarks = detector.detect(image, landmarks=True)
    if boxes is None:
        raise Rejected("no face")
    if sum(probability > SECOND_FACE for probability in probabilities) > 1:
        raise Rejected("multiple faces")
    [crop] = detector.extract(image, boxes[:1], None)
    with torch.no_grad():
        embedding = embedder(crop.unsqueeze(0).to(device))[0].cpu()
    return embedding, float(probabilities[0]), is_frontal(landmarks[0])


def is_frontal(points):
    """The nose lies between the eyes, and the eyes on a level."""
    (left_x, left_y), (right_x, right_y), (nose_x, _) = points[:3]
    gap = abs(right_x - left_x) or 1.0
    return bool(abs(nose_x - (left_x + right_x) / 2) < 0.3 * gap and abs(right_y - left_y) < 0.47 * gap)


@application.task(name="verify")
def verify(first, second):
    """Compares two photographs, given in base64."""
    try:
        one, other = (analyse(base64.b64decode(photograph)) for photograph in (first, second))
    except Rejected as rejected:
        return {"error": str(rejected)}
    distance = float((one[0] - other[0]).norm())
    return {
        "verified": distance <= THRESHOLD,
        "verification_score": max(0.0, 1.0 - distance / 2.0),
        "euclidean_distance": distance,
        "cosine_similarity": float(torch.dot(one[0], other[0])),
        "face1_frontal": one[2],
        "face2_frontal": other[2],
        "confidence1": one[1],
        "confidence2": other[1],
    }
