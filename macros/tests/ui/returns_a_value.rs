use steadfast::resilient;

#[resilient(retry(3))]
async fn f() -> u8 {
    1
}

#[resilient(retry(3))]
async fn g() -> Vec<u8> {
    vec![]
}

#[resilient(retry(3))]
fn h() -> impl Future<Output = &'static str> {
    async { "h" }
}

fn main() {}
