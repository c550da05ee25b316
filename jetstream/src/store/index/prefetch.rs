//! Memory that is going to be looked at, on its way before it is asked for.

/// Has the processor fetch the beginning and the end of some bytes, which are about a line of its caches, without waiting.
///
/// A load would do as well, but nothing behind it is finished before it is, and a processor keeps only so much unfinished:
/// through a million keys whose cells lie far from each other, walks took twice as long with loads.
#[inline(always)]
pub(super) fn prefetch(bytes: &[u8]) {
    let (Some(first), Some(last)) = (bytes.first(), bytes.last()) else { return };
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        // SAFETY: a prefetch changes nothing that a program can see, whatever the address; these are of bytes that are
        // borrowed.
        #[allow(unsafe_code)]
        unsafe {
            _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(first).cast());
            _mm_prefetch::<_MM_HINT_T0>(std::ptr::from_ref(last).cast());
        }
    }
    #[cfg(not(target_arch = "x86_64"))]
    std::hint::black_box(*first ^ *last);
}
