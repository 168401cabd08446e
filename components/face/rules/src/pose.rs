//! Where a head points, from five landmarks, and whether it looks into the camera.
//!
//! Owns the estimate and the frontal rule. Must never know how the landmarks were found, nor what is done with a face
//! that is turned away.
//!
//! The face is first turned upright by its roll. Two measures remain, both free of the size of the face: how far the
//! nose lies beside the line from the middle of the eyes to the middle of the mouth, in eye distances, and how far down
//! that line it lies, as a part of the way from eyes to mouth. A nose stands out from the plane of the face by about half
//! the eye distance, and by about half the way from eyes to mouth, so the arc tangent of each over one half is an angle.

use libm::{atan2f, cosf, sinf};

use crate::geometry::{Landmarks, Point};

/// Where a head points, in degrees. All zero looks straight into the camera.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Pose {
    /// Positive when the nose points to the right of the photograph.
    pub yaw: f32,
    /// Positive when the nose points down.
    pub pitch: f32,
    /// Positive when the head is turned clockwise in the photograph.
    pub roll: f32,
}

/// How far a nose stands out from the plane of the face, in eye distances and in eye-to-mouth heights.
const NOSE_DEPTH: f32 = 0.5;
/// Where the nose lies between the eyes (0) and the mouth (1) of a head held level: the middle of the frontal range.
const LEVEL_NOSE: f32 = 0.54;

/// Frontal: the nose at most this many eye distances beside the middle line, about 25 degrees of yaw.
const MAX_SIDEWAYS: f32 = 0.23;
/// Frontal: at most this much roll either way, degrees.
const MAX_ROLL: f32 = 25.0;
/// Frontal: where the nose may lie between the eyes (0) and the mouth (1), about 26 degrees of pitch either way.
const NOSE_RANGE: core::ops::RangeInclusive<f32> = 0.30..=0.78;

/// Estimates the pose. A face without extent (all landmarks on one point, as a profile's eyes may be) yields an angle of
/// 0 or 90 degrees where its measure is undefined, never a number that is not finite, as long as the landmarks are finite.
pub fn estimate(landmarks: &Landmarks) -> Pose {
    let upright = Upright::new(landmarks);
    Pose {
        yaw: atan2f(upright.nose_sideways, NOSE_DEPTH * upright.eye_distance).to_degrees(),
        pitch: atan2f(upright.nose_down - LEVEL_NOSE * upright.mouth_down, NOSE_DEPTH * upright.mouth_down)
            .to_degrees(),
        roll: upright.roll.to_degrees(),
    }
}

/// Whether the face looks into the camera. Landmarks that are not finite, or without extent, do not.
pub fn is_frontal(landmarks: &Landmarks) -> bool {
    let upright = Upright::new(landmarks);
    landmarks.is_finite()
        && upright.eye_distance > 0.0
        && upright.mouth_down > 0.0
        && (upright.nose_sideways / upright.eye_distance).abs() <= MAX_SIDEWAYS
        && upright.roll.to_degrees().abs() <= MAX_ROLL
        && NOSE_RANGE.contains(&(upright.nose_down / upright.mouth_down))
}

/// The measures of a face after it was turned upright around the middle of its eyes. Pixels and radians.
struct Upright {
    roll: f32,
    eye_distance: f32,
    /// How far the middle of the mouth lies under the line of the eyes.
    mouth_down: f32,
    /// How far the nose lies under the line of the eyes.
    nose_down: f32,
    /// How far the nose lies to the right of the line from the middle of the eyes to the middle of the mouth.
    nose_sideways: f32,
}

impl Upright {
    fn new(landmarks: &Landmarks) -> Self {
        let across = (landmarks.right_eye.x - landmarks.left_eye.x, landmarks.right_eye.y - landmarks.left_eye.y);
        let roll = atan2f(across.1, across.0);
        let (sine, cosine) = (sinf(roll), cosf(roll));
        let origin = landmarks.left_eye.middle(landmarks.right_eye);
        let turn = |point: Point| {
            let (x, y) = (point.x - origin.x, point.y - origin.y);
            Point::new(x * cosine + y * sine, y * cosine - x * sine)
        };
        let nose = turn(landmarks.nose);
        let mouth = turn(landmarks.left_mouth.middle(landmarks.right_mouth));
        // The middle line leans with the mouth; at the height of the nose it has gone this part of the way.
        let part = if mouth.y == 0.0 { 0.0 } else { nose.y / mouth.y };
        Self {
            roll,
            eye_distance: across.0 * cosine + across.1 * sine,
            mouth_down: mouth.y,
            nose_down: nose.y,
            nose_sideways: nose.x - mouth.x * part,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A face with eyes 100 px apart and the mouth 100 px under them; the nose `sideways` and `down` from between the eyes.
    fn face(sideways: f32, down: f32) -> Landmarks {
        Landmarks {
            left_eye: Point::new(100.0, 100.0),
            right_eye: Point::new(200.0, 100.0),
            nose: Point::new(150.0 + sideways, 100.0 + down),
            left_mouth: Point::new(110.0, 200.0),
            right_mouth: Point::new(190.0, 200.0),
        }
    }

    fn turned(landmarks: Landmarks, degrees: f32) -> Landmarks {
        let (sine, cosine) = (sinf(degrees.to_radians()), cosf(degrees.to_radians()));
        Landmarks::from_array(
            landmarks.to_array().map(|p| Point::new(p.x * cosine - p.y * sine, p.x * sine + p.y * cosine)),
        )
    }

    #[test]
    fn a_level_face_has_no_angles() {
        let pose = estimate(&face(0.0, 54.0));
        for angle in [pose.yaw, pose.pitch, pose.roll] {
            assert!(angle.abs() < 1e-3, "{pose:?}");
        }
        assert!(is_frontal(&face(0.0, 54.0)));
    }

    #[test]
    fn signs_follow_the_nose() {
        assert!(estimate(&face(20.0, 54.0)).yaw > 20.0);
        assert!(estimate(&face(-20.0, 54.0)).yaw < -20.0);
        assert!(estimate(&face(0.0, 70.0)).pitch > 15.0, "down");
        assert!(estimate(&face(0.0, 40.0)).pitch < -15.0, "up");
    }

    #[test]
    fn a_nose_half_an_eye_distance_aside_is_45_degrees() {
        assert!((estimate(&face(50.0, 54.0)).yaw - 45.0).abs() < 1e-3);
    }

    #[test]
    fn roll_is_clockwise_and_leaves_the_other_angles() {
        let straight = estimate(&face(10.0, 60.0));
        let rolled = estimate(&turned(face(10.0, 60.0), 20.0));
        assert!((rolled.roll - 20.0).abs() < 1e-3, "{rolled:?}");
        assert!((rolled.yaw - straight.yaw).abs() < 1e-2 && (rolled.pitch - straight.pitch).abs() < 1e-2);
    }

    #[test]
    fn each_bound_of_the_frontal_rule_bites() {
        assert!(is_frontal(&face(22.9, 54.0)) && !is_frontal(&face(23.1, 54.0)));
        assert!(is_frontal(&face(-22.9, 54.0)) && !is_frontal(&face(-23.1, 54.0)));
        assert!(is_frontal(&face(0.0, 30.1)) && !is_frontal(&face(0.0, 29.9)));
        assert!(is_frontal(&face(0.0, 77.9)) && !is_frontal(&face(0.0, 78.1)));
        assert!(is_frontal(&turned(face(0.0, 54.0), 24.9)) && !is_frontal(&turned(face(0.0, 54.0), 25.1)));
        assert!(is_frontal(&turned(face(0.0, 54.0), -24.9)) && !is_frontal(&turned(face(0.0, 54.0), -25.1)));
    }

    #[test]
    fn faces_without_extent_are_not_frontal_and_have_finite_angles() {
        let nowhere = Landmarks::default();
        let mut profile = face(30.0, 54.0);
        profile.right_eye = profile.left_eye;
        let mut flat = face(0.0, 0.0);
        flat.left_mouth.y = 100.0;
        flat.right_mouth.y = 100.0;
        for landmarks in [nowhere, profile, flat] {
            let pose = estimate(&landmarks);
            assert!([pose.yaw, pose.pitch, pose.roll].iter().all(|angle| angle.is_finite()), "{pose:?}");
            assert!(!is_frontal(&landmarks));
        }
    }

    #[test]
    fn upside_down_and_not_finite_are_not_frontal() {
        assert!(!is_frontal(&turned(face(0.0, 54.0), 180.0)));
        let mut broken = face(0.0, 54.0);
        broken.left_mouth.x = f32::NAN;
        assert!(!is_frontal(&broken));
    }
}
