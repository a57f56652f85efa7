use steadfast::{Rejected, resilient};

#[derive(Debug)]
struct MyErr;

impl From<Rejected> for MyErr {
    fn from(_: Rejected) -> Self {
        MyErr
    }
}

struct Body;

#[resilient(retry(3))]
async fn f(url: String, body: Body) -> Result<String, MyErr> {
    let _ = body;
    Ok(url)
}

struct S;

#[resilient(retry(3))]
async fn nested(bodies: Vec<Option<Body>>) -> Result<usize, MyErr> {
    Ok(bodies.len())
}

#[resilient(retry(3))]
async fn h(text: impl Into<String>) -> Result<String, MyErr> {
    Ok(text.into())
}

impl S {
    #[resilient(retry(3))]
    async fn g<T>(self, value: T) -> Result<T, MyErr> {
        Ok(value)
    }
}

fn main() {}
