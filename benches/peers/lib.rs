//! Empty: a package must have a library or a program, and these have only a test.
