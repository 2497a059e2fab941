//! Nothing: a package has to have a library or a program, and these have only a test.
