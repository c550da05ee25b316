//! Third stop: what is stored is not always what came.

use crate::headers::with_header;
use crate::stream::Inner;
use crate::ttl::Ttl;
use memchr::memmem;

/// The block as it is stored: without a status, without the lines that the server adds on the way. `None` where it
/// is to be stored as it came.
pub(in crate::stream) fn stored_block(block: &[u8], drop_request_info: bool) -> Option<Vec<u8>> {
    const VERSION: &[u8] = b"NATS/1.0";
    let first_line = memmem::find(block, b"\r\n")?;
    let has_status = block.starts_with(VERSION) && first_line > VERSION.len();
    if !has_status && !drop_request_info {
        return None;
    }
    let mut kept = if has_status { VERSION.to_vec() } else { block.get(..first_line)?.to_vec() };
    kept.extend_from_slice(b"\r\n");
    let mut rest = block.get(first_line + 2..)?;
    let mut lines_kept = 0;
    while let Some(end) = memmem::find(rest, b"\r\n") {
        let (line, tail) = rest.split_at(end + 2);
        rest = tail;
        if line == b"\r\n" {
            break;
        }
        if !(drop_request_info && line.starts_with(b"Nats-Request-Info:")) {
            kept.extend_from_slice(line);
            lines_kept += 1;
        }
    }
    if lines_kept == 0 {
        return Some(Vec::new());
    }
    kept.extend_from_slice(b"\r\n");
    Some(kept)
}

impl Inner {
    /// A TTL shorter than that of subject delete markers is raised to it, so that a marker cannot go before what it
    /// marks; not where there is no history.
    pub(in crate::stream) fn lengthen_ttl(&self, ttl: Ttl, block: &[u8]) -> (Ttl, Option<Vec<u8>>) {
        let least_secs = self.config.subject_delete_marker_ttl_ns / 1_000_000_000;
        match ttl {
            Ttl::Secs(secs) if secs < least_secs && self.config.max_msgs_per_subject != 1 => {
                (Ttl::Secs(least_secs), Some(with_header(block, "Nats-TTL", &least_secs.to_string())))
            }
            _ => (ttl, None),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_and_request_info_are_not_stored() {
        assert_eq!(stored_block(b"NATS/1.0 503\r\n\r\n", false), Some(Vec::new()));
        assert_eq!(stored_block(b"NATS/1.0\r\nA: b\r\n\r\n", false), None);
        assert_eq!(
            stored_block(b"NATS/1.0 100 x\r\nNats-Request-Info: {}\r\nA: b\r\n\r\n", true).unwrap(),
            b"NATS/1.0\r\nA: b\r\n\r\n"
        );
    }
}
