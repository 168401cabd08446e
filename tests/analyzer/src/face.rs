//! The face that analyzers of tests find.
//!
//! Owns where it lies and looks. Must never know which analyzer finds it, or what its embedding says.

use crate::bindings::visavis::face::types::{BoundingBox, Face, Landmarks, Point, Pose};

/// A face that looks into the camera.
pub(crate) fn face(embedding: Vec<f32>) -> Face {
    let point = |x, y| Point { x, y };
    Face {
        box_: BoundingBox { x1: 16.0, y1: 16.0, x2: 96.0, y2: 112.0 },
        confidence: 0.99,
        landmarks: Landmarks {
            left_eye: point(38.0, 52.0),
            right_eye: point(74.0, 52.0),
            nose: point(56.0, 72.0),
            left_mouth: point(42.0, 90.0),
            right_mouth: point(70.0, 90.0),
        },
        pose: Pose { yaw: 0.0, pitch: 0.0, roll: 0.0 },
        embedding,
    }
}
