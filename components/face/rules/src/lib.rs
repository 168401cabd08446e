//! What is decided about faces once they have been found: where a head points, which face is meant, and whether two
//! faces are one person.
//!
//! Owns the rules and their numbers, as pure functions over a few plain values. Must never know pixels, networks, a
//! component's interface, or the standard library: a scorer built on it imports nothing.
//!
//! # Layout
//!
//! - [`geometry`]: points, boxes and the five landmarks.
//! - [`pose`]: yaw, pitch and roll from the landmarks, and the frontal rule.
//! - [`prominence`]: which face is meant, and how many count.
//! - [`score`]: distances, the logistic score and the decision.
#![no_std]

#[cfg(test)]
extern crate std;

pub mod geometry;
pub mod pose;
pub mod prominence;
pub mod score;
