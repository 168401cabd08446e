// What states, errors and numbers mean, in plain words. Owns the sentences; must never know where they are shown.

/** The states of a task that are shown as steps, in their order. */
export const STEPS = [
  ["SENDING", "Sending"],
  ["PENDING", "Waiting for its turn"],
  ["STARTED", "Comparing the faces"],
];

/** What is said beside the steps. */
export const NOTES = {
  SENDING: "The photographs are on their way to this host.",
  PENDING: "The task is stored and will be done, whatever happens to this page.",
  STARTED: "Finding the faces and measuring how alike they are.",
  RETRY: "A try failed on the host’s side; the next one begins soon.",
  AWAY: "The host cannot be reached. The task is kept; trying again.",
};

const degrees = (value) => `${String(Math.round(value) + 0).replace("-", "−")}°`;

/** An error that ended a task, as a title and a sentence. */
export function failure(error) {
  const details = error.details ?? {};
  switch (error.code) {
    case "no_face":
      return ["No face found", "Choose a photograph in which the face is large, well lit and uncovered."];
    case "multiple_faces":
      return [`${details.faces ?? "Several"} faces found`, "Choose a photograph of one person alone, or cut the others off."];
    case "non_frontal_face":
      return ["The face is turned away", `It points ${degrees(details.pose?.yaw ?? 0)} to the side and ${degrees(details.pose?.pitch ?? 0)} down. Choose one that looks into the camera, or allow it under Options.`];
    case "invalid_image":
      return ["This file is damaged", "It cannot be read as a photograph. Save it anew, or choose another."];
    case "unsupported_format":
      return ["This is not a photograph", "JPEG, PNG, WebP, GIF and BMP can be read. Choose a file in one of these formats."];
    case "image_too_large":
      return ["This photograph is too large", "It has more pixels than this host reads. Make it smaller, or choose another."];
    case "timeout":
      return ["It took too long", "Smaller photographs are faster. Try again."];
    case "revoked":
      return ["Cancelled", "The photographs were deleted from the host."];
    default:
      return ["The host could not do it", "This is not your photographs’ fault. Try again; if it happens again, tell whoever runs the host."];
  }
}

/** A refusal of the request itself, as a title and a sentence. */
export function refusal(refused) {
  switch (refused.code) {
    case "unsupported_format":
      return failure(refused);
    case "body_too_large":
      return ["The photographs are too large", `${refused.message}`];
    case "unauthorized":
      return ["This host asks for an API key", "Write it under Options. Whoever runs the host has it, or makes one for you."];
    case "forbidden":
      return ["This API key may not do this", "Ask whoever runs the host for one that may."];
    case "rate_limited":
      return ["This API key has asked too often", `Try again in ${refused.retryAfter} s.`];
    case "queue_full":
    case "too_many_waiting":
    case "overloaded":
      return ["The host is busy", `Try again in ${refused.retryAfter} s.`];
    case "queue_unavailable":
      return ["The host cannot store the task", `Try again in ${refused.retryAfter} s.`];
    case "not_found":
      return ["The host no longer knows this task", "Its result was kept for a while and has been forgotten. Compare the two again."];
    default:
      return ["The host refused", refused.message];
  }
}

/** A host that gives no answer. */
export const AWAY = ["The host cannot be reached", "See that it runs and that you are connected, and try again. Your photographs are still here."];

const side = (value, positive, negative) => (Math.abs(value) < 0.5 ? null : `${Math.abs(Math.round(value))} degrees ${value > 0 ? positive : negative}`);

/** The numbers of a result, each as label, value and a sentence. */
export function numbers(result) {
  return [
    ["Distance", result.euclidean_distance.toFixed(3), `How far apart the two faces lie in the network’s eyes: 0 is the very same picture, and about 1.4 are strangers.`],
    ["Threshold", result.threshold.toFixed(2), `Faces that are at most ${result.threshold.toFixed(2)} apart count as one person. A smaller threshold is stricter.`],
    ["Similarity", result.cosine_similarity.toFixed(3), "The cosine between the two faces’ directions: 1 points the same way, and near 0 they have nothing in common."],
  ];
}

/** What the score says. */
export function score(result) {
  return `The score is ${result.verification_score.toFixed(3)}. It is 0.5 at the threshold and nears 1 the more alike the faces are; it orders pairs and is no probability.`;
}

/** The numbers of one face. */
export function faceNumbers(face, confidence, frontal) {
  const { yaw, pitch, roll } = face.pose;
  const [x1, y1, x2, y2] = face.box;
  const yawed = side(yaw, "to the right", "to the left");
  const pitched = side(pitch, "down", "up");
  const rolled = side(roll, "clockwise", "anticlockwise");
  return [
    ["Looks ahead", frontal ? "yes" : "no", frontal ? "The face looks into the camera, so it can be compared well." : "The face is turned away from the camera by more than about 25 degrees, which makes the comparison less sure."],
    ["Confidence", confidence.toFixed(4), `The detector is ${(confidence * 100).toFixed(2)} % sure that this is a face.`],
    ["Face", `${Math.round(x2 - x1)} × ${Math.round(y2 - y1)}`, "Width and height of the box around the face, in pixels. The network looks at 160 × 160, so a smaller face shows it less."],
    ["Yaw", degrees(yaw), yawed ? `The nose points ${yawed} of the photograph.` : "The head is turned neither left nor right."],
    ["Pitch", degrees(pitch), pitched ? `The nose points ${pitched}.` : "The head is tilted neither up nor down."],
    ["Roll", degrees(roll), rolled ? `The head leans ${rolled} in the photograph.` : "The head is upright."],
    ["Picture", `${face.image.width} × ${face.image.height}`, "Width and height of the upright photograph, in pixels."],
  ];
}

const STEP_WORDS = {
  decode: "reading the file into pixels",
  detect: "searching the photograph for faces",
  crop: "cutting the face out",
  embed: "turning the face into 512 numbers",
  cache: "finding what was seen in it before",
};

/** How long it took and which code decided. */
export function workings(result) {
  const milliseconds = (value) => `${value < 10 ? value.toFixed(1) : Math.round(value)} ms`;
  const { total, score: scoring } = result.timings_ms;
  const steps = [1, 2].flatMap((which) => Object.entries(result.timings_ms[`image${which}`]).map(([step, value]) => [
    `${step} ${which}`, milliseconds(value), `The time that ${STEP_WORDS[step] ?? `the step “${step}”`} took for the ${which === 1 ? "first" : "second"} photograph.`,
  ]));
  const components = Object.entries(result.components).map(([slot, { digest, generation }]) => [
    slot, `no. ${generation}`, `The ${slot} that worked was deployed on this node as number ${generation}; the SHA-256 of its code begins with ${digest.slice(0, 12)}.`,
  ]);
  return [
    ["total", milliseconds(total), "From the two photographs to the verdict, without the time that the task waited."],
    ...steps,
    ["score", milliseconds(scoring), "The time that the decision took, once both faces were measured."],
    ...components,
  ];
}
