use steadfast::resilient;

#[resilient(retry(3))]
struct S;

#[resilient(retry(3))]
impl S {}

fn main() {}
