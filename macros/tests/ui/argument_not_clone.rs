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

impl S {
    #[resilient(retry(3))]
    async fn g<T>(self, value: T) -> Result<T, MyErr> {
        Ok(value)
    }
}

fn main() {}
