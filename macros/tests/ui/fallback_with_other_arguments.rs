use steadfast::{Error, Rejected, resilient};

#[derive(Debug)]
struct MyErr;

impl From<Rejected> for MyErr {
    fn from(_: Rejected) -> Self {
        MyErr
    }
}

#[resilient(retry(3), fallback = plan_b)]
async fn f(id: u8) -> Result<u8, MyErr> {
    Ok(id)
}

async fn plan_b(_: Error<MyErr>) -> Result<u8, MyErr> {
    Ok(0)
}

fn main() {}
