//! The tests of the operator. They share one binary, which is linked faster than two.

mod controller;
mod tour;
