use steadfast::{Rejected, resilient};

#[derive(Debug)]
struct MyErr;

impl From<Rejected> for MyErr {
    fn from(_: Rejected) -> Self {
        MyErr
    }
}

#[resilient(retry(3), cached, key = id)]
async fn of_nothing(id: u8) -> Result<u8, MyErr> {
    Ok(id)
}

#[resilient(pipeline = PAYMENTS, cached, cache(ttl = 1m), key = id)]
async fn of_two(id: u8) -> Result<u8, MyErr> {
    Ok(id)
}

fn main() {}
