//! The form in which the groups write their constants.

/// Declares options of one group and collects them in `TABLE`.
///
/// `CONSTANT: type = "name", kind, "short help.", further fields…;` per option.
macro_rules! table {
    ($group:expr; $($constant:ident: $type:ty = $name:literal, $kind:expr, $help:literal
        $(, $field:ident: $value:expr)* $(,)?;)*) => {
        $(
            #[doc = concat!("`--", $name, "`: ", $help)]
            pub const $constant: $crate::Opt<$type> = $crate::Opt::new(&$crate::OptionDecl {
                name: $name,
                kind: $kind,
                group: $group,
                help: $help,
                $($field: $value,)*
                ..$crate::OptionDecl::BASE
            });
        )*

        /// The options of this group.
        pub(crate) const TABLE: &[&$crate::OptionDecl] = &[$($constant.decl),*];
    };
}
