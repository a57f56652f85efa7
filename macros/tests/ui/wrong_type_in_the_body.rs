use steadfast::{Rejected, resilient};

#[derive(Debug)]
struct MyErr;

impl From<Rejected> for MyErr {
    fn from(_: Rejected) -> Self {
        MyErr
    }
}

#[resilient(retry(3))]
async fn f() -> Result<String, MyErr> {
    let text = "text";
    Ok(text)
}

#[resilient(timeout = 1s)]
async fn g(early: bool) -> Result<String, MyErr> {
    if early {
        return Ok(3);
    }
    Ok(String::new())
}

#[resilient(timeout = 1s)]
async fn h() -> Result<String, MyErr> {
    Ok(String::new());
}

#[resilient(retry(1))]
async fn i() -> Result<u32, MyErr> {
    Ok("7".parse::<u32>()?)
}

fn main() {}
