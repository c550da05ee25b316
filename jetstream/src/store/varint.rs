//! Variable-length integers as Go's `encoding/binary` writes them, which nats-server uses in all of its state files.

/// Appends an unsigned integer: seven bits a byte, lowest first, the high bit set on all but the last byte.
pub(crate) fn put_uvarint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// As [`put_uvarint`], over what stands in `bytes`.
pub(crate) fn put_uvarint_over(bytes: &mut [u8], mut value: u64) {
    for byte in bytes {
        if value < 0x80 {
            *byte = value.to_le_bytes()[0];
            return;
        }
        *byte = value.to_le_bytes()[0] | 0x80;
        value >>= 7;
    }
}

/// How many bytes [`put_uvarint`] appends.
#[inline]
pub(crate) fn uvarint_len(value: u64) -> usize {
    (64 - value.leading_zeros()).max(1).div_ceil(7) as usize
}

/// Takes an integer off the front of what this process wrote itself; what comes from a disk is read by [`Fields`].
#[inline]
pub(crate) fn take_uvarint(bytes: &mut &[u8]) -> Option<u64> {
    if let Some((byte, rest)) = bytes.split_first()
        && *byte < 0x80
    {
        *bytes = rest;
        return Some(u64::from(*byte));
    }
    take_long_uvarint(bytes)
}

fn take_long_uvarint(bytes: &mut &[u8]) -> Option<u64> {
    let (mut value, mut shift) = (0_u64, 0);
    loop {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        value |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(value);
        }
        shift += 7;
    }
}

/// Appends a signed integer in zigzag form.
pub(crate) fn put_varint(out: &mut Vec<u8>, value: i64) {
    put_uvarint(out, (value.cast_unsigned() << 1) ^ (value >> 63).cast_unsigned());
}

/// Reads fields one after the other; every read past the end or of a malformed number is `None`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Fields<'a> {
    rest: &'a [u8],
}

impl<'a> Fields<'a> {
    pub(crate) const fn new(bytes: &'a [u8]) -> Self {
        Self { rest: bytes }
    }

    /// What has not been read.
    pub(crate) const fn rest(&self) -> &'a [u8] {
        self.rest
    }

    pub(crate) fn bytes(&mut self, len: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(taken)
    }

    pub(crate) fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.bytes(N)?.try_into().ok()
    }

    pub(crate) fn byte(&mut self) -> Option<u8> {
        self.array::<1>().map(|[byte]| byte)
    }

    pub(crate) fn u32_le(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    pub(crate) fn u64_le(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }

    pub(crate) fn uvarint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = self.byte()?;
            let bits = u64::from(byte & 0x7f);
            if shift == 63 && bits > 1 {
                return None;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }

    pub(crate) fn varint(&mut self) -> Option<i64> {
        let zigzag = self.uvarint()?;
        Some((zigzag >> 1).cast_signed() ^ -((zigzag & 1).cast_signed()))
    }

    /// A count of things that take at least one byte each, so that a damaged count cannot ask for more room than
    /// the input has bytes.
    pub(crate) fn count(&mut self) -> Option<usize> {
        let count = usize::try_from(self.uvarint()?).ok()?;
        (count <= self.rest.len()).then_some(count)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_come_back_as_they_were_written() {
        for value in [0, 1, 127, 128, 300, 1 << 32, u64::MAX - 1, u64::MAX] {
            let mut out = Vec::new();
            put_uvarint(&mut out, value);
            put_varint(&mut out, value.cast_signed());
            let mut fields = Fields::new(&out);
            assert_eq!(fields.uvarint(), Some(value));
            assert_eq!(fields.varint(), Some(value.cast_signed()));
            assert_eq!(fields.uvarint(), None);
        }
    }

    #[test]
    fn an_overlong_integer_is_refused() {
        assert_eq!(Fields::new(&[0xff; 11]).uvarint(), None);
        assert_eq!(Fields::new(&[0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2]).uvarint(), None);
    }
}
