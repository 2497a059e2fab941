//! Clusters in virtual machines of Apple's `container`.
#![allow(dead_code)]

mod boot_queue;
mod call;
mod cli;
mod command;
mod error;
mod guest;
mod image;
mod json;
mod labels;
mod service;
mod settings;
mod version;

pub use error::{ContainerError, ContainerErrorKind};
