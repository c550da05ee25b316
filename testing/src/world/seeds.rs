//! How many runs a test by seed makes.

/// What the environment variable `name` says, or `usual`.
#[must_use]
pub fn seeds(name: &str, usual: u64) -> u64 {
    std::env::var(name).ok().and_then(|seeds| seeds.parse().ok()).unwrap_or(usual)
}
