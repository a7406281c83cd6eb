//! Work on files that blocks for a moment only.

/// Runs work on the agent's own files, which others cannot block, off the threads of the asynchronous runtime. Paths
/// that pods name are handled in bulkheads ([`super::files`]).
pub(super) async fn off_thread<T: Send + 'static>(
    work: impl FnOnce() -> std::io::Result<T> + Send + 'static,
) -> std::io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) => Err(std::io::Error::other(error)),
    }
}
