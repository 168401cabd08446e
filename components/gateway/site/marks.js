// Draws a face on its photograph: the box, five points, and where the head points. Owns the geometry; must never know a verdict.

import { shape } from "./elements.js";

/** The directions of the head's right, down and forward as they are seen, for one pixel of length each. */
export function axes({ yaw, pitch, roll }) {
  const [y, p, r] = [yaw, pitch, roll].map((degrees) => (degrees * Math.PI) / 180);
  const turned = [
    [Math.cos(y), 0],
    [-Math.sin(y) * Math.sin(p), Math.cos(p)],
    [Math.sin(y) * Math.cos(p), Math.sin(p)],
  ];
  return turned.map(([a, b]) => [a * Math.cos(r) - b * Math.sin(r), a * Math.sin(r) + b * Math.cos(r)]);
}

/**
 * An SVG of the face in pixels of the upright photograph. It scales as an image with `object-fit: contain` does, so both lie on each
 * other. `pixel` is how many of the photograph's pixels one of the screen's holds.
 */
export function marks(face, pixel, label) {
  const { width, height } = face.image;
  const [x1, y1, x2, y2] = face.box;
  const side = x2 - x1;
  const [nx, ny] = face.landmarks[2];
  const [across, down, ahead] = axes(face.pose);
  const line = (className, [dx, dy], length) => shape("line", { class: className, x1: nx, y1: ny, x2: nx + dx * length, y2: ny + dy * length });
  const box = (className) => shape("rect", { class: className, x: x1, y: y1, width: side, height: y2 - y1, rx: side * 0.06 });
  const radius = Math.max(2.4 * pixel, side * 0.012);
  const gaze = 0.85 * side;
  const tip = [nx + ahead[0] * gaze, ny + ahead[1] * gaze];
  return shape("svg", { class: "marks", viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label },
    box("box shade"), box("box"),
    face.landmarks.map(([x, y]) => shape("circle", { class: "point", cx: x, cy: y, r: radius })),
    line("axis across", across, 0.22 * side), line("axis down", down, 0.22 * side),
    line("axis gaze shade", ahead, gaze), line("axis gaze", ahead, gaze),
    shape("circle", { class: "tip-of-gaze", cx: tip[0], cy: tip[1], r: radius * 1.5 }));
}
