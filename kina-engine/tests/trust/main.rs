//! Other users of the machine, and workspaces from somewhere: nothing that they put in kina's way is run.
//!
//! Another user is one that is neither root nor the caller. Only root can make files of such a user, so most of these tests
//! skip where they are not root.

#![cfg(feature = "cli")]

mod scene;
mod trust;
