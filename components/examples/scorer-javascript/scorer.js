// A scorer in JavaScript: decides whether two analysed photographs show one person.
//
// Owns the rules: one face each, frontal, near enough. Must never know pixels, networks or HTTP.
// The records are those of `score.wit` and `types.wit`, their names in camel case.

// A face counts when its confidence exceeds this ...
const COUNTABLE_CONFIDENCE = 0.9;
// ... and its area is at least this part of the largest such face's.
const COUNTABLE_AREA = 0.15;
// Frontal: the nose at most this many eye distances beside the middle line, about 25 degrees of yaw.
const MAX_SIDEWAYS = 0.23;
// Frontal: at most this much roll either way, degrees.
const MAX_ROLL = 25;
// Frontal: where the nose may lie between the eyes (0) and the mouth (1), about 26 degrees of pitch either way.
const NOSE_RANGE = [0.3, 0.78];
// How far the length of an embedding may be from 1.
const UNIT_TOLERANCE = 0.01;

// The interface that the world `scorer` exports.
export const score = {
  // Answers a verdict; what is thrown becomes a rejection.
  score(first, second, policy) {
    const firstIndex = meant(first.faces, "first");
    const secondIndex = meant(second.faces, "second");
    const a = first.faces[firstIndex];
    const b = second.faces[secondIndex];
    const frontal = [isFrontal(a.landmarks), isFrontal(b.landmarks)];
    if (policy.nonFrontal === "reject") {
      if (!frontal[0]) throw rejection("non-frontal-face", { photograph: "first", pose: a.pose });
      if (!frontal[1]) throw rejection("non-frontal-face", { photograph: "second", pose: b.pose });
    }
    return { ...compare(a.embedding, b.embedding, policy), faces: [firstIndex, secondIndex], frontal };
  },

  frontal(face) {
    return isFrontal(face.landmarks);
  },
};

function rejection(tag, val) {
  return { tag, val };
}

// The index of the one face that counts. When all are doubtful, the first of them does.
function meant(faces, photograph) {
  if (faces.length === 0) throw rejection("no-face", photograph);
  const confident = faces.filter((face) => face.confidence > COUNTABLE_CONFIDENCE);
  const least = COUNTABLE_AREA * Math.max(0, ...confident.map(area));
  const counts = (face) => face.confidence > COUNTABLE_CONFIDENCE && area(face) >= least;
  const count = faces.filter(counts).length;
  if (count > 1) throw rejection("multiple-faces", { photograph, count });
  return count === 1 ? faces.findIndex(counts) : 0;
}

// Square pixels; 0 when the corners are swapped or not numbers.
function area({ box }) {
  const side = (from, to) => (to > from ? to - from : 0);
  return side(box.x1, box.x2) * side(box.y1, box.y2);
}

// Turns the face upright around the middle of its eyes, then asks where its nose lies.
function isFrontal({ leftEye, rightEye, nose, leftMouth, rightMouth }) {
  const [acrossX, acrossY] = [rightEye.x - leftEye.x, rightEye.y - leftEye.y];
  const roll = Math.atan2(acrossY, acrossX);
  const [sine, cosine] = [Math.sin(roll), Math.cos(roll)];
  const origin = middle(leftEye, rightEye);
  const turn = (point) => {
    const [x, y] = [point.x - origin.x, point.y - origin.y];
    return { x: x * cosine + y * sine, y: y * cosine - x * sine };
  };
  const tip = turn(nose);
  const mouth = turn(middle(leftMouth, rightMouth));
  const eyeDistance = acrossX * cosine + acrossY * sine;
  if (!(eyeDistance > 0 && mouth.y > 0)) return false;
  const down = tip.y / mouth.y;
  // The middle line leans with the mouth; at the height of the nose it has gone this part of the way.
  const sideways = (tip.x - mouth.x * down) / eyeDistance;
  // A coordinate that is not finite fails these comparisons as well.
  return (
    Math.abs(sideways) <= MAX_SIDEWAYS &&
    Math.abs((roll * 180) / Math.PI) <= MAX_ROLL &&
    down >= NOSE_RANGE[0] &&
    down <= NOSE_RANGE[1]
  );
}

function middle(a, b) {
  return { x: (a.x + b.x) / 2, y: (a.y + b.y) / 2 };
}

function compare(first, second, { threshold, slope }) {
  const incomparable = (reason) => rejection("incomparable", reason);
  if (!(threshold >= 0 && threshold <= 2)) throw incomparable(`the threshold ${threshold} does not lie in 0 to 2`);
  if (!(slope > 0 && slope < Infinity)) throw incomparable(`the slope ${slope} is not a positive number`);
  if (first.length === 0) throw incomparable("the first face has no embedding");
  if (second.length === 0) throw incomparable("the second face has no embedding");
  if (first.length !== second.length) {
    throw incomparable(`the embeddings have ${first.length} and ${second.length} numbers`);
  }
  if (!isUnit(first)) throw incomparable("the first face's embedding is not a finite vector of length 1");
  if (!isUnit(second)) throw incomparable("the second face's embedding is not a finite vector of length 1");

  let squares = 0;
  let products = 0;
  for (let index = 0; index < first.length; index++) {
    squares += (first[index] - second[index]) ** 2;
    products += first[index] * second[index];
  }
  // Rounded to the f32 that the caller will read, so that the decision agrees with the number beside it.
  const euclideanDistance = Math.fround(Math.sqrt(squares));
  return {
    verified: euclideanDistance <= threshold,
    score: 1 / (1 + Math.exp(-slope * (threshold - euclideanDistance))),
    euclideanDistance,
    cosineSimilarity: Math.min(1, Math.max(-1, products)),
  };
}

function isUnit(embedding) {
  const length = Math.sqrt(embedding.reduce((sum, value) => sum + value * value, 0));
  return Math.abs(length - 1) <= UNIT_TOLERANCE;
}
