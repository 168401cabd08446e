"""A scorer in Python: decides whether two analysed photographs show one person.

Owns the rules: one face each, frontal, near enough. Must never know pixels, networks or HTTP.
The records are those of `score.wit` and `types.wit`; componentize-py makes the modules `wit_world` and
`componentize_py_types` from them.
"""

from array import array
from math import atan2, cos, degrees, dist, exp, hypot, inf, sin

from componentize_py_types import Err
from wit_world import exports
from wit_world.exports.score import (
    Countable,
    NonFrontal,
    Rejection_Incomparable,
    Rejection_MultipleFaces,
    Rejection_NoFace,
    Rejection_NonFrontalFace,
    Turned,
    Verdict,
    Which,
)

# A face counts when its confidence exceeds this ...
COUNTABLE_CONFIDENCE = 0.9
# ... and its area is at least this part of the largest such face's.
COUNTABLE_AREA = 0.15
# Frontal: the nose at most this many eye distances beside the middle line, about 25 degrees of yaw.
MAX_SIDEWAYS = 0.23
# Frontal: at most this much roll either way, degrees.
MAX_ROLL = 25
# Frontal: where the nose may lie between the eyes (0) and the mouth (1), about 26 degrees of pitch either way.
NOSE_RANGE = (0.30, 0.78)
# How far the length of an embedding may be from 1.
UNIT_TOLERANCE = 0.01


class Score(exports.Score):
    """The interface that the world `scorer` exports. What is raised as `Err` becomes a rejection."""

    def score(self, first, second, policy):
        first_index = meant(first.faces, Which.FIRST)
        second_index = meant(second.faces, Which.SECOND)
        a, b = first.faces[first_index], second.faces[second_index]
        frontal = (is_frontal(a.landmarks), is_frontal(b.landmarks))
        if policy.non_frontal is NonFrontal.REJECT:
            if not frontal[0]:
                raise Err(Rejection_NonFrontalFace(Turned(Which.FIRST, a.pose)))
            if not frontal[1]:
                raise Err(Rejection_NonFrontalFace(Turned(Which.SECOND, b.pose)))
        check(a.embedding, b.embedding, policy)
        # Rounded to the f32 that the caller will read, so that the decision agrees with the number beside it.
        distance = array("f", [dist(a.embedding, b.embedding)])[0]
        cosine = sum(x * y for x, y in zip(a.embedding, b.embedding))
        return Verdict(
            verified=distance <= policy.threshold,
            score=logistic(policy.slope * (policy.threshold - distance)),
            euclidean_distance=distance,
            cosine_similarity=min(1.0, max(-1.0, cosine)),
            faces=(first_index, second_index),
            frontal=frontal,
        )

    def frontal(self, face):
        return is_frontal(face.landmarks)


def meant(faces, photograph):
    """The index of the one face that counts. When all are doubtful, the first of them does."""
    if not faces:
        raise Err(Rejection_NoFace(photograph))
    confident = [index for index, face in enumerate(faces) if face.confidence > COUNTABLE_CONFIDENCE]
    least = COUNTABLE_AREA * max((area(faces[index].box) for index in confident), default=0.0)
    countable = [index for index in confident if area(faces[index].box) >= least]
    if len(countable) > 1:
        raise Err(Rejection_MultipleFaces(Countable(photograph, len(countable))))
    return countable[0] if countable else 0


def area(box):
    """Square pixels; 0 when the corners are swapped."""
    return max(0.0, box.x2 - box.x1) * max(0.0, box.y2 - box.y1)


def is_frontal(points):
    """Turns the face upright around the middle of its eyes, then asks where its nose lies."""
    across = (points.right_eye.x - points.left_eye.x, points.right_eye.y - points.left_eye.y)
    eye_distance = hypot(*across)
    roll = atan2(across[1], across[0])
    origin = middle(points.left_eye, points.right_eye)

    def turn(point):
        x, y = point[0] - origin[0], point[1] - origin[1]
        return x * cos(roll) + y * sin(roll), y * cos(roll) - x * sin(roll)

    nose = turn((points.nose.x, points.nose.y))
    mouth = turn(middle(points.left_mouth, points.right_mouth))
    if not (0 < eye_distance < inf and 0 < mouth[1] < inf):
        return False
    down = nose[1] / mouth[1]
    # The middle line leans with the mouth; at the height of the nose it has gone this part of the way.
    sideways = (nose[0] - mouth[0] * down) / eye_distance
    # A coordinate that is not a number fails these comparisons as well.
    return (
        abs(sideways) <= MAX_SIDEWAYS and abs(degrees(roll)) <= MAX_ROLL and NOSE_RANGE[0] <= down <= NOSE_RANGE[1]
    )


def middle(a, b):
    return (a.x + b.x) / 2, (a.y + b.y) / 2


def check(first, second, policy):
    """Raises a rejection unless both are L2-normalised embeddings of one network, and the policy is sound."""
    if not 0 <= policy.threshold <= 2:
        raise incomparable(f"the threshold {policy.threshold} does not lie in 0 to 2")
    if not 0 < policy.slope < inf:
        raise incomparable(f"the slope {policy.slope} is not a positive number")
    for which, embedding in (("first", first), ("second", second)):
        if not embedding:
            raise incomparable(f"the {which} face has no embedding")
    if len(first) != len(second):
        raise incomparable(f"the embeddings have {len(first)} and {len(second)} numbers")
    for which, embedding in (("first", first), ("second", second)):
        if not abs(hypot(*embedding) - 1) <= UNIT_TOLERANCE:
            raise incomparable(f"the {which} face's embedding is not a finite vector of length 1")


def incomparable(reason):
    return Err(Rejection_Incomparable(reason))


def logistic(x):
    """1 / (1 + exp(-x)), without an overflow far from 0."""
    return 1 / (1 + exp(-x)) if x >= 0 else exp(x) / (1 + exp(x))
