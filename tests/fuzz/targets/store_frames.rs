//! What a file, a Redis or a server behind HTTP hands back as an entry: an entry or none, never a panic, and never more memory than bytes.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|bytes: &[u8]| {
    steadfast::store::file::fuzz_record(bytes);
    steadfast::store::redis::fuzz_frame(bytes);
    steadfast::store::http::fuzz_wire(bytes);
});
