use steadfast::{Rejected, resilient};

#[derive(Debug)]
struct MyErr;

impl From<Rejected> for MyErr {
    fn from(_: Rejected) -> Self {
        MyErr
    }
}

#[resilient(pipeline = "payments")]
async fn f() -> Result<u8, MyErr> {
    Ok(1)
}

mod policies {
    pub static REGISTRY: std::sync::LazyLock<steadfast::Registry> =
        std::sync::LazyLock::new(|| steadfast::RegistryConfig::new().build().unwrap());
}

fn main() {
    let _ = policies::REGISTRY.names();
}
