//! What the compiler says when the attribute is misused: one file for each mistake, with the message beside it.
//!
//! After a change of the messages: `TRYBUILD=overwrite cargo test -p steadfast-macros --test ui`, then read the difference.

#[test]
fn h130_h132_misuse_is_explained() {
    trybuild::TestCases::new().compile_fail("tests/ui/*.rs");
}
