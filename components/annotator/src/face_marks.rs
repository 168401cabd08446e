//! What is drawn on a photograph for one face: its box, five points, where it looks, and words beside it.
//!
//! Owns the marks and their colours. Must never know where on the picture the photograph lies, nor who decided.

use crate::canvas::{Area, Canvas, Color, Position};
use crate::text::{self, Style};

/// A face that looks into the camera.
pub(crate) const FRONTAL: Color = Color(46, 204, 113);
/// A face that does not.
pub(crate) const TURNED: Color = Color(255, 176, 32);
const POINT: Color = Color(255, 255, 255);
const GAZE: Color = Color(64, 156, 255);
const ACROSS: Color = Color(235, 87, 87);
const DOWN: Color = Color(130, 220, 130);
/// Around bright marks, so that they show on bright skin, too.
const SHADE: Color = Color(16, 20, 24);

/// Faces narrower than this, in pixels of the picture, get no words about their pose.
const WORDY: f32 = 110.0;

/// One face, in pixels of the picture.
#[derive(Clone, Debug)]
pub(crate) struct FaceMarks {
    /// Left, top, right, bottom.
    pub(crate) corners: [f32; 4],
    /// Left eye, right eye, nose, left and right corner of the mouth.
    pub(crate) landmarks: [Position; 5],
    /// Degrees, positive to the right, down, and clockwise.
    pub(crate) pose: Pose,
    /// The detector's probability that this is a face.
    pub(crate) confidence: f32,
    /// Whether it looks into the camera.
    pub(crate) frontal: bool,
    /// Whether it is the one that was compared; the others are drawn thinner.
    pub(crate) meant: bool,
}

/// Where a head points, in degrees.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Pose {
    pub(crate) yaw: f32,
    pub(crate) pitch: f32,
    pub(crate) roll: f32,
}

impl Pose {
    /// The directions of the head's right, down and forward, as seen: pixels for one pixel of length.
    fn axes(self) -> [Position; 3] {
        let [(sin_yaw, cos_yaw), (sin_pitch, cos_pitch), (sin_roll, cos_roll)] =
            [self.yaw, self.pitch, self.roll].map(|degrees| degrees.to_radians().sin_cos());
        // Turned about the vertical axis after the horizontal one, and drawn without perspective; then rolled as a
        // whole.
        [(cos_yaw, 0.0), (-sin_yaw * sin_pitch, cos_pitch), (sin_yaw * cos_pitch, sin_pitch)]
            .map(|(x, y)| (x * cos_roll - y * sin_roll, x * sin_roll + y * cos_roll))
    }
}

impl FaceMarks {
    fn color(&self) -> Color {
        if self.frontal { FRONTAL } else { TURNED }
    }

    /// The same face, so many pixels further right and down.
    pub(crate) fn moved(&self, right: f32, down: f32) -> Self {
        let [x1, y1, x2, y2] = self.corners;
        let corners = [x1 + right, y1 + down, x2 + right, y2 + down];
        Self { corners, landmarks: self.landmarks.map(|(x, y)| (x + right, y + down)), ..*self }
    }

    /// Draws box, points and gaze.
    pub(crate) fn draw(&self, canvas: &mut Canvas) {
        let width = if self.meant { 3.0 } else { 1.5 };
        canvas.frame(self.corners, width + 2.0, SHADE);
        canvas.frame(self.corners, width, self.color());
        let radius = (0.03 * self.width()).clamp(1.25, 4.0);
        for point in self.landmarks {
            canvas.disc(point, radius + 1.25, SHADE);
            canvas.disc(point, radius, POINT);
        }
        self.draw_gaze(canvas);
    }

    fn width(&self) -> f32 {
        self.corners[2] - self.corners[0]
    }

    /// The head's own axes at the nose: red to its side, green down its face, and an arrow to where it looks.
    fn draw_gaze(&self, canvas: &mut Canvas) {
        let nose = self.landmarks[2];
        let axes = self.pose.axes();
        let tip = |axis: Position, length: f32| (nose.0 + length * axis.0, nose.1 + length * axis.1);
        for (axis, color) in axes.into_iter().zip([ACROSS, DOWN]) {
            canvas.line(nose, tip(axis, 0.25 * self.width()), 2.0, color);
        }
        let gaze = tip(axes[2], self.width());
        arrow(canvas, nose, gaze, 6.0, SHADE);
        arrow(canvas, nose, gaze, 3.5, GAZE);
    }

    /// Writes the confidence above the box and the pose below it, within `area`.
    pub(crate) fn label(&self, canvas: &mut Canvas, area: Area) {
        let [left, top, _, bottom] = self.corners;
        let word = if self.frontal { "frontal" } else { "turned" };
        let height = Style::Name.height() as f32;
        tag(canvas, &format!("{:.4} {word}", self.confidence), left, top - height - 4.0, area, self.color());
        if self.meant && self.width() >= WORDY {
            // Adding 0 leaves every number but -0, which would be written with its sign.
            let [yaw, pitch, roll] = [self.pose.yaw, self.pose.pitch, self.pose.roll].map(|angle| angle.round() + 0.0);
            let words = format!("yaw {yaw:+} pitch {pitch:+} roll {roll:+}");
            tag(canvas, &words, left, bottom + 4.0, area, self.color());
        }
    }
}

/// A line with two barbs; no more than a dot when it points at who looks at the picture.
fn arrow(canvas: &mut Canvas, from: Position, to: Position, width: f32, color: Color) {
    canvas.line(from, to, width, color);
    let (x, y) = (to.0 - from.0, to.1 - from.1);
    let barb = (0.3 * x.hypot(y)).min(14.0);
    let angle = y.atan2(x);
    for turn in [2.6_f32, -2.6] {
        let (sin, cos) = (angle + turn).sin_cos();
        canvas.line(to, (to.0 + barb * cos, to.1 + barb * sin), width, color);
    }
}

/// Dark words on a plate, moved so that they lie within `area`.
fn tag(canvas: &mut Canvas, words: &str, left: f32, top: f32, area: Area, color: Color) {
    let words = Style::Name.fitted(words, (area.right - area.left).saturating_sub(8));
    let (width, height) = (Style::Name.width(&words) + 8, Style::Name.height() + 2);
    let moved = |wanted: f32, from: usize, to: usize, size: usize| {
        (wanted.max(from as f32) as usize).min(to.saturating_sub(size)).max(from)
    };
    let left = moved(left - 1.5, area.left, area.right, width);
    let top = moved(top, area.top, area.bottom, height);
    canvas.fill(Area { left, top, right: left + width, bottom: top + height }, color);
    text::write(canvas, &words, left + 4, top + 1, Style::Name, SHADE);
}

#[cfg(test)]
mod tests {
    use super::*;

    const NONE: Pose = Pose { yaw: 0.0, pitch: 0.0, roll: 0.0 };

    fn assert_near(axes: [Position; 3], expected: [Position; 3]) {
        for (axis, expected) in axes.into_iter().zip(expected) {
            assert!((axis.0 - expected.0).hypot(axis.1 - expected.1) < 1e-5, "{axes:?}");
        }
    }

    #[test]
    fn axes_follow_the_signs_of_the_contract() {
        assert_near(NONE.axes(), [(1.0, 0.0), (0.0, 1.0), (0.0, 0.0)]);
        let half = 0.5_f32.sqrt();
        // The nose points right, down; a clockwise roll turns what was right downwards.
        assert_near(Pose { yaw: 45.0, ..NONE }.axes(), [(half, 0.0), (0.0, 1.0), (half, 0.0)]);
        assert_near(Pose { pitch: 45.0, ..NONE }.axes(), [(1.0, 0.0), (0.0, half), (0.0, half)]);
        assert_near(Pose { roll: 90.0, ..NONE }.axes(), [(0.0, 1.0), (-1.0, 0.0), (0.0, 0.0)]);
        assert_near(Pose { yaw: 90.0, roll: 90.0, ..NONE }.axes(), [(0.0, 0.0), (-1.0, 0.0), (0.0, 1.0)]);
    }

    #[test]
    fn the_colour_of_the_box_tells_whether_the_face_looks_here() {
        for (frontal, color) in [(true, FRONTAL), (false, TURNED)] {
            let mut canvas = Canvas::new(300, 300, Color(0, 0, 0));
            let landmarks = [(120.0, 120.0), (180.0, 120.0), (150.0, 150.0), (125.0, 180.0), (175.0, 180.0)];
            let corners = [80.0, 80.0, 220.0, 220.0];
            let marks = FaceMarks { corners, landmarks, pose: NONE, confidence: 0.99, frontal, meant: true };
            marks.draw(&mut canvas);
            let pixel = |x: usize, y: usize| {
                let at = (y * 300 + x) * 3;
                Color(canvas.pixels()[at], canvas.pixels()[at + 1], canvas.pixels()[at + 2])
            };
            assert_eq!([pixel(80, 150), pixel(219, 150), pixel(150, 80), pixel(150, 219)], [color; 4]);
            assert_eq!([pixel(120, 120), pixel(175, 180)], [POINT; 2]);
        }
    }

    #[test]
    fn words_stay_within_the_photograph() {
        let area = Area { left: 50, top: 40, right: 250, bottom: 240 };
        let far = f32::INFINITY;
        for corners in [[-1e9, -1e9, 1e9, 1e9], [far, far, far, far], [f32::NAN; 4], [240.0, 230.0, 400.0, 300.0]] {
            let mut canvas = Canvas::new(300, 300, Color(0, 0, 0));
            let marks = FaceMarks {
                corners,
                landmarks: [(far, f32::NAN); 5],
                pose: Pose { yaw: f32::NAN, pitch: far, roll: 0.0 },
                confidence: f32::NAN,
                frontal: true,
                meant: true,
            };
            marks.label(&mut canvas, area);
            let inked = canvas.pixels().chunks_exact(3).enumerate().filter(|(_, pixel)| pixel.iter().any(|s| *s > 0));
            let mut inked = inked.map(|(at, _)| (at % 300, at / 300)).peekable();
            assert!(inked.peek().is_some(), "{corners:?}");
            assert!(inked.all(|(x, y)| (50..250).contains(&x) && (40..240).contains(&y)), "{corners:?}");
        }
    }
}
