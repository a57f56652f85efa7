use steadfast::resilient;

#[derive(Debug)]
struct MyErr;

#[resilient(retry(3))]
async fn f(url: String) -> Result<String, MyErr> {
    Ok(url)
}

#[resilient(timeout = 1s)]
async fn g() -> std::io::Result<()> {
    Ok(())
}

fn main() {}
