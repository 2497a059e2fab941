//! The table of every subcommand and option that the reference lists.

use crate::Version;

/// The kind of an option's value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Takes {
    /// Nothing.
    Nothing,
    /// A text.
    Text,
    /// A whole number.
    Number,
    /// An amount of memory: digits and at most one of k, m, g, t.
    Memory,
    /// One of json, table, yaml, toml.
    Format,
    /// One of these words.
    OneOf(&'static [&'static str]),
}

/// One option.
#[derive(Debug, Clone, Copy)]
pub struct Flag {
    /// Every spelling; the first is the key in [`crate::Matches`].
    pub names: &'static [&'static str],
    /// The kind of its value.
    pub takes: Takes,
    /// Set if it may be given several times.
    pub repeats: bool,
    /// The first version that has it.
    pub since: Version,
}

/// One subcommand.
#[derive(Debug, Clone, Copy)]
pub struct Form {
    /// Its words; an alias is a form of its own.
    pub path: &'static [&'static str],
    /// Its options, except `--debug`, which all subcommands have.
    pub flags: &'static [&'static [Flag]],
    /// The fewest arguments after the options.
    pub least: usize,
    /// The most arguments after the options.
    pub most: usize,
    /// Set if everything after the first argument belongs to a process inside.
    pub passes_rest: bool,
    /// The first version that has it.
    pub since: Version,
}

const fn flag(names: &'static [&'static str], takes: Takes) -> Flag {
    Flag { names, takes, repeats: false, since: Version::FIRST }
}

const fn many(names: &'static [&'static str]) -> Flag {
    Flag { names, takes: Text, repeats: true, since: Version::FIRST }
}

const fn since(minor: u16, patch: u16, flag: Flag) -> Flag {
    Flag { since: Version::new(1, minor, patch), ..flag }
}

const fn form(path: &'static [&'static str], flags: &'static [&'static [Flag]], least: usize, most: usize) -> Form {
    Form { path, flags, least, most, passes_rest: false, since: Version::FIRST }
}

const fn passing(path: &'static [&'static str], flags: &'static [&'static [Flag]], least: usize) -> Form {
    Form { path, flags, least, most: usize::MAX, passes_rest: true, since: Version::FIRST }
}

use Takes::{Format, Memory, Nothing, Number, OneOf, Text};

const MANY: usize = usize::MAX;
const FORMAT: &[Flag] = &[flag(&["--format"], Format)];
const QUIET: &[Flag] = &[flag(&["-q"], Nothing)];
const ALL: &[Flag] = &[flag(&["-a"], Nothing)];
const FORCE: &[Flag] = &[flag(&["-f"], Nothing)];
const LABELS: &[Flag] = &[many(&["--label"])];
const PROGRESS: &[Flag] = &[flag(&["--progress"], OneOf(&["none"]))];
const DETACH: &[Flag] = &[flag(&["-d"], Nothing)];

const PROCESS: &[Flag] =
    &[flag(&["-i"], Nothing), flag(&["-t"], Nothing), many(&["-e"]), flag(&["-u"], Text), flag(&["-w"], Text)];

const CONTAINER: &[Flag] = &[
    flag(&["--name"], Text),
    many(&["--label", "-l"]),
    flag(&["--cpus", "-c"], Number),
    flag(&["--memory", "-m"], Memory),
    flag(&["--rm"], Nothing),
    flag(&["--cidfile"], Text),
    many(&["--env-file"]),
    flag(&["--uid"], Number),
    flag(&["--gid"], Number),
    many(&["--ulimit"]),
    many(&["--publish", "-p"]),
    many(&["--publish-socket"]),
    many(&["-v"]),
    many(&["--mount"]),
    many(&["--tmpfs"]),
    many(&["--cap-add"]),
    many(&["--cap-drop"]),
    since(2, 1, many(&["--masked-path"])),
    since(2, 1, many(&["--read-only-path"])),
    flag(&["--kernel", "-k"], Text),
    since(2, 0, many(&["--kernel-arg"])),
    flag(&["--init"], Nothing),
    flag(&["--init-image"], Text),
    flag(&["--virtualization"], Nothing),
    flag(&["--rosetta"], Nothing),
    flag(&["--ssh"], Nothing),
    flag(&["--shm-size"], Memory),
    flag(&["--read-only"], Nothing),
    flag(&["--runtime"], Text),
    many(&["--network"]),
    many(&["--dns"]),
    flag(&["--dns-domain"], Text),
    many(&["--dns-search"]),
    many(&["--dns-option"]),
    flag(&["--no-dns"], Nothing),
    flag(&["--arch", "-a"], Text),
    flag(&["--os"], Text),
    flag(&["--platform"], Text),
    flag(&["--scheme"], OneOf(&["http", "https", "auto"])),
    flag(&["--max-concurrent-downloads"], Number),
];

const START: &[Flag] = &[
    flag(&["--enable-kernel-install"], Nothing),
    flag(&["--disable-kernel-install"], Nothing),
    flag(&["--timeout"], Number),
    flag(&["--app-root", "-a"], Text),
];

const KERNEL: &[Flag] = &[
    flag(&["--recommended"], Nothing),
    flag(&["--binary"], Text),
    flag(&["--tar"], Text),
    flag(&["--digest"], Text),
    flag(&["--force"], Nothing),
    flag(&["--arch"], Text),
];

const PULL: &[Flag] = &[flag(&["--platform"], Text), flag(&["--scheme"], OneOf(&["http", "https", "auto"]))];

const BUILD: &[Flag] = &[
    many(&["-t"]),
    flag(&["-f"], Text),
    flag(&["--platform"], Text),
    many(&["--build-arg"]),
    flag(&["--progress"], OneOf(&["plain"])),
    flag(&["-o"], Text),
    since(2, 1, flag(&["--ssh"], Text)),
];

/// Every subcommand.
pub const FORMS: &[Form] = &[
    form(&["system", "start"], &[START], 0, 0),
    form(&["system", "stop"], &[], 0, 0),
    form(&["system", "logs"], &[&[flag(&["--last"], Text), flag(&["-f"], Nothing)]], 0, 0),
    form(&["system", "df"], &[FORMAT], 0, 0),
    form(&["system", "status"], &[FORMAT], 0, 0),
    form(&["system", "version"], &[FORMAT], 0, 0),
    form(&["system", "property", "list"], &[FORMAT], 0, 0),
    form(&["system", "kernel", "set"], &[KERNEL], 0, 0),
    form(&["system", "dns", "create"], &[], 1, 1),
    form(&["system", "dns", "list"], &[FORMAT], 0, 0),
    passing(&["create"], &[PROCESS, CONTAINER], 1),
    passing(&["run"], &[PROCESS, CONTAINER, DETACH, PROGRESS], 1),
    form(&["start"], &[ALL], 1, 1),
    form(&["stop"], &[&[flag(&["-t"], Number), flag(&["-s"], Text)]], 1, MANY),
    form(&["kill"], &[&[flag(&["-s"], Text)]], 1, MANY),
    form(&["delete"], &[FORCE, &[flag(&["--all"], Nothing)]], 0, MANY),
    form(&["rm"], &[FORCE, &[flag(&["--all"], Nothing)]], 0, MANY),
    form(&["list"], &[ALL, FORMAT, QUIET], 0, 0),
    form(&["ls"], &[ALL, FORMAT, QUIET], 0, 0),
    form(&["inspect"], &[], 1, MANY),
    passing(&["exec"], &[PROCESS, DETACH], 2),
    form(&["logs"], &[&[flag(&["--boot"], Nothing), flag(&["-n"], Number), flag(&["-f"], Nothing)]], 1, 1),
    form(&["copy"], &[], 2, 2),
    form(&["cp"], &[], 2, 2),
    form(&["stats"], &[FORMAT, &[flag(&["--no-stream"], Nothing)]], 0, MANY),
    form(&["export"], &[&[flag(&["-o"], Text)]], 1, 1),
    form(&["prune"], &[], 0, 0),
    Form { since: Version::new(1, 4, 1), ..form(&["clean"], &[], 1, 1) },
    form(&["image", "pull"], &[PULL, PROGRESS], 1, 1),
    form(&["image", "list"], &[FORMAT, QUIET], 0, 0),
    form(&["image", "inspect"], &[], 1, MANY),
    form(&["image", "load"], &[&[flag(&["-i"], Text)], FORCE], 0, 0),
    form(&["image", "save"], &[&[flag(&["--platform"], Text), flag(&["-o"], Text)]], 1, MANY),
    form(&["image", "tag"], &[], 2, 2),
    form(&["image", "delete"], &[FORCE], 1, MANY),
    form(&["image", "rm"], &[FORCE], 1, MANY),
    form(&["image", "prune"], &[ALL], 0, 0),
    form(
        &["network", "create"],
        &[LABELS, &[flag(&["--internal"], Nothing), flag(&["--subnet"], Text), flag(&["--subnet-v6"], Text)]],
        1,
        1,
    ),
    form(&["network", "delete"], &[], 1, MANY),
    form(&["network", "list"], &[FORMAT, QUIET], 0, 0),
    form(&["volume", "create"], &[LABELS, &[flag(&["-s"], Memory), many(&["--opt"])]], 1, 1),
    form(&["volume", "delete"], &[], 1, MANY),
    form(&["volume", "list"], &[FORMAT, QUIET], 0, 0),
    form(&["build"], &[BUILD], 1, 1),
    passing(&["machine"], &[], 0),
    Form { since: Version::new(1, 2, 1), ..passing(&["k8s"], &[], 0) },
];
