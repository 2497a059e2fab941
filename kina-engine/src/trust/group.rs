//! Groups without other members: where each user has a group of the own name, as on Debian and Ubuntu, files can be
//! written by their group and are still the user's alone.
//!
//! Only the files of the system are read. Users of a directory service are not in there, so a group counts only if it has
//! the user's own name: such a group was made together with the user, and no service gives it to others.

use std::fs::File;
use std::io::Read;

const USERS: &str = "/etc/passwd";
const GROUPS: &str = "/etc/group";
/// A hundred thousand users.
const FILE_BYTES_MAX: u64 = 8 << 20;

/// Tells if `user` is the only one in the group. Where that cannot be told, it is not.
pub(super) fn is_alone(user: u32, group: u32) -> bool {
    match (read(USERS), read(GROUPS)) {
        (Some(users), Some(groups)) => is_alone_by(user, group, &users, &groups),
        _ => false,
    }
}

fn read(path: &str) -> Option<String> {
    let mut text = Vec::new();
    let length = File::open(path).ok()?.take(FILE_BYTES_MAX).read_to_end(&mut text).ok()?;
    // The rest could name another member.
    if u64::try_from(length).ok()? == FILE_BYTES_MAX { None } else { String::from_utf8(text).ok() }
}

fn is_alone_by(user: u32, group: u32, users: &str, groups: &str) -> bool {
    let Some(users) = records(users) else { return false };
    let Some(groups) = records(groups) else { return false };
    let mut names: Vec<&str> = Vec::new();
    let mut is_primary = false;
    for record in &users {
        let (Some(name), Some(id), Some(primary)) = (record.first(), number(record, 2), number(record, 3)) else {
            return false;
        };
        match (id == user, primary == group) {
            (true, is_of_group) => {
                names.push(name);
                is_primary |= is_of_group;
            }
            (false, true) => return false,
            (false, false) => {}
        }
    }
    let mut has_name = false;
    for record in groups.iter().filter(|record| number(record, 2) == Some(group)) {
        let (Some(name), Some(members)) = (record.first(), record.get(3)) else { return false };
        has_name |= names.contains(name);
        if !members.split(',').filter(|member| !member.is_empty()).all(|member| names.contains(&member)) {
            return false;
        }
    }
    is_primary && has_name
}

/// The fields of each line; `None` if a line stands for records elsewhere.
fn records(text: &str) -> Option<Vec<Vec<&str>>> {
    let lines = text.lines().filter(|line| !line.trim().is_empty() && !line.starts_with('#'));
    lines.map(|line| (!line.starts_with(['+', '-'])).then(|| line.split(':').collect())).collect()
}

fn number(record: &[&str], field: usize) -> Option<u32> {
    record.get(field)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    const USERS: &str = "root:x:0:0:root:/root:/bin/sh\nann:x:1000:1000::/home/ann:/bin/sh\n\
                         bob:x:1001:100::/home/bob:/bin/sh\neve:x:1002:1002::/home/eve:/bin/sh\n";
    const GROUPS: &str = "root:x:0:\nusers:x:100:\nann:x:1000:\neve:x:1002:ann\nstaff:x:50:\n";

    fn is_alone(user: u32, group: u32) -> bool {
        is_alone_by(user, group, USERS, GROUPS)
    }

    #[test]
    fn a_group_of_the_users_own_name_without_others_is_the_users_alone() {
        assert!(is_alone(0, 0) && is_alone(1000, 1000));
        // With the user as a member of the own group, and with a second name for the same user.
        assert!(is_alone_by(1000, 1000, USERS, "ann:x:1000:ann\n"));
        assert!(is_alone_by(1000, 1000, &format!("{USERS}anna:x:1000:1000::/:/bin/sh\n"), "ann:x:1000:anna\n"));
    }

    #[test]
    fn every_other_group_may_have_others_in_it() {
        for (user, group) in [(1000, 1002), (1000, 50), (1001, 100), (1002, 1002), (1000, 7), (1003, 1003)] {
            assert!(!is_alone(user, group), "user {user} in group {group}");
        }
        // Another user has it as the primary group.
        assert!(!is_alone_by(1000, 1000, &format!("{USERS}mal:x:1003:1000::/:/bin/sh\n"), GROUPS));
        // A second record of the same group has a member.
        assert!(!is_alone_by(1000, 1000, USERS, &format!("{GROUPS}also:x:1000:eve\n")));
    }

    #[test]
    fn what_cannot_be_told_is_not_alone() {
        for (users, groups) in [("", ""), (USERS, ""), ("", GROUPS), ("ann:x:1000\n", GROUPS), (USERS, "ann:x:1000\n")]
        {
            assert!(!is_alone_by(1000, 1000, users, groups), "{users:?} {groups:?}");
        }
        // More users are in a directory service.
        assert!(!is_alone_by(1000, 1000, &format!("{USERS}+::::::\n"), GROUPS));
        assert!(!is_alone_by(1000, 1000, USERS, &format!("{GROUPS}+:::\n")));
    }
}
