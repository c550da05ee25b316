//! Stream configuration.

/// Configuration of a stream.
#[derive(Debug, Clone, Default)]
pub struct StreamConfig {
    /// Name.
    pub name: String,
}
