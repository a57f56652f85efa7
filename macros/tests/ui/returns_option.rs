use steadfast::resilient;

#[resilient(retry(3))]
async fn f() -> Option<u8> {
    Some(1)
}

fn main() {}
