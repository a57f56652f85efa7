use steadfast::resilient;

#[resilient(retry(3))]
async fn f() {}

#[resilient(retry(3))]
async fn g() -> () {}

fn main() {}
