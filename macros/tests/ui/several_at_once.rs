use steadfast::{Rejected, resilient};

#[derive(Debug)]
struct MyErr;

impl From<Rejected> for MyErr {
    fn from(_: Rejected) -> Self {
        MyErr
    }
}

struct Body;

#[resilient(retires(3), attempt_timeout = 2, preset = htp)]
fn f(body: Body) -> Result<u8, MyErr> {
    let _ = body;
    Ok(1)
}

fn main() {}
