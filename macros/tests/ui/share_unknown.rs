use steadfast::{Rejected, resilient};

#[derive(Debug)]
struct MyErr;

impl From<Rejected> for MyErr {
    fn from(_: Rejected) -> Self {
        MyErr
    }
}

struct Body;

#[resilient(retry(3), share(boddy))]
async fn f(body: Body) -> Result<u8, MyErr> {
    let _ = body;
    Ok(1)
}

fn main() {}
