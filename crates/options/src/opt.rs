//! The typed constant that carries a declaration.

use std::marker::PhantomData;

use crate::choice::same_names;
use crate::decl::OptionDecl;
use crate::read::OptionValue;

/// A declared option together with the type its values are read as.
///
/// Constants of this type are named like the option, in upper case: `BLOCKSIZE`, `NO_ENCRYPTION`.
#[derive(Debug)]
pub struct Opt<T> {
    /// The declaration.
    pub decl: &'static OptionDecl,
    value: PhantomData<fn() -> T>,
}

impl<T> Clone for Opt<T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for Opt<T> {}

impl<T: OptionValue> Opt<T> {
    /// Ties a declaration to its type.
    ///
    /// # Panics
    /// When `T` is not the type of the declared kind, or is a [`Choice`](crate::Choice) between other words than the
    /// declared ones. In a constant that is an error of compilation.
    pub const fn new(decl: &'static OptionDecl) -> Self {
        assert!(
            T::KINDS & decl.kind.bit() != 0,
            "the type does not belong to the declared kind"
        );
        if let Some(names) = T::NAMES {
            assert!(
                same_names(names, decl.kind.choices()),
                "the words of the type are not the declared ones"
            );
        }
        Opt {
            decl,
            value: PhantomData,
        }
    }
}
