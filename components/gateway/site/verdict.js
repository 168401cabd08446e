// Shows a result: the verdict, the gauge, and the numbers behind them. Owns their looks; must never know how a result came.

import { element, shape } from "./elements.js";
import { explained, table } from "./explain.js";
import { faceNumbers, numbers, score, workings } from "./words.js";

/** Fills the section with the verdict; answers its heading. */
export function showVerdict(section, result) {
  const same = result.verified;
  const heading = element("h2", { id: "verdict-title", tabindex: "-1" }, same ? "The same person" : "Two different people");
  section.className = `verdict ${same ? "same" : "different"}`;
  section.replaceChildren(
    element("div", { class: "gauge" },
      gauge(result.verification_score, same),
      element("div", { class: "reading" }, explained(result.verification_score.toFixed(3), score(result), "value reading-value"), element("span", { class: "unit" }, "score"))),
    heading,
    element("p", {}, sentence(result)),
    table(numbers(result), "numbers row"));
  return heading;
}

/** The verdict in a sentence. */
export function sentence(result) {
  const [distance, threshold] = [result.euclidean_distance.toFixed(3), result.threshold.toFixed(2)];
  return result.verified
    ? `The faces are ${distance} apart, within the threshold of ${threshold}.`
    : `The faces are ${distance} apart, beyond the threshold of ${threshold}.`;
}

/** Half a circle from 0 to 1, with the threshold at its top. */
function gauge(value, same) {
  const [cx, cy, radius] = [110, 108, 88];
  const at = (part, r = radius) => {
    const angle = Math.PI * (1 - part);
    return [cx + r * Math.cos(angle), cy - r * Math.sin(angle)];
  };
  const arc = (className, from, to) => {
    const [[x1, y1], [x2, y2]] = [at(from), at(to)];
    return shape("path", { class: className, d: `M${x1.toFixed(2)} ${y1.toFixed(2)}A${radius} ${radius} 0 0 1 ${x2.toFixed(2)} ${y2.toFixed(2)}` });
  };
  const shown = Math.min(Math.max(value, 0), 1);
  const [[kx, ky], [tx1, ty1], [tx2, ty2]] = [at(shown), at(0.5, radius - 12), at(0.5, radius + 10)];
  const label = `Score ${value.toFixed(3)} on a scale from 0 to 1; the threshold is at 0.5, so this is ${same ? "at or above" : "below"} it.`;
  return shape("svg", { viewBox: "0 -8 220 144", role: "img", "aria-label": label },
    arc("track", 0, 1),
    shown > 0.005 && arc("filled", 0, shown),
    shape("line", { class: "mark", x1: tx1, y1: ty1, x2: tx2, y2: ty2 }),
    shape("text", { class: "scale", x: cx, y: 4, "text-anchor": "middle" }, "threshold"),
    shape("text", { class: "scale", x: at(0)[0], y: 134, "text-anchor": "middle" }, "0"),
    shape("text", { class: "scale", x: at(1)[0], y: 134, "text-anchor": "middle" }, "1"),
    shape("circle", { class: "knob", cx: kx, cy: ky, r: 8 }));
}

/** Fills the section below with the numbers of both faces and of the work. */
export function showDetails(section, result) {
  const frontal = [result.face1_frontal, result.face2_frontal];
  const confidences = [result.confidence1, result.confidence2];
  section.replaceChildren(
    ...["First face", "Second face"].map((title, index) => element("section", { class: "face" },
      element("h2", {}, title),
      table(faceNumbers(result.faces[index], confidences[index], frontal[index])))),
    element("details", { class: "workings" },
      element("summary", {}, "How it was found"),
      table(workings(result), "numbers many")));
}

/** What the marks on a photograph show, for those who do not see them. */
export function markLabel(face, which) {
  const [x1, y1, x2, y2] = face.box.map(Math.round);
  const { yaw, pitch, roll } = face.pose;
  return `The face in the ${which} photograph: a box from ${x1}, ${y1} to ${x2}, ${y2}, five points on eyes, nose and mouth, and an arrow for yaw ${yaw}, pitch ${pitch} and roll ${roll} degrees.`;
}
