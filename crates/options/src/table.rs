//! The form in which tables of options are written: each option stands once.

/// Declares options of one group as typed constants and collects them in a table.
///
/// `visibility TABLE = group;`, then `CONSTANT: type = "name", kind, "short help.", further fields…;` per option, and
/// at the end `.. decl, decl, …;` for declarations that stand elsewhere.
#[macro_export]
macro_rules! option_table {
    ($visibility:vis $table:ident = $group:expr; $($constant:ident: $type:ty = $name:literal, $kind:expr, $help:literal
        $(, $field:ident: $value:expr)* $(,)?;)* $(.. $($other:expr),+ $(,)?;)?) => {
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

        /// The options of this table.
        $visibility const $table: &[&$crate::OptionDecl] = &[$($constant.decl,)* $($($other,)+)?];
    };
}

/// A table of the engine.
macro_rules! table {
    ($group:expr; $($options:tt)*) => {
        $crate::option_table! { pub(crate) TABLE = $group; $($options)* }
    };
}
