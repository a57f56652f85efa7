//! Simulates.
mod proto;
fn main() {
    proto::all()
}
