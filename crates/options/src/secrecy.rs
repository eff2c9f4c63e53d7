//! Which values must not be shown.

use crate::decl::{OptionDecl, find_decl, normalize_name};
use crate::engine;

/// Tells whether the value of the named option must not be shown, by the engine's table or by the look of the name.
///
/// Names of providers' options are judged by their look, so prefer [`is_secret_in`] where the tables are at hand.
pub fn is_secret(name: &str) -> bool {
    is_secret_in(name, &[engine::TABLE])
}

/// Tells whether the value of the named option must not be shown. A name that no table has is judged by its look.
pub fn is_secret_in(name: &str, tables: &[&[&'static OptionDecl]]) -> bool {
    match find_decl(name, tables) {
        Some(decl) => decl.is_secret(),
        None => {
            let name = normalize_name(name);
            SECRET_PARTS.iter().any(|part| name.contains(part)) || name.ends_with("-key")
        }
    }
}

/// Parts of a name that make its value a secret when the option is not known.
const SECRET_PARTS: &[&str] = &[
    "password",
    "passphrase",
    "secret",
    "token",
    "authid",
    "access-key",
    "account-key",
    "api-key",
    "credential",
    "service-account-json",
];
