//! Names of users and groups, and the way back to their numbers.

use std::collections::HashMap;

use nix::unistd::{Gid, Group, Uid, User};

/// Looks up names and numbers of users and groups in the system's databases and remembers the
/// answers, also that there was none. Memory grows with the number of different owners.
#[derive(Debug, Default)]
pub(crate) struct Owners {
    user_names: HashMap<u32, Option<Vec<u8>>>,
    group_names: HashMap<u32, Option<Vec<u8>>>,
    user_ids: HashMap<Vec<u8>, Option<u32>>,
    group_ids: HashMap<Vec<u8>, Option<u32>>,
}

impl Owners {
    /// The name of a user.
    pub(crate) fn user_name(&mut self, uid: u32) -> Option<Vec<u8>> {
        let look_up = || {
            User::from_uid(Uid::from_raw(uid))
                .ok()
                .flatten()
                .map(|user| user.name.into_bytes())
        };
        self.user_names.entry(uid).or_insert_with(look_up).clone()
    }

    /// The name of a group.
    pub(crate) fn group_name(&mut self, gid: u32) -> Option<Vec<u8>> {
        let look_up = || {
            Group::from_gid(Gid::from_raw(gid))
                .ok()
                .flatten()
                .map(|group| group.name.into_bytes())
        };
        self.group_names.entry(gid).or_insert_with(look_up).clone()
    }

    /// The number of the user with this name.
    pub(crate) fn user_id(&mut self, name: &[u8]) -> Option<u32> {
        if let Some(known) = self.user_ids.get(name) {
            return *known;
        }
        let text = usable_name(name)?;
        let id = User::from_name(text)
            .ok()
            .flatten()
            .map(|user| user.uid.as_raw());
        self.user_ids.insert(name.to_vec(), id);
        id
    }

    /// The number of the group with this name.
    pub(crate) fn group_id(&mut self, name: &[u8]) -> Option<u32> {
        if let Some(known) = self.group_ids.get(name) {
            return *known;
        }
        let text = usable_name(name)?;
        let id = Group::from_name(text)
            .ok()
            .flatten()
            .map(|group| group.gid.as_raw());
        self.group_ids.insert(name.to_vec(), id);
        id
    }
}

/// A name that can be looked up: text without NUL.
fn usable_name(name: &[u8]) -> Option<&str> {
    if name.is_empty() || name.contains(&0) {
        return None;
    }
    std::str::from_utf8(name).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn root_has_a_name_and_nonsense_has_none() {
        let mut owners = Owners::default();
        assert_eq!(owners.user_name(0).as_deref(), Some(b"root".as_slice()));
        assert_eq!(owners.user_id(b"root"), Some(0));
        assert_eq!(owners.user_id(b"root"), Some(0));
        assert_eq!(owners.group_id(b"no such group here"), None);
        assert_eq!(owners.user_id(b"a\0b"), None);
        assert_eq!(owners.user_id(b"\xff"), None);
        assert_eq!(owners.user_name(3_999_999_999), None);
    }
}
