use steadfast::{Rejected, resilient};

#[derive(Debug)]
struct MyErr;

impl From<Rejected> for MyErr {
    fn from(_: Rejected) -> Self {
        MyErr
    }
}

#[resilient(pipeline = "payments", cached, key = id)]
async fn f(id: u8) -> Result<u8, MyErr> {
    Ok(id)
}

fn main() {}
