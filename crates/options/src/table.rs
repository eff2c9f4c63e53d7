//! The form in which tables of options are written: each option stands once.

use crate::decl::OptionDecl;

/// Declares options of one group as typed constants and collects them in a table.
///
/// `visibility TABLE = group;`, then `CONSTANT: type = "name", kind, "short help.", further fields…;` per option, and
/// at the end `.. TABLE, TABLE, …;` for the tables of options that stand elsewhere.
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
        $visibility const $table: &[&$crate::OptionDecl] = {
            const TABLES: &[&[&$crate::OptionDecl]] = &[&[$($constant.decl,)*] $($(, $other)+)?];
            &$crate::joined::<{ $crate::total(TABLES) }>(TABLES)
        };
    };
}

/// A table of the engine.
macro_rules! table {
    ($group:expr; $($options:tt)*) => {
        $crate::option_table! { pub(crate) TABLE = $group; $($options)* }
    };
}

/// How many options these tables hold together; for [`option_table!`].
#[must_use]
pub const fn total(mut tables: &[&[&OptionDecl]]) -> usize {
    let mut total = 0;
    while let Some((table, rest)) = tables.split_first() {
        total += table.len();
        tables = rest;
    }
    total
}

/// The options of these tables in one, in their order; for [`option_table!`].
///
/// # Panics
/// When they are not `N`. In a constant that is an error of compilation.
#[must_use]
pub const fn joined<const N: usize>(
    mut tables: &[&[&'static OptionDecl]],
) -> [&'static OptionDecl; N] {
    assert!(total(tables) == N, "N is the sum of all tables");
    let mut all = [&OptionDecl::BASE; N];
    let mut at = 0;
    while let Some((table, rest)) = tables.split_first() {
        let mut table = *table;
        while let Some((decl, more)) = table.split_first() {
            all[at] = *decl;
            at += 1;
            table = more;
        }
        tables = rest;
    }
    all
}

#[cfg(test)]
mod tests {
    use crate::{Group, Kind, OptionDecl};

    option_table! {
        FIRST = Group::Destination;
        A: String = "a", Kind::Text, "Sets a.";
        B: bool = "b", Kind::Bool, "Sets b.";
    }

    option_table! {
        SECOND = Group::Destination;
        C: String = "c", Kind::Text, "Sets c.";
        .. FIRST, &[A.decl];
    }

    option_table! { ONLY_OTHERS = Group::Destination; .. SECOND; }

    #[test]
    fn other_tables_follow_whole_and_in_order() {
        let names = |table: &[&OptionDecl]| table.iter().map(|decl| decl.name).collect::<String>();
        assert_eq!(names(FIRST), "ab");
        assert_eq!(names(SECOND), "caba");
        assert_eq!(names(ONLY_OTHERS), "caba");
        assert_eq!(C.decl.name, "c");
        assert_eq!(B.decl.name, "b");
    }
}
