//! Vectors that can be handed out as they are at some moment, at no cost: what is changed afterwards is copied first.

use std::ops::Deref;
use std::sync::Arc;

/// A vector that is its owner's alone, until it is shared.
#[derive(Debug)]
pub(super) enum CowVec<T> {
    Own(Vec<T>),
    /// Others may hold it as it is.
    Shared(Arc<Vec<T>>),
}

impl<T> Default for CowVec<T> {
    fn default() -> Self {
        Self::Own(Vec::new())
    }
}

impl<T> From<Vec<T>> for CowVec<T> {
    fn from(own: Vec<T>) -> Self {
        Self::Own(own)
    }
}

impl<T> From<Arc<Vec<T>>> for CowVec<T> {
    fn from(shared: Arc<Vec<T>>) -> Self {
        Self::Shared(shared)
    }
}

impl<T> Deref for CowVec<T> {
    type Target = Vec<T>;

    #[inline]
    fn deref(&self) -> &Vec<T> {
        match self {
            Self::Own(own) => own,
            Self::Shared(shared) => shared,
        }
    }
}

impl<T: Clone> CowVec<T> {
    /// The vector, for a change that nobody sees whom it was shared with.
    #[inline]
    pub(super) fn to_mut(&mut self) -> &mut Vec<T> {
        if let Self::Shared(_) = self {
            self.take_back();
        }
        match self {
            Self::Own(own) => own,
            // It was just taken back.
            Self::Shared(shared) => Arc::make_mut(shared),
        }
    }

    #[cold]
    fn take_back(&mut self) {
        let Self::Shared(shared) = self else { return };
        let own = Arc::try_unwrap(std::mem::take(shared)).unwrap_or_else(|shared| {
            let mut copy = Vec::with_capacity(shared.capacity());
            copy.extend_from_slice(&shared);
            copy
        });
        *self = Self::Own(own);
    }

    /// The vector as it is now.
    pub(super) fn share(&mut self) -> Arc<Vec<T>> {
        let shared = match self {
            Self::Own(own) => Arc::new(std::mem::take(own)),
            Self::Shared(shared) => return Arc::clone(shared),
        };
        *self = Self::Shared(Arc::clone(&shared));
        shared
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_shared_stays_as_it_was_and_is_copied_only_while_somebody_holds_it() {
        let mut vec = CowVec::from(vec![1, 2, 3]);
        let at = vec.as_ptr();
        let then = vec.share();
        assert_eq!(vec.share().as_ptr(), at);
        vec.to_mut().push(4);
        assert_eq!((then.as_slice(), vec.as_slice()), (&[1, 2, 3][..], &[1, 2, 3, 4][..]));
        let at = vec.as_ptr();
        drop(vec.share());
        vec.to_mut().pop();
        assert_eq!(vec.as_ptr(), at, "nobody held it");
    }
}
