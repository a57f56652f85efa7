use steadfast::{Rejected, resilient};

#[derive(Debug)]
struct MyErr;

impl From<Rejected> for MyErr {
    fn from(_: Rejected) -> Self {
        MyErr
    }
}

#[derive(Clone)]
struct Id(u8);

#[resilient(retry(3), key = id)]
async fn f(id: Id) -> Result<u8, MyErr> {
    Ok(id.0)
}

fn main() {}
